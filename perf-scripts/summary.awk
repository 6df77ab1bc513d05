# What a folded profile says in a few words: shares of kernel and program, the functions with the most of their own, whole stacks.
{
  count = $NF
  stack = $0
  sub(/ [0-9]+$/, "", stack)
  n = split(stack, frames, ";")
  leaf = frames[n]
  all += count
  if (leaf ~ /_\[k\]$/) kernel += count
  if (leaf ~ /^\[/) nameless += count
  # A shard's stack is whole if it reaches the loop; a kernel thread has no more than its kernel part.
  if (frames[1] ~ /^core [0-9]/) {
    of_shards += count
    if (stack ~ /Shard::turn;/) whole += count
  }
  sub(/_\[k\]$/, " (kernel)", leaf)
  own[leaf] += count
}
END {
  if (!all) { print "nothing"; exit }
  printf "%d samples of %s, %d %% in the kernel; most time of their own:", all, event, 100 * kernel / all
  for (k = 0; k < 6; k++) {
    best = ""
    for (leaf in own) if (best == "" || own[leaf] > own[best]) best = leaf
    if (best == "") break
    printf "%s %s %.1f %%", (k ? "," : ""), best, 100 * own[best] / all
    delete own[best]
  }
  if (of_shards) printf ". Of the shards' stacks %.1f %% are whole", 100 * whole / of_shards
  printf "; %.1f %% of all have no name.\n", 100 * nameless / all
}

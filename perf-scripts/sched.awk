# From `perf script -F tid,time,event,trace` of sched_wakeup and sched_switch: "NAME MICROSECONDS" for each time that a thread in `threads`
# (TID=NAME ...), or a kernel worker of one's ring, was ready and had no CPU. Who ran in a shard's place goes to the file `others`.

function number(key,   text) {
  if (!match($0, key "=[0-9]+")) return ""
  text = substr($0, RSTART, RLENGTH)
  sub(/^[^=]*=/, "", text)
  return text
}

function text(key, until,   from) {
  from = index($0, key "=") + length(key) + 1
  return substr($0, from, index(substr($0, from), " " until "=") - 1)
}

# The name of a thread that is looked at, or nothing.
function named(tid, comm) {
  if (tid in names) return names[tid]
  if (comm ~ /^iou-wrk-/ && substr(comm, 9) in names) return "workers"
  return ""
}

BEGIN {
  n = split(threads, list, " ")
  for (k = 1; k <= n; k++) {
    split(list[k], pair, "=")
    names[pair[1]] = pair[2]
  }
}

{
  for (k = 1; k <= NF; k++) if ($k ~ /^[0-9]+\.[0-9]+:$/) break
  time = substr($k, 1, length($k) - 1) * 1000000
}

# Told once the thread is in a CPU's queue; or of one that still runs, which then is not put off.
/sched_wakeup(_new)?:/ {
  tid = number(" pid")
  if (named(tid, text("comm", "pid")) != "" && !(tid in ready)) ready[tid] = time
}

/sched_switch:/ {
  next_tid = number("next_pid")
  next_comm = text("next_comm", "next_pid")
  tid = number("prev_pid")
  delete ready[tid]
  if ($0 ~ /prev_state=R/ && named(tid, text("prev_comm", "prev_pid")) != "") {
    ready[tid] = time
    if (tid in names) {
      sub(/^iou-wrk-.*/, "a kernel worker of a ring", next_comm)
      took[next_comm]++
    }
  }
  name = named(next_tid, next_comm)
  if (name != "" && (next_tid in ready)) {
    printf "%s %.3f\n", name, time - ready[next_tid]
    delete ready[next_tid]
  }
}

END {
  printf "" > others
  for (comm in took) printf "%d times a shard was put off its CPU for: %s\n", took[comm], comm > others
}

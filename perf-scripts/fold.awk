# Folds `perf script -F comm,tid,time,event,[trace,]ip,sym,symoff,dso` into one line a stack: thread;outermost;...;innermost WEIGHT.
# A sample weighs one. With -v off=1 the samples are sched_switch, and the switches in between tell for how many microseconds each thread was
# away. With -v field=NAME a sample weighs what its tracepoint says of it. -v pid: of this process the main thread is core 0.

function hex(text,   k, value) {
  for (k = 1; k <= length(text); k++) value = value * 16 + index("0123456789abcdef", substr(text, k, 1)) - 1
  return value
}

# Type and function of a Rust name, without what they are generic over: as much as fits into a frame.
function shorten(f,   inner, before, after, parts, n) {
  if (f !~ /[<:{]/ || f ~ /operator/) return f
  gsub(/->/, "to", f)
  gsub(/[{]impl#[0-9]+[}]::/, "", f)
  while (match(f, /<[^<>]*>/)) {
    inner = substr(f, RSTART + 1, RLENGTH - 2)
    before = substr(f, 1, RSTART - 1)
    after = substr(f, RSTART + RLENGTH)
    if (after ~ /^::/ && (before == "" || inner ~ /^impl / || inner ~ / as /)) {
      sub(/^impl /, "", inner)
      sub(/ as .*/, "", inner)
      sub(/ for /, "::", inner)
      gsub(/^.*[:&* ]/, "", inner)
      f = before inner after
    } else {
      sub(/::$/, "", before)
      f = before after
    }
  }
  n = split(f, parts, "::")
  return n > 1 ? parts[n - 1] "::" parts[n] : f
}

function last_part(f) {
  sub(/^.*::/, "", f)
  return f
}

# The frames from `group` on are of one address: a function and what was inlined into it. Older perf prints the function first, then
# from the innermost on what was inlined, then the function again, in its short name, or only that: it is put at the outer end, once.
function end_group(   k, outer) {
  if (depth < group || !group) return
  if (!inlined[group]) {
    outer = frames[group]
    functions[start] = outer
    if (depth > group) {
      for (k = group; k < depth; k++) frames[k] = frames[k + 1]
      if (last_part(frames[depth - 1]) == last_part(outer)) depth--
      frames[depth] = outer
    }
  } else if (inlined[depth]) {
    # Its full name may be known only later.
    frames[depth] = "@" start "@" frames[depth]
  } else {
    functions[start] = frames[depth]
  }
  group = 0
}

function end_sample(   k, stack) {
  if (!open) return
  open = 0
  end_group()
  stack = thread
  for (k = depth; k >= 1; k--) stack = stack ";" frames[k]
  if (off) {
    waits[tid] = stack (preempted ? ";[preempted]" : "")
    since[tid] = time
  } else {
    weight[stack] += amount
  }
}

# The line that begins a sample or tells of a switch: NAME TID [CPU] TIME: EVENT: ...
function begin(   k, words, n) {
  n = split($0, words, " ")
  for (k = 2; k <= n; k++) if (words[k] ~ /^[0-9]+\.[0-9]+:$/) break
  time = substr(words[k], 1, length(words[k]) - 1) + 0
  tid = words[k - 1]
  if (tid ~ /^\[/) tid = words[--k - 1]
  thread = words[1]
  for (n = 2; n < k - 1; n++) thread = thread " " words[n]
  if (tid == pid && thread == "ringlog") thread = "core 0"
  if (thread ~ /^iou-wrk/) thread = "kernel workers of the rings"
}

/PERF_RECORD_SWITCH/ {
  end_sample()
  begin()
  if ($0 ~ / IN/ && off && (tid in since)) {
    weight[waits[tid]] += (time - since[tid]) * 1000000
    delete since[tid]
  }
  next
}

/^ *[^ \t].* [0-9]+\.[0-9]+: / {
  end_sample()
  begin()
  open = 1
  depth = group = 0
  address = ""
  amount = 1
  preempted = ($0 ~ /prev_state=R/)
  if (field != "" && match($0, field "=[0-9]+")) amount = substr($0, RSTART + length(field) + 1, RLENGTH - length(field) - 1) + 0
  next
}

/^[ \t]+[0-9a-f]+ / {
  frame = $0
  sub(/^[ \t]+[0-9a-f]+ /, "", frame)
  is_inlined = sub(/ \(inlined\)$/, "", frame)
  dso = ""
  if (!is_inlined && match(frame, / \([^()]*\)$/)) {
    dso = substr(frame, RSTART + 2, RLENGTH - 3)
    frame = substr(frame, 1, RSTART - 1)
  }
  offset = 0
  if (match(frame, /\+0x[0-9a-f]+$/)) {
    offset = hex(substr(frame, RSTART + 3))
    frame = substr(frame, 1, RSTART - 1)
  }
  if (frame == "[unknown]") {
    # Nothing is known of where it is: what unwinding runs into past the last frame.
    if (dso == "" || dso == "[unknown]") next
    sub(/^.*\//, "", dso)
    frame = "[" dso "]"
  }
  if ($1 != address) {
    end_group()
    address = $1
    group = depth + 1
    start = hex($1) - offset
  }
  frame = dso ~ /^\[kernel|^\[guest|^\[[a-z0-9_]+\]$|\.ko/ && dso != "[vdso]" ? frame "_[k]" : shorten(frame)
  gsub(/;/, ":", frame)
  frames[++depth] = frame
  inlined[depth] = is_inlined
}

END {
  end_sample()
  for (stack in weight) {
    line = stack
    while (match(line, /@[0-9]+@[^;]*/)) {
      split(substr(line, RSTART + 1, RLENGTH - 1), named, "@")
      full = named[1] in functions ? functions[named[1]] : named[2]
      line = substr(line, 1, RSTART - 1) full substr(line, RSTART + RLENGTH)
    }
    folded[line] += weight[stack]
  }
  for (line in folded) if (folded[line] >= 1) printf "%s %d\n", line, folded[line]
}

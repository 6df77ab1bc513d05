# Times of io_uring operations from `perf script -F tid,time,event,trace`: "OPCODE MICROSECONDS" for each that began and ended while it was
# looked at. What else is to be said, counts by opcode, goes to the file `counts`.

{
  for (k = 1; k <= NF; k++) if ($k ~ /^[0-9]+\.[0-9]+:$/) { time = substr($k, 1, length($k) - 1) * 1000000; break }
  ring = request = op = flags = ""
  for (; k < NF; k++) {
    if ($k == "ring") ring = $(k + 1)
    if ($k == "req" || $k == "request") request = $(k + 1)
    if ($k == "flags") flags = $(k + 1)
    if ($k == "opcode") op = $(k + 1)
  }
  sub(/,$/, "", op)
  sub(/,$/, "", flags)
  key = ring request
}

/io_uring_submit_req/ {
  submitted[op]++
  # IOSQE_CQE_SKIP_SUCCESS: it will complete in silence.
  if (flags ~ /[4567cdef].$/) { delete begun[key]; next }
  begun[key] = time
  ops[key] = op
}

/io_uring_queue_async_work/ { to_worker[op]++ }

/io_uring_complete/ {
  if (key in begun) {
    printf "%s %.1f\n", ops[key], time - begun[key]
    delete begun[key]
  } else {
    # More completions of a multishot operation, those of operations submitted before, and wake-ups of another ring.
    others++
  }
}

END {
  printf "%-14s %10s %12s\n", "", "submitted", "to a worker" > counts
  for (op in submitted) printf "%-14s %10d %12d\n", op, submitted[op], to_worker[op] > counts
  printf "%d completions of multishot operations, of what was submitted before, and of wake-ups from other rings\n", others > counts
}

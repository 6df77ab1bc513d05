# From a list "INODE PATH" of the log's files and then `perf script -F comm,tid,event,trace`: which of their pages entered the page cache
# or became dirty, because of whom, and what the block devices were asked for.

function hex(text,   k, value) {
  for (k = 1; k <= length(text); k++) value = value * 16 + index("0123456789abcdef", substr(text, k, 1)) - 1
  return value
}

FILENAME != "-" {
  inode = $1
  sub(/^[0-9]+ /, "")
  paths[inode] = $0
  next
}

{
  comm = $1
  for (k = 2; k <= NF && $k !~ /:$/; k++) if ($k !~ /^[0-9]+$/ || $(k + 1) !~ /:$/) comm = comm " " $k
}

/mm_filemap_add_to_page_cache/ {
  for (k = 1; k < NF; k++) if ($k == "ino") inode = hex($(k + 1))
  order = 0
  if (match($0, /order=[0-9]+/)) order = substr($0, RSTART + 6, RLENGTH - 6)
  if (inode in paths) { added[inode] += 2 ^ order * 4096; by[inode] = comm }
}

/writeback_dirty_folio/ {
  match($0, /ino=[0-9]+/)
  inode = substr($0, RSTART + 4, RLENGTH - 4)
  if (inode in paths) { dirtied[inode] += 4096; by[inode] = comm }
}

# DEVICE KIND BYTES () SECTOR + SECTORS
/block_rq_issue/ {
  for (k = 1; k < NF; k++) if ($k ~ /block_rq_issue:$/) break
  device = $(k + 1)
  kind = $(k + 2)
  if (kind ~ /F/) flushes[device]++
  if (kind ~ /W/ || kind ~ /R/) {
    which = device " " (kind ~ /W/ ? "writes" : "reads")
    bytes[which] += $(k + 3)
    count[which]++
  }
}

END {
  for (inode in dirtied) printf "dirty pages of %s, because of %s: %.3f MB\n", paths[inode], by[inode], dirtied[inode] / 1e6
  for (inode in added) if (!(inode in dirtied)) printf "pages read of %s, because of %s: %.3f MB\n", paths[inode], by[inode], added[inode] / 1e6
  for (which in bytes) printf "device %s: %d, %.1f MB, %.1f KB each\n", which, count[which], bytes[which] / 1e6, bytes[which] / count[which] / 1000
  for (device in flushes) printf "device %s flushes: %d\n", device, flushes[device]
}

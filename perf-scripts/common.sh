# Shared by the scripts of this folder: the broker's process, its threads, the event to sample, where outputs go. Sourced, not run.
# shellcheck shell=bash disable=SC2034

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(dirname "$here")
name=$(basename "$0")
# What the scripts install for themselves.
tools=${CARGO_TARGET_DIR:-$repo/target}/perf-tools
inferno_version=0.12.8
# Of the user stack, copied with each sample: enough to reach the loop of a release build, see README.md.
stack_bytes=8192

fail() {
  echo "$name: $*" >&2
  exit 1
}

# The comment at the head of the script that was called.
show_help() {
  sed -n '2,${/^#/!q; s/^# \{0,1\}//; p;}' "$0"
}

# take_options "own options" ARGUMENTS: sets a variable for each --option VALUE; what is no option goes to `rest`.
take_options() {
  local own=" $1 " known=" pid port core seconds out report " option
  shift
  rest=()
  for option in $known $own; do printf -v "${option//-/_}" %s ''; done
  while (($#)); do
    option=${1#--}
    case $1 in
      --help | -h)
        show_help
        exit 0
        ;;
      --*)
        [[ $known$own == *" $option "* ]] || fail "$1 is no option; --help shows them"
        (($# >= 2)) || fail "$1 needs a value"
        printf -v "${option//-/_}" %s "$2"
        shift 2
        ;;
      *)
        rest+=("$1")
        shift
        ;;
    esac
  done
}

# The process that listens on a TCP port of this machine.
pid_of_port() {
  local hex inode fd
  hex=$(printf %04X "$1")
  while read -r inode; do
    fd=$(find /proc/[0-9]*/fd -lname "socket:\[$inode\]" -print -quit 2> /dev/null || true)
    [[ -n $fd ]] && echo "$fd" | cut -d/ -f3 && return
  done < <(awk -v port=":$hex" '$2 ~ port "$" && $4 == "0A" {print $10}' /proc/net/tcp /proc/net/tcp6 2> /dev/null)
  return 1
}

# Sets `pid`: as told by --pid or --port, else the one `ringlog start` that runs here.
find_broker() {
  local found=()
  if [[ -n $port ]]; then
    pid=$(pid_of_port "$port") || fail "nothing that this user may look at listens on port $port"
  elif [[ -z $pid ]]; then
    mapfile -t found < <(pgrep -x ringlog || true)
    ((${#found[@]} > 0)) || fail "no ringlog runs here; start one, or name a process with --pid or --port"
    ((${#found[@]} == 1)) || fail "several ringlog run here (${found[*]}): name one with --pid or --port"
    pid=${found[0]}
  fi
  [[ -d /proc/$pid ]] || fail "there is no process $pid"
}

# "TID NAME" of each shard's thread: core 0 is the main thread, the others are called `core N`. Of another broker: every thread.
shards() {
  local task comm ours
  ours=$(cat "/proc/$pid/comm")
  for task in "/proc/$pid/task"/*; do
    comm=$(cat "$task/comm" 2> /dev/null) || continue
    if [[ $ours != ringlog ]]; then
      echo "${task##*/} $comm"
    elif [[ ${task##*/} == "$pid" ]]; then
      echo "$pid core 0"
    elif [[ $comm == core\ * ]]; then
      echo "${task##*/} $comm"
    fi
  done
}

# Sets `target` to perf's options for what is looked at: one core if --core says so, else the whole process.
choose_target() {
  target=(-p "$pid")
  if [[ -n $core ]]; then
    local tid
    tid=$(shards | awk -v wanted="core $core" '{tid = $1; sub(/^[^ ]+ /, "")} $0 == wanted {print tid}')
    [[ -n $tid ]] || fail "process $pid has no core $core"
    target=(-t "$tid")
  fi
}

# Sets `cpus` to perf's options for sampling the CPUs that the broker may run on, and `picked` to those that pick its samples out afterwards:
# a clock that follows a thread is started and stopped at every switch, which costs a broker that switches often much more than the samples.
# Without the right to watch whole CPUs: the threads, as `choose_target` has it.
choose_cpus() {
  choose_target
  cpus=("${target[@]}")
  picked=()
  if ((EUID == 0 || $(cat /proc/sys/kernel/perf_event_paranoid) <= 0)); then
    cpus=(-C "$(for tid in $(shards | cut -d' ' -f1); do awk '/^Cpus_allowed_list/ {print $2}' "/proc/$pid/task/$tid/status"; done | sort -u | paste -sd,)")
    picked=(--pid "$pid")
    [[ ${target[0]} == -p ]] || picked=(--tid "${target[1]}")
  fi
}

# Sets `out`: --out, or the folder of a bench report, or perf-results/DATE-NAME in the current folder.
open_out() {
  if [[ -n $report ]]; then
    [[ -d $report ]] || fail "$report is not the folder of a report"
    out=$report
  fi
  out=${out:-perf-results/$(date -u +%Y%m%d-%H%M%S)-$name}
  mkdir -p "$out"
}

# need PROGRAM "how to get it".
need() {
  command -v "$1" > /dev/null || fail "$1 is missing: $2"
}

need_perf() {
  need perf "apt-get install linux-perf (Debian), linux-tools-$(uname -r) (Ubuntu)"
}

# Tracepoints are for root, or whoever may read this folder.
need_tracepoints() {
  [[ -r /sys/kernel/tracing/events || -r /sys/kernel/debug/tracing/events ]] \
    || fail "tracepoints cannot be read: run as root, with /sys/kernel/tracing mounted"
}

# Inferno's programs, installed by cargo the first time.
need_inferno() {
  if [[ ! -x $tools/bin/inferno-flamegraph ]]; then
    need cargo "see README.md at the root of the repository"
    echo "installing inferno $inferno_version under $tools" >&2
    cargo install --quiet --locked --version "$inferno_version" --root "$tools" --no-default-features --features cli inferno 2> "$out/inferno.log" \
      || fail "inferno could not be installed: $(tail -3 "$out/inferno.log")"
    rm "$out/inferno.log"
  fi
  PATH=$tools/bin:$PATH
}

# The event to sample: cycles, or the CPU clock where the machine has no counters (most virtual machines).
cpu_event() {
  if perf stat -x, -e cycles true 2>&1 | grep -q '^[0-9]'; then echo cycles; else echo cpu-clock; fi
}

# record DATA ARGUMENTS...: perf record, for --seconds. Tried again if it fails: a thread may end (the rings' kernel workers come and go)
# just when perf wants to follow it.
record() {
  local data=$1 tries=0
  shift
  # Room for bursts of stacks, as far as this user may lock memory.
  ((EUID != 0)) || set -- -m 16M "$@"
  until perf record -q -o "$data" "$@" -- sleep "${seconds:?}" 2> "$data.log"; do
    tries=$((tries + 1))
    if ((tries == 3)); then
      tail -3 "$data.log" >&2
      rm -f "$data" "$data.log"
      fail "perf record did not work (kernel.perf_event_paranoid is $(cat /proc/sys/kernel/perf_event_paranoid); root may always)"
    fi
  done
  if grep -qi lost "$data.log"; then echo "events were lost: ask for fewer --seconds, or one --core" >&2; fi
  rm "$data.log"
}

# stacks DATA [perf script arguments]: the samples as text, functions that were inlined included.
stacks() {
  local data=$1
  shift
  perf script -i "$data" --show-switch-events "$@" 2> /dev/null
}

# flame_graph FOLDED SVG TITLE UNIT [arguments]
flame_graph() {
  local folded=$1 svg=$2 title=$3 unit=$4
  shift 4
  [[ -s $folded ]] || fail "nothing was sampled: did the broker do anything?"
  inferno-flamegraph --title "$title" --subtitle "pid $pid, $(date -u +%FT%TZ), $(uname -r)" --countname "$unit" "$@" < "$folded" > "$svg"
}

# Context switches a second of the broker's threads, over half a second.
switches_per_second() {
  local first
  first=$(cat "/proc/$pid/task"/*/status 2> /dev/null | awk '/ctxt_switches/ {n += $2} END {print n + 0}')
  sleep 0.5
  cat "/proc/$pid/task"/*/status 2> /dev/null | awk -v first="$first" '/ctxt_switches/ {n += $2} END {print 2 * (n - first)}'
}

# metric_sum HOST:PORT NAME: the sum of a metric over its labels; nothing if nobody answers there.
metric_sum() {
  local host=${1%:*} to=${1##*:}
  {
    exec 9<> "/dev/tcp/$host/$to" || return 0
    printf 'GET /metrics HTTP/1.0\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" >&9
    awk -v name="$2" '{at = $1; sub(/[{].*/, "", at)} at == name {sum += $NF; any = 1} END {if (any) printf "%.0f\n", sum}' <&9
    exec 9>&-
  } 2> /dev/null
}

# found TEXT...: what it found, printed and kept beside the picture.
found() {
  printf 'found: %s\n' "$*" | tee -a "$out/$name.txt"
}

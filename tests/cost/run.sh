#!/usr/bin/env bash
# What the tap costs, on this machine, now: one command, one page of figures.
#
#   tests/cost/run.sh [CALLS [ROUNDS]]
#
# Per call, warm and cold, with a collector that really reads; instructions per call (callgrind);
# look-ups by dlsym; the start of a process that never calls NCCL. Machines differ and are shared:
# compare only lines of one run.
set -euo pipefail
cd "$(dirname "$0")/../.."
calls=${1:-100000} rounds=${2:-7}

cargo build --release --quiet -p nccltap-agent -p nccltap-uplink
cargo build --release --quiet -p nccltap
tap=$PWD/target/release/libnccltap.so
work=$(mktemp -d)
collector=
trap '[ -z "$collector" ] || kill "$collector" 2>/dev/null; wait 2>/dev/null; rm -rf "$work"' EXIT

# The simulated NCCL and CUDA, as the rehearsal crate carries them.
nccl=$(cargo build --release --message-format=json-render-diagnostics --quiet -p nccltap-rehearsal |
  sed -n 's/.*"reason":"build-script-executed".*nccltap-rehearsal.*"out_dir":"\([^"]*\)".*/\1/p' | tail -n 1)
cp "$nccl"/libnccl.so.2 "$nccl"/librehearsal.so.1 "$nccl"/libcudart.so.12 "$work/"
cp rehearsal/nccl/nccl.h rehearsal/cuda/runtime/cuda_runtime.h "$work/"
for program in call_cost one_call; do
  gcc -O2 -I"$work" -o "$work/$program" "tests/cost/$program.c" -L"$work" -l:libnccl.so.2 -ldl
done
for program in dlsym_cost dlsym_calls exec_cost; do
  gcc -O2 -o "$work/$program" "tests/cost/$program.c" -ldl -lm
done
for program in launch_cost kernel_cost; do
  gcc -O2 -I"$work" -o "$work/$program" "tests/cost/$program.c" -L"$work" -l:libnccl.so.2 -l:libcudart.so.12 -ldl -lm \
    -Wl,-rpath-link,"$work"
done
export LD_LIBRARY_PATH=$work NCCLTAP_REHEARSAL=1 NCCLTAP_REHEARSAL_SAID=1

start_collector() {
  target/release/nccltap serve --listen "unix:$work/collector.sock" --http 127.0.0.1:0 >"$work/serve" 2>/dev/null &
  collector=$!
  for _ in $(seq 200); do grep -q listening "$work/serve" && return; sleep 0.05; done
  echo "the collector did not start" >&2
  exit 1
}
tapped() { env LD_PRELOAD="$tap" NCCLTAP_COLLECTOR="unix:$work/collector.sock" "$@"; }
instructions() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2>&1 | sed -n 's/.*Collected : //p'
}

echo "== processor: $(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
start_collector

echo "== per call, with the drain thread and a collector running"
tapped "$work/call_cost" "$calls" "$rounds"

echo "== per launch of a CUDA graph: the runtime's own function and the process's in one loop, interleaved"
"$work/launch_cost" 3000 | sed 's/^/  no tap, the noise:  /'
tapped "$work/launch_cost" 3000 | sed 's/^/  with the tap:       /'

echo "== per launch of a kernel, and per kernel that a library registers, by the same method"
"$work/kernel_cost" 3000 | sed 's/^/  no tap, the noise:  /'
tapped "$work/kernel_cost" 3000 | sed 's/^/  with the tap:       /'

echo "== look-ups of names that are not ours: glibc's dlsym and the process's in one loop, interleaved"
"$work/dlsym_cost" 3000 | sed 's/^/  no tap, the noise:  /'
tapped "$work/dlsym_cost" 3000 | sed 's/^/  with the tap:       /'

echo "== start of a process that never calls NCCL, and the same with an empty library"
echo 'int nothing;' | gcc -shared -fPIC -x c - -o "$work/libempty.so"
cp "$tap" "$work/"
"$work/exec_cost" 3000 "$work/libempty.so" "$work/libnccltap.so" | sed "s|$work/||; s/^/  /"

if command -v valgrind >/dev/null; then
  per_call() { echo $((($("$@" 101000) - $("$@" 1000)) / 100000)); }
  # A ring that holds them all: no drain thread's work in the count but its sleep.
  with_tap() { NCCLTAP_RING_RECORDS=1048576 NCCLTAP_COLLECTOR=unix:/nowhere LD_PRELOAD=$tap instructions "$@"; }
  echo "== instructions per call, from the difference of 101,000 and 1,000 calls"
  for program in one_call dlsym_calls; do
    plain=$(per_call instructions "$work/$program") with=$(per_call with_tap "$work/$program")
    echo "  $program: plain $plain, tapped $with, added $((with - plain))"
  done
  echo "== instructions per launch of a kernel that is not on the list, from the difference of 128,000 and 64,000"
  per_kernel() { echo $((($("$@" 100 128000) - $("$@" 100 64000)) / 64000)); }
  plain=$(per_kernel instructions "$work/kernel_cost") with=$(per_kernel with_tap "$work/kernel_cost")
  echo "  plain $plain, tapped $with, added $((with - plain))"
  echo "== instructions per launch of a graph, from the difference of 11,000 and 1,000 launches"
  per_launch() { echo $((($("$@" 11000 "$size") - $("$@" 1000 "$size")) / 10000)); }
  for size in 1 160; do
    plain=$(per_launch instructions "$work/launch_cost") with=$(per_launch with_tap "$work/launch_cost")
    echo "  $size operations: plain $plain, tapped $with, added $((with - plain))"
  done
fi

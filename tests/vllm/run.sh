#!/usr/bin/env bash
# Unmodified vLLM on simulated GPUs, tapped: does the report equal the simulator's own log, to the last call?
#
# usage: tests/vllm/run.sh [LAYOUT...]        layouts: TP=2 TP=4 PP=2 PP=4 TP=2xPP=2 (default: all, about a minute each)
#
# Environment:
#   NCCLTAP_REHEARSAL_PROTOTYPE  folder with the simulated CUDA stack. Default: target/rehearsal, copied there from
#                                ../shared/prototypes/rehearsal and built on first use (vLLM from PyPI, 5 GB).
#   NCCLTAP_VLLM_LOGS            where logs, recordings and reports are left. Default: target/vllm.
#   NCCLTAP_VLLM_TIMEOUT         seconds until a run that hangs is ended. Default: 600.
#
# Prints one line per layout and exits 0 when every layout agrees, 1 when one does not.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
logs=${NCCLTAP_VLLM_LOGS:-$root/target/vllm}
simulator=${NCCLTAP_REHEARSAL_PROTOTYPE:-$root/target/rehearsal}

say() { echo "run.sh: $*" >&2; }

(cd "$root" && cargo build --release --quiet -p nccltap-agent -p nccltap-uplink && cargo build --release --quiet -p nccltap)
tested=$(python3 -m unittest "$here/test_compare.py" 2>&1) || { echo "$tested"; exit 1; }

if [ ! -d "$simulator" ]; then
    if [ -n "${NCCLTAP_REHEARSAL_PROTOTYPE:-}" ]; then
        say "NCCLTAP_REHEARSAL_PROTOTYPE=$simulator is not a folder"
        exit 1
    fi
    prototype=$root/../shared/prototypes/rehearsal
    if [ ! -d "$prototype" ]; then
        say "no simulated CUDA stack: set NCCLTAP_REHEARSAL_PROTOTYPE to a folder that has one"
        exit 1
    fi
    mkdir -p "$root/target"
    cp -r "$prototype" "$simulator"
    chmod -R u+w "$simulator"
fi
if [ ! -s "$simulator/build/preload" ] || [ ! -d "$simulator/models/llama-3.1-8b" ]; then
    say "building the simulated CUDA stack in $simulator"
    (cd "$simulator" && bash ./build.sh >build.log 2>&1) || { say "it failed, see $simulator/build.log"; exit 1; }
fi

run_layout() {
    local layout=$1 tensor_parallel pipeline_parallel
    case $layout in
        TP=2) tensor_parallel=2 pipeline_parallel=1 ;;
        TP=4) tensor_parallel=4 pipeline_parallel=1 ;;
        PP=2) tensor_parallel=1 pipeline_parallel=2 ;;
        PP=4) tensor_parallel=1 pipeline_parallel=4 ;;
        TP=2xPP=2) tensor_parallel=2 pipeline_parallel=2 ;;
        *) say "unknown layout $layout: give TP=2, TP=4, PP=2, PP=4 or TP=2xPP=2"; return 1 ;;
    esac
    local folder=$logs/$layout
    rm -rf "$folder"
    mkdir -p "$folder/simulator"
    local began=$SECONDS status=0
    (
        # The simulator's LD_PRELOAD is set here. The tap has to join it.
        set +u
        source "$simulator/env.sh"
        export VLLM_USE_V1=0 SIMNCCL_LOG_DIR=$folder/simulator
        exec "$root/target/release/nccltap" run --record "$folder/recording" --quiet -- \
            timeout "${NCCLTAP_VLLM_TIMEOUT:-600}" python "$here/generate.py" "$simulator/models/llama-3.1-8b" $tensor_parallel $pipeline_parallel
    ) >"$folder/output.txt" 2>&1 || status=$?
    if [ $status -ne 0 ] || ! grep -q '^generated 128 tokens$' "$folder/output.txt"; then
        echo "$layout: vLLM did not finish (exit code $status), see $folder/output.txt"
        return 1
    fi
    "$root/target/release/nccltap" report "$folder/recording" --format json >"$folder/report.json" || return 1
    local line
    line=$(python3 "$here/compare.py" --layout "$layout" --simulator "$folder/simulator" --report "$folder/report.json") || status=$?
    echo "$line; $((SECONDS - began)) s" | tee "$folder/result.txt"
    return $status
}

layouts=("$@")
[ ${#layouts[@]} -gt 0 ] || layouts=(TP=2 TP=4 PP=2 PP=4 TP=2xPP=2)
failed=0
for layout in "${layouts[@]}"; do
    run_layout "$layout" || failed=1
done
exit $failed

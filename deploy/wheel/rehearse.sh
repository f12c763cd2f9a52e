#!/usr/bin/env bash
# Runs an unmodified vLLM on simulated GPUs with an installed wheel: deploy/wheel/rehearse.sh WHEEL [ENGINE]
#
# Minutes. Needs the engine (default: vllm==0.11.0), as `nccltap rehearse install` puts it below XDG_DATA_HOME; where it
# is not there it is installed, with a network. Leaves the recording and the page in the current directory.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: $0 WHEEL [ENGINE]" >&2; exit 2; }
wheel=$(realpath "$1")
engine=${2:-vllm==0.11.0}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset NCCLTAP_LIBRARY PYTHONPATH LD_PRELOAD

timed() { # timed SENTENCE COMMAND...
    local sentence=$1 began=${EPOCHREALTIME/[.,]/}
    shift
    "$@"
    printf '%6d ms  %s\n' $(((${EPOCHREALTIME/[.,]/} - began) / 1000)) "$sentence" >> "$work/times"
}
install_wheel() { python3 -m venv "$work/venv" && "$work/venv/bin/pip" install --quiet --disable-pip-version-check "$wheel"; }

timed "pip install in a new environment" install_wheel
PATH=$work/venv/bin:$PATH
timed "nccltap rehearse install $engine" nccltap rehearse install "$engine"
rm -f rehearsal.rec
timed "nccltap rehearse -- vllm bench latency (Llama-3.1-8B, TP=2, 128 tokens in and 32 out)" \
    nccltap rehearse --engine "$engine" --record rehearsal.rec -- \
    vllm bench latency --model llama-3.1-8b --tensor-parallel-size 2 --input-len 128 --output-len 32 --batch-size 1 \
    --num-iters-warmup 0 --num-iters 1 --enforce-eager --disable-custom-all-reduce --max-model-len 2048
timed "nccltap report rehearsal.rec --html rehearsal.html" nccltap report rehearsal.rec --html rehearsal.html
test -s rehearsal.html
cat "$work/times"

#!/usr/bin/env bash
# Real PyTorch, real NCCL releases, vLLM's own NCCLLibrary, no GPU: same results with the tap, every call seen by its door.
#
# usage: tests/real/run.sh [RELEASE...]        default: every release listed in agent/nccl-api/
#
# Downloads once, into target/real (5 GB: PyTorch 2.6.0 with the CUDA libraries) and target/nccl (4 GB: one library per
# release). Needs python3 and a network the first time; no GPU, no driver, no root.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
real=$root/target/real
nccl=$root/target/nccl
python=$real/venv/bin/python

(cd "$root" && cargo build --release --quiet -p nccltap-agent -p nccltap-uplink && cargo build --release --quiet -p nccltap)

if [ ! -f "$real/ready" ]; then
    echo "run.sh: downloading PyTorch and vLLM's NCCLLibrary into $real" >&2
    mkdir -p "$real"
    python3 -m venv "$real/venv"
    "$python" -m pip install --quiet --disable-pip-version-check torch==2.6.0 numpy
    # Of vLLM only one file, and that unmodified.
    "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$real/wheel" vllm==0.8.5.post1
    file=vllm/distributed/device_communicators/pynccl_wrapper.py
    "$python" -c 'import sys, zipfile; print(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]).decode(), end="")' \
        "$real"/wheel/vllm-*.whl "$file" >"$real/pynccl_wrapper.py"
    rm -rf "$real/wheel"
    touch "$real/ready"
fi

releases=("$@")
if [ ${#releases[@]} -eq 0 ]; then
    mapfile -t releases < <(cd "$root/agent/nccl-api" && printf '%s\n' [0-9]*.txt | sed 's/\.txt$//' | sort -V)
fi
missing=()
for release in "${releases[@]}"; do
    [ -f "$nccl/$release/libnccl.so.2" ] || missing+=("$release")
done
if [ ${#missing[@]} -gt 0 ]; then
    "$root/agent/nccl-api/refresh.sh" "${missing[@]}" >&2
fi

exec python3 "$here/check.py" --python "$python" --wrapper "$real/pynccl_wrapper.py" --nccl "$nccl" --tap "$root/target/release" "${releases[@]}"

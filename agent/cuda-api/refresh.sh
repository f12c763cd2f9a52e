#!/usr/bin/env bash
# Lists which functions for graphs and capture a release of the CUDA runtime exports: RELEASE.txt, one name per line.
#
# usage: agent/cuda-api/refresh.sh PACKAGE VERSION
#
# PACKAGE is nvidia-cuda-runtime-cu11, nvidia-cuda-runtime-cu12, or nvidia-cuda-runtime. Needs python3, nm and unzip.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
package=${1:?package} version=${2:?version}
command -v nm >/dev/null || { echo "refresh.sh: nm is missing: install binutils" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "$package==$version"
unzip -q "$work"/*.whl -d "$work/wheel"
library=$(find "$work/wheel" -name 'libcudart.so.*' | head -n 1)
release=$(cut -d. -f1,2 <<<"$version")
nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' |
    grep -E '^cuda(Graph[A-Z]|Device.*Graph|Stream.*[Cc]aptur|Thread.*Capture)' | grep -v '^cudaGraphics' |
    sort -u >"$here/$release.txt"
echo "$release: $(wc -l <"$here/$release.txt") functions"

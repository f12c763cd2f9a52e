#!/usr/bin/env bash
# Lists which functions for graphs, capture, launches of kernels and copies between GPUs a release of CUDA has, one name per line:
# RELEASE.txt for the runtime, as its library exports them, and driver/RELEASE.txt for the driver, as cuda.h of the same package declares them.
#
# usage: agent/cuda-api/refresh.sh PACKAGE VERSION
#
# PACKAGE is nvidia-cuda-runtime-cu11, nvidia-cuda-runtime-cu12, or nvidia-cuda-runtime. Needs python3, nm, cc and unzip.
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
header=$(find "$work/wheel" -name cuda.h | head -n 1)
release=$(cut -d. -f1,2 <<<"$version")
functions='Memcpy.*Peer|Graph[A-Z]|Device.*Graph|Stream.*[Cc]aptur|Thread.*Capture|Launch.*Kernel'
mkdir -p "$here/driver"
nm -D --defined-only "$library" | awk '{ print $3 }' | sed 's/@.*//' |
    grep -E "^cuda($functions|GetDriverEntryPoint|LibraryGetKernel|GetKernel|GetFuncBySymbol)|^__cuda(RegisterFunction|GetKernel|LaunchKernel)" |
    grep -v '^cudaGraphics' |
    sort -u >"$here/$release.txt"
# All forms of all functions, under the names that the library has them by.
cc -E -P -x c -D__CUDA_API_VERSION_INTERNAL "$header" | tr '\n' ' ' | grep -oE 'CUresult +cu[A-Z][A-Za-z0-9_]*\(' |
    sed 's/CUresult *//; s/(//' | grep -E "^cu($functions|GetProcAddress|ModuleGetFunction|LibraryGetKernel|KernelGetFunction)" | grep -v '^cuGraphics' |
    sort -u >"$here/driver/$release.txt"
echo "$release: $(wc -l <"$here/$release.txt") functions of the runtime, $(wc -l <"$here/driver/$release.txt") of the driver"

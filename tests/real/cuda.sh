#!/usr/bin/env bash
# Real CUDA runtimes, of a shared library and linked statically, over a driver that only says what it is asked for.
#
#   tests/real/cuda.sh [PACKAGE==VERSION...]
#
# Needs no GPU; downloads the runtime's packages, some 3 MB each. It must be so:
# - libcudart.so asks the same with the tap and without, and by itself: it never meets a wrapper of the driver;
# - a static runtime asks the same too, through the tap, which so has its wrappers in the answers;
# - both answer their program the same.
set -euo pipefail
cd "$(dirname "$0")/../.."
packages=("$@")
[ ${#packages[@]} -gt 0 ] || packages=(nvidia-cuda-runtime-cu12==12.9.79 nvidia-cuda-runtime==13.5.37)

tap=${NCCLTAP_LIBRARY:-}
if [ -z "$tap" ]; then
  cargo build --release --quiet -p nccltap-agent
  tap=$PWD/target/release/libnccltap.so
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$work/libcuda.so.1" tests/real/cuda/driver.c -ldl
gcc -o "$work/dynamic" tests/real/cuda/program.c -ldl
export LD_LIBRARY_PATH=$work

# asks NAME COMMAND...: what the driver is asked, and the program answered, without the tap and with it.
asks() {
  local name=$1
  shift
  "$@" >"$work/$name.plain" 2>&1
  LD_PRELOAD=$tap "$@" >"$work/$name.tapped" 2>&1
}
same() { cmp -s "$1" "$2" || { echo "FAIL: $3" >&2 && diff "$1" "$2" | head -n 5 >&2 && exit 1; }; }

for package in "${packages[@]}"; do
  wheel=$work/$package
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$wheel" "$package"
  unzip -q "$wheel"/*.whl -d "$wheel"
  shared=$(find "$wheel" -name 'libcudart.so.*' | head -n 1)
  asks shared "$work/dynamic" "$shared"
  same "$work/shared.plain" "$work/shared.tapped" "$package: libcudart.so asks otherwise under the tap"
  asked=$(grep -c " through libcudart" "$work/shared.tapped")
  [ "$asked" -gt 300 ] || { echo "FAIL: $package: libcudart.so asked for $asked functions" >&2 && exit 1; }

  mapfile -t archives < <(find "$wheel" -name libcudart_static.a -o -name libculibos.a)
  gcc -DLINKED -o "$work/static" tests/real/cuda/program.c "${archives[@]}" -lpthread -ldl -lrt -lstdc++
  asks static "$work/static"
  same <(sed 's/ through .*//' "$work/static.plain") <(sed 's/ through .*//' "$work/static.tapped") \
    "$package: the static runtime asks otherwise under the tap"
  met=$(grep -c " through libnccltap.so" "$work/static.tapped")
  [ "$met" -gt 300 ] || { echo "FAIL: $package: $met questions of the static runtime came through the tap" >&2 && exit 1; }
  echo "$package: libcudart.so asks for $asked functions, none through the tap; the static runtime for $met, all through it"
done

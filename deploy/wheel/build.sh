#!/usr/bin/env bash
# Builds the wheel: deploy/wheel/build.sh [DIRECTORY]   (default: target/wheel)
#
# Needs what a build of nccltap needs (README.md), Python 3.9 with pip, and binutils. The tag of the wheel says the
# oldest glibc that it runs on, and is computed from what was built.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "${1:-$here/../../target/wheel}")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

"$here/../stage.sh" "$stage"
rm -f "$out"/nccltap-*.whl
glibc=$("$here/../glibc.sh" "$stage"/bin/nccltap "$stage"/lib/nccltap/*.so)
NCCLTAP_WHEEL_STAGE=$stage NCCLTAP_WHEEL_PLATFORM=manylinux_${glibc/./_}_$(uname -m) \
    python3 -m pip wheel --quiet --no-deps --wheel-dir "$out" "$here/../../agent/python"
ls "$out"/nccltap-*.whl

#!/usr/bin/env bash
# Lists anew which nccl* functions each release of NCCL exports: one file RELEASE.txt per release, one name per line.
#
# usage: agent/nccl-api/refresh.sh [RELEASE...]
#
# Without arguments: the newest patch of every minor release from 2.18 on, as the Python package nvidia-nccl-cu12 has them.
# Needs python3 and nm. Each wheel is deleted once its library is unpacked; the libraries stay in target/nccl/RELEASE/
# (about 4 GB), where tests/real/run.sh uses them again.
set -euo pipefail
export LC_ALL=C

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
libraries=$here/../../target/nccl
package=nvidia-nccl-cu12

command -v nm >/dev/null || { echo "refresh.sh: nm is missing: install binutils" >&2; exit 1; }
mkdir -p "$libraries"
python=$libraries/venv/bin/python
[ -x "$python" ] || python3 -m venv "$libraries/venv"

newest_patches() {
    "$python" -m pip index versions "$package" 2>/dev/null |
        sed -n 's/^Available versions: //p' | tr -d ' ' | tr ',' '\n' | grep -v post | sort -V |
        awk -F. '$1 == 2 && $2 >= 18 { newest[$2] = $0 } END { for (minor in newest) print newest[minor] }' | sort -V
}

if [ $# -gt 0 ]; then
    releases=("$@")
else
    mapfile -t releases < <(newest_patches)
    [ ${#releases[@]} -gt 0 ] || { echo "refresh.sh: pip names no release of $package: is there a network?" >&2; exit 1; }
    rm -f "$here"/*.txt
fi

for release in "${releases[@]}"; do
    library=$libraries/$release/libnccl.so.2
    if [ ! -f "$library" ]; then
        wheels=$(mktemp -d "$libraries/wheel.XXXXXX")
        "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
            --dest "$wheels" "$package==$release"
        mkdir -p "$libraries/$release"
        "$python" - "$wheels"/*.whl "$library" <<'UNPACK'
import os, shutil, sys, zipfile
wheel, library = sys.argv[1:]
with zipfile.ZipFile(wheel) as archive, archive.open("nvidia/nccl/lib/libnccl.so.2") as packed:
    with open(library + ".part", "wb") as unpacked:
        shutil.copyfileobj(packed, unpacked)
os.rename(library + ".part", library)
UNPACK
        rm -rf "$wheels"
    fi
    exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort -u)
    grep '^nccl[A-Z]' <<<"$exported" >"$here/$release.txt"
    # NCCL exports ncclX (weak) with a twin pncclX (strong); the tap calls the twin. A name without one is worth a look.
    alone=$(comm -23 <(cat "$here/$release.txt") <(sed -n 's/^pnccl/nccl/p' <<<"$exported" | sort -u) | tr '\n' ' ')
    echo "$release: $(wc -l <"$here/$release.txt") functions${alone:+; without pnccl twin: $alone}"
done

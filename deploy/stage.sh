#!/usr/bin/env bash
# Builds nccltap and lays it out as it is installed: deploy/stage.sh PREFIX
#
# PREFIX gets bin/nccltap, lib/nccltap/libnccltap.so with libnccltap_uplink.so beside it, where the command finds
# them, the manual pages, the completions of bash, zsh and fish, and the licenses. The wheel and the container image are made of
# the same. DESTDIR/usr/local is as good as a folder of one's own.
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$(realpath -m "$1")
cd "$(dirname "$0")/.."

# One after the other: built together, cargo would give the libraries in the host what only the collector needs.
cargo build --release --locked -p nccltap-agent -p nccltap-uplink
cargo build --release --locked -p nccltap
built=${CARGO_TARGET_DIR:-target}/release

install -D -m 755 -t "$prefix/bin" "$built/nccltap"
install -D -m 755 -t "$prefix/lib/nccltap" "$built/libnccltap.so" "$built/libnccltap_uplink.so"
# What is installed says what it takes itself.
nccltap=$prefix/bin/nccltap
share=$prefix/share
"$nccltap" man --into "$share/man/man1"
mkdir -p "$share/bash-completion/completions" "$share/zsh/site-functions" "$share/fish/vendor_completions.d"
"$nccltap" completions bash > "$share/bash-completion/completions/nccltap"
"$nccltap" completions zsh > "$share/zsh/site-functions/_nccltap"
"$nccltap" completions fish > "$share/fish/vendor_completions.d/nccltap.fish"
install -D -m 644 -t "$share/doc/nccltap" LICENSE
deploy/licenses.py > "$share/doc/nccltap/THIRD-PARTY.txt"

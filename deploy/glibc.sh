#!/usr/bin/env bash
# Prints the oldest glibc that has every symbol which these programs and libraries need, as 2.35: deploy/glibc.sh FILE...
set -euo pipefail
[ $# -gt 0 ] || { echo "usage: $0 FILE..." >&2; exit 2; }
for file in "$@"; do
    # A file that cannot be read must not pass for one that needs nothing.
    needed=$(LC_ALL=C readelf --wide --version-info "$file") || { echo "$0: readelf cannot read $file" >&2; exit 1; }
    grep -o 'GLIBC_[0-9][0-9.]*' <<< "$needed" || { echo "$0: $file needs no symbol of glibc, which cannot be" >&2; exit 1; }
done | sed 's/GLIBC_//' | sort -V | tail -n 1

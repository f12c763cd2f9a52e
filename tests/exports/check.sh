#!/bin/sh
# Opens exports with the programs that they are for: Parquet with DuckDB and pandas, the trace with Perfetto's
# trace_processor where that can be had. Their sums are compared with those of `nccltap report`.
#
# usage: tests/exports/check.sh RECORDING [NCCLTAP]      (NCCLTAP: the command, target/release/nccltap when not given)
# Installs the packages into a virtual environment of its own, in target/exports.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
recording=${1:?usage: tests/exports/check.sh RECORDING [NCCLTAP]}
nccltap=${2:-$root/target/release/nccltap}
place=$root/target/exports
mkdir -p "$place"
[ -x "$place/venv/bin/python" ] || python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check duckdb pandas pyarrow perfetto
"$nccltap" export "$recording" --format parquet -o "$place/run.parquet"
"$nccltap" export "$recording" --format perfetto -o "$place/run.trace.json"
"$nccltap" report "$recording" --format json > "$place/report.json"
"$place/venv/bin/python" "$here/check.py" "$place"

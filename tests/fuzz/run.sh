#!/usr/bin/env bash
# Looks for bytes that bring the collector down: every target for SECONDS (60), by coverage.
# Needs a C++ compiler; the toolchain is the project's own. What is found stays in target/fuzz.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-60}
work=$(realpath -m ../../target/fuzz)

coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing"
host=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="$coverage" cargo build --release --target "$host" --target-dir "$work/build"

for target in messages recording ring_file; do
  mkdir -p "$work/corpus/$target" "$work/found"
  printf '\n== %s\n' "$target"
  "$work/build/$host/release/$target" "$work/corpus/$target" \
    -max_total_time="$seconds" -max_len=16384 -rss_limit_mb=4096 -timeout=20 \
    -print_final_stats=1 -artifact_prefix="$work/found/$target-"
done

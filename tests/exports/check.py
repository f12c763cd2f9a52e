"""Compares what DuckDB, pandas and Perfetto read in exports with the rows of `nccltap report --format json`."""

import collections
import json
import pathlib
import sys

import duckdb
import pandas


def sums(rows):
    """Count, message bytes and bus bytes by everything that report and export both tell apart."""
    total = collections.Counter()
    for *key, count, message, bus in rows:
        for name, number in (("count", count), ("message_bytes", message), ("bus_bytes", bus)):
            total[(*key, name)] += int(number or 0)
    return +total


def same(what, found, wanted):
    different = [key for key in found.keys() | wanted.keys() if found[key] != wanted[key]]
    if different or not wanted:
        sys.exit(f"{what}: {len(different)} sums differ, the first: {sorted(map(str, different))[:3]}")
    print(f"{what}: {len(wanted)} sums are those of the report")


KEYS = ["pid", "op", "phase", "launch", "role", "group", "elements"]


def main(place):
    report = json.loads((place / "report.json").read_text())
    wanted = sums(
        [*(row[key] for key in KEYS), row["count"], row["message_bytes"], row["bus_bytes"]] for row in report
    )

    keys = ", ".join(f'"{key}"' for key in KEYS)
    connection = duckdb.connect()
    query = f"SELECT {keys}, count(*), sum(message_bytes), sum(bus_bytes) FROM '{place}/run.parquet' GROUP BY ALL"
    same("DuckDB", sums(connection.execute(query).fetchall()), wanted)
    for column in connection.execute(f"DESCRIBE FROM '{place}/run.parquet'").fetchall():
        print("  ", column[0], column[1])

    frame = pandas.read_parquet(place / "run.parquet")
    counted = frame.assign(count=1).groupby(KEYS, dropna=False)[["count", "message_bytes", "bus_bytes"]].sum()
    plain = lambda value: None if pandas.isna(value) else value
    rows = ([*map(plain, key), *row] for key, row in zip(counted.index, counted.itertuples(index=False)))
    same("pandas", sums(rows), wanted)
    assert (frame["end"] >= frame["start"]).all() and str(frame["start"].dtype) == "datetime64[ns, UTC]"

    try:
        from perfetto.trace_processor import TraceProcessor

        processor = TraceProcessor(trace=str(place / "run.trace.json"))
    except Exception as error:  # the package fetches its program from the network when it is first used
        print(f"SKIPPED: Perfetto's trace_processor cannot be had here: {type(error).__name__}: {error}"[:200])
        return
    found = collections.Counter()
    query = """
        SELECT slice.name AS op, count(*) AS count FROM slice
        JOIN thread_track ON slice.track_id = thread_track.id GROUP BY slice.name"""
    for row in processor.query(query):
        found[row.op] = row.count
    by_op = collections.Counter()
    for row in report:
        by_op[row["op"]] += row["count"]
    same("Perfetto", found, by_op)


main(pathlib.Path(sys.argv[1]))

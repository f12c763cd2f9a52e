#!/usr/bin/env python3
"""Compares what the tap reports of a run with what the simulated NCCL logged of the same run.

usage: compare.py --layout LAYOUT --simulator FOLDER --report FILE

The simulator's log is the ground truth: one JSON line per call, one file per process, written by the library that was
called. The two sides know nothing of each other's names for a communicator, so groups are compared by what was done in
them: for every process its rank, the size of the group, and how often it asked for which operation with how many
elements, of which type, with which peer. Two runs are equal when there is a one-to-one match of whole groups, over all
processes, start to end.

Prints one line of figures and exits 0, or prints every difference and exits 1.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

ELEMENT_SIZE = {
    "int8": 1, "uint8": 1, "float8e4m3": 1, "float8e5m2": 1,
    "float16": 2, "bfloat16": 2,
    "int32": 4, "uint32": 4, "float32": 4,
    "int64": 8, "uint64": 8, "float64": 8,
}  # fmt: skip

# The simulator's spelling where it is not NCCL's own.
DATATYPES = {"fp8e4m3": "float8e4m3", "fp8e5m2": "float8e5m2"}
OPERATIONS = {"AllToAll": "AlltoAll"}


class Call(NamedTuple):
    """What is counted: one operation as one process states it."""

    op: str
    elements: int
    dtype: str
    peer: int | None


class Member(NamedTuple):
    """One process in one group."""

    pid: int
    rank: int
    ranks: int


# A group: its members, and how often each made each call.
Group = dict[Member, Counter]


class BadInput(Exception):
    """A log or a report cannot be read as one."""


def groups_of_simulator(folder: Path) -> dict[str, Group]:
    """Groups by the simulator's name for the communicator, from its logs FOLDER/PID.jsonl."""
    groups: dict[str, Group] = defaultdict(lambda: defaultdict(Counter))
    for log in sorted(folder.glob("[0-9]*.jsonl")):
        pid = int(log.stem)
        for number, line in enumerate(log.read_text().splitlines(), 1):
            try:
                event = json.loads(line)
            except ValueError as error:
                raise BadInput(f"{log}:{number}: not a line of JSON ({error})") from error
            if event["op"] == "GraphLaunch":
                raise BadInput(f"{log}:{number}: the run replayed a CUDA graph; this check is for eager runs")
            if "count" not in event:
                continue
            member = Member(pid, event["rank"], event["nranks"])
            call = Call(
                OPERATIONS.get(event["op"], event["op"]),
                event["count"],
                DATATYPES.get(event["dtype"], event["dtype"]),
                None if event["peer"] == -1 else event["peer"],
            )
            groups[event["comm"]][member][call] += 1
    if not groups:
        raise BadInput(f"{folder}: the simulator logged no operation")
    return groups


def groups_of_report(rows: list[dict]) -> dict[str, Group]:
    """Groups by the tap's name, from the rows of `nccltap report --format json`."""
    groups: dict[str, Group] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        if row["group"] is None:
            raise BadInput(f"the report has a row without a group: {json.dumps(row)}")
        member = Member(row["pid"], row["rank"], row["ranks_in_group"])
        groups[row["group"]][member][Call(row["op"], row["elements"], row["dtype"], row["peer"])] += row["count"]
    return groups


def differences(simulated: dict[str, Group], reported: dict[str, Group]) -> list[str]:
    """Sentences that say what differs; empty when the groups match one to one."""
    unmatched = defaultdict(list)
    for name, group in reported.items():
        unmatched[_contents(group)].append(name)
    missing = []
    for name, group in simulated.items():
        same = unmatched.get(_contents(group))
        if same:
            same.pop()
        else:
            missing.append(name)
    extra = [name for names in unmatched.values() for name in names]
    if not missing and not extra:
        return []

    found = []
    truth, seen = _calls_by_process(simulated), _calls_by_process(reported)
    for pid in sorted(truth.keys() | seen.keys()):
        for call in sorted(truth[pid].keys() | seen[pid].keys(), key=str):
            if truth[pid][call] != seen[pid][call]:
                found.append(f"process {pid}: {_text(call)}: made {truth[pid][call]}, reported {seen[pid][call]}")
    if not found:
        found.append("every process made the calls that are reported of it, but not in these groups:")
    found += [f"group {name} of the simulator has no equal in the report: {_summary(simulated[name])}" for name in missing]
    found += [f"group {name} of the report has no equal in the simulator: {_summary(reported[name])}" for name in extra]
    return found


def byte_errors(rows: list[dict]) -> list[str]:
    """Rows whose bytes are not what their own elements, type, count and group size make them."""
    found = []
    for row in rows:
        message = row["elements"] * ELEMENT_SIZE[row["dtype"]] * row["count"]
        ranks = row["ranks_in_group"]
        factor = {
            "AllReduce": 2 * (ranks - 1) / ranks,
            # The whole buffer is `ranks` times what NCCL's count says.
            "AllGather": ranks - 1,
            "ReduceScatter": ranks - 1,
            "AlltoAll": ranks - 1,
        }.get(row["op"], 1)
        if row["message_bytes"] != message:
            found.append(f"message_bytes should be {message}: {json.dumps(row)}")
        if abs(row["bus_bytes"] - message * factor) > 1:
            found.append(f"bus_bytes should be {message * factor:.0f}: {json.dumps(row)}")
    return found


# Llama-3.1-8B, one request of 128 prompt tokens and 128 generated tokens.
HIDDEN, VOCABULARY, PROMPT = 4096, 128256, 128


class PaperRow(NamedTuple):
    """A row of a table of the paper, and where it must be found."""

    table: str
    what: str
    op: str
    elements: int
    # The count in each process, in ascending order. The paper leaves out the second stage of Table VI: its 32
    # all-reduces per step (one per row-parallel layer, no embedding) stand beside the first stage's 33.
    counts: list[int]


def _gather(table: str, ranks: int, processes: int) -> list[PaperRow]:
    """The gather of the logits: PyTorch makes it of a Send per rank and a Recv per rank at the root; 1 prefill, 127 decode."""
    elements, idle = VOCABULARY // ranks, processes - ranks
    senders = [0] * (idle + 1) + [128] * (ranks - 1)
    root = [0] * (processes - 1) + [128 * (ranks - 1)]
    return [
        PaperRow(table, f"Gather [{elements}], the senders", "Send", elements, senders),
        PaperRow(table, f"Gather [{elements}], the root", "Recv", elements, root),
    ]


def _table_3(ranks: int) -> list[PaperRow]:
    return [
        PaperRow("III", "prefill AllReduce", "AllReduce", PROMPT * HIDDEN, [65] * ranks),
        PaperRow("III", "decode AllReduce", "AllReduce", HIDDEN, [8255] * ranks),
        *_gather("III", ranks, ranks),
    ]


def _table_5(stages: int) -> list[PaperRow]:
    """The paper gives the sum over the links between stages: 2 and 254 per link."""
    links = stages - 1
    return [
        PaperRow("V", f"{phase} {op}", op, elements, [0] + [count] * links)
        for phase, elements, count in (("prefill", PROMPT * HIDDEN, 2), ("decode", HIDDEN, 254))
        for op in ("Send", "Recv")
    ]


PAPER = {
    "TP=2": _table_3(2),
    "TP=4": _table_3(4),
    "PP=2": _table_5(2),
    "PP=4": _table_5(4),
    "TP=2xPP=2": [
        PaperRow("VI", "prefill AllReduce", "AllReduce", PROMPT * HIDDEN, [32, 32, 33, 33]),
        PaperRow("VI", "decode AllReduce", "AllReduce", HIDDEN, [32 * 127] * 2 + [4191] * 2),
        *_gather("VI", 2, 4),
        # The paper names an AllGather by its result; NCCL counts what one rank sends.
        PaperRow("VI", "prefill AllGather", "AllGather", PROMPT * HIDDEN // 2, [0, 0, 2, 2]),
        PaperRow("VI", "decode AllGather", "AllGather", HIDDEN // 2, [0, 0, 254, 254]),
        PaperRow("VI", "prefill Send", "Send", PROMPT * HIDDEN // 2, [0, 0, 2, 2]),
        PaperRow("VI", "prefill Recv", "Recv", PROMPT * HIDDEN // 2, [0, 0, 2, 2]),
        PaperRow("VI", "decode Send", "Send", HIDDEN // 2, [0, 0, 254, 254]),
        PaperRow("VI", "decode Recv", "Recv", HIDDEN // 2, [0, 0, 254, 254]),
    ],
}


def paper_errors(layout: str, reported: dict[str, Group]) -> list[str]:
    """Rows of the paper's tables for this layout that the report does not have."""
    calls = _calls_by_process(reported)
    found = []
    for row in PAPER[layout]:
        counts = sorted(
            sum(n for call, n in made.items() if (call.op, call.elements, call.dtype) == (row.op, row.elements, "bfloat16"))
            for made in calls.values()
        )
        if counts != row.counts:
            found.append(f"Table {row.table}, {row.what}: reported {counts} per process, the paper has {row.counts}")
    return found


def _contents(group: Group) -> frozenset:
    return frozenset((member, frozenset(calls.items())) for member, calls in group.items())


def _calls_by_process(groups: dict[str, Group]) -> dict[int, Counter]:
    calls: dict[int, Counter] = defaultdict(Counter)
    for group in groups.values():
        for member, made in group.items():
            calls[member.pid].update(made)
    return calls


def _text(call: Call) -> str:
    return f"{call.op} of {call.elements} {call.dtype}" + ("" if call.peer is None else f" with peer {call.peer}")


def _summary(group: Group) -> str:
    return ", ".join(
        f"rank {member.rank} of {member.ranks} is process {member.pid} with {sum(calls.values())} calls in {len(calls)} kinds"
        for member, calls in sorted(group.items(), key=str)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layout", required=True, choices=PAPER)
    parser.add_argument("--simulator", required=True, type=Path, help="folder of the simulator's logs")
    parser.add_argument("--report", required=True, type=Path, help="output of nccltap report --format json")
    arguments = parser.parse_args()
    try:
        simulated = groups_of_simulator(arguments.simulator)
        rows = json.loads(arguments.report.read_text())
        reported = groups_of_report(rows)
    except (BadInput, KeyError, OSError, ValueError) as error:
        print(f"{arguments.layout}: cannot compare: {error!r}")
        return 1
    found = differences(simulated, reported) + byte_errors(rows) + paper_errors(arguments.layout, reported)
    if found:
        print(f"{arguments.layout}: {len(found)} differences between the report and the simulator's log")
        for difference in found:
            print(f"    {difference}")
        return 1
    calls = _calls_by_process(simulated)
    members = sum(len(group) for group in simulated.values())
    kinds = sum(len(made) for group in simulated.values() for made in group.values())
    tables = sorted({row.table for row in PAPER[arguments.layout]})
    print(
        f"{arguments.layout}: {sum(made.total() for made in calls.values())} operations of {len(calls)} processes equal "
        f"({members} communicators in {len(simulated)} groups, {kinds} distinct counts); "
        f"Table {', '.join(tables)}: all {len(PAPER[arguments.layout])} rows"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

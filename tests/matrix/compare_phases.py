#!/usr/bin/env python3
"""Compares the phases that the tap reports with what vLLM itself scheduled.

usage: compare_phases.py --times FILE --schedule FOLDER --report FILE [--processes FILE] [--exact] [--layout LAYOUT]

What was scheduled when is in the logs of schedule/sitecustomize.py, one per worker; what was called when is the simulated NCCL's
own account, as `cargo run -p nccltap-rehearsal --example times -- COUNTS_DIR` prints it. Together they say how often each process
made which call in which phase. Nothing of nccltap is in that.

An operation of the report is *right* when its phase is the scheduled one, *unknown* when the report says so, and *wrong*
otherwise. Prints the shares and exits 0; exits 1 when anything is wrong, with --exact when anything that was scheduled is not
right, and with --layout also when the cells of the paper's tables are not what the paper has, phase by phase.

With --processes, `nccltap report --view processes`, the steps of each worker are compared too: how many of each phase, with how
many requests and tokens of each kind. That holds where the engine marks its steps.
"""

import argparse
import bisect
import json
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

# ncclDataType_t, by number.
DATATYPES = "int8 uint8 int32 uint32 int64 uint64 float16 float32 float64 bfloat16 float8e4m3 float8e5m2".split()
# Functions that are not called like their operation.
OPERATIONS = {"Bcast": "Broadcast"}


class Call(NamedTuple):
    """What is counted: one operation as one process states it."""

    op: str
    elements: int
    dtype: str
    peer: int | None


class BadInput(Exception):
    """A log or a report cannot be read as one."""


class Work(NamedTuple):
    """What a worker did from `begin` on."""

    begin: int
    phase: str | None


def works_of(log: Path) -> list[Work]:
    """In order of time. What came before the first step is start-up work."""
    works = [Work(0, "startup")]
    steps = 0
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        phase = entry["phase"]
        steps += phase not in (None, "startup")
        # A step of V0 began before its metadata, and so its phase, was known to this worker.
        begin = entry.get("began", entry["t"])
        works.append(Work(begin, "startup" if phase is None and steps == 0 else phase))
    if steps == 0:
        raise BadInput(f"{log}: no step was scheduled")
    return works


def scheduled(times: Path, schedule: Path) -> dict[int, Counter]:
    """Per process: how often it made each call in each phase. Of processes that are no workers, nothing."""
    works = {int(log.stem): works_of(log) for log in sorted(schedule.glob("[0-9]*.jsonl"))}
    if not works:
        raise BadInput(f"{schedule}: no worker wrote down what was scheduled")
    begins = {pid: [work.begin for work in done] for pid, done in works.items()}
    counts = {pid: Counter() for pid in works}
    with times.open() as lines:
        for event in map(json.loads, lines):
            pid = event["pid"]
            if pid not in works:
                continue
            name = event["function"].removeprefix("nccl")
            peer = None if event["peer"] == -1 else event["peer"]
            call = Call(OPERATIONS.get(name, name), event["elements"], DATATYPES[event["datatype"]], peer)
            phase = works[pid][bisect.bisect_right(begins[pid], event["ns"]) - 1].phase
            counts[pid][call, phase or "unknown"] += 1
    return counts


def reported(rows: list[dict]) -> dict[int, Counter]:
    counts: dict[int, Counter] = defaultdict(Counter)
    for row in rows:
        call = Call(row["op"], row["elements"], row["dtype"], row["peer"])
        counts[row["pid"]][call, row["phase"]] += row["count"]
    return counts


# What is compared of the steps of one phase, by its name in the log and in the report.
STEP_SUMS = {
    "prefill_tokens": "prefill_tokens",
    "decode_tokens": "decode_tokens",
    "prefills": "prefill_requests",
    "decodes": "decode_requests",
}
SERVING = ("prefill", "decode", "mixed")


def scheduled_steps(log: Path) -> Counter:
    """Of one worker: how many steps of each phase, and the sums of what is in them."""
    sums = Counter()
    for entry in map(json.loads, log.read_text().splitlines()):
        if entry["phase"] in SERVING:
            sums[entry["phase"], "steps"] += 1
            for logged, name in STEP_SUMS.items():
                sums[entry["phase"], name] += entry[logged]
    return sums


def reported_steps(process: dict) -> Counter:
    sums = Counter()
    for steps in process["steps"]:
        if steps["phase"] in SERVING or steps["phase"] == "unknown":
            sums[steps["phase"], "steps"] += steps["count"]
            for name in STEP_SUMS.values():
                sums[steps["phase"], name] += steps[name]
    return sums


def step_errors(schedule: Path, processes: list[dict]) -> tuple[int, list[str]]:
    """How many steps were compared, and a sentence for every worker of which they differ."""
    told = {process["pid"]: reported_steps(process) for process in processes}
    compared, found = 0, []
    for log in sorted(schedule.glob("[0-9]*.jsonl")):
        truth, seen = +scheduled_steps(log), +told.get(int(log.stem), Counter())
        compared += sum(count for (_, what), count in truth.items() if what == "steps")
        for cell in sorted(truth.keys() | seen.keys()):
            if truth[cell] != seen[cell]:
                found.append(f"process {log.stem}: {cell[1]} of {cell[0]} steps: scheduled {truth[cell]}, reported {seen[cell]}")
    return compared, found


class Verdict(NamedTuple):
    right: int
    unknown: int
    wrong: int
    # Sentences about what is wrong or unknown.
    details: list[str]


def judge(truth: dict[int, Counter], report: dict[int, Counter]) -> Verdict:
    """Operations that belong to no step, by the engine's account, are right as `unknown` and wrong as anything else."""
    right = unknown = wrong = 0
    details = []
    for pid, cells in truth.items():
        calls = {call for call, _ in cells} | {call for call, _ in report[pid]}
        for call in sorted(calls, key=str):
            expected = Counter({phase: count for (made, phase), count in cells.items() if made == call})
            found = Counter({phase: count for (made, phase), count in report[pid].items() if made == call})
            agreeing = (expected & found).total()
            right += agreeing
            missed = found["unknown"] - min(found["unknown"], expected["unknown"])
            unknown += missed
            surplus = (found - expected) - Counter({"unknown": found["unknown"]})
            wrong += surplus.total() + max(0, expected.total() - found.total())
            if expected != found:
                details.append(f"process {pid}: {call.op} of {call.elements} {call.dtype}: scheduled {dict(expected)}, reported {dict(found)}")
    return Verdict(right, unknown, wrong, details)


# The paper's tables, phase by phase: Llama-3.1-8B, one request of 128 prompt tokens and 128 generated tokens.
# Per layout and phase: operation, elements as NCCL counts them, count in each process in ascending order.
def _paper(layout: str) -> list[tuple[str, str, int, list[int]]]:
    rows = []
    for phase, tokens, steps in (("prefill", 128, 1), ("decode", 1, 127)):
        hidden = tokens * 4096
        match layout:
            case "TP=2" | "TP=4":
                ranks = int(layout[-1])
                rows += [
                    (phase, "AllReduce", hidden, [65 * steps] * ranks),
                    (phase, "Recv", 128256 // ranks, [0] * (ranks - 1) + [steps * (ranks - 1)]),
                    (phase, "Send", 128256 // ranks, [0] + [steps] * (ranks - 1)),
                ]
            case "PP=2" | "PP=4":
                ranks = int(layout[-1])
                rows += [(phase, op, hidden, [0] + [2 * steps] * (ranks - 1)) for op in ("Send", "Recv")]
            case "TP=2xPP=2":
                rows += [
                    # The paper leaves out the second stage's 32 per step.
                    (phase, "AllReduce", hidden, [32 * steps] * 2 + [33 * steps] * 2),
                    (phase, "AllGather", hidden // 2, [0] * 2 + [2 * steps] * 2),
                    (phase, "Send", hidden // 2, [0] * 2 + [2 * steps] * 2),
                    (phase, "Recv", hidden // 2, [0] * 2 + [2 * steps] * 2),
                    (phase, "Send", 64128, [0] * 3 + [steps]),
                    (phase, "Recv", 64128, [0] * 3 + [steps]),
                ]
    return rows


def paper_errors(layout: str, report: dict[int, Counter]) -> list[str]:
    found = []
    for phase, op, elements, expected in _paper(layout):
        counts = sorted(
            sum(n for (call, at), n in cells.items() if (at, call.op, call.elements, call.dtype) == (phase, op, elements, "bfloat16"))
            for cells in report.values()
        )
        if counts != expected:
            found.append(f"the paper has {phase} {op} of {elements} {expected} times per process, reported {counts}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", required=True, type=Path)
    parser.add_argument("--schedule", required=True, type=Path)
    parser.add_argument("--report", required=True, type=Path)
    parser.add_argument("--processes", type=Path)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--layout", choices=["TP=2", "TP=4", "PP=2", "PP=4", "TP=2xPP=2"])
    parser.add_argument("--details", action="store_true")
    parser.add_argument("--verdict", type=Path, help="write how many operations are right, unknown and wrong to this file, as JSON")
    arguments = parser.parse_args()
    try:
        truth = scheduled(arguments.times, arguments.schedule)
        report = reported(json.loads(arguments.report.read_text()))
        steps, odd_steps = 0, []
        if arguments.processes:
            steps, odd_steps = step_errors(arguments.schedule, json.loads(arguments.processes.read_text())["processes"])
    except (BadInput, KeyError, OSError, ValueError) as error:
        print(f"cannot compare phases: {error!r}")
        return 1
    verdict = judge(truth, report)
    total = verdict.right + verdict.unknown + verdict.wrong
    if total == 0:
        print("cannot compare phases: the simulator was asked for nothing")
        return 1
    if arguments.verdict:
        counts = {kind: getattr(verdict, kind) for kind in ("right", "unknown", "wrong")}
        arguments.verdict.write_text(json.dumps({**counts, "steps": steps, "steps_as_scheduled": not odd_steps}))
    cells = paper_errors(arguments.layout, report) if arguments.layout else []
    failed = verdict.wrong > 0 or bool(cells) or bool(odd_steps) or (arguments.exact and verdict.right != total)
    print(
        f"phases of {total} operations of {len(truth)} workers: {100 * verdict.right / total:.2f} % right, "
        f"{100 * verdict.unknown / total:.2f} % unknown, {verdict.wrong} wrong"
        + (f"; all {len(_paper(arguments.layout))} cells of the paper's tables by phase" if arguments.layout and not cells else "")
        + (f"; {steps} steps with requests and tokens as scheduled" if arguments.processes and not odd_steps else "")
    )
    for line in cells + odd_steps + (verdict.details if failed or arguments.details else []):
        print(f"    {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

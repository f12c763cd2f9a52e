#!/usr/bin/env python3
"""How long after a call of an unmodified vLLM worker is it in Prometheus? Measured against the simulator's own account.

usage: live.py [SECONDS]        fails when a call took longer than SECONDS (default: 1)

Runs TP=2 of vLLM 0.8.5.post1 on simulated GPUs (`nccltap rehearse install vllm==0.8.5.post1` first) and asks /metrics ten times a
second for as long as vLLM runs. Both sides' times are CLOCK_MONOTONIC of this machine.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BINARY = ROOT / "target/release/nccltap"
ENGINE = json.dumps(
    dict(
        model="{model}",
        tensor_parallel_size=2,
        distributed_executor_backend="mp",
        enforce_eager=True,
        disable_custom_all_reduce=True,
    )
)
SERIES = re.compile(r'^nccltap_operations_total\{.*?rank="(\d+)".*\} (\d+)$', re.MULTILINE)


def counts(http: str) -> tuple[int, Counter]:
    """When /metrics was asked for, and the operations it had of each rank."""
    asked = time.monotonic_ns()
    with urllib.request.urlopen(f"{http}/metrics", timeout=10) as answer:
        series = SERIES.findall(answer.read().decode())
    operations = Counter()
    for rank, count in series:
        operations[int(rank)] += int(count)
    return asked, operations


def ages_of_oldest_unseen(samples: list[tuple[int, Counter]], made: dict[int, list[int]]) -> list[float]:
    """For each sample and rank: how old the oldest call was that had been made and was not yet counted, in seconds."""
    ages = []
    for asked, operations in samples:
        for rank, times in made.items():
            seen = operations[rank]
            if seen > len(times):
                raise SystemExit(f"rank {rank}: {seen} operations counted, {len(times)} made")
            ages.append(max(0, asked - times[seen]) / 1e9 if seen < len(times) else 0.0)
    return ages


def times(account: Path) -> dict[int, list[int]]:
    """When each rank made its operations."""
    said = subprocess.run(
        ["cargo", "run", "--quiet", "-p", "nccltap-rehearsal", "--example", "times", "--", account],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    made: dict[int, list[int]] = {}
    for operation in map(json.loads, said.stdout.splitlines()):
        made.setdefault(operation["rank"], []).append(operation["ns"])
    return {rank: sorted(all_times) for rank, all_times in made.items()}


def main(bound: float) -> int:
    with tempfile.TemporaryDirectory(prefix="nccltap-live-") as name:
        account, report = Path(name) / "account", Path(name) / "report.json"
        account.mkdir()
        environment = os.environ | dict(
            NCCLTAP_REHEARSAL_COUNTS_DIR=str(account), NCCLTAP_REHEARSAL_TIMES="1", VLLM_USE_V1="0"
        )
        output = (Path(name) / "output.txt").open("w+")
        rehearsal = [BINARY, "rehearse", "--quiet", "--http", "127.0.0.1:0", "--report", report]
        engine = ["--engine", "vllm==0.8.5.post1", "--model-config", "llama-3.1-8b", "--gpus-per-node", "2"]
        command = ["python", HERE / "generate.py", "128", "1", ENGINE]
        vllm = subprocess.Popen(
            [*rehearsal, *engine, "--", *command], env=environment, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            http, samples = None, []
            while vllm.poll() is None:
                if http is None:
                    found = re.search(r"live counts at (http://\S+)/metrics", Path(output.name).read_text())
                    http = found and found[1]
                else:
                    try:
                        samples.append(counts(http))
                    except OSError:
                        if vllm.wait(10) is None:
                            raise
                time.sleep(0.1)
        finally:
            if vllm.poll() is None:
                vllm.terminate()
                vllm.wait()
        if vllm.returncode != 0 or not samples:
            print(Path(output.name).read_text()[-3000:])
            raise SystemExit(f"vLLM did not finish: exit code {vllm.returncode}")
        made = times(account)
        total = sum(map(len, made.values()))
        final = sum(row["count"] for row in json.loads(report.read_text()))
    ages = ages_of_oldest_unseen(samples, made)
    waiting = [age for age in ages if age > 0]
    print(
        f"{final} of {total} operations counted; {len(samples)} samples, in {len(waiting)} of {len(ages)} something was on its way, "
        f"the oldest for {statistics.median(waiting or [0]) * 1e3:.1f} ms (median), {max(ages) * 1e3:.1f} ms (longest)"
    )
    return 0 if final == total and max(ages) <= bound else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))

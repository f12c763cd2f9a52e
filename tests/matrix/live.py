#!/usr/bin/env python3
"""How long after a call of an unmodified vLLM worker is it in Prometheus? Measured against the simulator's own log.

usage: live.py [SECONDS]        fails when a call took longer than SECONDS (default: 1)

Needs a simulated CUDA stack that logs the time of each call, which the one of this repository does not: NCCLTAP_REHEARSAL_PROTOTYPE names
its folder. Runs TP=2 and asks /metrics of the collector
ten times a second for as long as vLLM runs. Both sides' times are CLOCK_MONOTONIC of this machine.
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
SIMULATOR = Path(os.environ.get("NCCLTAP_REHEARSAL_PROTOTYPE") or ROOT / "target/rehearsal")
BINARY = ROOT / "target/release/nccltap"
ENGINE = json.dumps(
    dict(
        model=f"{SIMULATOR}/models/llama-3.1-8b",
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
    with urllib.request.urlopen(f"http://{http}/metrics", timeout=10) as answer:
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


def main(bound: float) -> int:
    with tempfile.TemporaryDirectory(prefix="nccltap-live-") as name:
        folder = Path(name)
        for part in ("simulator", "rings"):
            (folder / part).mkdir()
        collector = subprocess.Popen(
            [BINARY, "serve", "--listen", f"unix:{folder}/sock", "--http", "127.0.0.1:0", "--recover-dir", folder / "rings"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            http = dict(field.split("=", 1) for field in collector.stdout.readline().split()[1:])["http"]
            command = (
                'source "$1/env.sh"; export SIMNCCL_LOG_DIR="$2/simulator" VLLM_USE_V1=0 NCCLTAP_RING_DIR="$2/rings"; '
                'exec "$3" run --quiet --collector "unix:$2/sock" -- python "$4" 128 1 "$5"'
            )
            with (folder / "output.txt").open("w") as output:
                vllm = subprocess.Popen(
                    ["bash", "-c", command, "bash", SIMULATOR, folder, BINARY, HERE / "generate.py", ENGINE],
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
                samples = []
                while vllm.poll() is None:
                    samples.append(counts(http))
                    time.sleep(0.1)
            if vllm.returncode != 0:
                print((folder / "output.txt").read_text()[-3000:])
                raise SystemExit(f"vLLM did not finish: exit code {vllm.returncode}")
            made: dict[int, list[int]] = {}
            for log in (folder / "simulator").glob("[0-9]*.jsonl"):
                for event in map(json.loads, log.read_text().splitlines()):
                    if "count" in event:
                        made.setdefault(event["rank"], []).append(event["t"])
            total = sum(map(len, made.values()))
            until = time.monotonic() + 10
            while sum(counts(http)[1].values()) != total and time.monotonic() < until:
                time.sleep(0.1)
            final = sum(counts(http)[1].values())
        finally:
            collector.terminate()
            collector.wait()
    ages = ages_of_oldest_unseen(samples, made)
    waiting = [age for age in ages if age > 0]
    print(
        f"{final} of {total} operations in Prometheus; {len(samples)} samples, in {len(waiting)} of {len(ages)} something was on its way, "
        f"the oldest for {statistics.median(waiting or [0]) * 1e3:.1f} ms (median), {max(ages) * 1e3:.1f} ms (longest)"
    )
    return 0 if final == total and max(ages) <= bound else 1


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 1.0))

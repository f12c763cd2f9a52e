#!/usr/bin/env python3
"""Measures what the tap adds to a decode step of an unmodified engine on simulated GPUs.

usage: decode_step.py NCCLTAP [ENGINE] [ROUNDS]      NCCLTAP: the command, with its libraries beside it

Each round runs the engine twice, once with the tap and once with NCCLTAP_OFF=1, in turns, so that other work on the machine
is alike for both. One request, TP=2, CUDA graphs, 1000 tokens. Prints the median time between two tokens of each run, and of both kinds
the median over rounds with the lowest and the highest.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

OFFLINE = Path(__file__).resolve().parent.parent / "matrix" / "offline.py"


def median_step(nccltap: str, engine: str, off: bool) -> float:
    """The median time between two tokens, in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        times = Path(folder) / "times"
        command = [nccltap, "rehearse", "--quiet", "--engine", engine, "--model-config", "tiny-llama", "--"]
        command += ["python", OFFLINE, "{model}", "2", "1", "--graphs"]
        command += ["--requests", "1", "--prompt", "16", "--output", "1000", "--times", times]
        environment = dict(os.environ, NCCLTAP_OFF=str(int(off)))
        run = subprocess.run(command, env=environment, capture_output=True, text=True)
        if run.returncode != 0 or not times.exists():
            sys.exit(f"the engine ended with {run.returncode}:\n{run.stderr[-2000:]}")
        return 1e6 * statistics.median(json.loads(times.read_text().splitlines()[0]))


def main() -> None:
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    defaults = ["vllm==0.20.0", "3"]
    nccltap, engine, rounds = sys.argv[1:] + defaults[len(sys.argv) - 2 :]
    with_tap, without = [], []
    for number in range(int(rounds)):
        for off, steps in ((False, with_tap), (True, without)) if number % 2 == 0 else ((True, without), (False, with_tap)):
            steps.append(median_step(nccltap, engine, off))
            print(f"{'without' if off else 'with   '} {steps[-1]:8.1f} us per step", flush=True)
    for name, steps in (("with the tap", with_tap), ("without it", without)):
        print(f"{name}: {statistics.median(steps):.1f} us per step ({min(steps):.1f} to {max(steps):.1f})")
    print(f"ratio {statistics.median(with_tap) / statistics.median(without):.4f}")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures what the tap adds to a decode step of an unmodified engine on simulated GPUs.

usage: decode_step.py NCCLTAP [ENGINE] [ROUNDS]      NCCLTAP: the command, with its libraries beside it

Each round runs the engine twice at once, one of them with NCCLTAP_OFF=1, each with everything that belongs to it on a processor of its own;
the next round exchanges the processors. So whatever else slows the machine down slows both, and a step takes what all of the engine's
processes take for it together, with the tap's thread and the collector. One request, TP=2, CUDA graphs, 1500 tokens. Prints the median
time between two tokens of both and their ratio, and at the end the median of the ratios with the lowest and the highest.

With "off" in place of ROUNDS' last letter, e.g. `6off`, the tap is off in both: what is printed then is the noise of the method.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import List, Tuple

OFFLINE = Path(__file__).resolve().parent.parent / "matrix" / "offline.py"


def start(nccltap: str, engine: str, folder: Path, name: str, off: bool, processor: int) -> "subprocess.Popen[str]":
    command = [nccltap, "rehearse", "--quiet", "--engine", engine, "--model-config", "tiny-llama", "--"]
    command += ["python", OFFLINE, "{model}", "2", "1", "--graphs", "--requests", "1", "--prompt", "16", "--output", "1500"]
    command += ["--times", folder / name, "--together", folder / "together"]
    environment = dict(os.environ, NCCLTAP_OFF=str(int(off)))
    pin = ["taskset", "--cpu-list", str(processor)]
    with (folder / f"{name}.log").open("w") as log:
        return subprocess.Popen(pin + command, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)


def both(nccltap: str, engine: str, offs: Tuple[bool, bool], processors: List[int]) -> List[float]:
    """The median time between two tokens of both runs, in microseconds."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "together").mkdir()
        runs = [
            start(nccltap, engine, folder, str(number), off, processor)
            for number, (off, processor) in enumerate(zip(offs, processors))
        ]
        while None in (ended := [run.poll() for run in runs]) and not any(ended):
            time.sleep(0.2)
        for number, run in enumerate(runs):
            if ended[number]:
                # The other one waits for this one.
                for other in runs:
                    other.terminate()
                    other.wait()
                sys.exit(f"the engine ended with {ended[number]}:\n{(folder / f'{number}.log').read_text()[-2000:]}")
        read = [json.loads((folder / str(number)).read_text()) for number in range(2)]
    return [1e6 * statistics.median(times) for times in read]


def main() -> None:
    if not 2 <= len(sys.argv) <= 4:
        sys.exit(__doc__)
    defaults = ["vllm==0.20.0", "6"]
    nccltap, engine, rounds = sys.argv[1:] + defaults[len(sys.argv) - 2 :]
    first, second = sorted(os.sched_getaffinity(0))[:2]
    ratios = []
    for number in range(int(rounds.removesuffix("off"))):
        processors = [first, second] if number % 2 == 0 else [second, first]
        with_tap, without = both(nccltap, engine, (rounds.endswith("off"), True), processors)
        ratios.append(with_tap / without)
        print(f"with the tap {with_tap:.1f} us per step, without {without:.1f}, ratio {ratios[-1]:.4f}", flush=True)
    print(f"median of the ratios {statistics.median(ratios):.4f} ({min(ratios):.4f} to {max(ratios):.4f})")


if __name__ == "__main__":
    main()

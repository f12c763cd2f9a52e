#!/usr/bin/env python3
"""Runs unmodified engines on simulated GPUs and compares the phases that the tap reports with what the engine scheduled.

usage: phases.py [CASE...]          the cases, or those whose names contain CASE; all of them
       phases.py --list
       phases.py --table            what came of the cases that were run last, as docs/phases.md has it

The plugin is kept away unless --plugin is given.

Engines come from `nccltap rehearse install`; a case whose engine is not installed fails. Each case writes into
target/nccltap-tests/phases/CASE. With NCCLTAP_BLESS=1, --table writes docs/phases.md. Exits 1 when any phase is wrong.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BEGIN, END = "<!-- phases -->", "<!-- end of phases -->"


class Case(NamedTuple):
    engine: str
    # VLLM_USE_V1, where a release has both.
    version: str | None
    model: str
    tensor: int
    pipeline: int
    graphs: bool
    # One request of 128 + 128 tokens, or so many of random lengths.
    requests: int = 1
    chunked: int | None = None
    # Whether nothing may be unknown.
    exact: bool = False
    data: int = 1

    @property
    def layout(self) -> str:
        sizes = (("DP", self.data), ("TP", self.tensor), ("PP", self.pipeline))
        return " x ".join(f"{name}={size}" for name, size in sizes if size > 1)

    @property
    def name(self) -> str:
        parts = [self.engine.replace("==", "-")]
        parts += [f"v{self.version}"] if self.version else []
        parts += [self.model, self.layout.lower().replace("=", "").replace(" x ", ""), "graphs" if self.graphs else "eager"]
        parts += [f"chunked{self.chunked}"] if self.chunked else []
        return "-".join(parts + [f"{self.requests}"])


OLD, V11, V20 = "vllm==0.8.5.post1", "vllm==0.11.0", "vllm==0.20.0"
LARGE, SMALL = "llama-3.1-8b", "tiny-llama"

CASES = [
    # The paper's runs.
    *(
        Case(OLD, "0", LARGE, tensor, pipeline, graphs=False, exact=True)
        for tensor, pipeline in ((2, 1), (4, 1), (1, 2), (1, 4), (2, 2))
    ),
    Case(OLD, "0", SMALL, 2, 1, graphs=False, requests=64),
    Case(OLD, "0", SMALL, 2, 2, graphs=False, requests=64),
    Case(OLD, "0", SMALL, 2, 1, graphs=False, requests=64, chunked=512),
    Case(OLD, "0", SMALL, 2, 2, graphs=False, requests=64, chunked=512),
    Case(OLD, "0", SMALL, 1, 2, graphs=False, requests=64),
    # The same prompt on V1, with its default graphs.
    Case(OLD, "1", SMALL, 2, 1, graphs=True, exact=True),
    Case(V11, None, SMALL, 2, 1, graphs=True, exact=True),
    Case(V20, None, SMALL, 2, 1, graphs=True, exact=True),
    Case(OLD, "1", SMALL, 2, 1, graphs=True, requests=64),
    Case(V11, None, SMALL, 2, 1, graphs=True, requests=64),
    Case(V20, None, SMALL, 2, 1, graphs=True, requests=64),
    # Stages that see no logits.
    Case(V11, None, SMALL, 2, 2, graphs=False),
    Case(V20, None, SMALL, 2, 2, graphs=False),
    Case(V11, None, SMALL, 2, 2, graphs=False, requests=64),
    Case(V20, None, SMALL, 2, 2, graphs=False, requests=64),
    Case(V20, None, SMALL, 1, 2, graphs=False, requests=64),
    # Copies of the model.
    Case(V11, None, SMALL, 2, 1, graphs=True, requests=64, data=2),
]


def built(options: argparse.Namespace) -> tuple[Path, Path]:
    """The command, and the program that prints when the simulator was asked for what."""
    if options.programs:
        return options.programs / "nccltap", options.programs / "times"
    build = ["cargo", "build", "--release", "--quiet"]
    subprocess.run([*build, "-p", "nccltap", "-p", "nccltap-agent", "-p", "nccltap-uplink"], cwd=ROOT, check=True)
    subprocess.run([*build, "-p", "nccltap-rehearsal", "--example", "times"], cwd=ROOT, check=True)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
    return target / "nccltap", target / "examples" / "times"


def run(case: Case, folder: Path, nccltap: Path, times: Path, plugin: bool) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    for made in ("schedule", "counts"):
        (folder / made).mkdir(parents=True)
    environment = dict(
        os.environ,
        PYTHONPATH=str(HERE / "schedule"),
        NCCLTAP_TEST_SCHEDULE=str(folder / "schedule"),
        NCCLTAP_REHEARSAL_COUNTS_DIR=str(folder / "counts"),
        NCCLTAP_REHEARSAL_TIMES="1",
    )
    if not plugin:
        environment["NCCLTAP_PLUGIN"] = "off"
    if case.version is not None:
        environment["VLLM_USE_V1"] = case.version
    report = folder / "report.json"
    command = [nccltap, "rehearse", "--quiet", "--engine", case.engine, "--model-config", case.model]
    command += ["--record", folder / "recording", "--report", report, "--", "python", HERE / "offline.py", "{model}"]
    command += [str(case.tensor), str(case.pipeline), "--requests", str(case.requests), "--data", str(case.data)]
    command += ["--graphs"] if case.graphs else []
    command += ["--chunked", str(case.chunked)] if case.chunked else []
    command += ["--prompt", "128", "--output", "128"] if case.requests == 1 else []
    said = folder / "output.txt"
    with said.open("wb") as output:
        ended = subprocess.run(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        print(f"FAILED  {case.name}: it ended with {ended.returncode}; see {said}", flush=True)
        return False
    return judge(case, folder, times)


def judge(case: Case, folder: Path, times: Path) -> bool:
    calls = folder / "times.jsonl"
    with calls.open("wb") as lines:
        subprocess.run([times, folder / "counts"], stdout=lines, check=True)
    command = [sys.executable, HERE / "compare_phases.py", "--times", calls, "--schedule", folder / "schedule"]
    command += ["--report", folder / "report.json", "--verdict", folder / "verdict.json"]
    command += ["--exact"] if case.exact else []
    command += ["--layout", case.layout.replace(" ", "")] if case.model == LARGE else []
    judged = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    calls.unlink()
    well = judged.returncode == 0
    print(f"{'ok    ' if well else 'FAILED'}  {case.name}: {judged.stdout.strip()}", flush=True)
    return well


def table(folder: Path) -> str:
    lines = ["| engine | layout | CUDA graphs | load | operations | right | unknown | wrong |"]
    lines += ["| --- | --- | --- | --- | ---: | ---: | ---: | ---: |"]
    for case in CASES:
        kept = folder / case.name / "verdict.json"
        if not kept.exists():
            continue
        verdict = json.loads(kept.read_text())
        total = sum(verdict.values())
        engine = f"{case.engine.replace('==', ' ')}{f' V{case.version}' if case.version else ''}"
        load = "one request, 128 + 128 tokens" if case.requests == 1 else f"{case.requests} requests"
        load += f", chunked prefill of {case.chunked}" if case.chunked else ""
        shares = [f"{100 * verdict[kind] / total:.1f} %" for kind in ("right", "unknown")]
        graphs = "yes" if case.graphs else "no"
        lines.append(f"| {engine} | {case.layout} | {graphs} | {load} | {total} | {shares[0]} | {shares[1]} | {verdict['wrong']} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--plugin", action="store_true", help="let the engine mark its steps")
    parser.add_argument("--kept", action="store_true", help="judge what was run last, with a new report of its recording")
    parser.add_argument("--programs", type=Path, help="a folder with nccltap, its libraries and times, in place of a build")
    options = parser.parse_args()
    folder = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "nccltap-tests" / "phases"
    if options.list:
        print("\n".join(case.name for case in CASES))
        return 0
    if options.table:
        made = table(folder)
        if os.environ.get("NCCLTAP_BLESS") != "1":
            print(made)
            return 0
        document = ROOT / "docs" / "phases.md"
        before, _, rest = document.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        document.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}")
        return 0
    chosen = [case for case in CASES if not options.cases or any(part in case.name for part in options.cases)]
    exactly = [case for case in CASES if case.name in options.cases]
    chosen = exactly if exactly else chosen
    if not chosen:
        print("no case is called so; --list has their names")
        return 1
    nccltap, times = built(options)
    well = True
    for case in chosen:
        place = folder / case.name
        if options.kept:
            if not (place / "recording").exists():
                continue
            with (place / "report.json").open("wb") as report:
                subprocess.run([nccltap, "report", place / "recording", "--format", "json"], stdout=report, check=True)
            well &= judge(case, place, times)
        else:
            well &= run(case, place, nccltap, times, options.plugin)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

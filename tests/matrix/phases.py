#!/usr/bin/env python3
"""Runs unmodified engines on simulated GPUs and compares the phases that the tap reports with what the engine scheduled.

usage: phases.py [CASE...]          the cases, or those whose names contain CASE; all of them
       phases.py --list
       phases.py --table            what came of the cases that were run last, as docs/phases.md has it

The plugin is kept away unless --plugin is given; with it, steps are compared too: requests and tokens of each kind.

Engines come from `nccltap rehearse install`; a case whose engine is not installed fails. Each case writes into
target/nccltap-tests/phases/CASE, with the plugin into CASE.plugin. With NCCLTAP_BLESS=1, --table writes docs/phases.md.
Exits 1 when any phase is wrong, with the plugin when any is not right, and when another layout was found.
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
    experts: bool = False
    # By HTTP to `vllm serve`, in place of a program that has the engine in it.
    served: bool = False

    @property
    def layout(self) -> str:
        return layout(self.data, self.tensor, self.pipeline, self.experts)

    def found(self, plugin: bool) -> str:
        """The layout that is to be found."""
        if self.engine == V20 and self.data > 1 and not self.experts:
            # 0.20 makes engines of their own of the copies of a dense model (`v1/engine/core.py`, `run_engine_core`).
            return "; ".join([layout(1, self.tensor, self.pipeline, False)] * self.data)
        # Experts of one copy sum up as any layer does, on the same ranks.
        return layout(self.data, self.tensor, self.pipeline, self.experts and (plugin or self.data > 1))

    @property
    def name(self) -> str:
        parts = [self.engine.replace("==", "-")]
        parts += [f"v{self.version}"] if self.version else []
        parts += [self.model, self.layout.lower().replace("=", "").replace(" x ", ""), "graphs" if self.graphs else "eager"]
        parts += [f"chunked{self.chunked}"] if self.chunked else []
        return "-".join(parts + [f"{'served' if self.served else ''}{self.requests}"])

    @property
    def load(self) -> str:
        load = "one request, 128 + 128 tokens" if self.requests == 1 else f"{self.requests} requests"
        load += " to `vllm serve`" if self.served else ""
        return load + (f", chunked prefill of {self.chunked}" if self.chunked else "")


def layout(data: int, tensor: int, pipeline: int, experts: bool) -> str:
    sizes = (("DP", data), ("TP", tensor), ("PP", pipeline))
    return " x ".join([f"{name}={size}" for name, size in sizes if size > 1] + ["EP"] * experts)


OLD, V11, V20, V32 = "vllm==0.8.5.post1", "vllm==0.11.0", "vllm==0.20.0", "vllm==0.32.0"
LARGE, SMALL, MIXTURE = "llama-3.1-8b", "tiny-llama", "qwen3-30b-a3b"

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
    Case(V32, None, SMALL, 2, 1, graphs=True),
    Case(V32, None, SMALL, 2, 1, graphs=True, requests=64),
    # Chunked prefill, by HTTP.
    Case(OLD, "1", SMALL, 2, 1, graphs=True, requests=64, chunked=512, served=True),
    Case(V11, None, SMALL, 2, 1, graphs=True, requests=64, chunked=512, served=True),
    Case(V20, None, SMALL, 2, 1, graphs=True, requests=64, chunked=512, served=True),
    # Stages that see no logits.
    Case(V11, None, SMALL, 2, 2, graphs=False),
    Case(V20, None, SMALL, 2, 2, graphs=False),
    Case(V11, None, SMALL, 2, 2, graphs=False, requests=64),
    Case(V20, None, SMALL, 2, 2, graphs=False, requests=64),
    Case(V20, None, SMALL, 1, 2, graphs=False, requests=64),
    # Copies of the model.
    Case(V11, None, SMALL, 2, 1, graphs=True, requests=64, data=2),
    Case(V20, None, SMALL, 2, 1, graphs=True, requests=64, data=2),
    # Experts, each on one rank.
    Case(V20, None, MIXTURE, 2, 1, graphs=False, requests=8, experts=True),
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
    if case.engine == V11 and case.data > 1:
        # 0.11 has replicas agree by NCCL, by which simulated ranks exchange no data; 0.20 has them agree on the CPU.
        environment["VLLM_DISABLE_NCCL_FOR_DP_SYNCHRONIZATION"] = "1"
    report = folder / "report.json"
    command = [nccltap, "rehearse", "--quiet", "--engine", case.engine, "--model-config", case.model]
    command += ["--record", folder / "recording", "--report", report, "--", "python", HERE / ("served.py" if case.served else "offline.py"), "{model}"]
    command += [str(case.tensor), str(case.pipeline), "--requests", str(case.requests), "--data", str(case.data)]
    command += ["--graphs"] if case.graphs else []
    command += ["--chunked", str(case.chunked)] if case.chunked else []
    command += ["--experts"] if case.experts else []
    command += ["--prompt", "128", "--output", "128"] if case.requests == 1 else []
    said = folder / "output.txt"
    with said.open("wb") as output:
        ended = subprocess.run(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    if ended.returncode != 0:
        print(f"FAILED  {case.name}: it ended with {ended.returncode}; see {said}", flush=True)
        return False
    return judge(case, folder, nccltap, times, plugin)


def told(nccltap: Path, folder: Path, view: str) -> Path:
    """The view of the recording, as a file."""
    file = folder / f"{view}.json"
    with file.open("wb") as output:
        subprocess.run([nccltap, "report", folder / "recording", "--view", view, "--format", "json"], stdout=output, check=True)
    return file


def layout_found(summary: Path) -> str:
    found = json.loads(summary.read_text())["layouts"]
    return "; ".join(layout(engine["data"], engine["tensor"], engine["pipeline"], engine["expert"] > 1) for engine in found)


def judge(case: Case, folder: Path, nccltap: Path, times: Path, plugin: bool) -> bool:
    found = layout_found(told(nccltap, folder, "summary"))
    calls = folder / "times.jsonl"
    with calls.open("wb") as lines:
        subprocess.run([times, folder / "counts"], stdout=lines, check=True)
    command = [sys.executable, HERE / "compare_phases.py", "--times", calls, "--schedule", folder / "schedule"]
    command += ["--report", folder / "report.json", "--verdict", folder / "verdict.json"]
    command += ["--exact"] if case.exact or plugin else []
    command += ["--processes", told(nccltap, folder, "processes")] if plugin else []
    command += ["--layout", case.layout.replace(" ", "")] if case.model == LARGE else []
    judged = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    calls.unlink()
    kept = folder / "verdict.json"
    if kept.exists():
        kept.write_text(json.dumps({**json.loads(kept.read_text()), "layout": found}))
    well = judged.returncode == 0 and found == case.found(plugin)
    print(f"{'ok    ' if well else 'FAILED'}  {folder.name}: {judged.stdout.strip()}; found {found}", flush=True)
    return well


def table(folder: Path) -> str:
    """A line for each case that was run: without the plugin, and with it."""
    lines = ["| engine | layout, as found | CUDA graphs | load | operations | right | unknown | wrong | with the plugin: right | wrong | steps |"]
    lines += ["| --- | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |"]
    for case in CASES:
        plain, marked = (verdict(folder / f"{case.name}{end}") for end in ("", ".plugin"))
        if plain is None and marked is None:
            continue
        engine = f"{case.engine.replace('==', ' ')}{f' V{case.version}' if case.version else ''}"
        layouts = {kept["layout"] for kept in (plain, marked) if kept}
        cells = [engine, " / ".join(sorted(layouts)), "yes" if case.graphs else "no", case.load]
        cells += [str(total(plain or marked))]
        cells += [share(plain, "right"), share(plain, "unknown"), str(plain["wrong"])] if plain else ["", "", ""]
        cells += [share(marked, "right"), str(marked["wrong"]), steps(marked)] if marked else ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def verdict(folder: Path) -> dict | None:
    kept = folder / "verdict.json"
    return json.loads(kept.read_text()) if kept.exists() else None


def total(kept: dict) -> int:
    return sum(kept[kind] for kind in ("right", "unknown", "wrong"))


def share(kept: dict, kind: str) -> str:
    # No share is rounded up to all, or down to none.
    percent = 100 * kept[kind] / total(kept)
    return f"{min(percent, 99.99) if percent < 100 else percent:.2f} %" if percent > 0 else "0"


def steps(kept: dict) -> str:
    return f"{kept['steps']} {'as scheduled' if kept['steps_as_scheduled'] else 'DIFFER'}"


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
        place = folder / f"{case.name}{'.plugin' if options.plugin else ''}"
        if options.kept:
            if not (place / "recording").exists():
                continue
            told(nccltap, place, "operations").rename(place / "report.json")
            well &= judge(case, place, nccltap, times, options.plugin)
        else:
            well &= run(case, place, nccltap, times, options.plugin)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())

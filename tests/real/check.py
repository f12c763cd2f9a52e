#!/usr/bin/env python3
"""Real PyTorch and real NCCL on a machine without a GPU: same results with the tap, and every call seen by the right door.

usage: check.py --python PYTHON --wrapper PYNCCL_WRAPPER --nccl FOLDER --tap FOLDER RELEASE...

--python is that of a virtual environment with PyTorch; --nccl holds RELEASE/libnccl.so.2; --tap holds nccltap and
libnccltap.so. For every release of NCCL the probe runs in two arrangements, each without and with the tap:

    one copy     PyTorch's NCCL is this release, and vLLM's NCCLLibrary opens the same copy
    two copies   PyTorch keeps its own NCCL, and vLLM's NCCLLibrary opens this release by its path

Prints one line per release and arrangement; exits 0 when all of them hold, 1 when one does not.
"""

import argparse
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

PROBE = Path(__file__).parent / "probe.py"
PATIENCE_S = 60

# What the probe calls, by the door that leads there. The probe says so itself; the tap is not asked.
TORCH_CALLS = {"ncclGetUniqueId": 2}
VLLM_CALLS = {"ncclGetVersion": 1, "ncclGetUniqueId": 1, "ncclCommInitRank": 1}


def number_of(release: str) -> int:
    """A release as ncclGetVersion gives it, e.g. 22105 for 2.21.5."""
    major, minor, patch = map(int, release.split("."))
    return major * 10000 + minor * 100 + patch


class Collector:
    """`nccltap serve` on a socket and a ring directory of its own."""

    def __init__(self, tap: Path, folder: Path):
        self.socket, self.rings = folder / "collector.sock", folder / "rings"
        self.rings.mkdir()
        self.process = subprocess.Popen(
            [tap / "nccltap", "serve", "--listen", f"unix:{self.socket}", "--http", "127.0.0.1:0", "--recover-dir", self.rings],
            stdout=subprocess.PIPE,
            stderr=(folder / "collector.log").open("w"),
            text=True,
        )
        line = self.process.stdout.readline()
        if not line.startswith("listening "):
            raise SystemExit(f"nccltap serve did not start: {line!r}, see {folder / 'collector.log'}")
        self.http = dict(field.split("=", 1) for field in line.split()[1:])["http"]

    def process_view(self, pid: int) -> dict | None:
        """What the collector knows of a process that has ended, or None when it never heard of it."""
        until = time.monotonic() + PATIENCE_S
        while True:
            with urllib.request.urlopen(f"http://{self.http}/api/v1/processes", timeout=PATIENCE_S) as answer:
                views = [view for view in json.load(answer)["processes"] if view["pid"] == pid]
            if not views or views[0]["life"] != "running":
                return views[0] if views else None
            if time.monotonic() > until:
                raise SystemExit(f"the collector still takes process {pid} for running {PATIENCE_S} s after its end")
            time.sleep(0.05)

    def rings_left(self) -> list[str]:
        """Ring files that the collector has not cleared away, though their processes have ended."""
        until = time.monotonic() + PATIENCE_S
        while (left := sorted(path.name for path in self.rings.iterdir())) and time.monotonic() < until:
            time.sleep(0.05)
        return left

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(PATIENCE_S)


@contextmanager
def torch_with(nccl_of_torch: Path, library: Path | None):
    """PyTorch's own NCCL, replaced by `library` for as long as this lasts, as installing another release's wheel would."""
    kept = nccl_of_torch.with_name("kept-" + nccl_of_torch.name)
    if kept.exists():  # A run before this one was killed.
        os.replace(kept, nccl_of_torch)
    if library is None:
        yield
        return
    os.rename(nccl_of_torch, kept)
    try:
        nccl_of_torch.symlink_to(library)
        yield
    finally:
        os.replace(kept, nccl_of_torch)


def run_probe(arguments, opened: Path | None, environment: dict) -> tuple[int, tuple]:
    command = [arguments.python, PROBE, arguments.wrapper, *([opened] if opened else [])]
    probe = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )
    output, errors = probe.communicate(timeout=PATIENCE_S * 5)
    return probe.pid, (probe.returncode, output, errors)


def door_errors(view: dict | None, expected: dict[str, tuple[int, dict, dict]]) -> list[str]:
    """What is wrong with what the collector knows, where `expected` maps the file of each copy of NCCL to its version and
    the calls that reached it by each door."""
    if view is None:
        return [] if not expected else ["the collector never heard of the process"]
    found = []
    calls: dict[str, int] = {}
    libraries = {library["path"]: library for library in view["libraries"]}
    if libraries.keys() != expected.keys() or len(view["libraries"]) != len(expected):
        found.append(f"copies of NCCL: {sorted(libraries)}, expected {sorted(expected)}")
    for path, (version, plt, dlsym) in expected.items():
        for name, count in [*plt.items(), *dlsym.items()]:
            calls[name] = calls.get(name, 0) + count
        library = libraries.get(path)
        if library is None:
            continue
        if library["version"] != version:
            found.append(f"{path}: version {library['version']}, expected {version}")
        # A door is open once a caller was led through it, called or not: vLLM binds all its functions at once.
        if missing := plt.keys() - set(library["plt"]):
            found.append(f"{path}: not seen by linkage table: {sorted(missing)}")
        if missing := dlsym.keys() - set(library["dlsym"]):
            found.append(f"{path}: not seen by dlsym: {sorted(missing)}")
        if not plt and library["plt"]:
            found.append(f"{path}: nobody is linked with it, yet seen by linkage table: {library['plt']}")
        if not dlsym and library["dlsym"]:
            found.append(f"{path}: nobody asked dlsym for it, yet seen by dlsym: {library['dlsym']}")
    if view["calls"] != calls:
        found.append(f"calls: {view['calls']}, made {calls}")
    failed = [(failure["function"], failure["result"], failure["count"]) for failure in view["failed"]]
    if failed != [("ncclCommInitRank", 1, 1)]:  # 1 is ncclUnhandledCudaError.
        found.append(f"failed calls: {view['failed']}, expected one ncclCommInitRank with ncclUnhandledCudaError")
    accounting = view["accounting"]
    if not accounting["balanced"] or accounting["made"] != accounting["seen"]:
        found.append(f"not every call is accounted for as seen: {accounting}")
    return found


def check(arguments, collector: Collector, release: str, arrangement: str, nccl_of_torch: Path, torch_release: int) -> bool:
    library = (arguments.nccl / release / "libnccl.so.2").resolve()
    tapped = {
        "LD_PRELOAD": str(arguments.tap / "libnccltap.so"),
        "NCCLTAP_COLLECTOR": f"unix:{collector.socket}",
        "NCCLTAP_RING_DIR": str(collector.rings),
        "NCCLTAP_START": "call",
    }
    opened = library if arrangement == "two copies" else None
    with torch_with(nccl_of_torch, None if opened else library):
        _, without = run_probe(arguments, opened, {})
        pid, with_tap = run_probe(arguments, opened, tapped)
    found = []
    if with_tap != without:
        found.append(f"another outcome with the tap:\n      without: {without}\n      with:    {with_tap}")
    imported = "import torch: ImportError" not in without[1]
    if imported and without[1].count("\n") != 7:
        found.append(f"the probe did not come to its end without the tap: {without}")
    if opened:
        expected = {
            os.path.realpath(nccl_of_torch): (torch_release, TORCH_CALLS, {}),
            str(library): (number_of(release), {}, VLLM_CALLS),
        }
    elif imported:
        expected = {str(library): (number_of(release), TORCH_CALLS, VLLM_CALLS)}
    else:
        expected = {}
    found += door_errors(collector.process_view(pid), expected)
    if found:
        print(f"{release}, {arrangement}: FAILED")
        for error in found:
            print(f"    {error}")
    elif imported:
        print(f"{release}, {arrangement}: same results, {sum(TORCH_CALLS.values()) + sum(VLLM_CALLS.values())} calls seen, each by its door")
    else:
        print(f"{release}, {arrangement}: same refusal ({without[1].strip().rsplit(': ', 2)[-2]}: {without[1].strip().rsplit(': ', 1)[-1]})")
    sys.stdout.flush()
    return not found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("python", "wrapper", "nccl", "tap"):
        parser.add_argument(f"--{name}", required=True, type=lambda text: Path(os.path.abspath(text)))
    parser.add_argument("releases", nargs="+", metavar="RELEASE")
    arguments = parser.parse_args()
    where = "import importlib.util; print(importlib.util.find_spec('nvidia.nccl').submodule_search_locations[0])"
    package = subprocess.run([arguments.python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    nccl_of_torch = Path(package) / "lib" / "libnccl.so.2"
    metadata = "from importlib.metadata import version; print(version('nvidia-nccl-cu12'))"
    own = subprocess.run([arguments.python, "-c", metadata], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.TemporaryDirectory(prefix="nccltap-real-") as folder, open(arguments.nccl / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # The environment is changed while this runs.
        collector = Collector(arguments.tap, Path(folder))
        try:
            held = [
                check(arguments, collector, release, arrangement, nccl_of_torch, number_of(own))
                for release in arguments.releases
                for arrangement in ("one copy", "two copies")
            ]
            if left := collector.rings_left():
                print(f"ring files left behind: {left}")
        finally:
            collector.stop()
    print(f"{sum(held)} of {len(held)} hold")
    return 0 if all(held) and not left else 1


if __name__ == "__main__":
    sys.exit(main())

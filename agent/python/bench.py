#!/usr/bin/env python3
"""What the plugin costs an engine per step: everything it does in one `execute_model`, marks included.

usage: LD_PRELOAD=libnccltap.so python3 bench.py [--nccl LIBRARY]

Without the tap the marks lead nowhere, and only the plugin's own work is measured. A tap that has no communicator yet
records nothing; with --nccl a communicator is made first, by that library.
"""

import argparse
import ctypes
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Optional

sys.path.insert(0, str(Path(__file__).parent))

from nccltap import backends, marks, vllm  # noqa: E402
from nccltap.hooks import Marker  # noqa: E402

#: The best of so many batches of so many steps: short ones, so that some go undisturbed on a machine that is busy. In each of them
#: equally many steps are listened to.
BATCHES, STEPS = 200, 6 * backends.ONE_OF


class Nowhere:
    def __init__(self) -> None:
        self.nccltap_step_begin = self.nccltap_step_describe = self.nccltap_step_end = self.nccltap_place = lambda *_: None
        self.nccltap_chosen = lambda *_: None


def make_communicator(library: str) -> None:
    nccl = ctypes.CDLL(library)

    class UniqueId(ctypes.Structure):
        _fields_ = [("bytes", ctypes.c_byte * 128)]

    made, identity = ctypes.c_void_p(), UniqueId()
    nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, UniqueId, ctypes.c_int]
    if nccl.ncclCommInitRank(ctypes.byref(made), 1, identity, 0) != 0:
        sys.exit(f"{library} makes no communicator")


def decode(requests: int) -> SimpleNamespace:
    names = [f"cmpl-{number}" for number in range(requests)]
    cached = SimpleNamespace(req_ids=names, resumed_req_ids=set(), num_computed_tokens=[100] * requests)
    return SimpleNamespace(
        scheduled_new_reqs=[],
        scheduled_cached_reqs=cached,
        num_scheduled_tokens=dict.fromkeys(names, 1),
        total_num_scheduled_tokens=requests,
        scheduled_spec_decode_tokens={},
        finished_req_ids=set(),
    )


def mixed(requests: int) -> SimpleNamespace:
    """One prompt in chunks beside running requests: one begins in each step, and one ends."""
    step = decode(requests)
    step.scheduled_new_reqs = [SimpleNamespace(req_id="new", prompt_token_ids=[0] * 4096, num_computed_tokens=0)]
    step.num_scheduled_tokens["new"] = 512
    step.total_num_scheduled_tokens += 512
    step.finished_req_ids = {"old"}
    return step


def eager(all_reduces: int, hooked: bool, to: marks.Marks, of: Optional[marks.Step]):
    """A step that calls so many all-reduces: a prompt too long for CUDA graphs, or an engine that has none."""

    class CustomAllreduce:
        def all_reduce(self, inp):
            return inp

    marker = Marker(to)
    if hooked:
        marker.witness = witness = backends.Witness(marker)
        module = ModuleType("custom_all_reduce")
        module.CustomAllreduce = CustomAllreduce
        witness.hook(module, "CustomAllreduce", ("all_reduce",), False, marks.CUSTOM)
    backend, tensor = CustomAllreduce(), memoryview(bytes(8192))

    def forward(_):
        for _ in range(all_reduces):
            backend.all_reduce(tensor)

    return lambda step: marker.within(of, forward, step)


def microseconds(call, step) -> float:
    best = float("inf")
    for _ in range(BATCHES):
        before = time.perf_counter()
        for _ in range(STEPS):
            call(step)
        best = min(best, time.perf_counter() - before)
    return best / STEPS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nccl", help="libnccl.so.2 that makes a communicator, so that the tap records")
    arguments = parser.parse_args()
    found = marks.find()
    if arguments.nccl:
        make_communicator(arguments.nccl)
    print("with the tap" if found else "without the tap")
    plain = type("Worker", (), {"execute_model": lambda self, scheduler_output: None})
    hooked = type("Worker", (), {"execute_model": lambda self, scheduler_output: None})
    module = ModuleType("vllm.v1.worker.gpu_worker")
    module.Worker = hooked
    to = found or marks.Marks(Nowhere())
    vllm.hook_v1(Marker(to), module)
    for requests in (1, 64, 256, 1024):
        for name, step in (("decode", decode(requests)), ("mixed", mixed(requests))):
            cost = microseconds(hooked().execute_model, step) - microseconds(plain().execute_model, step)
            print(f"{name:6} of {requests:4} requests: {cost:6.2f} us per step")
    for all_reduces in (0, 65, 161):
        for name, of in (("listened to", marks.step(flags=marks.WARM_UP)), ("of all", None)):
            cost = microseconds(eager(all_reduces, True, to, of), None) - microseconds(eager(all_reduces, False, to, of), None)
            print(f"eager step of {all_reduces:3} all-reduces, {name:11}: {cost:6.2f} us more")


if __name__ == "__main__":
    main()

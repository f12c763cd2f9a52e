"""Loads its plugins as vLLM does (plugins/__init__.py), then runs a worker through a prompt, a mixed step and decode."""

import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parent / "like_vllm"))


def load_plugins():
    allowed = os.environ.get("VLLM_PLUGINS")
    for plugin in entry_points(group="vllm.general_plugins"):
        if allowed is None or plugin.name in allowed.split(","):
            plugin.load()()


def step(scheduled, new=(), cached=()):
    return SimpleNamespace(
        scheduled_new_reqs=[
            SimpleNamespace(req_id=name, prompt_token_ids=[0] * length, num_computed_tokens=0) for name, length in new
        ],
        scheduled_cached_reqs=SimpleNamespace(
            req_ids=[name for name, _ in cached],
            num_computed_tokens=[computed for _, computed in cached],
            resumed_req_ids=set(),
        ),
        num_scheduled_tokens=scheduled,
        total_num_scheduled_tokens=sum(scheduled.values()),
        scheduled_spec_decode_tokens={},
        finished_req_ids=set(),
    )


load_plugins()
assert "vllm" not in sys.modules, "a plugin does not import the engine"

from vllm.v1.worker.gpu_worker import Worker  # noqa: E402

worker = Worker()
worker.determine_available_memory()
worker.compile_or_warm_up_model(step({"warm": 77}, new=[("warm", 77)]))
for one in [
    step({"a": 128}, new=[("a", 128)]),
    step({"a": 1, "b": 64}, new=[("b", 100)], cached=[("a", 128)]),
    step({"a": 1, "b": 36}, cached=[("a", 129), ("b", 64)]),
    step({"a": 1, "b": 1}, cached=[("a", 130), ("b", 100)]),
]:
    worker.execute_model(one)
    worker.sample_tokens(None)
worker.execute_dummy_batch()

"""Writes down what vLLM itself scheduled, step by step: the ground truth that phases are compared with.

Python runs this file at its start when its folder is in PYTHONPATH. Nothing of nccltap takes part. Every worker writes
NCCLTAP_TEST_SCHEDULE/PID.jsonl, one line when a piece of work begins:

    {"t": CLOCK_MONOTONIC in ns, "phase": ..., "prefill_tokens": ..., "decode_tokens": ..., "prefills": ..., "decodes": ...}

A piece of work lasts until the next line. The phase of start-up work is `startup`; of everything between the return of a
step and the begin of the next one it is null.
"""

import functools
import json
import os
import sys
import time

FOLDER = os.environ.get("NCCLTAP_TEST_SCHEDULE")


def write(phase, **fields):
    with open(f"{FOLDER}/{os.getpid()}.jsonl", "a") as log:
        log.write(json.dumps({"t": time.clock_gettime_ns(time.CLOCK_MONOTONIC), "phase": phase, **fields}) + "\n")


def phase_of(prefill_tokens, decode_tokens):
    if prefill_tokens and decode_tokens:
        return "mixed"
    return "prefill" if prefill_tokens else "decode"


in_startup = False


def startup(function):
    """The work of `function` is start-up work, steps that it makes up included."""

    @functools.wraps(function)
    def wrapped(*arguments, **options):
        global in_startup
        write("startup", what=function.__qualname__)
        in_startup = True
        try:
            return function(*arguments, **options)
        finally:
            in_startup = False
            write(None)

    return wrapped


# V0. The metadata of a step is broadcast before the model runner is called, so the step begins with the worker's call, and what
# was scheduled is filled in once the worker's input is there.
def patch_worker_base(module):
    base = getattr(module, "LocalOrDistributedWorkerBase", None)
    if base is None:
        # A release after V0, or one whose V0 is being imported in a circle and not used.
        return
    prepare, execute = base.prepare_input, base.execute_model

    @functools.wraps(execute)
    def execute_model(self, execute_model_req=None):
        self._nccltap_test_began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        result = execute(self, execute_model_req)
        write(None)
        return result

    @functools.wraps(prepare)
    def prepare_input(self, execute_model_req=None):
        began = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        inputs = prepare(self, execute_model_req)
        if inputs is not None:
            meta = inputs[0].attn_metadata
            write(
                phase_of(meta.num_prefill_tokens, meta.num_decode_tokens),
                began=began,
                prefill_tokens=meta.num_prefill_tokens,
                decode_tokens=meta.num_decode_tokens,
                prefills=meta.num_prefills,
                decodes=meta.num_decode_tokens,
            )
        return inputs

    base.execute_model, base.prepare_input = execute_model, prepare_input


def patch_v0_worker(module):
    module.Worker.determine_num_available_blocks = startup(module.Worker.determine_num_available_blocks)
    module.Worker.initialize_cache = startup(module.Worker.initialize_cache)


# V1. Logits and sampling may come in a call of their own after execute_model, so a step lasts until the next one begins.
def patch_v1_worker(module):
    worker = module.Worker
    for name in ("determine_available_memory", "compile_or_warm_up_model", "execute_dummy_batch"):
        if hasattr(worker, name):
            setattr(worker, name, startup(getattr(worker, name)))
    execute = worker.execute_model
    prompts = {}

    @functools.wraps(execute)
    def execute_model(self, scheduler_output, *arguments, **options):
        if in_startup:
            return execute(self, scheduler_output, *arguments, **options)
        counts = {"prefill_tokens": 0, "decode_tokens": 0, "prefills": 0, "decodes": 0}
        computed = {}
        for request in scheduler_output.scheduled_new_reqs:
            prompts[request.req_id] = len(request.prompt_token_ids)
            computed[request.req_id] = request.num_computed_tokens
        cached = scheduler_output.scheduled_cached_reqs
        if hasattr(cached, "req_ids"):
            computed.update(zip(cached.req_ids, cached.num_computed_tokens))
        else:
            computed.update((request.req_id, request.num_computed_tokens) for request in cached)
        for request, tokens in scheduler_output.num_scheduled_tokens.items():
            kind = "prefill" if computed[request] < prompts[request] else "decode"
            counts[f"{kind}_tokens"] += tokens
            counts[f"{kind}s"] += 1
        for request in scheduler_output.finished_req_ids:
            if request not in scheduler_output.num_scheduled_tokens:
                prompts.pop(request, None)
        if scheduler_output.total_num_scheduled_tokens:
            write(phase_of(counts["prefill_tokens"], counts["decode_tokens"]), **counts)
        return execute(self, scheduler_output, *arguments, **options)

    worker.execute_model = execute_model


PATCHES = {
    "vllm.worker.worker_base": patch_worker_base,
    "vllm.worker.worker": patch_v0_worker,
    "vllm.v1.worker.gpu_worker": patch_v1_worker,
}

if FOLDER:
    sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "patching"))
    from patched_imports import patch_imports

    patch_imports(PATCHES)

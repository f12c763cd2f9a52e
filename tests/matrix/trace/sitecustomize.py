"""Writes down what the own scheduler of vLLM or SGLang scheduled, in the form that `nccltap predict --trace` and `nccltap check --trace` read.

Python runs this file at its start when its folder is in PYTHONPATH. Nothing of nccltap takes part. The process that has the scheduler
writes SCHEDULE_TRACE/PID.jsonl, a line for each step that computes something:

    {"new": {REQUEST: {"prompt": TOKENS, "cached": TOKENS}}, "tokens": {REQUEST: TOKENS}, "drafts": {REQUEST: TOKENS}}

`new` has the requests that are scheduled for the first time, or anew after they were preempted. A line with no tokens is a pass that a
replica makes because others make theirs. Tried with vLLM 0.8.5 (V0 and V1), 0.11, 0.20 and 0.32; with replicas, 0.11 and 0.20; with
SGLang 0.5.5, where the scheduler of the first tensor-parallel rank writes.
"""

import functools
import json
import os
import sys

FOLDER = os.environ.get("SCHEDULE_TRACE")


def write(new, tokens, drafts):
    if tokens:
        log({"new": new, "tokens": tokens, "drafts": drafts})


def log(line):
    line = {key: value for key, value in line.items() if value or key == "tokens"}
    with open(f"{FOLDER}/{os.getpid()}.jsonl", "a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def patch_v0(module):
    schedule = module.Scheduler.schedule
    computed = {}

    @functools.wraps(schedule)
    def traced(self):
        result = schedule(self)
        new, tokens = {}, {}
        for group in result[0]:
            ((_, data),) = group.seq_data.items()
            name, before = group.request_id, data.get_num_computed_tokens()
            if group.is_prompt and computed.get(name) != before:
                cached = len(group.computed_block_nums or ()) * self.cache_config.block_size
                new[name] = {"prompt": data.get_len(), "cached": cached}
            tokens[name] = group.token_chunk_size
            computed[name] = before + group.token_chunk_size
        write(new, tokens, {})
        return result

    module.Scheduler.schedule = traced


def patch_v1(module):
    schedule = module.Scheduler.schedule

    @functools.wraps(schedule)
    def traced(self, *arguments, **options):
        output = schedule(self, *arguments, **options)
        new = {}

        def begin(name, cached):
            new[name] = {"prompt": self.requests[name].num_tokens, "cached": cached}

        for request in output.scheduled_new_reqs:
            begin(request.req_id, request.num_computed_tokens)
        cached = output.scheduled_cached_reqs
        if isinstance(cached, list):
            for request in cached:
                if request.resumed_from_preemption:
                    begin(request.req_id, request.num_computed_tokens)
        else:
            resumed = getattr(cached, "resumed_req_ids", None)
            if resumed is None:
                resumed = {name for name, again in zip(cached.req_ids, cached.resumed_from_preemption) if again}
            for name, tokens in zip(cached.req_ids, cached.num_computed_tokens):
                if name in resumed:
                    begin(name, tokens)
        drafts = {name: len(guessed) for name, guessed in output.scheduled_spec_decode_tokens.items()}
        write(new, output.num_scheduled_tokens, drafts)
        return output

    module.Scheduler.schedule = traced


def patch_replicas(module):
    execute_dummy_batch = module.EngineCore.execute_dummy_batch

    @functools.wraps(execute_dummy_batch)
    def traced(self):
        log({"tokens": {}})
        return execute_dummy_batch(self)

    module.EngineCore.execute_dummy_batch = traced


def patch_sglang(module):
    run_batch = module.Scheduler.run_batch
    computed = {}

    @functools.wraps(run_batch)
    def traced(self, batch):
        if self.tp_rank == 0 and not batch.forward_mode.is_idle():
            new, tokens = {}, {}
            prefills = batch.forward_mode.is_extend()
            for request in batch.reqs:
                name, part = request.rid, 1
                if prefills and request not in (batch.decoding_reqs or ()):
                    part, before = request.extend_input_len, len(request.prefix_indices)
                    if computed.get(name) != before:
                        new[name] = {"prompt": len(request.origin_input_ids) + len(request.output_ids), "cached": before}
                        computed[name] = before
                computed[name] += part
                tokens[name] = part
            write(new, tokens, {})
        return run_batch(self, batch)

    module.Scheduler.run_batch = traced


PATCHES = {
    "sglang.srt.managers.scheduler": patch_sglang,
    "vllm.core.scheduler": patch_v0,
    "vllm.v1.core.sched.scheduler": patch_v1,
    "vllm.v1.engine.core": patch_replicas,
}

if FOLDER:
    sys.path.append(os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "patching"))
    from patched_imports import patch_imports

    patch_imports(PATCHES)

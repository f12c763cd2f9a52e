#!/usr/bin/env python3
"""Requests to an unmodified vLLM in this process: 128 prompt tokens each, all at once.

usage: generate.py OUTPUT_TOKENS REQUESTS ENGINE_ARGUMENTS      ENGINE_ARGUMENTS: a JSON object, {"model": FOLDER, ...}

Prints how many tokens each request got.
"""

import asyncio
import inspect
import json
import os
import pathlib
import sys
import time

PROMPT = 128
# Ranks that share few cores pause for longer than they would by themselves.
QUIET = 5


def rest() -> None:
    """Waits until the simulator has counted nothing for QUIET seconds; where it keeps no account, as long."""
    if "NCCLTAP_REHEARSAL_COUNTS_DIR" not in os.environ:
        time.sleep(QUIET)
        return
    folder = pathlib.Path(os.environ["NCCLTAP_REHEARSAL_COUNTS_DIR"])
    counted, since = None, time.monotonic()
    while time.monotonic() - since < QUIET:
        now = [hash(file.read_bytes()) for file in sorted(folder.iterdir())]
        if now != counted:
            counted, since = now, time.monotonic()
        time.sleep(0.1)


def main(output: int, requests: int, arguments: dict) -> None:
    import vllm

    arguments = dict(load_format="dummy", skip_tokenizer_init=True, max_model_len=2048, swap_space=0) | arguments
    known = inspect.signature(vllm.EngineArgs).parameters
    # Newer releases have no swap space.
    arguments = {name: value for name, value in arguments.items() if name in known or name != "swap_space"}
    sampling = vllm.SamplingParams(max_tokens=output, min_tokens=output, ignore_eos=True, detokenize=False, temperature=0)
    prompts = [{"prompt_token_ids": [5 + (first + i) % 1000 for i in range(PROMPT)]} for first in range(requests)]

    async def generate_in_pipeline():
        engine = vllm.AsyncLLMEngine.from_engine_args(vllm.AsyncEngineArgs(**arguments, disable_log_requests=True))

        async def one(name, prompt):
            async for result in engine.generate(prompt, sampling, name):
                last = result
            return last

        results = await asyncio.gather(*(one(str(number), prompt) for number, prompt in enumerate(prompts)))
        engine.shutdown_background_loop()
        return results

    if arguments.get("pipeline_parallel_size", 1) > 1 and os.environ.get("VLLM_USE_V1") == "0":
        # The V0 engine runs pipeline parallelism only through its asynchronous face.
        results = asyncio.run(generate_in_pipeline())
    else:
        # It is kept to the end: the workers of V1 go with it.
        engine = vllm.LLM(**arguments)
        results = engine.generate(prompts, sampling, use_tqdm=False)
    # Simulated ranks do not wait for each other. vLLM kills its workers when this process ends, so let those behind finish.
    rest()
    print("generated", *(len(result.outputs[0].token_ids) for result in results), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3]))

#!/usr/bin/env python3
"""Many concurrent requests of random lengths to unmodified vLLM, eager unless --graphs: steps of every kind.

usage: offline.py MODEL_FOLDER TENSOR_PARALLEL PIPELINE_PARALLEL [--data N] [--requests N] [--chunked TOKENS] [--seed N] [--graphs]
       [--experts] [--speculative JSON] [--compilation JSON] [--prompt N] [--output N] [--concurrency N] [--times FILE]
       [--together FOLDER] [--custom-all-reduce] [--sequences N] [--longest N]
"""

import argparse
import asyncio
import inspect
import json
import os
import random
import sys
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("tensor_parallel", type=int)
    parser.add_argument("pipeline_parallel", type=int)
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--chunked", type=int, help="chunked prefill, with steps of at most so many tokens")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--graphs", action="store_true")
    parser.add_argument("--prompt", type=int, help="length of every prompt (default: random)")
    parser.add_argument("--longest", type=int, default=1500, help="the longest of random prompts")
    parser.add_argument("--output", type=int, help="tokens that every request generates (default: random)")
    parser.add_argument("--concurrency", type=int, default=1000, help="requests that are under way at once")
    parser.add_argument("--data", type=int, default=1, help="copies of the model")
    parser.add_argument("--speculative", type=json.loads, help="speculative decoding, as vLLM's --speculative-config takes it")
    parser.add_argument("--compilation", type=json.loads, help="as vLLM's --compilation-config takes it")
    parser.add_argument("--times", help="a file for the seconds between the tokens of each request, one array per line")
    parser.add_argument("--together", type=Path, help="no request before two runs that share this folder are ready for theirs")
    parser.add_argument("--experts", action="store_true", help="expert parallelism")
    parser.add_argument("--custom-all-reduce", action="store_true", help="vLLM's own all-reduce, which is its default")
    parser.add_argument("--sequences", type=int, help="sequences in a step, as vLLM's --max-num-seqs takes it")
    arguments = parser.parse_args()

    from vllm import AsyncEngineArgs, SamplingParams

    options = dict(
        model=arguments.model,
        load_format="dummy",
        skip_tokenizer_init=True,
        tensor_parallel_size=arguments.tensor_parallel,
        pipeline_parallel_size=arguments.pipeline_parallel,
        data_parallel_size=arguments.data,
        enable_expert_parallel=arguments.experts,
        distributed_executor_backend="mp",
        enforce_eager=not arguments.graphs,
        disable_custom_all_reduce=not arguments.custom_all_reduce,
        max_model_len=2048,
        num_gpu_blocks_override=4096,
        swap_space=0,
        disable_log_requests=True,
    )
    known = inspect.signature(AsyncEngineArgs).parameters
    for name, value in [("speculative_config", arguments.speculative), ("compilation_config", arguments.compilation)]:
        if value:
            options[name] = value
    options = {name: value for name, value in options.items() if name in known}
    if arguments.chunked:
        # V1 wants no more sequences in a step than tokens.
        options.update(enable_chunked_prefill=True, max_num_batched_tokens=arguments.chunked, max_num_seqs=min(256, arguments.chunked))
    if arguments.sequences:
        options.update(max_num_seqs=arguments.sequences)
    engine_arguments = AsyncEngineArgs(**options)
    if os.environ.get("VLLM_USE_V1") == "0":
        from vllm import AsyncLLMEngine as Engine
    else:
        from vllm.v1.engine.async_llm import AsyncLLM as Engine

    random_numbers = random.Random(arguments.seed)
    shortest = min(16, arguments.longest)
    requests = [
        (
            [random_numbers.randrange(5, 130) for _ in range(arguments.prompt or random_numbers.randint(shortest, arguments.longest))],
            arguments.output or random_numbers.randint(4, 64),
            random_numbers.random() * 3,
        )
        for _ in range(arguments.requests)
    ]

    async def run() -> int:
        engine = Engine.from_engine_args(engine_arguments)
        places = asyncio.Semaphore(arguments.concurrency)
        if arguments.together:
            (arguments.together / str(os.getpid())).touch()
            while len(list(arguments.together.iterdir())) < 2:
                await asyncio.sleep(0.1)

        async def one(number: int, prompt: list[int], output: int, delay: float) -> int:
            await asyncio.sleep(delay)
            sampling = SamplingParams(max_tokens=output, min_tokens=output, ignore_eos=True, detokenize=False, temperature=0)
            async with places:
                times = []
                async for result in engine.generate({"prompt_token_ids": prompt}, sampling, str(number)):
                    last = result
                    times.append(time.perf_counter())
            if arguments.times:
                with open(arguments.times, "a") as file:
                    print([after - before for before, after in zip(times, times[1:])], file=file)
            return len(last.outputs[0].token_ids)

        generated = await asyncio.gather(*(one(number, *request) for number, request in enumerate(requests)))
        # Simulated ranks do not wait for each other.
        await asyncio.sleep(1)
        getattr(engine, "shutdown_background_loop", getattr(engine, "shutdown", lambda: None))()
        return sum(generated)

    generated = asyncio.run(run())
    time.sleep(1)
    print(f"generated {generated} tokens", flush=True)
    sys.stdout.flush()


if __name__ == "__main__":
    main()

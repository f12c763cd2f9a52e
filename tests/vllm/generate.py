#!/usr/bin/env python3
"""One request to unmodified vLLM 0.8.5.post1 (V0 engine, eager), as the paper ran it: 128 prompt tokens, 128 generated tokens.

usage: generate.py MODEL_FOLDER TENSOR_PARALLEL PIPELINE_PARALLEL
"""

import asyncio
import sys
import time

PROMPT = OUTPUT = 128


def main(model: str, tensor_parallel: int, pipeline_parallel: int) -> None:
    from vllm import LLM, AsyncEngineArgs, AsyncLLMEngine, SamplingParams

    options = dict(
        model=model,
        load_format="dummy",
        skip_tokenizer_init=True,
        tensor_parallel_size=tensor_parallel,
        pipeline_parallel_size=pipeline_parallel,
        distributed_executor_backend="mp",
        enforce_eager=True,
        disable_custom_all_reduce=True,
        max_model_len=2048,
        num_gpu_blocks_override=2048,
        swap_space=0,
    )
    sampling = SamplingParams(max_tokens=OUTPUT, min_tokens=OUTPUT, ignore_eos=True, detokenize=False, temperature=0)
    prompt = {"prompt_token_ids": list(range(5, 5 + PROMPT))}

    async def generate_in_pipeline():
        engine = AsyncLLMEngine.from_engine_args(AsyncEngineArgs(**options, disable_log_requests=True))
        async for result in engine.generate(prompt, sampling, "0"):
            last = result
        engine.shutdown_background_loop()
        return last

    if pipeline_parallel > 1:
        # The V0 engine runs pipeline parallelism only through its asynchronous face.
        result = asyncio.run(generate_in_pipeline())
    else:
        result = LLM(**options).generate([prompt], sampling, use_tqdm=False)[0]
    # Simulated ranks do not wait for each other. vLLM kills its workers when this process ends, so let those behind finish.
    time.sleep(1)
    print(f"generated {len(result.outputs[0].token_ids)} tokens", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

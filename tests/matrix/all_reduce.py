#!/usr/bin/env python3
"""The all-reduce of unmodified vLLM without an engine: its tensor-parallel group alone, with default settings.

usage: all_reduce.py RANKS [REPLAYS]      under `nccltap rehearse`

Each rank reduces tensors of several sizes, eager, and then launches a CUDA graph with 65 all-reduces REPLAYS times. What
takes which way, NCCL or a kernel of vLLM's, is vLLM's own choice.
"""

import os
import socket
import sys

HIDDEN = 4096
EAGER = [1, 8, 128, 1000, 1024, 4096]


def rank_main(rank: int, ranks: int, replays: int, port: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(ranks), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.distributed import parallel_state

    device = torch.device(f"cuda:{rank}")
    torch.cuda.set_device(device)
    with set_current_vllm_config(VllmConfig()), torch.inference_mode():
        parallel_state.init_distributed_environment(ranks, rank, f"tcp://127.0.0.1:{port}", rank, "nccl")
        parallel_state.initialize_model_parallel(ranks)
        group = parallel_state.get_tp_group()
        for tokens in EAGER:
            group.all_reduce(torch.zeros(tokens, HIDDEN, dtype=torch.bfloat16, device=device))
        with parallel_state.graph_capture(device=device) as context:
            held = torch.zeros(1, HIDDEN, dtype=torch.bfloat16, device=device)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=context.stream):
                for _ in range(65):
                    held = group.all_reduce(held)
        for _ in range(replays):
            graph.replay()
        torch.cuda.synchronize()
    print(f"rank {rank} done", flush=True)
    os._exit(0)


def main() -> int:
    import multiprocessing

    ranks, replays = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    all_ranks = [spawn.Process(target=rank_main, args=(rank, ranks, replays, port)) for rank in range(ranks)]
    for process in all_ranks:
        process.start()
    for process in all_ranks:
        process.join()
    return max(abs(process.exitcode or 0) for process in all_ranks)


if __name__ == "__main__":
    sys.exit(main())

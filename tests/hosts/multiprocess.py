"""A pool of workers as vLLM starts them. Argument: the start method, fork, spawn or forkserver.

Python ends such workers with os._exit."""

import multiprocessing
import sys

from pynccl import Nccl, UniqueId


def work(rank, calls):
    nccl = Nccl()
    unique_id = UniqueId((1,) * 128)
    comm = nccl.communicator(2, rank, unique_id)
    for _ in range(calls):
        nccl.all_reduce(comm, 4096)


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    workers = [context.Process(target=work, args=(rank, 1234)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))

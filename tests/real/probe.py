#!/usr/bin/env python3
"""Calls real NCCL on a machine without a GPU, by both doors, and prints what came of it: the same with and without the tap.

usage: probe.py PYNCCL_WRAPPER [LIBNCCL]

`torch.cuda.nccl` calls the copy of NCCL that PyTorch is linked with, through its procedure linkage table. vLLM's NCCLLibrary,
loaded unmodified from the file PYNCCL_WRAPPER, opens LIBNCCL (default: `libnccl.so.2`, which finds PyTorch's copy) and takes
each function by dlsym.
"""

import importlib.util
import logging
import sys
import types


def outcome(what: str, call) -> None:
    """Prints what a call returns or raises, leaving out what differs from call to call by nature."""
    try:
        print(f"{what}: {call()}", flush=True)
    except Exception as error:
        print(f"{what}: {type(error).__name__}: {error}", flush=True)


def load_pynccl_wrapper(path: str):
    """vLLM's own file. The two names it takes from the rest of vLLM are stood in for, so that vLLM need not be installed."""
    vllm, logger, utils = (types.ModuleType(name) for name in ("vllm", "vllm.logger", "vllm.utils"))
    logger.init_logger = logging.getLogger
    utils.find_nccl_library = lambda: "libnccl.so.2"
    sys.modules.update({module.__name__: module for module in (vllm, logger, utils)})
    spec = importlib.util.spec_from_file_location("pynccl_wrapper", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(wrapper: str, library: str | None) -> None:
    def an_id(bytes_of_id: bytes) -> str:
        return f"{len(bytes_of_id)} bytes, {'not ' if any(bytes_of_id) else ''}all zero"

    try:
        import torch
    except ImportError as error:
        print(f"import torch: ImportError: {error}")
        return
    print(f"import torch: {torch.__version__}, CUDA {torch.version.cuda}")
    outcome("torch.cuda.nccl.version", torch.cuda.nccl.version)
    outcome("torch.cuda.nccl.unique_id", lambda: an_id(torch.cuda.nccl.unique_id()))

    pynccl = load_pynccl_wrapper(wrapper)
    nccl = pynccl.NCCLLibrary(library)
    outcome("NCCLLibrary.ncclGetVersion", nccl.ncclGetVersion)
    ids = []
    outcome("NCCLLibrary.ncclGetUniqueId", lambda: ids.append(nccl.ncclGetUniqueId()) or an_id(bytes(ids[0])))
    outcome("NCCLLibrary.ncclCommInitRank", lambda: nccl.ncclCommInitRank(1, ids[0], 0))
    outcome("torch.cuda.nccl.unique_id", lambda: an_id(torch.cuda.nccl.unique_id()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)

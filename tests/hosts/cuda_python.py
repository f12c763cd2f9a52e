"""Captures and launches a graph with cuda-python, which takes every function of the CUDA driver by name. NCCL by ctypes."""

import ctypes

from cuda.bindings import driver


def done(answer):
    assert int(answer[0]) == 0, answer
    return answer[1] if len(answer) > 1 else None


class UniqueId(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 128)]


done(driver.cuInit(0))
nccl = ctypes.CDLL("libnccl.so.2")
nccl.ncclCommInitRank.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, UniqueId, ctypes.c_int]
comm = ctypes.c_void_p()
assert nccl.ncclCommInitRank(ctypes.byref(comm), 2, UniqueId(), 0) == 0


def all_reduce(count):
    bfloat16, total = 9, 0
    on = ctypes.c_void_p(int(stream))
    assert nccl.ncclAllReduce(None, None, ctypes.c_size_t(count), bfloat16, total, comm, on) == 0


stream = done(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
done(driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
all_reduce(8)
all_reduce(8)
graph = done(driver.cuStreamEndCapture(stream))
executable = done(driver.cuGraphInstantiate(graph, 0))
done(driver.cuGraphDestroy(graph))
for _ in range(7):
    done(driver.cuGraphLaunch(executable, stream))
done(driver.cuGraphExecDestroy(executable))
all_reduce(3)

"""Binds and calls NCCL as vllm/distributed/device_communicators/pynccl_wrapper.py does."""

import ctypes


class UniqueId(ctypes.Structure):
    _fields_ = [("internal", ctypes.c_byte * 128)]


Comm = ctypes.c_void_p
FLOAT32, BFLOAT16, SUM = 7, 9, 0

FUNCTIONS = {
    "ncclGetErrorString": (ctypes.c_char_p, [ctypes.c_int]),
    "ncclGetVersion": (ctypes.c_int, [ctypes.POINTER(ctypes.c_int)]),
    "ncclGetUniqueId": (ctypes.c_int, [ctypes.POINTER(UniqueId)]),
    "ncclCommInitRank": (ctypes.c_int, [ctypes.POINTER(Comm), ctypes.c_int, UniqueId, ctypes.c_int]),
    "ncclAllReduce": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, Comm, ctypes.c_void_p],
    ),
    "ncclAllGather": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, Comm, ctypes.c_void_p],
    ),
    "ncclSend": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, Comm, ctypes.c_void_p]),
    "ncclRecv": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, Comm, ctypes.c_void_p]),
    "ncclCommDestroy": (ctypes.c_int, [Comm]),
}


class Nccl:
    def __init__(self, path="libnccl.so.2"):
        library = ctypes.CDLL(path)
        self.functions = {}
        for name, (result, arguments) in FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function

    def check(self, name, *arguments):
        result = self.functions[name](*arguments)
        if result != 0:
            raise RuntimeError(f"{name}: {self.functions['ncclGetErrorString'](result).decode()}")

    def communicator(self, ranks, rank, unique_id=None):
        if unique_id is None:
            unique_id = UniqueId()
            self.check("ncclGetUniqueId", ctypes.byref(unique_id))
        comm = Comm()
        self.check("ncclCommInitRank", ctypes.byref(comm), ranks, unique_id, rank)
        return comm

    def all_reduce(self, comm, count, datatype=BFLOAT16):
        self.check("ncclAllReduce", None, None, count, datatype, SUM, comm, None)


if __name__ == "__main__":
    nccl = Nccl()
    version = ctypes.c_int()
    nccl.check("ncclGetVersion", ctypes.byref(version))
    comm = nccl.communicator(2, 0)
    nccl.all_reduce(comm, 1, FLOAT32)
    for _ in range(650):
        nccl.all_reduce(comm, 4096)
    for _ in range(10):
        nccl.check("ncclAllGather", None, None, 64128, BFLOAT16, comm, None)
    nccl.check("ncclSend", None, 5, BFLOAT16, 1, comm, None)
    nccl.check("ncclRecv", None, 6, BFLOAT16, 1, comm, None)
    nccl.check("ncclCommDestroy", comm)
    print(version.value)

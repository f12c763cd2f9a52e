"""oneccl.py LIBRARY: opens oneCCL by path and calls it, as a program in Python does by ctypes."""
import ctypes
import sys


class UniqueId(ctypes.Structure):
    _fields_ = [("data", ctypes.c_byte * 4096)]


oneccl = ctypes.CDLL(sys.argv[1])
oneccl.onecclCommInitRank.argtypes = [ctypes.c_void_p, ctypes.c_size_t, UniqueId, ctypes.c_int]
oneccl.onecclAllReduce.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int,
                                   ctypes.c_void_p, ctypes.c_void_p]
unique_id, communicator = UniqueId(), ctypes.c_void_p()
assert oneccl.onecclGetUniqueId(ctypes.byref(unique_id)) == 0
assert oneccl.onecclCommInitRank(ctypes.byref(communicator), 2, unique_id, 1) == 0
for _ in range(10):
    assert oneccl.onecclAllReduce(None, None, 4096, 9, 0, communicator, None) == 0

"""The functions of nccltap.h, where the tap is in this process."""

import ctypes
from typing import Dict, Optional, Tuple

DUMMY = 1 << 0
WARM_UP = 1 << 1
CAPTURE = 1 << 2
PROFILE = 1 << 3
CONTINUED = 1 << 4

PYNCCL = 1
CUSTOM = 2
QUICK_REDUCE = 3
SYMM_MEM = 4
FLASHINFER = 5
FLASHINFER_FUSED = 6


class Step(ctypes.Structure):
    """`nccltap_step`."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("prefill_requests", ctypes.c_uint32),
        ("decode_requests", ctypes.c_uint32),
        ("prefill_tokens", ctypes.c_uint32),
        ("decode_tokens", ctypes.c_uint32),
        ("speculative_tokens", ctypes.c_uint32),
    ]


class Coordinates(ctypes.Structure):
    """`nccltap_coordinates`."""

    _fields_ = [("size", ctypes.c_uint32)] + [
        (f"{kind}_{what}", ctypes.c_uint32) for kind in ("tensor", "pipeline", "data", "expert") for what in ("rank", "size")
    ]


class Choice(ctypes.Structure):
    """`nccltap_choice`."""

    _fields_ = [
        ("size", ctypes.c_uint32),
        ("backend", ctypes.c_uint32),
        ("message_bytes", ctypes.c_uint64),
        ("calls", ctypes.c_uint64),
    ]


#: A rank, and how many there are. (0, 0): not known.
Rank = Tuple[int, int]


def coordinates(tensor: Rank, pipeline: Rank, data: Rank, expert: Rank) -> Coordinates:
    return Coordinates(ctypes.sizeof(Coordinates), *tensor, *pipeline, *data, *expert)


_SIZE = ctypes.sizeof(Step)


def step(
    prefill_requests: int = 0,
    decode_requests: int = 0,
    prefill_tokens: int = 0,
    decode_tokens: int = 0,
    speculative_tokens: int = 0,
    flags: int = 0,
) -> Step:
    return Step(_SIZE, flags, prefill_requests, decode_requests, prefill_tokens, decode_tokens, speculative_tokens)


class Marks:
    """Marks of steps. Each is a call of some hundred nanoseconds that cannot fail."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._begin = library.nccltap_step_begin
        self._describe = library.nccltap_step_describe
        self.end = library.nccltap_step_end
        self._place = library.nccltap_place
        for function in (self._begin, self._describe, self.end, self._place):
            function.restype = None
        # A tap that is older than this package has none.
        self._chosen = getattr(library, "nccltap_chosen", None)
        if self._chosen is not None:
            self._chosen.restype = None

    def begin(self, of: Optional[Step]) -> None:
        """A step begins. None: what it is will be described."""
        self._begin(of and ctypes.byref(of))

    def describe(self, of: Step) -> None:
        self._describe(ctypes.byref(of))

    def place(self, at: Coordinates) -> None:
        """Where this worker stands."""
        self._place(ctypes.byref(at))

    def not_listened(self) -> None:
        """All-reduces since the last time were not listened to."""
        if self._chosen is not None:
            self._chosen(None, 0)

    def chosen(self, calls: Dict[Tuple[int, int], int]) -> None:
        """How often each backend was given all-reduces of so many bytes."""
        if self._chosen is not None:
            size = ctypes.sizeof(Choice)
            choices = [Choice(size, backend, message_bytes, number) for (backend, message_bytes), number in calls.items()]
            self._chosen((Choice * len(choices))(*choices), len(choices))


def find() -> Optional[Marks]:
    """The functions of the tap that is preloaded into this process, if there is one."""
    try:
        # PyDLL keeps the interpreter's lock: to give it away for so short a call could cost the engine a thread switch.
        return Marks(ctypes.PyDLL(None))
    except (AttributeError, OSError):
        return None

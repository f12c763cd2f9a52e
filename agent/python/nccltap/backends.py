"""What vLLM gives its all-reduces to, said at the end of a step: a second witness beside the tap.

vLLM chooses for each all-reduce by its size: NCCL, its own kernel, FlashInfer and others. The choice is made in Python, below
`torch.ops.vllm.all_reduce`, which is opaque to torch.compile. So the hooks stand there, one on the function by which each backend
is called at last: Dynamo never sees them. A call that is captured into a CUDA graph comes by once, and launches of the graph not at all;
the tap counts both, and the collector compares calls with calls.

Runs at start-up, in which graphs are captured, are listened to, and so are the first steps that serve requests; after them one of so
many. In the others the engine's own functions stand in their places, and cost what they cost without us.

Held against the sources of vLLM 0.8.5.post1, 0.11.0, 0.20.0 and 0.32.0.
"""

from collections import Counter, deque
from typing import Any, Callable, Deque, Dict, List, Optional, Tuple

from nccltap import marks
from nccltap.hooks import Marker, Replaced
from nccltap.imports import when_imported

_COMMUNICATORS = "vllm.distributed.device_communicators."

#: Module and class of each backend, the function that does an all-reduce (the first that there is), whether it
#: returns None when it did nothing, and what it is.
BACKENDS = (
    (_COMMUNICATORS + "pynccl", "PyNcclCommunicator", ("all_reduce",), True, marks.PYNCCL),
    # Releases that cut what is too large for the kernel into pieces launch it once for each.
    (_COMMUNICATORS + "custom_all_reduce", "CustomAllreduce", ("_all_reduce_chunk", "all_reduce"), False, marks.CUSTOM),
    (_COMMUNICATORS + "quick_all_reduce", "QuickAllReduce", ("quick_all_reduce",), False, marks.QUICK_REDUCE),
    (_COMMUNICATORS + "symm_mem", "SymmMemCommunicator", ("all_reduce",), True, marks.SYMM_MEM),
    (_COMMUNICATORS + "flashinfer_pcie_ipc_all_reduce", "FlashInferPcieIpcAllReduce", ("all_reduce",), False, marks.FLASHINFER),
)

#: FlashInfer's functions, which vLLM takes from its module at each call, with keywords: for what is reduced, and for what
#: else the kernel does.
FLASHINFER = (
    ("allreduce_fusion", "input", "pattern"),
    ("trtllm_allreduce_fusion", "allreduce_in", "pattern_code"),
)

#: Calls of a backend between two steps that are remembered. An engine makes some hundred in a step, and some ten thousand while it
#: captures its graphs.
LONGEST = 1 << 16

#: Flags of runs at start-up.
STARTS = marks.WARM_UP | marks.CAPTURE | marks.PROFILE

#: Steps that are listened to before it is one of so many only.
FIRST = 64
#: One of so many. A prime: engines that call the worker twice for each step are not heard by one of the two alone.
ONE_OF = 17


def watch(marker: Marker) -> None:
    """Hooks the backends as they are imported. What they did is said at the end of a step."""
    marker.witness = witness = Witness(marker)
    for module, *row in BACKENDS:
        when_imported(module, lambda module, row=row: witness.hook(module, *row))
    when_imported("flashinfer.comm", witness.hook_flashinfer)


class Witness:
    """Remembers calls of backends until the end of the step."""

    def __init__(self, marker: Marker) -> None:
        self._marker = marker
        #: Message bytes of each call, by backend. Threads append to it, one of them takes out.
        self._calls: Dict[int, Deque[int]] = {}
        self._replaced: List[Replaced] = []
        self._steps = 0
        self._listens = True
        self._silent = False

    def begin(self, step: Optional[marks.Step]) -> None:
        """A step begins. Decides whether it is listened to."""
        listens = self._steps < FIRST or self._steps % ONE_OF == 0
        if step is not None and step.flags & STARTS:
            listens = True
        else:
            self._steps += 1
        if listens == self._listens or self._silent:
            return
        try:
            self._listens = listens
            if listens:
                self._listen()
            else:
                self._rest()
        except Exception as error:  # noqa: BLE001
            self._cannot(f"{type(error).__name__}: {error}")

    def end(self) -> None:
        """Says what was done since the last time."""
        if self._silent or not self._listens:
            return
        try:
            said: Dict[Tuple[int, int], int] = {}
            for backend, calls in self._calls.items():
                if calls:
                    self._take(backend, calls, said)
            if said and not self._silent:
                self._marker.marks.chosen(said)
        except Exception as error:  # noqa: BLE001
            self._cannot(f"{type(error).__name__}: {error}")

    def _listen(self) -> None:
        for replaced in self._replaced:
            replaced.put_in()
        # Whoever kept a hooked function was heard all the time.
        for calls in self._calls.values():
            calls.clear()
        self._marker.marks.not_listened()

    def _rest(self) -> None:
        for replaced in self._replaced:
            replaced.take_out()

    def _take(self, backend: int, calls: Deque[int], said: Dict[Tuple[int, int], int]) -> None:
        number = len(calls)
        if number == LONGEST:
            # Some are forgotten. What was said until now stays true.
            self._cannot("more all-reduces between two steps than are remembered")
            return
        take = calls.popleft
        taken = [take() for _ in range(number)]
        if taken.count(taken[0]) == number:
            # So it is in nearly every step.
            said[backend, taken[0]] = number
            return
        for message_bytes, times in Counter(taken).items():
            said[backend, message_bytes] = times

    def _cannot(self, why: str) -> None:
        self._silent = True
        self._rest()
        for calls in self._calls.values():
            calls.clear()
        self._marker.say_once(f"what all-reduces are given to is not said any more: {why}")

    def hook(self, module: Any, owner: str, names: Tuple[str, ...], none_is_nothing: bool, backend: int) -> None:
        """Remembers each call of the first of these functions that the class has."""
        found = getattr(module, owner, None)
        name = next((name for name in names if hasattr(found, name)), None)
        if name is None:
            self._marker.say_once(f"{module.__name__} has no {owner}.{names[-1]}: its all-reduces are seen by the tap alone")
            return
        append = self._of(backend).append
        # No function returns this.
        nothing = None if none_is_nothing else object()

        def remembered(real: Callable[..., Any]) -> Callable[..., Any]:
            def all_reduce(*arguments: Any, **options: Any) -> Any:
                out = real(*arguments, **options)
                if out is not nothing:
                    try:
                        append(arguments[1].nbytes)
                    except (IndexError, AttributeError):
                        self._remember(backend, next(iter(options.values()), None))
                return out

            return all_reduce

        self._replace(found, name, remembered)

    def hook_flashinfer(self, module: Any) -> None:
        """Remembers each call of FlashInfer's functions, by what else its kernel does."""
        patterns = getattr(module, "AllReduceFusionPattern", None)
        alone = getattr(patterns, "kAllReduce", 0)

        def remembering(reduced: str, pattern: str) -> Callable[..., Any]:
            def remembered(real: Callable[..., Any]) -> Callable[..., Any]:
                def all_reduce(*arguments: Any, **options: Any) -> Any:
                    out = real(*arguments, **options)
                    fused = options.get(pattern) != alone
                    self._remember(marks.FLASHINFER_FUSED if fused else marks.FLASHINFER, options.get(reduced))
                    return out

                return all_reduce

            return remembered

        for name, *where in FLASHINFER:
            if hasattr(module, name):
                self._replace(module, name, remembering(*where))

    def _replace(self, owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        replaced = self._marker.replace(owner, name, make)
        if replaced is not None:
            self._replaced.append(replaced)
            if not self._listens:
                replaced.take_out()

    def _of(self, backend: int) -> Deque[int]:
        return self._calls.setdefault(backend, deque(maxlen=LONGEST))

    def _remember(self, backend: int, tensor: Optional[Any]) -> None:
        try:
            self._of(backend).append(tensor.nbytes)
        except Exception as error:  # noqa: BLE001
            self._cannot(f"an all-reduce is called as the plugin does not know: {type(error).__name__}: {error}")

"""Marks the steps of SGLang: one batch of its scheduler is one step.

Held against the sources of SGLang 0.5.23, which has plugins; 0.5.5 has none, and so never asks for this.
"""

from typing import Any, Callable, Optional

from nccltap import marks
from nccltap.hooks import Marker
from nccltap.imports import when_imported

_registered = False


def register() -> None:
    """SGLang calls this in each of its processes."""
    global _registered
    found = marks.find()
    if found is None or _registered:
        return
    _registered = True
    marker = Marker(found)
    when_imported("sglang.srt.managers.scheduler", lambda module: hook(marker, module))


def batch_step(batch: Any) -> Optional[marks.Step]:
    """What the step of this batch is."""
    mode = batch.forward_mode
    if mode.is_idle():
        return marks.step(flags=marks.DUMMY)
    if mode.is_extend():
        # Requests that generate and take part in it have one token each.
        generating = len(batch.decoding_reqs or ())
        return marks.step(len(batch.reqs) - generating, generating, batch.extend_num_tokens - generating, generating)
    if not mode.is_decode():
        return None
    # How many guesses of a draft are checked is the worker's to know: they are in no count.
    requests = len(batch.reqs)
    return marks.step(0, requests, 0, requests)


def hook(marker: Marker, module: Any) -> None:
    scheduler = getattr(module, "Scheduler", None)
    if scheduler is None:
        marker.cannot_hook(module.__name__, "Scheduler")
        return

    def run(real: Callable[..., Any]) -> Callable[..., Any]:
        def run_batch(self: Any, batch: Any, *arguments: Any, **options: Any) -> Any:
            step = marker.count(batch_step, batch)
            if step is None:
                return real(self, batch, *arguments, **options)
            return marker.within(step, real, self, batch, *arguments, **options)

        return run_batch

    marker.replace(scheduler, "run_batch", run)

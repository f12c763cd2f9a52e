"""What stands in for the tap and for an engine's objects, by the shapes of the engines' sources."""

from types import SimpleNamespace

from nccltap import marks


class Tap:
    """Writes marks down."""

    def __init__(self):
        self.marked = []

    def begin(self, of):
        self.marked.append(("begin", of and fields(of)))

    def describe(self, of):
        self.marked.append(("describe", fields(of)))

    def end(self):
        self.marked.append(("end",))

    def place(self, at):
        assert at.size == 36
        kinds = ("tensor", "pipeline", "data", "expert")
        self.marked.append(("place", *((getattr(at, f"{kind}_rank"), getattr(at, f"{kind}_size")) for kind in kinds)))

    def not_listened(self):
        self.marked.append(("not listened",))

    def chosen(self, calls):
        self.marked.append(("chosen", dict(calls)))


def fields(step):
    """Prefill and decode requests, prefill and decode tokens, speculative tokens, flags."""
    assert step.size == 28
    return (
        step.prefill_requests,
        step.decode_requests,
        step.prefill_tokens,
        step.decode_tokens,
        step.speculative_tokens,
        step.flags,
    )


def begins(tap):
    return [mark[1] for mark in tap.marked if mark[0] == "begin"]


def new(request, prompt, computed=0, **more):
    return SimpleNamespace(req_id=request, prompt_token_ids=list(range(prompt)), num_computed_tokens=computed, **more)


def output(scheduled, new=(), cached=(), finished=(), guesses=None, resumed=(), form="set"):
    """A SchedulerOutput: tokens of each request, new requests, computed tokens of cached ones, those of them that were
    preempted. Its form is that of 0.8.5 (`list`), of 0.11.0 (`flags`) or of 0.20.0 (`set`)."""
    if form == "list":
        cached_data = [
            SimpleNamespace(req_id=request, num_computed_tokens=computed, resumed_from_preemption=request in resumed)
            for request, computed in cached
        ]
    else:
        cached_data = SimpleNamespace(
            req_ids=[request for request, _ in cached], num_computed_tokens=[computed for _, computed in cached]
        )
        if form == "flags":
            cached_data.resumed_from_preemption = [request in resumed for request, _ in cached]
        else:
            cached_data.resumed_req_ids = set(resumed)
    return SimpleNamespace(
        scheduled_new_reqs=list(new),
        scheduled_cached_reqs=cached_data,
        num_scheduled_tokens=dict(scheduled),
        total_num_scheduled_tokens=sum(scheduled.values()),
        scheduled_spec_decode_tokens=guesses or {},
        finished_req_ids=set(finished),
    )


__all__ = ["Tap", "begins", "fields", "marks", "new", "output"]

"""Marks the steps of vLLM, of its V0 engine and of its V1 engine with either model runner, and says what its all-reduces were given to.

Held against the sources of vLLM 0.8.5.post1, 0.11.0, 0.20.0 and 0.32.0.
"""

from typing import Any, Callable, Dict, List, Optional, Tuple

from nccltap import backends, marks
from nccltap.hooks import Marker
from nccltap.imports import when_imported

_registered = False


def register() -> None:
    """vLLM calls this in each of its processes, perhaps more than once."""
    global _registered
    found = marks.find()
    if found is None or _registered:
        return
    _registered = True
    marker = Marker(found)
    when_imported("vllm.v1.worker.gpu_worker", lambda module: hook_v1(marker, module))
    when_imported("vllm.worker.worker_base", lambda module: hook_v0(marker, module))
    when_imported("vllm.worker.worker", lambda module: hook_v0_startup(marker, module))
    backends.watch(marker)


class Schedule:
    """What the steps of a V1 worker are, by the scheduler's outputs alone, all of which must pass through here.

    A request is in prefill until all tokens of its prompt are computed. One that computes more than its next token
    and its draft's guesses is in prefill as well: it computes again what preemption took from it.

    The work per step grows with the requests that begin, end or are in prefill, not with those that generate.
    """

    def __init__(self) -> None:
        #: Length of the prompt of each live request.
        self._prompts: Dict[str, int] = {}
        #: Those whose prompt is not computed yet, and how much of it is.
        self._unfinished: Dict[str, int] = {}

    def step(self, output: Any) -> Optional[marks.Step]:
        """What the step of this scheduler output is. None when nothing is computed in it."""
        prompts, unfinished = self._prompts, self._unfinished
        for request in output.finished_req_ids:
            prompts.pop(request, None)
            unfinished.pop(request, None)
        for new in output.scheduled_new_reqs:
            prompts[new.req_id] = length = _prompt_length(new)
            if new.num_computed_tokens < length:
                unfinished[new.req_id] = new.num_computed_tokens
        total = output.total_num_scheduled_tokens
        if not total:
            return None
        scheduled = output.num_scheduled_tokens
        requests = tokens = 0
        for request in list(unfinished) if unfinished else ():
            now = scheduled.get(request)
            if now:
                requests += 1
                tokens += now
                computed = unfinished[request] + now
                if computed < prompts[request]:
                    unfinished[request] = computed
                else:
                    del unfinished[request]
        guesses = output.scheduled_spec_decode_tokens
        speculative = sum(map(len, guesses.values())) if guesses else 0
        generating = len(scheduled) - requests
        if total - tokens != generating + speculative or _any_resumed(output.scheduled_cached_reqs):
            # Somebody computes again what it had: a request that was preempted, or whose cache was lost.
            requests, tokens = self._one_by_one(output)
            generating = len(scheduled) - requests
        return marks.step(requests, generating, tokens, total - tokens, speculative)

    def _one_by_one(self, output: Any) -> Tuple[int, int]:
        """Requests and tokens in prefill, by what the scheduler says of each."""
        requests = tokens = 0
        computed = dict(_computed(output))
        guesses = output.scheduled_spec_decode_tokens
        for request, now in output.num_scheduled_tokens.items():
            before, length = computed[request], self._prompts[request]
            if before < length or now > 1 + len(guesses.get(request, ())):
                requests += 1
                tokens += now
            if before + now < length:
                self._unfinished[request] = before + now
            else:
                self._unfinished.pop(request, None)
        return requests, tokens


def _prompt_length(new: Any) -> int:
    # The V2 model runner gets a preempted request as a new one, with what it had generated.
    tokens = getattr(new, "prefill_token_ids", None)
    if tokens is None:
        tokens = new.prompt_token_ids
    return len(tokens) if tokens is not None else len(new.prompt_embeds)


def _any_resumed(cached: Any) -> bool:
    if isinstance(cached, list):
        return any(request.resumed_from_preemption for request in cached)
    resumed = getattr(cached, "resumed_req_ids", None)
    return bool(resumed) if resumed is not None else True in cached.resumed_from_preemption


def _computed(output: Any) -> List[Tuple[str, int]]:
    new = [(request.req_id, request.num_computed_tokens) for request in output.scheduled_new_reqs]
    cached = output.scheduled_cached_reqs
    if isinstance(cached, list):
        return new + [(request.req_id, request.num_computed_tokens) for request in cached]
    return new + list(zip(cached.req_ids, cached.num_computed_tokens))


def place(worker: Any) -> marks.Coordinates:
    """Where a worker stands, by its parallel groups."""
    from vllm.distributed import parallel_state

    def rank(name: str) -> marks.Rank:
        group = getattr(parallel_state, name, None)
        return (group.rank_in_group, group.world_size) if group is not None else (0, 1)

    # Releases without a group for the experts have the ranks of all copies share them.
    tensor, data = rank("_TP"), rank("_DP")
    experts = (0, 1)
    if getattr(worker.vllm_config.parallel_config, "enable_expert_parallel", False):
        across = (data[0] * tensor[1] + tensor[0], data[1] * tensor[1])
        experts = rank("_EP") if hasattr(parallel_state, "_EP") else across
    return marks.coordinates(tensor, rank("_PP"), data, experts)


def hook_v1(marker: Marker, module: Any) -> None:
    worker = getattr(module, "Worker", None)
    if worker is None:
        marker.cannot_hook(module.__name__, "Worker")
        return
    schedule = Schedule()
    latest: Optional[marks.Step] = None

    def execute(real: Callable[..., Any]) -> Callable[..., Any]:
        def execute_model(self: Any, scheduler_output: Any, *arguments: Any, **options: Any) -> Any:
            nonlocal latest
            if marker.starting:
                return real(self, scheduler_output, *arguments, **options)
            latest = marker.count(schedule.step, scheduler_output)
            if latest is None:
                return real(self, scheduler_output, *arguments, **options)
            return marker.within(latest, real, self, scheduler_output, *arguments, **options)

        return execute_model

    def sample(real: Callable[..., Any]) -> Callable[..., Any]:
        def sample_tokens(self: Any, *arguments: Any, **options: Any) -> Any:
            if marker.starting or latest is None:
                return real(self, *arguments, **options)
            latest.flags |= marks.CONTINUED
            return marker.within(latest, real, self, *arguments, **options)

        return sample_tokens

    if not marker.replace(worker, "execute_model", execute):
        return
    if hasattr(worker, "sample_tokens"):
        marker.replace(worker, "sample_tokens", sample)
    marker.startup(worker, "determine_available_memory", marks.PROFILE, place)
    marker.startup(worker, "compile_or_warm_up_model", marks.WARM_UP)
    marker.startup(worker, "execute_dummy_batch", marks.DUMMY)


def v0_step(inputs: Any) -> Optional[marks.Step]:
    """What the step of V0 is that a worker has prepared these inputs for."""
    model_input = inputs[0]
    meta = model_input.attn_metadata
    if meta is None:
        return None
    decode = meta.num_decode_tokens
    generating = decode
    if getattr(meta, "use_cuda_graph", False):
        # Padded to the size of the graph; the sequences are told apart.
        sequences = sum(map(len, model_input.request_ids_to_seq_ids.values()))
        decode = generating = sequences - meta.num_prefills
    return marks.step(meta.num_prefills, generating, meta.num_prefill_tokens, decode)


def hook_v0(marker: Marker, module: Any) -> None:
    base = getattr(module, "LocalOrDistributedWorkerBase", None)
    if base is None:
        # A release that kept the module for the sake of its other names: its workers are V1's.
        return
    to = marker.marks

    # Workers learn what a step is by operations that belong to the step.
    def execute(real: Callable[..., Any]) -> Callable[..., Any]:
        def execute_model(self: Any, *arguments: Any, **options: Any) -> Any:
            if marker.starting:
                return real(self, *arguments, **options)
            return marker.within(None, real, self, *arguments, **options)

        return execute_model

    def prepare(real: Callable[..., Any]) -> Callable[..., Any]:
        def prepare_input(self: Any, *arguments: Any, **options: Any) -> Any:
            inputs = real(self, *arguments, **options)
            if inputs is not None and not marker.starting:
                described = marker.count(v0_step, inputs)
                if described is not None:
                    to.describe(described)
            return inputs

        return prepare_input

    if hasattr(base, "prepare_input"):
        if marker.replace(base, "execute_model", execute):
            marker.replace(base, "prepare_input", prepare)
    else:
        marker.cannot_hook(base.__name__, "prepare_input")


def hook_v0_startup(marker: Marker, module: Any) -> None:
    worker = getattr(module, "Worker", None)
    if worker is not None:
        marker.startup(worker, "determine_num_available_blocks", marks.PROFILE, place)
        marker.startup(worker, "initialize_cache", marks.WARM_UP)

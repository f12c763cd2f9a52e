"""The parallel groups of one of two tensor-parallel ranks, by the names that vLLM (0.20.0) gives them."""

from types import SimpleNamespace


def _group(size):
    return SimpleNamespace(rank_in_group=0, world_size=size)


_TP, _PP, _DP, _EP = _group(2), _group(1), _group(1), None

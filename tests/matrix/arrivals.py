#!/usr/bin/env python3
"""The requests of a run of offline.py, each with the step before which vLLM's scheduler first took it: for `nccltap check --requests`.

usage: arrivals.py SCHEDULE_LOG [REQUESTS [SEED]]      SCHEDULE_LOG: one file that schedule/sitecustomize.py wrote

For one pipeline stage and chunked prefill, in which at most one prompt of a step is cut. Requests are taken in the order in which they
arrive, as the schedulers of vLLM do.
"""

import json
import random
import sys


def requests(count: int, seed: int) -> list[tuple[int, int]]:
    """Lengths of prompts and answers as offline.py draws them, in the order of arrival."""
    numbers = random.Random(seed)
    drawn = []
    for _ in range(count):
        prompt = numbers.randint(16, 1500)
        for _ in range(prompt):
            numbers.randrange(5, 130)
        drawn.append((prompt, numbers.randint(4, 64), numbers.random() * 3))
    return [(prompt, output) for prompt, output, _ in sorted(drawn, key=lambda request: request[2])]


def main(log: str, count: int = 64, seed: int = 1) -> None:
    with open(log) as lines:
        steps = [step for step in map(json.loads, lines) if step["phase"] in ("prefill", "decode", "mixed")]
    waiting = iter(requests(count, seed))
    cut = 0
    for number, step in enumerate(steps):
        begun, tokens = step["prefills"] - bool(cut), step["prefill_tokens"]
        computed = min(cut, tokens)
        cut, tokens = cut - computed, tokens - computed
        for _ in range(begun):
            prompt, output = next(waiting)
            print(json.dumps({"prompt": prompt, "output": output, "arrives": number}))
            computed = min(prompt, tokens)
            cut, tokens = prompt - computed, tokens - computed
        if tokens:
            sys.exit(f"{log}: step {number + 1} computes {tokens} prompt tokens more than these requests have")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

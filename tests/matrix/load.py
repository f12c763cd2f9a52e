#!/usr/bin/env python3
"""So many completions at once from a server on this machine, prompts and answers of random length.

usage: load.py PORT REQUESTS

Prints one line, and exits with 1 when a request failed or got another number of tokens than it asked for.
"""

import json
import random
import sys
import threading
import urllib.request


def main(port: int, requests: int) -> int:
    server = f"http://127.0.0.1:{port}/v1"
    with urllib.request.urlopen(f"{server}/models", timeout=60) as answer:
        model = json.load(answer)["data"][0]["id"]
    lengths = random.Random(requests)
    asked = [(lengths.randint(16, 1500), lengths.randint(16, 128)) for _ in range(requests)]
    failures = []

    def complete(number: int, prompt: int, output: int) -> None:
        body = dict(
            model=model,
            # Of the bytes that the tokenizer of a rehearsed model knows; older releases refuse others.
            prompt=[5 + (number * 37 + i) % 250 for i in range(prompt)],
            max_tokens=output,
            min_tokens=output,
            ignore_eos=True,
            temperature=0,
        )
        request = urllib.request.Request(f"{server}/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                usage = json.load(answer)["usage"]
            if (usage["prompt_tokens"], usage["completion_tokens"]) != (prompt, output):
                failures.append(f"request {number}: asked for {prompt} + {output} tokens, got {usage}")
        except OSError as error:
            failures.append(f"request {number}: {error}")

    threads = [threading.Thread(target=complete, args=(number, *lengths)) for number, lengths in enumerate(asked)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(failures[0] if failures else f"{requests} requests, {sum(p for p, _ in asked)} + {sum(o for _, o in asked)} tokens")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))

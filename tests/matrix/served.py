#!/usr/bin/env python3
"""An unmodified `vllm serve`, and many completions at once by HTTP: see load.py.

usage: served.py MODEL_FOLDER TENSOR_PARALLEL PIPELINE_PARALLEL [--data N] [--experts] [--requests N] [--chunked TOKENS] [--graphs]

Exits with 1 when a request failed.
"""

import argparse
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import load

# Seconds.
START_WITHIN, END_WITHIN = 600, 90


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def serves(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait_for(server: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + START_WITHIN
    while not serves(port):
        if server.poll() is not None:
            sys.exit(f"the server ended with {server.returncode} before it served")
        if time.monotonic() > deadline:
            sys.exit(f"the server did not serve within {START_WITHIN} s")
        time.sleep(0.2)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("tensor_parallel", type=int)
    parser.add_argument("pipeline_parallel", type=int)
    parser.add_argument("--data", type=int, default=1)
    parser.add_argument("--experts", action="store_true")
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--chunked", type=int)
    parser.add_argument("--graphs", action="store_true")
    arguments = parser.parse_args()

    port = free_port()
    command = ["vllm", "serve", arguments.model, "--host", "127.0.0.1", "--port", str(port), "--max-model-len", "2048"]
    command += ["--load-format", "dummy", "--disable-custom-all-reduce", "--tensor-parallel-size", str(arguments.tensor_parallel)]
    command += ["--pipeline-parallel-size", str(arguments.pipeline_parallel)]
    command += ["--data-parallel-size", str(arguments.data)] if arguments.data > 1 else []
    command += ["--enable-expert-parallel"] if arguments.experts else []
    command += [] if arguments.graphs else ["--enforce-eager"]
    if arguments.chunked:
        # V1 wants no more sequences in a step than tokens.
        command += ["--enable-chunked-prefill", "--max-num-batched-tokens", str(arguments.chunked)]
        command += ["--max-num-seqs", str(min(256, arguments.chunked))]
    server = subprocess.Popen(command)
    try:
        wait_for(server, port)
        failed = load.main(port, arguments.requests)
        # Simulated ranks do not wait for each other.
        time.sleep(2)
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
    return failed


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Holds `nccltap check` against unmodified vLLM with models, layouts and loads that nobody chose: a seed draws them.

usage: random_models.py NCCLTAP OBSERVED [--seed N] [--trials N] [--keep FOLDER [--again]]

NCCLTAP is the command, beside its libraries; OBSERVED the program that prints the simulator's own account (`cargo build -p nccltap-tests
--bin observed`). Engines come from `nccltap rehearse install`. A trial is one seed: a config.json of a known architecture, an engine, a
layout, eager or CUDA graphs, custom all-reduce or not, a few requests of random lengths. What the engine's scheduler logged goes to
`nccltap check`, which is held against what the simulator counted; the tap has no part in it.

Prints a line per trial: what was drawn, and "equal N of N kinds", or "refused" with the sentence of the predictor, which is asked before the
engine is started, or "engine failed" with its last error, or "DIFFERENT" with the rows. Seeds that follow each other have other
architectures and other engines. Exits 1 if anything was different.
"""

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
# Seconds that an engine may take, and that it may take to end when it is asked to.
WITHIN, END_WITHIN = 900, 90
MAX_MODEL_LEN = 2048


class Release(NamedTuple):
    package: str
    # VLLM_USE_V1, where a release has both.
    version: str | None
    options: str
    # `max_num_seqs` and `max_num_batched_tokens` of the class `AsyncLLM` by default (`engine/arg_utils.py`, `config/scheduler.py`).
    sequences: int
    tokens: int


RELEASES = [
    Release("vllm==0.8.5.post1", "0", "--engine vllm-v0", 256, 2048),
    Release("vllm==0.8.5.post1", "1", "--engine vllm-v1 --engine-version 0.8.5", 1024, 2048),
    Release("vllm==0.11.0", None, "--engine vllm-v1 --engine-version 0.11", 128, 2048),
    Release("vllm==0.20.0", None, "--engine vllm-v1 --engine-version 0.20", 128, 2048),
    Release("vllm==0.32.0", None, "--engine vllm-v1 --engine-version 0.32", 128, 2048),
]

# `architectures` and `model_type`.
ARCHITECTURES = [
    ("LlamaForCausalLM", "llama"),
    ("MistralForCausalLM", "mistral"),
    ("Qwen2ForCausalLM", "qwen2"),
    ("Qwen3ForCausalLM", "qwen3"),
    ("GemmaForCausalLM", "gemma"),
    ("Gemma2ForCausalLM", "gemma2"),
    ("Gemma3ForCausalLM", "gemma3_text"),
    ("Phi3ForCausalLM", "phi3"),
    ("MixtralForCausalLM", "mixtral"),
    ("Qwen2MoeForCausalLM", "qwen2_moe"),
    ("Qwen3MoeForCausalLM", "qwen3_moe"),
    ("DeepseekV2ForCausalLM", "deepseek_v2"),
    ("DeepseekV3ForCausalLM", "deepseek_v3"),
]


class Trial(NamedTuple):
    seed: int
    release: Release
    config: dict
    tensor: int
    pipeline: int
    experts: bool
    graphs: bool
    custom: bool
    requests: int
    chunked: int | None
    sequences: int | None

    def __str__(self) -> str:
        config = self.config
        engine = self.release.package.replace("vllm==", "") + (f" V{self.release.version}" if self.release.version else "")
        heads = f"{config['num_attention_heads']}/{config['num_key_value_heads']} heads"
        heads += f" of {config['head_dim']}" if "head_dim" in config else ""
        parts = [f"seed {self.seed}: {config['architectures'][0].removesuffix('ForCausalLM')}"]
        parts += [f"{config['num_hidden_layers']} layers x {config['hidden_size']}", heads]
        parts += [f"vocabulary {config['vocab_size']}", config["torch_dtype"]]
        parts += ["tied"] if config.get("tie_word_embeddings") else []
        if "num_experts_per_tok" in config:
            names = ("num_local_experts", "num_experts", "n_routed_experts")
            parts += [f"{next(config[name] for name in names if name in config)} experts"]
        parts += [f"window {config['sliding_window']}"] if config.get("sliding_window") else []
        layout = f"TP={self.tensor} PP={self.pipeline}" + (" EP" if self.experts else "")
        parts += [f"vLLM {engine}", layout, "graphs" if self.graphs else "eager"]
        parts += ["custom all-reduce"] if self.custom else []
        parts += [f"{self.requests} requests"] + ([f"chunked {self.chunked}"] if self.chunked else [])
        parts += [f"at most {self.sequences} at once"] if self.sequences else []
        return ", ".join(parts)

    @property
    def longest(self) -> int:
        """The longest prompt. 0.32 decides on the GPU that a part of a prompt samples nothing (`_get_num_sampled_and_rejected_kernel`),
        and simulated GPUs compute nothing: so all prompts of its trials fit into one step beside the other requests."""
        if self.release.package != "vllm==0.32.0":
            return 1500
        return ((self.chunked or self.release.tokens) - self.requests) // self.requests

    def check_options(self) -> list[str]:
        tokens = self.chunked or self.release.tokens
        sequences = min(256, self.chunked) if self.chunked else self.release.sequences
        options = f"{self.release.options} --tp {self.tensor} --pp {self.pipeline} --max-model-len {MAX_MODEL_LEN}"
        options += f" --max-num-batched-tokens {tokens} --max-num-seqs {self.sequences or sequences}"
        for holds, option in [
            (self.experts, " --ep"),
            (self.graphs, " --cuda-graphs"),
            (self.custom, " --custom-all-reduce"),
            (self.chunked, " --enable-chunked-prefill"),
        ]:
            options += option if holds else ""
        return options.split()

    def engine_command(self) -> list[str]:
        command = ["python", str(HERE / "offline.py"), "{model}", str(self.tensor), str(self.pipeline)]
        command += ["--requests", str(self.requests), "--seed", str(self.seed), "--longest", str(self.longest)]
        for holds, option in [
            (self.experts, ["--experts"]),
            (self.graphs, ["--graphs"]),
            (self.custom, ["--custom-all-reduce"]),
            (self.chunked, ["--chunked", str(self.chunked)]),
            (self.sequences, ["--sequences", str(self.sequences)]),
        ]:
            command += option if holds else []
        return command


def draw(seed: int) -> Trial:
    numbers = random.Random(seed)
    # 13 architectures and 5 releases: 65 seeds in a row have each with each.
    architecture, model_type = ARCHITECTURES[seed % len(ARCHITECTURES)]
    release = RELEASES[seed % len(RELEASES)]
    layouts = [(tensor, pipeline) for tensor in (1, 2, 3, 4) for pipeline in (1, 2, 3) if 1 < tensor * pipeline <= 6]
    tensor, pipeline = numbers.choice(layouts)
    config = draw_model(numbers, architecture, model_type, tensor, pipeline)
    chunked = numbers.choice([None, None, 64, 100, 512])
    return Trial(
        seed=seed,
        release=release,
        config=config,
        tensor=tensor,
        pipeline=pipeline,
        experts="num_experts_per_tok" in config and numbers.random() < 0.5,
        graphs=numbers.random() < 0.5,
        custom=numbers.random() < 0.3,
        requests=numbers.randint(2, 9),
        chunked=chunked,
        sequences=numbers.choice([None, None, 3, 16]),
    )


def draw_model(numbers: random.Random, architecture: str, model_type: str, tensor: int, pipeline: int) -> dict:
    heads = tensor * numbers.choice([1, 2, 3, 4])
    shared = [kv for kv in range(1, heads + 1) if heads % kv == 0 and (kv % tensor == 0 or tensor % kv == 0)]
    head_size = numbers.choice([32, 64, 64, 80, 96, 128])
    hidden = heads * head_size
    # A multiple of 64 that the tensor-parallel size divides, less what vLLM pads.
    vocabulary = 64 * tensor * numbers.randint(8, 20) - numbers.randint(0, 63)
    config = dict(
        architectures=[architecture],
        model_type=model_type,
        hidden_size=hidden,
        num_hidden_layers=numbers.randint(max(2, pipeline), 7),
        num_attention_heads=heads,
        num_key_value_heads=numbers.choice(shared),
        intermediate_size=64 * tensor * numbers.randint(1, 5),
        vocab_size=vocabulary,
        max_position_embeddings=4096,
        rms_norm_eps=1e-6,
        hidden_act="silu",
        rope_theta=10000.0,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        torch_dtype=numbers.choice(["bfloat16", "float16"]),
        tie_word_embeddings=numbers.random() < 0.5,
    )
    window = numbers.choice([None, 128, 512])
    if architecture.startswith(("Llama", "Mistral", "Qwen3", "Gemma", "Mixtral")):
        # Heads need not be as wide together as the model.
        config.update(head_dim=head_size, hidden_size=numbers.choice([hidden, 8 * numbers.randint(32, 128)]))
    if architecture.startswith("Gemma"):
        config.update(hidden_act="gelu_pytorch_tanh", hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True)
    if architecture.startswith("Gemma2"):
        config.update(sliding_window=512, query_pre_attn_scalar=head_size, attn_logit_softcapping=50.0, final_logit_softcapping=30.0)
    if architecture.startswith("Gemma3"):
        config.update(sliding_window=512, sliding_window_pattern=3, query_pre_attn_scalar=head_size, rope_local_base_freq=10000.0)
    if architecture.startswith(("Mistral", "Phi3", "Mixtral")):
        config.update(sliding_window=window)
    if architecture.startswith(("Qwen2F", "Qwen3F")) and window:
        config.update(use_sliding_window=numbers.random() < 0.5, sliding_window=window, max_window_layers=config["num_hidden_layers"])
    config.update(draw_experts(numbers, architecture, config, tensor))
    return config


def draw_experts(numbers: random.Random, architecture: str, config: dict, tensor: int) -> dict:
    count, chosen, width = tensor * numbers.choice([2, 4]), 2, 64 * tensor * numbers.randint(1, 2)
    if architecture.startswith("Mixtral"):
        return dict(num_local_experts=count, num_experts_per_tok=chosen)
    if "Moe" in architecture:
        experts = dict(num_experts=count, num_experts_per_tok=chosen, moe_intermediate_size=width, norm_topk_prob=True)
        experts.update(decoder_sparse_step=numbers.choice([1, 1, 2]), mlp_only_layers=numbers.choice([[], [0]]))
        if architecture.startswith("Qwen2"):
            experts.update(shared_expert_intermediate_size=2 * width)
        return experts
    if architecture.startswith("Deepseek"):
        experts = dict(n_routed_experts=count, num_experts_per_tok=chosen, moe_intermediate_size=width, n_shared_experts=numbers.choice([1, 2]))
        experts.update(first_k_dense_replace=numbers.choice([0, 1]), moe_layer_freq=1, n_group=1, topk_group=1, norm_topk_prob=True)
        experts.update(kv_lora_rank=512, qk_rope_head_dim=64, qk_nope_head_dim=128, v_head_dim=128, q_lora_rank=numbers.choice([None, 256]))
        # Latent attention has no shared heads.
        experts.update(num_key_value_heads=config["num_attention_heads"], routed_scaling_factor=1.0, rope_scaling=None)
        v3 = architecture.startswith("DeepseekV3")
        experts.update(topk_method="noaux_tc" if v3 else "greedy", scoring_func="sigmoid" if v3 else "softmax")
        return experts
    return {}


def run(trial: Trial, folder: Path, nccltap: Path, observed: Path) -> tuple[str, str]:
    """What came of the trial, in a word, and the rest of its line."""
    for made in ("trace", "counts"):
        (folder / made).mkdir(parents=True)
    config = folder / "config.json"
    config.write_text(json.dumps(trial.config, indent=2))
    asked = [str(nccltap), "predict", "--model-config", str(config), *trial.check_options(), "--requests", str(one_request(folder))]
    predicted = subprocess.run([*asked, "--format", "json"], capture_output=True, text=True)
    if predicted.returncode != 0:
        return "refused", said(predicted.stderr)
    failed = serve(trial, folder, nccltap, config)
    if failed:
        return "engine failed", failed
    return judge(trial, folder, nccltap, observed)


def judge(trial: Trial, folder: Path, nccltap: Path, observed: Path) -> tuple[str, str]:
    """Holds what a run left in the folder against its prediction."""
    account = subprocess.run([observed, folder / "counts"], capture_output=True, text=True)
    if account.returncode != 0:
        return "DIFFERENT", said(account.stderr)
    rows = json.loads(account.stdout)
    for row in rows:
        # The simulator does not know for which group a kernel beside NCCL works.
        if row["path"] != "nccl" and row["ranks_in_group"] is None:
            row["ranks_in_group"] = trial.tensor
    simulator = folder / "simulator.json"
    simulator.write_text(json.dumps(rows))
    command = [str(nccltap), "check", str(simulator), "--model-config", str(folder / "config.json"), *trial.check_options()]
    for trace in sorted((folder / "trace").iterdir()):
        command += ["--trace", str(trace)]
    checked = subprocess.run([*command, "--format", "json", "--all"], capture_output=True, text=True)
    try:
        compared = json.loads(checked.stdout)
    except ValueError:
        return "refused", said(checked.stderr)
    equal = sum(row["verdict"] == "equal" for row in compared)
    if compared and equal == len(compared):
        return "equal", f"{equal} of {len(compared)} kinds"
    differences = subprocess.run(command, capture_output=True, text=True)
    return "DIFFERENT", f"equal {equal} of {len(compared)} kinds\n{differences.stdout}{differences.stderr}"


def one_request(folder: Path) -> Path:
    """A request, of which alone the predictor says whether it knows the deployment."""
    file = folder / "requests.jsonl"
    file.write_text('{"prompt": 16, "output": 2}\n')
    return file


def serve(trial: Trial, folder: Path, nccltap: Path, config: Path) -> str | None:
    """Runs the engine, and gives the last error if it failed."""
    environment = dict(
        os.environ,
        PYTHONPATH=str(HERE / "trace"),
        SCHEDULE_TRACE=str(folder / "trace"),
        NCCLTAP_REHEARSAL_COUNTS_DIR=str(folder / "counts"),
    )
    if trial.release.version is not None:
        environment["VLLM_USE_V1"] = trial.release.version
    command = [str(nccltap), "rehearse", "--quiet", "--engine", trial.release.package, "--model-config", str(config), "--"]
    output = folder / "output.txt"
    with output.open("wb") as file:
        engine = subprocess.Popen(
            command + trial.engine_command(), env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
        try:
            ended = engine.wait(WITHIN)
        except subprocess.TimeoutExpired:
            # It ends the engine and what that leaves behind.
            engine.send_signal(signal.SIGINT)
            try:
                engine.wait(END_WITHIN)
            except subprocess.TimeoutExpired:
                os.killpg(engine.pid, signal.SIGKILL)
                engine.wait()
            return f"it took longer than {WITHIN} s"
    text = output.read_text(errors="replace")
    if ended == 0 and "\ngenerated " in text:
        return None
    # What went wrong first; the rest are processes that end because others did.
    error = re.search(r"\b\w+(Error|Exception): .*|^nccltap rehearsal: .*", text, re.MULTILINE)
    return f"it ended with {ended}: {error.group(0)[:300] if error else said(text)}"


def said(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "not a word"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nccltap", type=Path)
    parser.add_argument("observed", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="the first trial")
    parser.add_argument("--trials", type=int, default=1, help="so many, each with the next seed")
    parser.add_argument("--keep", type=Path, help="leave what each trial wrote in FOLDER/SEED")
    parser.add_argument("--again", action="store_true", help="judge what --keep left, without the engine")
    options = parser.parse_args()
    if options.again and not options.keep:
        parser.error("--again needs the folder: --keep")
    programs = (options.nccltap.resolve(), options.observed.resolve())
    different = False
    for seed in range(options.seed, options.seed + options.trials):
        trial = draw(seed)
        with tempfile.TemporaryDirectory(prefix="nccltap-random-") as temporary:
            folder = options.keep.resolve() / str(seed) if options.keep else Path(temporary) / "trial"
            if options.again:
                if not (folder / "simulator.json").exists():
                    continue
                verdict, rest = judge(trial, folder, *programs)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                verdict, rest = run(trial, folder, *programs)
        print(f"{trial}: {verdict} {rest}", flush=True)
        different |= verdict == "DIFFERENT"
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

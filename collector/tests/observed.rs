//! What unmodified engines gave to NCCL, held against `nccltap predict`, row by row.
//!
//! The files of `observed/` are the simulator's own account of runs of the matrix (`docs/rehearsal.md`), no tap's:
//! `cargo run -p nccltap-tests --bin observed -- COUNTS_DIR` made them, start-up included. The name of a file
//! is that of its row, and what a scheduler logged lies beside it. `load-*` are runs of `tests/matrix/offline.py` with 64 requests of random lengths.
#![allow(missing_docs)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn observed(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/observed").join(file)
}

/// A request of the matrix has 128 prompt tokens.
const ONE: &str = "--prompt 128 --output 128";
const PREFILL: &str = "--prompt 128 --output 1";
const SEVERAL: &str = "--prompt 128 --output 32 --concurrent 4";

/// The class `LLM` on a GPU of 70 GiB or more.
const V1: &str = "--engine vllm-v1 --max-num-batched-tokens 16384";

/// Row of the matrix and what to predict.
const EQUAL: [(&str, &str, &[&str]); 14] = [
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp2-eager-1x128", "llama-3.1-8b --tp 2", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp4-eager-1x128", "llama-3.1-8b --tp 4", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-pp2-eager-1x128", "llama-3.1-8b --pp 2", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-pp4-eager-1x128", "llama-3.1-8b --pp 4", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp2pp2-eager-1x128", "llama-3.1-8b --tp 2 --pp 2", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.2-3b-tp2-eager-1x128", "llama-3.2-3b --tp 2", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-2-13b-tp2-eager-1x128", "llama-2-13b --tp 2", &[ONE]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp2-eager-1x1", "llama-3.1-8b --tp 2", &[PREFILL]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp4-eager-1x1", "llama-3.1-8b --tp 4", &[PREFILL]),
    ("vllm-0.8.5.post1-v0-llama-3.1-8b-tp2pp2-eager-1x1", "llama-3.1-8b --tp 2 --pp 2", &[PREFILL]),
    (
        "vllm-0.8.5.post1-v0-llama-3.1-8b-tp2-graphs-4x32",
        "llama-3.1-8b --tp 2",
        &[SEVERAL, "--cuda-graphs"],
    ),
    (
        "vllm-0.11.0-llama-3.1-8b-tp2pp2-eager-4x32",
        "llama-3.1-8b --tp 2 --pp 2",
        &[SEVERAL, V1, "--engine-version 0.11"],
    ),
    (
        "vllm-0.20.0-llama-3.1-8b-tp2-eager-1x128",
        "llama-3.1-8b --tp 2",
        &[ONE, V1, "--engine-version 0.20"],
    ),
    (
        "vllm-0.32.0-llama-3.1-8b-tp2-eager-1x128",
        "llama-3.1-8b --tp 2",
        &[ONE, V1, "--engine-version 0.32"],
    ),
];

/// The rows of `nccltap check --format json --all`.
fn check(file: &str, options: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_nccltap"))
        .arg("check")
        .arg(observed(&format!("{file}.json")))
        .args(options.iter().flat_map(|option| option.split(' ')))
        .args(["--max-model-len", "2048", "--format", "json", "--all"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{file}: {said}"))
}

fn assert_all_equal(file: &str, rows: &[Value]) {
    assert!(!rows.is_empty(), "{file}");
    let differing: Vec<&Value> = rows.iter().filter(|row| row["verdict"] != "equal").collect();
    assert!(differing.is_empty(), "{file}: {differing:#?}");
}

#[test]
fn every_row_of_the_matrix_is_as_predicted() {
    for (row, model, options) in EQUAL {
        let model = format!("--model {model}");
        assert_all_equal(row, &check(row, &[&[model.as_str()], options].concat()));
    }
}

/// Simulated ranks do not wait for each other, and vLLM kills its workers once it has its answer: in
/// these runs rank 1 was some tokens behind. The rank that came to its end did what is predicted.
#[test]
fn a_rank_that_was_killed_early_did_less_and_the_other_all() {
    for (row, release) in [
        ("vllm-0.8.5.post1-v1-llama-3.1-8b-tp2-eager-1x128", "--engine-version 0.8.5"),
        ("vllm-0.11.0-llama-3.1-8b-tp2-eager-1x128", "--engine-version 0.11"),
    ] {
        let rows = check(row, &["--model llama-3.1-8b --tp 2", ONE, V1, release]);
        assert!(rows.len() >= 7, "{row}");
        for seen in rows {
            assert_eq!(seen["seen"][1], seen["predicted"], "{row}: {seen}");
            let tokens =
                128 - seen["seen"][0].as_u64().unwrap() * 128 / seen["predicted"].as_u64().unwrap();
            assert!(tokens <= 16, "{row}: {seen}");
        }
    }
}

/// The engine runs as soon as the first of the four requests is there; the others find it under way.
#[test]
fn a_mixture_of_experts_whose_requests_come_one_after_the_other_is_as_predicted() {
    let folder = tempfile::tempdir().unwrap();
    let requests = folder.path().join("requests.jsonl");
    let late = r#"{"prompt": 128, "output": 32, "arrives": 1}"#;
    std::fs::write(
        &requests,
        format!("{{\"prompt\": 128, \"output\": 32}}\n{late}\n{late}\n{late}\n"),
    )
    .unwrap();
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/../rehearsal/models/qwen3-30b-a3b.json");
    let model = format!("--model-config {config} --tp 2 --ep");
    let requests = format!("--requests {}", requests.display());
    let row = "vllm-0.20.0-qwen3-30b-a3b-tp2ep-eager-4x32";
    assert_all_equal(row, &check(row, &[&model, &requests, V1, "--engine-version 0.20"]));
}

/// 64 requests of random lengths; the files beside the rows say before which step each was first
/// scheduled, by the log of vLLM's own scheduler.
#[test]
fn sixty_four_concurrent_requests_are_as_predicted() {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/observed/load.json");
    let model = format!("--model-config {config} --tp 2");
    for (row, options) in [
        (
            "load-vllm-0.8.5.post1-v0-tp2-chunked",
            "--enable-chunked-prefill --max-num-batched-tokens 512",
        ),
        (
            "load-vllm-0.8.5.post1-v1-tp2-two-at-once",
            "--engine vllm-v1 --engine-version 0.8.5 --max-num-batched-tokens 2048",
        ),
    ] {
        let requests = format!("--requests {}", observed(&format!("{row}.jsonl")).display());
        let rows = check(row, &[&model, &requests, options]);
        assert!(rows.len() > 70, "{row}");
        assert_all_equal(row, &rows);
    }
}

/// Where a scheduler's own log lies beside the rows: of each replica, in the order of their numbers.
fn traces(row: &str, replicas: u32) -> String {
    let trace = |number| observed(&format!("{row}-{number}.jsonl")).display().to_string();
    (0..replicas).map(|number| format!(" --trace {}", trace(number))).collect()
}

/// Eight requests of random lengths to replicas that share experts (`tests/matrix/offline.py --data 2 --experts
/// --requests 8`): passes that one of them makes without a request, and such that all make with
/// different numbers of tokens.
#[test]
fn replicas_that_share_experts_are_as_predicted() {
    let config = observed("experts.json").display().to_string();
    let of_async = "--max-num-batched-tokens 2048 --max-num-seqs 128 --engine vllm-v1";
    let cpu = "--engine-version 0.11 --disable-nccl-for-dp-synchronization";
    for (row, tensor, options) in [
        ("replicas-vllm-0.11.0-dp2ep", 1, cpu.to_owned()),
        ("replicas-vllm-0.11.0-dp2ep-naive", 1, format!("{cpu} --all2all-backend naive")),
        ("replicas-vllm-0.20.0-tp2dp2ep", 2, "--engine-version 0.20".to_owned()),
    ] {
        let model = format!("--model-config {config} --tp {tensor} --dp 2 --ep");
        let options = format!("{of_async} {options}{}", traces(row, 2));
        let rows = check(row, &[&model, &options]);
        assert!(rows.len() > 30, "{row}");
        assert_all_equal(row, &rows);
    }
}

/// The same requests, with guesses of a draft model for each token. Where a rehearsal loads no weights, the head of EAGLE-3
/// is the target's, of as many rows as the vocabulary; in the last run weights of both models were loaded.
#[test]
fn a_model_with_a_draft_model_is_as_predicted() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../rehearsal/models");
    let graphs = " --cuda-graphs";
    for (row, draft, method, guesses, graphs, kinds) in [
        ("eagle", "draft.json", "eagle", 3, "", 15),
        ("eagle-graphs", "draft.json", "eagle", 3, graphs, 70),
        ("eagle3-graphs", "draft.json", "eagle3", 2, graphs, 71),
        ("eagle3-own-head-graphs", "draft-eagle3.json", "eagle3", 2, graphs, 72),
    ] {
        let row = &format!("drafts-vllm-0.20.0-tp2-{row}");
        let draft = observed(draft).display().to_string();
        let rows = check(
            row,
            &[
                &format!("--model-config {models}/tiny-llama.json --tp 2"),
                "--max-num-batched-tokens 2048 --max-num-seqs 128 --engine vllm-v1 --engine-version 0.20",
                &format!(
                    "--speculative-method {method} --num-speculative-tokens {guesses}{graphs}"
                ),
                &format!("--draft-model-config {draft}"),
                traces(row, 1).trim(),
            ],
        );
        assert!(rows.len() >= kinds, "{row}");
        assert_all_equal(row, &rows);
    }
}

/// The same requests to a small DeepSeek V3, which makes two guesses with its own layer for multi-token prediction.
#[test]
fn multi_token_prediction_with_graphs_is_as_predicted() {
    let config = observed("deepseek.json").display().to_string();
    let row = "drafts-vllm-0.20.0-tp2-mtp-graphs";
    let rows = check(
        row,
        &[
            &format!("--model-config {config} --tp 2"),
            "--max-num-batched-tokens 2048 --max-num-seqs 128 --engine vllm-v1 --engine-version 0.20",
            "--cuda-graphs --speculative-method mtp --num-speculative-tokens 2",
            traces(row, 1).trim(),
        ],
    );
    assert!(rows.len() >= 71);
    assert_all_equal(row, &rows);
}

/// Three guesses of n-grams with CUDA graphs: in 0.20 and 0.8.5 five requests that run in step (`tests/matrix/generate.py`), in 0.11, where a
/// rehearsal has no guess made, the eight requests.
#[test]
fn n_grams_with_graphs_are_as_predicted() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../rehearsal/models");
    for (release, patch, kinds) in [("0.20", "0", 56), ("0.11", "0", 47), ("0.8.5", "post1", 74)] {
        let row = format!("drafts-vllm-{release}.{patch}-tp2-ngram-graphs");
        let rows = check(
            &row,
            &[
                &format!("--model-config {models}/tiny-llama.json --tp 2"),
                "--max-num-batched-tokens 2048 --max-num-seqs 128 --engine vllm-v1",
                &format!("--engine-version {release} --cuda-graphs"),
                "--speculative-method ngram --num-speculative-tokens 3",
                traces(&row, 1).trim(),
            ],
        );
        assert!(rows.len() >= kinds, "{row}");
        assert_all_equal(&row, &rows);
    }
}

/// The same requests with CUDA graphs and vLLM's pass for sequence parallelism, from 64 tokens on.
#[test]
fn a_sequence_parallel_model_is_as_predicted() {
    let models = concat!(env!("CARGO_MANIFEST_DIR"), "/../rehearsal/models");
    let row = "sequence-parallel-vllm-0.20.0-tp2";
    let rows = check(
        row,
        &[
            &format!("--model-config {models}/tiny-llama.json --tp 2"),
            "--max-num-batched-tokens 2048 --max-num-seqs 128 --engine vllm-v1 --engine-version 0.20",
            "--cuda-graphs --enable-sp --sp-min-token-num 64",
            traces(row, 1).trim(),
        ],
    );
    assert!(rows.iter().any(|row| row["op"] == "ReduceScatter"));
    assert_all_equal(row, &rows);
}

/// SGLang with requests by HTTP: its own at the start, those of its health check, and then one, or eight at once with CUDA graphs.
#[test]
fn sglang_is_as_predicted() {
    for (how, graphs, kinds) in [("eager-served1", "", 5), ("graphs-served8", "--cuda-graphs", 77)]
    {
        let row = format!("sglang-0.5.5-llama-3.1-8b-tp2-{how}");
        let mut options = vec!["--model llama-3.1-8b --tp 2 --engine sglang"];
        options.extend([graphs].iter().filter(|option| !option.is_empty()));
        let trace = traces(&row, 1);
        options.push(trace.trim());
        let rows = check(&row, &options);
        assert!(rows.len() >= kinds, "{row}");
        assert_all_equal(&row, &rows);
    }
}

//! `nccltap advise`, as a user calls it, and what is printed, word for word.
#![allow(missing_docs)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn advise(options: &[&str]) -> Output {
    let lengths = ["--prompt", "128", "--output", "128"];
    Command::new(env!("CARGO_BIN_EXE_nccltap"))
        .arg("advise")
        .args(options)
        .args(lengths)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn same_as(name: &str, fresh: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&kept, fresh).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    let hint = "NCCLTAP_BLESS=1 cargo test -p nccltap --test advise writes it";
    assert!(text == fresh, "{} differs from:\n{fresh}\n{hint}", kept.display());
}

const PAPER: [&str; 6] =
    ["--model", "llama-2-13b", "--cluster", "paper", "--max-model-len", "2048"];

#[test]
fn what_is_printed() {
    same_as("advise.txt", &text(&advise(&[&PAPER[..], &["--by", "tpot"]].concat())));
    same_as("advise.json", &text(&advise(&[&PAPER[..], &["--format", "json"]].concat())));
    let load = ["--model", "llama-3.1-8b", "--engine", "vllm-v1", "--cuda-graphs", "--rate", "40"];
    same_as("advise-rate.txt", &text(&advise(&[&load[..], &["--nodes", "1"]].concat())));
}

#[test]
fn rows_have_the_keys_that_scripts_rely_on() {
    let rows: Vec<Value> =
        serde_json::from_str(&text(&advise(&[&PAPER[..], &["--format", "json"]].concat())))
            .unwrap();
    for key in ["layout", "gpus", "outcome", "bus_bytes", "ttft_ms", "tpot_ms", "e2e_ms"] {
        assert!(rows.iter().all(|row| row.get(key).is_some()), "{key}");
    }
    let e2e: Vec<_> = rows.iter().filter_map(|row| row["e2e_ms"].as_f64()).collect();
    assert!(e2e.is_sorted() && !e2e.is_empty(), "the best first");
}

#[test]
fn a_cluster_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("machines.json");
    let with = |text: &str| {
        std::fs::write(&file, text).unwrap();
        advise(&["--model", "llama-3.1-8b", "--cluster-file", file.to_str().unwrap()])
    };
    let slow = with(r#"{"gpu": "a100-sxm", "gpus_per_node": 2, "nodes": 1, "gpu_tflops": 100}"#);
    assert!(text(&slow).contains("1 node of 2 a100-sxm"));
    let odd = with(r#"{"gpu": "a100-sxm", "gpus_per_node": 2, "nodes": 2}"#);
    let said = String::from_utf8(odd.stderr).unwrap();
    assert!(said.contains("network_gb_per_s_per_gpu") && odd.stdout.is_empty(), "{said}");
}

#[test]
fn what_is_not_understood_is_refused_in_a_sentence() {
    let refused: [(&[&str], &str); 5] = [
        (&["--cluster", "mine"], "--cluster-file"),
        (&["--nodes", "0"], "`nodes`"),
        (&["--rate", "0"], "--rate"),
        (&["--first-request", "--concurrent", "2"], "--first-request"),
        (&["--max-model-len", "64"], "--max-model-len 64"),
    ];
    for (options, why) in refused {
        let output = advise(&[&["--model", "llama-3.2-3b"], options].concat());
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    }
}

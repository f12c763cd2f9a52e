//! `nccltap predict` and `nccltap check`, as a user calls them: the paper's tables from the command
//! line alone, and what is printed, word for word.
#![allow(missing_docs)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn nccltap(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nccltap")).args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

const LENGTHS: [&str; 4] = ["--prompt", "128", "--output", "128"];

fn predict(model: &str, layout: [&str; 2], more: &[&str]) -> Output {
    let [tp, pp] = layout;
    let mut arguments = vec!["predict", "--model", model, "--tp", tp, "--pp", pp];
    arguments.extend(LENGTHS);
    arguments.extend(more);
    nccltap(&arguments)
}

fn rows(model: &str, layout: [&str; 2], more: &[&str]) -> Vec<Value> {
    let mut options = vec!["--format", "json"];
    options.extend(more);
    serde_json::from_str(&text(&predict(model, layout, &options))).unwrap()
}

/// The sum of the counts of the rows that say so.
fn count(rows: &[Value], phase: &str, collective: &str, shape: &[u64]) -> u64 {
    let wanted = |row: &&Value| {
        row["phase"] == phase
            && row["collective"] == collective
            && row["shape"] == serde_json::json!(shape)
    };
    rows.iter().filter(wanted).map(|row| row["count"].as_u64().unwrap()).sum()
}

#[test]
fn table_3_of_the_paper() {
    for (tp, slice) in [("2", 64_128), ("4", 32_064)] {
        let rows = rows("llama-3.1-8b", [tp, "1"], &[]);
        assert_eq!(count(&rows, "prefill", "AllReduce", &[128, 4096]), 65);
        assert_eq!(count(&rows, "prefill", "Gather", &[slice]), 1);
        assert_eq!(count(&rows, "decode", "AllReduce", &[1, 4096]), 8255);
        assert_eq!(count(&rows, "decode", "Gather", &[slice]), 127);
    }
}

#[test]
fn table_4_of_the_paper() {
    for (model, prefill, decode) in [
        ("llama-3.2-3b", (786_432, 57), (6_144, 7_239)),
        ("llama-3.1-8b", (1_048_576, 65), (8_192, 8_255)),
        ("llama-2-13b", (1_310_720, 81), (10_240, 10_287)),
    ] {
        let rows = rows(model, ["4", "1"], &[]);
        let of = |phase: &str| {
            let row = rows.iter().find(|r| r["phase"] == phase && r["collective"] == "AllReduce");
            let row = row.unwrap();
            let (bytes, count) = (&row["message_bytes"], row["count"].as_u64().unwrap());
            (bytes.as_u64().unwrap() / count, count)
        };
        assert_eq!((of("prefill"), of("decode")), (prefill, decode), "{model}");
    }
}

#[test]
fn table_5_of_the_paper() {
    for (pp, prefill, decode) in [("2", 2, 254), ("4", 6, 762)] {
        let rows = rows("llama-3.1-8b", ["1", pp], &[]);
        for operation in ["Send", "Recv"] {
            assert_eq!(count(&rows, "prefill", operation, &[128, 4096]), prefill);
            assert_eq!(count(&rows, "decode", operation, &[1, 4096]), decode);
        }
    }
}

#[test]
fn table_6_of_the_paper() {
    let rows = rows("llama-3.1-8b", ["2", "2"], &[]);
    let of_stage = |stage: u32| -> Vec<Value> {
        rows.iter().filter(|row| row["stage"] == stage).cloned().collect()
    };
    let (first, last) = (of_stage(0), of_stage(1));
    assert_eq!(count(&first, "prefill", "AllReduce", &[128, 4096]), 33);
    assert_eq!(count(&first, "decode", "AllReduce", &[1, 4096]), 4191);
    assert_eq!(count(&last, "prefill", "Gather", &[64_128]), 1);
    assert_eq!(count(&last, "decode", "Gather", &[64_128]), 127);
    assert_eq!(count(&last, "prefill", "AllGather", &[128, 4096]), 2);
    assert_eq!(count(&last, "decode", "AllGather", &[1, 4096]), 254);
    for (stage, operation) in [(&first, "Send"), (&last, "Recv")] {
        assert_eq!(count(stage, "prefill", operation, &[128, 2048]), 2);
        assert_eq!(count(stage, "decode", operation, &[1, 2048]), 254);
    }
}

#[test]
fn rows_have_the_keys_that_scripts_rely_on() {
    for view in ["operations", "collectives"] {
        for row in rows("llama-3.1-8b", ["2", "2"], &["--view", view]) {
            for key in [
                "stage",
                "phase",
                "collective",
                "op",
                "dtype",
                "elements",
                "shape",
                "count",
                "message_bytes",
                "bus_bytes",
            ] {
                assert!(row.get(key).is_some(), "{key} in {row}");
            }
        }
    }
}

fn same_as(name: &str, fresh: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&kept, fresh).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    let hint = "NCCLTAP_BLESS=1 cargo test -p nccltap --test predict writes it";
    assert!(text == fresh, "{} differs from:\n{fresh}\n{hint}", kept.display());
}

#[test]
fn what_is_printed() {
    let layouts = ["4,1,2", "1,4,2"];
    same_as("predict.txt", &text(&predict("llama-3.1-8b", layouts, &[])));
    let operations = predict("llama-2-13b", ["2", "2"], &["--view", "operations"]);
    same_as("predict-operations.txt", &text(&operations));
    let json = predict("llama-3.2-3b", ["2", "2"], &["--format", "json", "--engine", "vllm-v1"]);
    same_as("predict.json", &text(&json));
}

/// A folder of this test's own, gone at its end.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn path(of: &Path) -> &str {
    of.to_str().unwrap()
}

#[test]
fn a_config_json_of_ones_own_and_a_trace_of_requests() {
    let folder = folder();
    let config = folder.path().join("config.json");
    std::fs::write(
        &config,
        r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 48,
            "num_attention_heads": 32, "num_key_value_heads": 4, "vocab_size": 151936,
            "intermediate_size": 6144, "moe_intermediate_size": 768, "num_experts": 128,
            "num_experts_per_tok": 8, "max_position_embeddings": 40960, "dtype": "bfloat16"}"#,
    )
    .unwrap();
    let requests = folder.path().join("requests.jsonl");
    std::fs::write(
        &requests,
        "{\"prompt\": 10, \"output\": 3}\n\n{\"prompt\": 20, \"output\": 2}\n",
    )
    .unwrap();
    let arguments = ["predict", "--model-config", path(&config), "--tp", "4", "--requests"];
    let mut arguments = arguments.to_vec();
    arguments.extend([path(&requests), "--engine", "vllm-v1", "--format", "json"]);
    let rows: Vec<Value> = serde_json::from_str(&text(&nccltap(&arguments))).unwrap();
    assert_eq!(count(&rows, "prefill", "AllReduce", &[30, 2048]), 97);
    assert_eq!(count(&rows, "decode", "AllReduce", &[2, 2048]), 97);
    assert_eq!(count(&rows, "decode", "AllReduce", &[1, 2048]), 97);

    let steps = folder.path().join("steps.jsonl");
    let step = r#"{"prompts": [{"tokens": 30, "context": 0, "prompt": 30, "last": true}], "decodes": [9]}"#;
    std::fs::write(&steps, step).unwrap();
    let last = arguments.iter().position(|argument| *argument == "--requests").unwrap();
    arguments.splice(last..last + 2, ["--steps", path(&steps)]);
    let rows: Vec<Value> = serde_json::from_str(&text(&nccltap(&arguments))).unwrap();
    assert_eq!(count(&rows, "mixed", "AllReduce", &[31, 2048]), 97);
}

#[test]
fn the_schedulers_own_trace() {
    let folder = folder();
    let trace = folder.path().join("trace.jsonl");
    let lines = r#"{"new": {"a": {"prompt": 300}}, "tokens": {"a": 256}}
{"new": {"b": {"prompt": 40}}, "tokens": {"a": 44, "b": 40}}
{"tokens": {"a": 4, "b": 1}, "drafts": {"a": 3}}
"#;
    std::fs::write(&trace, lines).unwrap();
    let predict = |more: &[&str]| {
        let mut arguments = vec!["predict", "--model", "llama-3.1-8b", "--tp", "2", "--trace"];
        arguments.extend([path(&trace), "--engine", "vllm-v1", "--format", "json"]);
        arguments.extend(more);
        nccltap(&arguments)
    };
    let drafts = predict(&["--speculative-method", "ngram"]);
    let rows: Vec<Value> = serde_json::from_str(&text(&drafts)).unwrap();
    assert_eq!(count(&rows, "prefill", "AllReduce", &[256, 4096]), 65);
    assert_eq!(count(&rows, "prefill", "AllReduce", &[84, 4096]), 65);
    assert_eq!(count(&rows, "decode", "AllReduce", &[5, 4096]), 65);
    assert_eq!(count(&rows, "decode", "AllGather", &[5, 128_256]), 1);

    for (more, why) in [
        (&[][..], "--speculative-method"),
        (&["--speculative-method", "eagle"], "--draft-model-config"),
        (&["--dp", "2"], "steps of 1 replicas"),
        (&["--speculative-method", "ngram", "--cuda-graphs"], "--num-speculative-tokens"),
        (
            &["--speculative-method", "mtp", "--num-speculative-tokens", "1"],
            "DeepseekV3ForCausalLM",
        ),
        (&["--speculative-method", "medusa"], "ngram, eagle, eagle3, mtp"),
    ] {
        let said = String::from_utf8(predict(more).stderr).unwrap();
        assert!(said.contains(why), "{said}");
    }
    // Captured are multiples of the four tokens of a decode; the last step has five.
    let graphs = "--speculative-method ngram --num-speculative-tokens 3 --cuda-graphs";
    let graphs = predict(&graphs.split(' ').collect::<Vec<_>>());
    let rows: Vec<Value> = serde_json::from_str(&text(&graphs)).unwrap();
    assert_eq!(count(&rows, "decode", "AllReduce", &[8, 4096]), 65);
    assert_eq!(count(&rows, "decode", "AllGather", &[5, 128_256]), 1);
    let eagle = "--speculative-method eagle3 --num-speculative-tokens 3 --draft-model-config";
    let config = folder.path().join("draft.json");
    let draft = r#"{"architectures": ["LlamaForCausalLMEagle3"], "hidden_size": 1024,
        "num_hidden_layers": 1, "vocab_size": 128256, "draft_vocab_size": 32000}"#;
    std::fs::write(&config, draft).unwrap();
    let eagle: Vec<&str> = eagle.split(' ').chain([path(&config)]).collect();
    let rows: Vec<Value> = serde_json::from_str(&text(&predict(&eagle))).unwrap();
    // Behind the last step, of five tokens: one pass over them, and two over a token of each request.
    assert_eq!(count(&rows, "decode", "AllReduce", &[5, 1024]), 3);
    assert_eq!(count(&rows, "decode", "AllReduce", &[2, 1024]), 6);
    assert_eq!(count(&rows, "decode", "AllGather", &[2, 32_000]), 3);

    std::fs::write(&trace, r#"{"tokens": {"c": 1}}"#).unwrap();
    let said = String::from_utf8(predict(&[]).stderr).unwrap();
    assert!(said.contains("step 1") && said.contains("request c"), "{said}");
}

#[test]
fn what_is_not_understood_is_refused_in_a_sentence() {
    let folder = folder();
    let bad = folder.path().join("config.json");
    std::fs::write(&bad, r#"{"architectures": ["MambaForCausalLM"]}"#).unwrap();
    let refused: [(&[&str], &str); 9] = [
        (&["--model", "gpt-5"], "llama-3.1-8b"),
        (&["--model-config", path(&bad)], "`architectures`"),
        (&["--model-config", "/no/such/file"], "cannot read /no/such/file"),
        (&["--model", "llama-3.2-3b", "--tp", "5"], "24 attention heads"),
        (&["--model", "llama-3.2-3b", "--tp", "1,2", "--pp", "1,2,4"], "--tp has 2 sizes"),
        (&["--model", "llama-2-13b", "--max-model-len", "64"], "--max-model-len 64"),
        (&["--model", "llama-2-13b", "--engine-version", "0.5.5"], "--engine sglang"),
        (&["--model", "llama-2-13b", "--engine-version", "0.11"], "--engine vllm-v1"),
        (
            &["--model", "llama-2-13b", "--engine", "sglang", "--engine-version", "0.11"],
            "leave out --engine-version",
        ),
    ];
    for (options, why) in refused {
        let mut arguments = vec!["predict"];
        arguments.extend(options);
        arguments.extend(LENGTHS);
        let output = nccltap(&arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(why) && output.stdout.is_empty(), "{said}");
    }
}

/// A report with the given rows of a prediction, as `nccltap report --format json` would print it.
fn report_of(rows: &[Value]) -> String {
    let mut seen = Vec::new();
    for row in rows {
        for rank in row["ranks"].as_array().unwrap() {
            seen.push(serde_json::json!({
                "host": "node", "pid": 100 + rank.as_u64().unwrap(), "rank": 0, "stage": null,
                "phase": "unknown", "group": "00", "role": null, "op": row["op"],
                "collective": null, "path": "nccl", "launch": "eager", "dtype": row["dtype"],
                "elements": row["elements"], "peer": null, "ranks_in_group": row["ranks_in_group"],
                "count": row["count"], "message_bytes": null, "bus_bytes": null,
            }));
        }
    }
    serde_json::to_string(&seen).unwrap()
}

fn check(file: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["check", path(file), "--model", "llama-3.1-8b"];
    arguments.extend(["--tp", "2", "--pp", "2"]);
    arguments.extend(LENGTHS);
    arguments.extend(more);
    nccltap(&arguments)
}

#[test]
fn check_says_by_its_exit_code_whether_a_report_is_as_predicted() {
    let folder = folder();
    let file = folder.path().join("report.json");
    let mut rows = rows("llama-3.1-8b", ["2", "2"], &["--view", "operations"]);
    std::fs::write(&file, report_of(&rows)).unwrap();
    let output = check(&file, &[]);
    same_as("check-equal.txt", &text(&output));

    let sends = |row: &&mut Value| row["op"] == "Send" && row["phase"] == "decode";
    for row in rows.iter_mut().filter(sends) {
        row["count"] = Value::from(row["count"].as_u64().unwrap() - 4);
    }
    rows.retain(|row| row["op"] != "AllGather");
    std::fs::write(&file, report_of(&rows)).unwrap();
    let output = check(&file, &[]);
    assert_eq!(output.status.code(), Some(1));
    same_as("check-differs.txt", &String::from_utf8(output.stdout).unwrap());

    let output = check(&file, &["--format", "json"]);
    let json: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts = |verdict: &str| json.iter().filter(|row| row["verdict"] == verdict).count();
    assert_eq!((verdicts("missing"), verdicts("off")), (2, 2));

    std::fs::write(&file, "neither rows nor a recording").unwrap();
    assert_eq!(check(&file, &[]).status.code(), Some(2));
}

//! What each engine does by itself.

use super::*;

#[test]
fn v0_broadcasts_the_input_of_each_step_and_the_blocks_of_each_sequence() {
    let settings = Settings { max_model_len: Some(2048), ..Settings::PAPER };
    let prediction = predict(deployment("llama-3.1-8b", 2, 2, settings), &[request(128, 128)]);
    let broadcasts = |stage: u32, dtype: &str| -> Vec<(&'static str, u64, u64)> {
        let rows = prediction.rows(View::Operations).into_iter();
        rows.filter(|r| r.stage == stage && r.op == Some("Broadcast") && r.dtype == dtype)
            .map(|row| (row.phase, row.elements, row.count))
            .collect()
    };
    assert_eq!(broadcasts(0, "int64"), [("prefill", 128, 3), ("decode", 1, 3 * 127)]);
    let sampling = [("prefill", 1, 1), ("prefill", 128, 3), ("decode", 1, 4 * 127)];
    assert_eq!(broadcasts(1, "int64"), sampling);
    // Lengths [1] and starts [2] of the one sequence, and its blocks: 9 of 16 tokens at first.
    let mut expected = vec![("prefill", 1, 2), ("prefill", 2, 2)];
    expected.extend([("decode", 1, 2 * 127), ("decode", 2, 2 * 127)]);
    expected.extend((9..16).map(|blocks| ("decode", blocks, 16)));
    expected.push(("decode", 16, 15));
    assert_eq!(broadcasts(0, "int32"), expected);
}

#[test]
fn v0_profiles_with_as_many_tokens_as_there_may_be() {
    let settings = Settings { max_model_len: Some(2048), ..Settings::PAPER };
    let prediction = predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(1, 1)]);
    let rows = prediction.rows(View::Collectives);
    let startup: Vec<_> = rows
        .iter()
        .filter(|row| row.phase == "startup")
        .map(|row| (row.collective, row.dtype, row.shape.clone(), row.count))
        .collect();
    assert_eq!(
        startup,
        [
            ("AllReduce", "float32", vec![1], 1),
            ("AllReduce", "bfloat16", vec![2048, 4096], 65),
            ("Gather", "bfloat16", vec![256, 64_128], 1),
        ]
    );
}

/// Start-up as (collective, shape, count), of one stage.
fn startup(prediction: &Prediction, stage: u32) -> Vec<(&'static str, Vec<u64>, u64)> {
    let rows = prediction.rows(View::Collectives).into_iter();
    let rows = rows.filter(|row| row.phase == "startup" && row.stage == stage);
    rows.map(|row| (row.collective, row.shape, row.count)).collect()
}

#[test]
fn v1_profiles_and_tries_its_sampler() {
    let settings = Settings {
        engine: Engine::V1Release0_11,
        max_num_batched_tokens: Some(16_384),
        ..Settings::PAPER
    };
    let prediction = predict(deployment("llama-3.1-8b", 2, 2, settings), &[request(1, 1)]);
    let first_uses = ("AllReduce", vec![1], 1);
    assert_eq!(
        startup(&prediction, 0),
        [
            first_uses.clone(),
            ("AllReduce", vec![16_384, 4096], 33),
            first_uses.clone(),
            first_uses.clone()
        ]
    );
    assert_eq!(
        startup(&prediction, 1),
        [
            first_uses.clone(),
            ("AllReduce", vec![1024, 4096], 32),
            ("AllReduce", vec![16_384, 4096], 32),
            ("AllGather", vec![1024, 128_256], 2),
            first_uses.clone(),
            first_uses
        ]
    );
}

#[test]
fn each_captured_size_is_run_before_as_often_as_the_release_does() {
    let runs = |engine, pipeline| -> Vec<(u64, u64)> {
        let settings = Settings {
            engine,
            cuda_graphs: true,
            max_num_seqs: Some(5),
            max_model_len: Some(2048),
            ..Settings::PAPER
        };
        let deployment = deployment("llama-3.1-8b", 2, pipeline, settings);
        let layers = layers_of_first_stage(&deployment);
        let prediction = predict(deployment, &[request(1, 1)]);
        let rows = startup(&prediction, 0).into_iter();
        let captured = rows.filter(|(what, shape, _)| *what == "AllReduce" && shape[0] <= 16);
        let captured = captured.filter(|(_, shape, _)| shape.len() == 2 && shape[0] != 5);
        captured.map(|(_, shape, count)| (shape[0], count / layers)).collect()
    };
    assert_eq!(runs(Engine::V0, 1), [(1, 2), (2, 2), (4, 2), (8, 2)]);
    assert_eq!(runs(Engine::V0, 2), [(1, 4), (2, 4), (4, 4), (8, 4)]);
    let v1 = |engine| runs(engine, 1);
    assert_eq!(v1(Engine::V1Release0_8), [(1, 1), (2, 1), (4, 1), (8, 1), (16, 1)]);
    assert_eq!(v1(Engine::V1Release0_11), [(1, 2), (2, 2), (4, 2), (8, 1)]);
    assert_eq!(v1(Engine::V1Release0_20), [(1, 2), (2, 3), (4, 4), (8, 2)]);
    // Beside these it has requests of its own: prompts of two tokens each, then decodes of all, two and one. The most
    // sequences are a size too, so that of whole graphs 4 and 5 are the largest.
    assert_eq!(v1(Engine::V1Release0_32), [(1, 4), (2, 4), (4, 4), (8, 2), (10, 1)]);
}

#[test]
fn release_0_32_warms_up_by_steps_with_all_that_goes_with_them() {
    let settings = Settings {
        engine: Engine::V1Release0_32,
        cuda_graphs: true,
        max_num_seqs: Some(1000),
        ..Settings::PAPER
    };
    let start = |settings| {
        let prediction = predict(deployment("llama-3.1-8b", 1, 2, settings), &[request(1, 1)]);
        let mut rows = startup(&prediction, 1);
        rows.retain(|(what, _, _)| *what == "Recv" || *what == "Broadcast");
        rows
    };
    let boundary = |tokens| ("Recv", vec![tokens, 4096], 2);
    let mut expected = [2000, 1000, 2, 1].map(boundary).to_vec();
    for requests in [1000, 2, 1] {
        let count = if requests == 1000 { 2 } else { 1 };
        expected.push(("Broadcast", vec![requests, 1], count));
        expected.push(("Broadcast", vec![2, requests], count));
    }
    let mut seen = start(settings);
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
    assert_eq!(start(Settings { cuda_graphs: false, ..settings }), [], "eager, it does not");
}

#[test]
fn before_a_capture_the_custom_all_reduce_sends_nothing() {
    let settings =
        Settings { cuda_graphs: true, custom_all_reduce: true, max_num_seqs: Some(5), ..V1 };
    let all_reduces = |custom_all_reduce| {
        let settings = Settings { custom_all_reduce, ..settings };
        let prediction = predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(1, 1)]);
        let rows = startup(&prediction, 0).into_iter();
        let rows = rows.filter(|(what, shape, _)| *what == "AllReduce" && shape.len() == 2);
        rows.map(|(_, shape, _)| shape[0]).collect::<Vec<_>>()
    };
    // What is left are the profiling pass, by NCCL, and the sampler's of five sequences.
    assert_eq!(all_reduces(false), [1, 2, 4, 5, 8, 8192]);
    assert_eq!(all_reduces(true), [8192, 5]);
}

fn layers_of_first_stage(deployment: &Deployment) -> u64 {
    2 * deployment.model.layers / u64::from(deployment.layout.pipeline) + 1
}

#[test]
fn v0_pads_decodes_to_captured_sizes_and_prompts_not() {
    let settings = Settings { cuda_graphs: true, max_model_len: Some(2048), ..Settings::PAPER };
    let requests = [request(10, 2), request(10, 2), request(10, 2)];
    let prediction = predict(deployment("llama-3.1-8b", 2, 1, settings), &requests);
    // Two decode steps: V0 sees late that the requests are done.
    assert_eq!(
        rows(&prediction, "AllReduce"),
        [(0, "prefill", vec![30, 4096], 65), (0, "decode", vec![4, 4096], 130)]
    );
    assert_eq!(
        rows(&prediction, "Gather"),
        [(0, "prefill", vec![3, 64_128], 1), (0, "decode", vec![3, 64_128], 2)]
    );
    let blocks = |row: &Row| row.phase == "decode" && row.elements == 4 * 2048 / 16;
    assert!(prediction.rows(View::Operations).iter().any(blocks));
}

const V1: Settings = Settings { engine: Engine::V1Release0_11, ..Settings::PAPER };

#[test]
fn v1_gives_the_logits_to_all_and_broadcasts_no_metadata() {
    let prediction = predict(deployment("llama-3.1-8b", 2, 1, V1), &[request(128, 128)]);
    assert_eq!(
        rows(&prediction, "AllGather"),
        [(0, "prefill", vec![1, 128_256], 1), (0, "decode", vec![1, 128_256], 127)]
    );
    assert!(rows(&prediction, "Gather").is_empty() && rows(&prediction, "Broadcast").is_empty());
}

#[test]
fn v1_pads_any_step_that_is_small_enough() {
    let settings = Settings { cuda_graphs: true, ..V1 };
    let prediction = predict(deployment("llama-3.1-8b", 4, 1, settings), &[request(130, 2)]);
    assert_eq!(
        rows(&prediction, "AllReduce"),
        [(0, "prefill", vec![136, 4096], 65), (0, "decode", vec![1, 4096], 65)]
    );
    let long = predict(deployment("llama-3.1-8b", 4, 1, settings), &[request(600, 1)]);
    assert_eq!(rows(&long, "AllReduce"), [(0, "prefill", vec![600, 4096], 65)]);
}

#[test]
fn v1_computes_logits_also_for_a_part_of_a_prompt_and_v0_does_not() {
    let cut = |settings: Settings| {
        let settings = Settings {
            max_num_batched_tokens: Some(1024),
            chunked_prefill: Some(true),
            ..settings
        };
        predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(1500, 1)])
    };
    assert_eq!(rows(&cut(V1), "AllGather"), [(0, "prefill", vec![1, 128_256], 2)]);
    assert_eq!(
        rows(&cut(Settings::PAPER), "Gather"),
        [(0, "prefill", vec![0, 64_128], 1), (0, "prefill", vec![64_128], 1)]
    );
}

#[test]
fn v1_of_release_0_20_tells_all_stages_what_was_sampled() {
    let settings = Settings { engine: Engine::V1Release0_20, ..V1 };
    let prediction = predict(deployment("llama-3.1-8b", 2, 2, settings), &[request(128, 128)]);
    for stage in [0, 1] {
        let rows = rows(&prediction, "Broadcast");
        let counts: Vec<_> = rows.iter().filter(|row| row.0 == stage).map(|r| r.3).collect();
        assert_eq!(counts, [1, 127]);
    }
    let gathers: u64 = rows(&prediction, "AllGather").iter().map(|row| row.3).sum();
    assert_eq!(gathers, 384, "two tensors and the logits, in each of 128 steps");
}

#[test]
fn every_guess_of_an_n_gram_is_computed_and_has_its_row_of_logits() {
    let speculation = Some(crate::model::Speculation::Ngrams { tokens: None });
    let settings = Settings { speculation, ..V1 };
    let step = Step { decodes: vec![9, 9], drafts: 3, ..Step::default() };
    let prediction =
        Prediction::of_steps(deployment("llama-3.1-8b", 2, 1, settings), &[vec![step]]);
    let prediction = prediction.unwrap();
    assert_eq!(rows(&prediction, "AllReduce"), [(0, "decode", vec![5, 4096], 65)]);
    assert_eq!(rows(&prediction, "AllGather"), [(0, "decode", vec![5, 128_256], 1)]);
    let unknown = deployment("llama-3.1-8b", 2, 1, settings);
    let error = Prediction::of_requests(unknown, &[request(9, 9)]).unwrap_err();
    assert!(error.to_string().contains("--trace"));
}

#[test]
fn a_tensor_that_the_group_does_not_divide_crosses_the_boundary_whole() {
    let mut model = preset("llama-3.1-8b").unwrap();
    (model.hidden_size, model.attention_heads, model.key_value_heads) = (4098, 4, 4);
    let deployment = Deployment::new(model, Layout::new(4, 2), Settings::PAPER).unwrap();
    let prediction = predict(deployment, &[request(2, 2)]);
    // 2 x 4098 is a multiple of 4, 4098 is not.
    assert_eq!(
        rows(&prediction, "Send"),
        [(0, "prefill", vec![2049], 2), (0, "decode", vec![1, 4098], 2)]
    );
    assert_eq!(rows(&prediction, "AllGather"), [(1, "prefill", vec![2, 4098], 2)]);
}

#[test]
fn the_custom_all_reduce_takes_small_messages_past_nccl() {
    let settings = Settings { custom_all_reduce: true, ..Settings::PAPER };
    let prediction = predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(1024, 2)]);
    let all_reduces: Vec<_> = prediction
        .rows(View::Operations)
        .iter()
        .filter(|row| row.op == Some("AllReduce") && row.phase != "startup")
        .map(|row| (row.phase, row.path))
        .collect();
    assert_eq!(all_reduces, [("prefill", "nccl"), ("decode", "custom_all_reduce")]);
}

#[test]
fn replicas_of_a_dense_model_share_the_requests_and_say_nothing_to_each_other() {
    let layout = Layout { data: 2, ..Layout::new(2, 1) };
    let model = preset("llama-3.1-8b").unwrap();
    let settings = Settings { engine: Engine::V1Release0_20, ..V1 };
    let both = Deployment::new(model, layout, settings).unwrap();
    let both = predict(both, &[request(128, 3); 4]).totals(|_| true);
    let one =
        predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(128, 3); 2]).totals(|_| true);
    assert_eq!(both.bus_bytes, 2 * one.bus_bytes);
    assert_eq!(both.operations, 2 * one.operations);
}

#[test]
fn sglang_runs_nothing_before_its_first_request_but_what_it_captures() {
    let settings = Settings { engine: Engine::Sglang, ..Settings::PAPER };
    let eager = predict(deployment("llama-3.1-8b", 2, 1, settings), &[request(1, 1)]);
    assert_eq!(startup(&eager, 0), [("AllReduce", vec![1], 1)]);
    let graphs = Settings { cuda_graphs: true, max_num_seqs: Some(3), ..settings };
    let captured = predict(deployment("llama-3.1-8b", 2, 1, graphs), &[request(1, 1)]);
    // 1, 2 and 3 sequences, each twice: 65 all-reduces, and the logits with them.
    let mut expected = vec![("AllReduce", vec![1], 1)];
    expected.extend([1, 2, 3].map(|size| ("AllReduce", vec![size, 4096], 130)));
    expected.extend([1, 2, 3].map(|size| ("AllGather", vec![size, 128_256], 2)));
    let mut seen = startup(&captured, 0);
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn sglang_pads_the_logits_with_the_step_and_never_a_prompt() {
    let settings = Settings { engine: Engine::Sglang, cuda_graphs: true, ..Settings::PAPER };
    let requests = [request(5, 2); 3];
    let prediction = predict(deployment("llama-3.1-8b", 2, 1, settings), &requests);
    // Two decodes, since it sees one step late that the requests are done.
    assert_eq!(
        rows(&prediction, "AllGather"),
        [(0, "prefill", vec![3, 128_256], 1), (0, "decode", vec![4, 128_256], 2)]
    );
    assert_eq!(
        rows(&prediction, "AllReduce"),
        [(0, "prefill", vec![15, 4096], 65), (0, "decode", vec![4, 4096], 130)]
    );
}

//! The paper's tables from the schedule of the engine, and what must hold of every schedule.

use super::*;
use crate::model::presets::preset;
use crate::model::{Engine, Prediction, Row, Settings, equations};
use crate::outputs::rows::View;
use proptest::prelude::*;

fn deployment(model: &str, tensor: u32, pipeline: u32, settings: Settings) -> Deployment {
    Deployment::new(preset(model).unwrap(), Layout::new(tensor, pipeline), settings).unwrap()
}

fn request(prompt: u64, output: u64) -> Request {
    Request { prompt, output, cached: 0, arrives: 0 }
}

fn predict(deployment: Deployment, requests: &[Request]) -> Prediction {
    Prediction::of_requests(deployment, requests).unwrap()
}

/// The paper's request, in its setting.
fn paper(model: &str, tensor: u32, pipeline: u32) -> Prediction {
    predict(deployment(model, tensor, pipeline, Settings::PAPER), &[request(128, 128)])
}

/// Rows of one collective after start-up, as (stage, phase, shape, count).
fn rows(prediction: &Prediction, collective: &str) -> Vec<(u32, &'static str, Vec<u64>, u64)> {
    let of = |row: &Row| row.collective == collective && row.phase != "startup";
    let rows = prediction.rows(View::Collectives).into_iter().filter(of);
    rows.map(|row| (row.stage, row.phase, row.shape, row.count)).collect()
}

#[test]
fn table_3_from_the_schedule() {
    for (ranks, slice) in [(2, 64_128), (4, 32_064)] {
        let prediction = paper("llama-3.1-8b", ranks, 1);
        assert_eq!(
            rows(&prediction, "AllReduce"),
            [(0, "prefill", vec![128, 4096], 65), (0, "decode", vec![1, 4096], 8255)]
        );
        assert_eq!(
            rows(&prediction, "Gather"),
            [(0, "prefill", vec![slice], 1), (0, "decode", vec![slice], 127)]
        );
    }
}

#[test]
fn table_4_from_the_schedule() {
    for (model, prefill, decode) in [
        ("llama-3.2-3b", (786_432, 57), (6_144, 7_239)),
        ("llama-3.1-8b", (1_048_576, 65), (8_192, 8_255)),
        ("llama-2-13b", (1_310_720, 81), (10_240, 10_287)),
    ] {
        let rows = paper(model, 4, 1).rows(View::Operations);
        let of = |phase| {
            let row = rows.iter().find(|r| r.op == Some("AllReduce") && r.phase == phase).unwrap();
            (row.message_bytes / row.count, row.count)
        };
        assert_eq!((of("prefill"), of("decode")), (prefill, decode), "{model}");
    }
}

#[test]
fn table_5_from_the_schedule() {
    for (stages, prefill, decode) in [(2, 2, 254), (4, 6, 762)] {
        let prediction = paper("llama-3.1-8b", 1, stages);
        for operation in ["Send", "Recv"] {
            let rows = rows(&prediction, operation);
            let over_links = |phase, shape: &[u64]| -> u64 {
                let of = rows.iter().filter(|row| row.1 == phase);
                of.map(|row| {
                    assert_eq!(row.2, shape);
                    row.3
                })
                .sum()
            };
            assert_eq!(over_links("prefill", &[128, 4096]), prefill);
            assert_eq!(over_links("decode", &[1, 4096]), decode);
        }
        assert!(rows(&prediction, "AllReduce").is_empty());
        assert!(rows(&prediction, "Gather").is_empty());
    }
}

#[test]
fn table_6_from_the_schedule_with_the_stages_kept_apart() {
    let prediction = paper("llama-3.1-8b", 2, 2);
    assert_eq!(
        rows(&prediction, "AllReduce"),
        [
            (0, "prefill", vec![128, 4096], 33),
            (0, "decode", vec![1, 4096], 4191),
            (1, "prefill", vec![128, 4096], 32),
            (1, "decode", vec![1, 4096], 4064),
        ]
    );
    let of = |collective| rows(&prediction, collective);
    let on = |stage, wide: &[u64], (prefill, narrow): (u64, &[u64]), decode| {
        vec![(stage, "prefill", wide.to_vec(), prefill), (stage, "decode", narrow.to_vec(), decode)]
    };
    assert_eq!(of("Gather"), on(1, &[64_128], (1, &[64_128]), 127));
    assert_eq!(of("AllGather"), on(1, &[128, 4096], (2, &[1, 4096]), 254));
    assert_eq!(of("Send"), on(0, &[128, 2048], (2, &[1, 2048]), 254));
    assert_eq!(of("Recv"), on(1, &[128, 2048], (2, &[1, 2048]), 254));
}

/// The traffic that the paper counts: all but what V0 tells its ranks about a step.
fn of_the_paper(call: &Call) -> bool {
    call.operation != Operation::Broadcast
}

#[test]
fn figure_6_from_the_schedule() {
    for model in ["llama-3.2-3b", "llama-3.1-8b", "llama-2-13b"] {
        let bus = |t, p| paper(model, t, p).totals(of_the_paper).bus_bytes;
        let (tensor, pipeline, both) = (bus(4, 1), bus(1, 4), bus(2, 2));
        assert!(pipeline < both && both < tensor, "{model}: {pipeline} {both} {tensor}");
    }
}

#[test]
fn figure_7_from_the_schedule() {
    for (t, p) in [(4, 1), (1, 4), (2, 2)] {
        let activations = |output| {
            let deployment = deployment("llama-3.1-8b", t, p, Settings::PAPER);
            let prediction = predict(deployment, &[request(128, output)]);
            let wanted = |call: &Call| of_the_paper(call) && call.collective != Operation::Gather;
            prediction.totals(wanted).bus_bytes as f64
        };
        let rounded = |growth: f64| (growth * 100.0).round() / 100.0;
        assert_eq!(rounded(activations(256) / activations(128)), 1.50, "t={t} p={p}");
        assert_eq!(rounded(activations(512) / activations(256)), 1.67, "t={t} p={p}");
    }
}

/// The bus bytes that equations 1 to 7 count: one rank of each group, gathers once.
fn as_the_equations_count(prediction: &Prediction) -> f64 {
    prediction
        .rows(View::Collectives)
        .iter()
        .filter(|row| row.phase != "startup")
        .filter(|row| match row.collective {
            "AllReduce" => row.stage == 0,
            "Broadcast" | "Recv" => false,
            _ => true,
        })
        .map(|row| row.bus_bytes as f64)
        .sum()
}

#[test]
fn counted_as_the_paper_counts_the_schedule_gives_the_equations() {
    for model in ["llama-3.2-3b", "llama-3.1-8b", "llama-2-13b"] {
        for (t, p) in [(2, 1), (4, 1), (1, 2), (1, 4), (2, 2)] {
            let prediction = paper(model, t, p);
            let (ours, theirs) =
                (as_the_equations_count(&prediction), prediction.equations.unwrap().total());
            assert!((ours - theirs).abs() <= theirs * 1e-9, "{model} {t} {p}: {ours} {theirs}");
        }
    }
}

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
    let settings = Settings { speculation: Some(crate::model::Speculation::Ngrams), ..V1 };
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

prop_compose! {
    fn any_settings()(
        engine in prop::sample::select(vec![Engine::V0, Engine::V1Release0_11, Engine::V1Release0_20]),
        cuda_graphs in any::<bool>(), seqs in 1u64..40,
    ) -> Settings {
        Settings {
            engine, cuda_graphs, max_num_seqs: Some(seqs), max_model_len: Some(4096),
            max_num_batched_tokens: Some(4096), ..Settings::PAPER
        }
    }
}

fn any_requests() -> impl Strategy<Value = Vec<Request>> {
    let one = (1u64..1000, 1u64..50).prop_map(|(prompt, output)| request(prompt, output));
    prop::collection::vec(one, 1..20)
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        t in prop::sample::select(vec![1u32, 2, 4, 8]), p in 1u32..6,
        settings in any_settings(), requests in any_requests(),
    ) {
        let prediction = predict(deployment("llama-3.1-8b", t, p, settings), &requests);
        for collective in ["point-to-point", "Gather"] {
            let bytes = |operation| prediction.totals(|call| {
                let gather = call.collective == Operation::Gather;
                call.operation == operation && gather == (collective == "Gather")
            });
            prop_assert_eq!(bytes(Operation::Send), bytes(Operation::Recv));
        }
    }

    #[test]
    fn without_padding_the_volume_depends_on_the_tokens_alone(
        t in prop::sample::select(vec![2u32, 4, 8]), p in 1u32..6,
        settings in any_settings(), requests in any_requests(),
    ) {
        let settings = Settings { cuda_graphs: false, ..settings };
        let prediction = predict(deployment("llama-3.1-8b", t, p, settings), &requests);
        let tokens: u64 = requests.iter().map(|r| r.prompt + r.output - 1).sum();
        let bytes = |operation| prediction.totals(|call| call.operation == operation).message_bytes;
        let row = 4096 * 2;
        let all_reduces = (2 * 32 + 1) * u64::from(t);
        prop_assert_eq!(bytes(Operation::AllReduce), all_reduces * tokens * row);
        let boundary = 2 * (u64::from(p) - 1) * tokens * row;
        prop_assert_eq!(prediction.totals(|call| {
            call.operation == Operation::Send && call.role == Role::PipelineParallel
        }).message_bytes, boundary);
    }

    #[test]
    fn graphs_only_add(
        t in prop::sample::select(vec![2u32, 4]), settings in any_settings(),
        requests in any_requests(),
    ) {
        let bus = |cuda_graphs| {
            let settings = Settings { cuda_graphs, ..settings };
            predict(deployment("llama-3.1-8b", t, 1, settings), &requests).totals(|_| true).bus_bytes
        };
        prop_assert!(bus(true) >= bus(false));
    }

    #[test]
    fn every_view_has_the_same_bytes_at_the_ranks_that_send(
        t in prop::sample::select(vec![2u32, 4, 8]), settings in any_settings(),
        requests in any_requests(),
    ) {
        let prediction = predict(deployment("llama-3.1-8b", t, 1, settings), &requests);
        let sum = |view, wanted: fn(&Row) -> bool| -> u64 {
            let rows = prediction.rows(view).into_iter().filter(wanted);
            rows.map(|row| row.message_bytes * row.ranks.len() as u64).sum()
        };
        let others = |row: &Row| row.collective != "Gather";
        prop_assert_eq!(sum(View::Operations, others), sum(View::Collectives, others));
        let sends = |row: &Row| row.collective == "Gather" && row.op == Some("Send");
        let gathers = |row: &Row| row.collective == "Gather";
        // In the view of collectives the root states its part too.
        let sent = sum(View::Operations, sends);
        let gathered = sum(View::Collectives, gathers);
        prop_assert_eq!(sent * u64::from(t), gathered * u64::from(t - 1));
    }

    #[test]
    fn a_model_with_twice_the_hidden_size_moves_twice_the_activations(
        t in prop::sample::select(vec![2u32, 4, 8]), p in 1u32..5, requests in any_requests(),
    ) {
        let bytes = |times| {
            let mut model = preset("llama-3.1-8b").unwrap();
            model.hidden_size *= times;
            let deployment = Deployment::new(model, Layout::new(t, p), Settings::PAPER).unwrap();
            predict(deployment, &requests).totals(|call| {
                call.collective != Operation::Gather && call.collective != Operation::Broadcast
            })
        };
        prop_assert_eq!(2 * bytes(1).message_bytes, bytes(2).message_bytes);
        prop_assert_eq!(bytes(1).operations, bytes(2).operations);
    }

    #[test]
    fn the_equations_hold_for_any_length(
        t in prop::sample::select(vec![1u32, 2, 4, 8]), p in prop::sample::select(vec![1u32, 2, 4]),
        prompt in 1u64..1500, output in 1u64..300,
    ) {
        let prediction =
            predict(deployment("llama-3.1-8b", t, p, Settings::PAPER), &[request(prompt, output)]);
        let symbols = equations::Symbols::new(
            &prediction.deployment.model, t.into(), p.into(), prompt, output,
        );
        let (ours, theirs) =
            (as_the_equations_count(&prediction), equations::volumes(&symbols).total());
        prop_assert!((ours - theirs).abs() <= theirs * 1e-9 + 8.0, "{} {}", ours, theirs);
    }
}

use super::*;
use crate::model::presets::preset;
use crate::model::{Deployment, Engine, Layout, Request, Settings};
use crate::outputs::rows::View;
use proptest::prelude::*;

fn prediction(tensor: u32, pipeline: u32, settings: Settings) -> Prediction {
    let model = preset("llama-3.1-8b").unwrap();
    let deployment = Deployment::new(model, Layout::new(tensor, pipeline), settings).unwrap();
    let request = Request { prompt: 128, output: 16, cached: 0, arrives: 0 };
    Prediction::of_requests(deployment, &[request]).unwrap()
}

/// The report of a run that did what is predicted, each process named after its rank. The phases are
/// as a report has them that knows them, or that does not.
fn report(prediction: &Prediction, phases: bool) -> Vec<Seen> {
    let mut rows: Vec<Seen> = Vec::new();
    for row in prediction.rows(View::Operations) {
        if row.path != "nccl" {
            continue;
        }
        for rank in row.ranks {
            let transfer = row.role == "pipeline" && row.collective != "AllReduce";
            rows.push(Seen {
                host: "node".into(),
                // Processes do not start in the order of their ranks.
                pid: 1000 - rank,
                rank: Some(0),
                stage: None,
                phase: if phases { row.phase.into() } else { "unknown".into() },
                phase_source: None,
                group: Some("aa".into()),
                communicator: Some("aa".into()),
                role: None,
                op: row.op.map(str::to_owned),
                collective: None,
                path: "nccl".into(),
                launch: "eager".into(),
                dtype: Some(row.dtype.into()),
                elements: Some(row.elements),
                elements_up_to: None,
                peer: None,
                ranks_in_group: Some(if transfer { 2 } else { row.ranks_in_group }),
                count: row.count,
                message_bytes: None,
                bus_bytes: None,
                at_least: false,
            });
        }
    }
    rows
}

fn worst(comparison: &Comparison) -> Vec<(Verdict, &str, u64, (u64, u64))> {
    let rows = comparison.rows.iter().filter(|row| row.verdict != Verdict::Equal);
    rows.map(|row| (row.verdict, row.op.as_str(), row.predicted, row.seen)).collect()
}

#[test]
fn a_run_that_did_what_is_predicted_agrees_in_every_layout() {
    for (tensor, pipeline) in [(1, 1), (2, 1), (4, 1), (1, 2), (1, 4), (2, 2), (4, 3)] {
        for phases in [true, false] {
            let prediction = prediction(tensor, pipeline, Settings::PAPER);
            let comparison = compare(&prediction, &report(&prediction, phases));
            let expected = if tensor * pipeline == 1 { 1 } else { 0 };
            assert_eq!(comparison.without_process, expected, "{tensor} {pipeline}");
            assert_eq!(worst(&comparison), [], "{tensor} {pipeline}");
            assert_eq!(comparison.agrees(), expected == 0);
        }
    }
}

#[test]
fn one_call_more_or_less_is_found_and_where() {
    let prediction = prediction(2, 2, Settings::PAPER);
    let mut seen = report(&prediction, true);
    let row = seen
        .iter_mut()
        .find(|row| {
            row.pid == 1000 && row.phase == "decode" && row.op.as_deref() == Some("AllReduce")
        })
        .unwrap();
    row.count += 1;
    let comparison = compare(&prediction, &seen);
    assert_eq!(worst(&comparison), [(Verdict::Off, "AllReduce", 33 * 15, (33 * 15, 33 * 15 + 1))]);
    let row = comparison.rows.iter().find(|row| row.verdict == Verdict::Off).unwrap();
    assert_eq!((row.stage, &row.ranks[..]), (Some(0), &[0, 1][..]));
}

#[test]
fn the_same_call_of_another_size_or_type_is_missing_and_not_predicted() {
    let prediction = prediction(2, 1, Settings::PAPER);
    let mut seen = report(&prediction, true);
    for row in seen.iter_mut().filter(|row| row.op.as_deref() == Some("Send")) {
        row.dtype = Some("float32".into());
    }
    let verdicts: BTreeSet<_> =
        worst(&compare(&prediction, &seen)).iter().map(|row| (row.0, row.1.to_owned())).collect();
    let send = "Send".to_owned();
    assert_eq!(
        verdicts,
        BTreeSet::from([(Verdict::Missing, send.clone()), (Verdict::NotPredicted, send)])
    );
}

#[test]
fn a_rank_that_no_process_took_is_no_agreement() {
    let prediction = prediction(4, 1, Settings::PAPER);
    let mut seen = report(&prediction, true);
    seen.retain(|row| row.pid != 999);
    let comparison = compare(&prediction, &seen);
    assert_eq!(comparison.without_process, 1);
    assert!(!comparison.agrees());
    assert!(!compare(&prediction, &[]).agrees(), "nothing seen is no agreement");
}

#[test]
fn a_process_too_many_is_not_predicted() {
    let prediction = prediction(2, 1, Settings::PAPER);
    let mut seen = report(&prediction, true);
    let more = Seen { pid: 7, op: Some("AlltoAll".into()), ..seen[0].clone() };
    seen.push(more);
    let comparison = compare(&prediction, &seen);
    assert_eq!(comparison.without_place, ["node pid 7"]);
    assert_eq!(comparison.count(Verdict::NotPredicted), 1);
    assert!(!comparison.agrees());
}

#[test]
fn what_goes_past_nccl_is_unseen_when_predicted_so_and_a_hint_when_not() {
    let custom = Settings { custom_all_reduce: true, ..Settings::PAPER };
    let past = prediction(2, 1, custom);
    let seen = report(&past, true);
    let comparison = compare(&past, &seen);
    assert!(comparison.agrees());
    assert_eq!(comparison.count(Verdict::Unseen), 2, "prefill and decode");

    let comparison = compare(&prediction(2, 1, Settings::PAPER), &seen);
    assert_eq!(comparison.count(Verdict::MissingPastNccl), 2);
    assert!(!comparison.agrees());
}

#[test]
fn what_a_kernel_carries_out_counts_as_if_nccl_had() {
    let plain = prediction(2, 1, Settings::PAPER);
    let mut seen = report(&plain, true);
    let by_kernel = |row: &&mut Seen| {
        row.op.as_deref() == Some("AllReduce") && row.dtype.as_deref() != Some("float32")
    };
    seen.iter_mut().filter(by_kernel).for_each(|row| row.path = "custom_all_reduce".into());
    for settings in [Settings::PAPER, Settings { custom_all_reduce: true, ..Settings::PAPER }] {
        let comparison = compare(&prediction(2, 1, settings), &seen);
        assert!(comparison.agrees(), "{:?}", worst(&comparison));
        assert_eq!(comparison.count(Verdict::Unseen), 0);
    }
    seen.iter_mut().filter(by_kernel).for_each(|row| row.count -= 1);
    let custom = Settings { custom_all_reduce: true, ..Settings::PAPER };
    assert!(!compare(&prediction(2, 1, custom), &seen).agrees(), "one less is found");
}

#[test]
fn start_up_that_is_not_known_is_no_difference_where_phases_are_known() {
    let v1 = Settings { engine: Engine::V1Release0_11, ..Settings::PAPER };
    let prediction = prediction(2, 1, v1);
    let mut seen = report(&prediction, true);
    let profile = Seen { phase: "startup".into(), elements: Some(8192 * 4096), ..seen[1].clone() };
    seen.push(profile);
    let comparison = compare(&prediction, &seen);
    assert_eq!(comparison.count(Verdict::Startup), 1);
    assert!(comparison.agrees());
}

proptest! {
    #[test]
    fn any_change_of_any_count_is_found(
        at in any::<prop::sample::Index>(), change in 1u64..9, phases in any::<bool>(),
        layout in prop::sample::select(vec![(2u32, 1u32), (1, 2), (2, 2)]),
    ) {
        let prediction = prediction(layout.0, layout.1, Settings::PAPER);
        let mut seen = report(&prediction, phases);
        let at = at.index(seen.len());
        seen[at].count += change;
        prop_assert!(!compare(&prediction, &seen).agrees());
        seen[at].count -= change;
        prop_assert!(compare(&prediction, &seen).agrees());
        seen.remove(at);
        prop_assert!(!compare(&prediction, &seen).agrees());
    }
}

/// A report does not know idle replicas: what they do is start-up there.
#[test]
fn passes_of_an_idle_replica_are_compared_together_with_start_up() {
    let config = r#"{"architectures": ["Qwen3MoeForCausalLM"], "hidden_size": 256,
        "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 2048, "intermediate_size": 512,
        "moe_intermediate_size": 128, "num_experts": 8, "num_experts_per_tok": 2,
        "max_position_embeddings": 4096, "torch_dtype": "bfloat16"}"#;
    let model = crate::model::Model::from_config("experts", config).unwrap();
    let layout = Layout { data: 2, expert_parallel: true, ..Layout::new(1, 1) };
    let settings = Settings { engine: Engine::V1Release0_20, ..Settings::PAPER };
    let deployment = Deployment::new(model, layout, settings).unwrap();
    let request = Request { prompt: 64, output: 4, cached: 0, arrives: 0 };
    let prediction = Prediction::of_requests(deployment, &[request]).unwrap();
    let mut rows = report(&prediction, true);
    rows.iter_mut().filter(|row| row.phase == "idle").for_each(|row| row.phase = "startup".into());
    let comparison = compare(&prediction, &rows);
    assert_eq!(worst(&comparison), []);
    assert!(comparison.rows.iter().any(|row| row.phase == "startup, idle"));

    let idle = rows.iter_mut().find(|row| row.op.as_deref() == Some("Reduce")).unwrap();
    idle.count += 1;
    assert!(!compare(&prediction, &rows).agrees());
}

/// In V1 the first of several requests is often computed alone: the counts are others, the bytes hardly.
#[test]
fn the_volume_hardly_depends_on_when_requests_arrive() {
    let model = preset("llama-3.1-8b").unwrap();
    let settings = Settings { engine: Engine::V1Release0_20, ..Settings::PAPER };
    let deployment = Deployment::new(model, Layout::new(2, 1), settings).unwrap();
    let of = |late: u64| {
        let requests = (0..64).map(|number| Request {
            prompt: 16 + 23 * number,
            output: 16 + number,
            cached: 0,
            arrives: number * late,
        });
        Prediction::of_requests(deployment.clone(), &requests.collect::<Vec<_>>()).unwrap()
    };
    let (at_once, one_by_one) = (of(0), of(3));
    let comparison = compare(&at_once, &report(&one_by_one, true));
    assert!(!comparison.agrees());
    let Volume { predicted, seen } = comparison.volume;
    assert!(predicted.abs_diff(seen) * 1000 < predicted, "{predicted} and {seen}");
    assert_eq!(compare(&at_once, &report(&at_once, true)).volume.seen, predicted);
}

//! What must hold of advice for any cluster and workload.

use super::*;
use crate::model::Engine;
use crate::model::presets::preset;
use proptest::prelude::*;

const SETTINGS: Settings = Settings {
    engine: Engine::V1Release0_20,
    cuda_graphs: true,
    max_model_len: Some(8192),
    ..Settings::PAPER
};

fn one(load: Load) -> Workload {
    Workload { prompt: 512, output: 128, load, first: false }
}

fn of(model: &str, t: u32, p: u32, load: Load) -> Advice {
    let cluster = Cluster::preset("h100-sxm").unwrap();
    advise(&preset(model).unwrap(), Layout::new(t, p), SETTINGS, &cluster, &one(load)).unwrap()
}

#[test]
fn counts_and_bytes_are_those_of_predict() {
    let advice = of("llama-3.1-8b", 2, 2, Load::Concurrent(1));
    let deployment =
        Deployment::new(preset("llama-3.1-8b").unwrap(), advice.layout, SETTINGS).unwrap();
    let request = Request { prompt: 512, output: 128, cached: 0, arrives: 0 };
    let prediction = Prediction::of_requests(deployment, &[request]).unwrap();
    let sent = prediction.totals(|call| call.operation != nccltap_proto::Operation::Recv);
    assert_eq!(advice.sent, sent);
    assert!(sent.bus_bytes > 0);
}

#[test]
fn a_model_that_is_too_large_for_the_memory_is_said_to_be() {
    let mut large = preset("llama-3.1-8b").unwrap();
    (large.layers, large.hidden_size, large.intermediate_size) = (80, 8192, 28_672);
    (large.attention_heads, large.max_position_embeddings) = (64, 8192);
    let cluster = Cluster::preset("h100-sxm").unwrap();
    let load = one(Load::Concurrent(1));
    let (ranked, _) = rank(&large, SETTINGS, &cluster, &load, By::E2e);
    let alone = ranked.iter().find(|advice| advice.layout == Layout::new(1, 1)).unwrap();
    assert_eq!(alone.outcome, Err(Unfit::Memory));
    assert!(alone.memory.cache < 0.0);
    let fits = |advice: &Advice| advice.outcome.is_ok();
    assert!(fits(ranked.first().unwrap()) && !fits(ranked.last().unwrap()));
    assert!(ranked.is_sorted_by_key(|advice| !fits(advice)), "those that do not fit are last");
}

#[test]
fn a_layout_that_cannot_keep_up_says_how_much_it_can() {
    let Err(Unfit::TooSlow(most)) = of("llama-2-13b", 1, 1, Load::PerSecond(1e6)).outcome else {
        panic!("a million requests per second");
    };
    assert!(of("llama-2-13b", 1, 1, Load::PerSecond(most * 0.9)).outcome.is_ok());
    assert!(of("llama-2-13b", 1, 1, Load::PerSecond(most * 1.1)).outcome.is_err());
}

#[test]
fn a_pipeline_serves_many_requests_faster_than_one_stage_and_one_request_no_faster() {
    let throughput = |p, requests| {
        let advice = of("llama-2-13b", 1, p, Load::Concurrent(requests));
        advice.outcome.unwrap().throughput
    };
    assert!(throughput(4, 64) > 1.1 * throughput(1, 64));
    assert!(throughput(4, 1) < throughput(1, 1));
}

#[test]
fn requests_that_find_no_room_wait() {
    let few = of("llama-2-13b", 1, 1, Load::Concurrent(64));
    let room = few.memory.requests;
    let many = of("llama-2-13b", 1, 1, Load::Concurrent(4 * room)).outcome.unwrap();
    assert_eq!(many.running, room);
    assert!(many.ttft > 10.0 * few.outcome.unwrap().ttft);
    assert!(
        many.tpot < 2.0 * of("llama-2-13b", 1, 1, Load::Concurrent(room)).outcome.unwrap().tpot
    );
}

#[test]
fn every_layout_that_divides_the_gpus_is_tried_once() {
    let all: Vec<_> = layouts(8).map(|layout| (layout.tensor, layout.pipeline)).collect();
    assert_eq!(all.len(), 10);
    assert!(all.contains(&(4, 2)) && all.contains(&(1, 1)) && all.contains(&(2, 1)));
}

#[test]
fn what_is_not_modelled_is_left_out_with_the_reason() {
    let mut latent = preset("llama-3.1-8b").unwrap();
    latent.architecture = crate::model::Architecture::DeepseekV3;
    let cluster = Cluster::preset("h100-sxm").unwrap();
    let load = one(Load::Concurrent(1));
    let (ranked, refused) = rank(&latent, SETTINGS, &cluster, &load, By::Ttft);
    assert!(ranked.is_empty());
    assert!(refused.iter().any(|(_, refusal)| refusal.to_string().contains("latent attention")));
}

proptest! {
    #[test]
    fn more_requests_at_once_serve_no_fewer_and_wait_no_less(
        t in prop::sample::select(vec![1u32, 2, 4]), p in 1u32..5, requests in 1u64..200,
    ) {
        let few = of("llama-3.2-3b", t, p, Load::Concurrent(requests)).outcome.unwrap();
        let more = of("llama-3.2-3b", t, p, Load::Concurrent(requests + 8)).outcome.unwrap();
        prop_assert!(more.e2e >= few.e2e * 0.999);
        prop_assert!(more.throughput >= few.throughput * 0.95);
    }

    #[test]
    fn the_whole_is_the_sum_of_its_parts(
        t in prop::sample::select(vec![1u32, 2, 4]), p in 1u32..5, requests in 1u64..100,
    ) {
        let times = of("llama-3.1-8b", t, p, Load::Concurrent(requests)).outcome.unwrap();
        prop_assert!((times.ttft + 127.0 * times.tpot - times.e2e).abs() < 1e-9);
        prop_assert!(times.communication <= times.e2e);
        prop_assert_eq!(times.communication > 0.0, t * p > 1);
    }
}

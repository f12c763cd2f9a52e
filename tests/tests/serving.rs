//! Ranks of one engine: counted as one group, live, and complete at the end.

use nccltap_tests::{Collector, Run, Stage, Tally, eventually, hosts};
use std::collections::BTreeSet;

/// Starts all ranks of Llama-3.1-8B that serve one request of 128 prompt and 128 generated tokens.
fn serve(stage: &Stage, ranks: u64, milliseconds_per_step: u64) -> Vec<Run> {
    let program = &hosts::simulated_nccl().llama_rank;
    (0..ranks)
        .map(|rank| {
            stage
                .tapped(program)
                .arg("--tp")
                .arg(ranks.to_string())
                .arg("--rank")
                .arg(rank.to_string())
                .arg("--pace")
                .arg(milliseconds_per_step.to_string())
                .arg("--ids-file")
                .arg(stage.path().join("ids"))
                .start()
        })
        .collect()
}

fn finished(stage: &Stage, collector: &Collector, ranks: Vec<Run>) -> Tally {
    for rank in ranks {
        rank.finish().succeeded();
    }
    stage.ledger_equals_ground_truth(collector)
}

#[test]
fn every_call_of_two_and_of_four_ranks_is_counted() {
    for ranks in [2, 4] {
        let stage = Stage::new();
        let collector = stage.collector();
        let ledger = finished(&stage, &collector, serve(&stage, ranks, 0));
        // The counts of the paper's Table III for 128 + 128 tokens, on each rank.
        assert_eq!(ledger.of_elements("AllReduce", 128 * 4096), ranks * 65);
        assert_eq!(ledger.of_elements("AllReduce", 4096), ranks * 8255);
        let part = 128_256 / ranks;
        assert_eq!(ledger.of_elements("Send", part), (ranks - 1) * 128);
        assert_eq!(ledger.of_elements("Recv", part), (ranks - 1) * 128);
        assert_eq!(ledger.of("Broadcast"), ranks * 1151);
        let groups: BTreeSet<_> = ledger.0.keys().map(|call| call.group).collect();
        assert_eq!(groups.len(), 2, "one group of PyTorch and one of pynccl: {groups:?}");
    }
}

#[test]
fn counts_are_there_while_the_engine_serves() {
    let stage = Stage::new();
    let collector = stage.collector();
    let ranks = serve(&stage, 2, 20);
    let mut seen = 0.0;
    for _ in 0..3 {
        seen = eventually(|| {
            let now = collector.metric("nccltap_operations_total", &["op=\"AllReduce\""]);
            if now > seen { Ok(now) } else { Err(format!("stays at {now} AllReduce")) }
        });
    }
    assert!(seen < 2.0 * (1.0 + 65.0 + 8255.0), "the engine had ended already");
    finished(&stage, &collector, ranks);
}

#[test]
fn grouped_sends_and_receives_of_the_logits_are_seen_as_gathers() {
    let stage = Stage::new();
    let collector = stage.collector();
    // Of two ranks the root's group has one Recv, which may as well be just that.
    finished(&stage, &collector, serve(&stage, 4, 0));
    let text = collector.get("/api/v1/report?format=json&view=collectives");
    let rows: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let gathers: Vec<_> = rows.iter().filter(|row| row["collective"] == "Gather").collect();
    assert!(gathers.iter().all(|row| row["elements"] == 32064 && row["op"].is_null()), "{text}");
    let count: u64 = gathers.iter().filter_map(|row| row["count"].as_u64()).sum();
    assert_eq!(count, 4 * 128, "128 on each rank: {text}");
    assert!(rows.iter().all(|row| row["collective"] != "Send" && row["collective"] != "Recv"));
}

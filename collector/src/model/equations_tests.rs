//! The paper's own numbers.

use super::*;
use crate::model::presets::preset;
use proptest::prelude::*;

const MODELS: [&str; 3] = ["llama-3.2-3b", "llama-3.1-8b", "llama-2-13b"];

fn symbols(model: &str, t: u64, p: u64, sd: u64) -> Symbols {
    Symbols::new(&preset(model).unwrap(), t, p, 128, sd)
}

/// A row as the paper prints it.
fn row(prefill: bool, operation: Operation, count: u64, shape: &[u64]) -> TableRow {
    TableRow { prefill, operation, count, shape: shape.to_vec() }
}

fn same_rows(mut ours: Vec<TableRow>, paper: &[TableRow]) {
    assert_eq!(ours.len(), paper.len());
    ours.retain(|row| !paper.contains(row));
    assert!(ours.is_empty(), "not in the paper: {ours:?}");
}

use Operation::{AllGather, AllReduce, Gather, Send};

#[test]
fn table_3_tensor_parallelism() {
    for (t, slice) in [(2, 64_128), (4, 32_064)] {
        same_rows(
            table(&symbols("llama-3.1-8b", t, 1, 128)),
            &[
                row(true, AllReduce, 65, &[128, 4096]),
                row(true, Gather, 1, &[slice]),
                row(false, AllReduce, 8255, &[1, 4096]),
                row(false, Gather, 127, &[slice]),
            ],
        );
    }
}

#[test]
fn table_4_message_sizes_and_counts_of_all_reduces() {
    let paper = [
        ("llama-3.2-3b", 786_432, 57, 6_144, 7_239),
        ("llama-3.1-8b", 1_048_576, 65, 8_192, 8_255),
        ("llama-2-13b", 1_310_720, 81, 10_240, 10_287),
    ];
    for (model, prefill_size, prefill_count, decode_size, decode_count) in paper {
        let symbols = symbols(model, 4, 1, 128);
        let of = |prefill| {
            let rows = table(&symbols);
            let row = rows.iter().find(|r| r.prefill == prefill && r.operation == AllReduce);
            let row = row.unwrap();
            (row.shape.iter().product::<u64>() * symbols.b, row.count)
        };
        assert_eq!(of(true), (prefill_size, prefill_count), "{model}");
        assert_eq!(of(false), (decode_size, decode_count), "{model}");
    }
}

#[test]
fn table_5_pipeline_parallelism() {
    for (p, prefill, decode) in [(2, 2, 254), (4, 6, 762)] {
        same_rows(
            table(&symbols("llama-3.1-8b", 1, p, 128)),
            &[row(true, Send, prefill, &[128, 4096]), row(false, Send, decode, &[1, 4096])],
        );
    }
}

#[test]
fn table_6_both() {
    same_rows(
        table(&symbols("llama-3.1-8b", 2, 2, 128)),
        &[
            row(true, AllReduce, 33, &[128, 4096]),
            row(true, Gather, 1, &[64_128]),
            row(true, AllGather, 2, &[128, 4096]),
            row(true, Send, 2, &[128, 2048]),
            row(false, AllReduce, 4191, &[1, 4096]),
            row(false, Gather, 127, &[64_128]),
            row(false, AllGather, 254, &[1, 4096]),
            row(false, Send, 254, &[1, 2048]),
        ],
    );
}

#[test]
fn figure_6_pipeline_parallelism_is_lowest_and_tensor_parallelism_highest() {
    for model in MODELS {
        let total = |t, p| volumes(&symbols(model, t, p, 128)).total();
        let (tensor, pipeline, both) = (total(4, 1), total(1, 4), total(2, 2));
        assert!(pipeline < both && both < tensor, "{model}: {pipeline} {both} {tensor}");
    }
}

/// To two decimals, as the paper gives it.
fn rounded(growth: f64) -> f64 {
    (growth * 100.0).round() / 100.0
}

#[test]
fn figure_7_growth_with_the_output() {
    for model in MODELS {
        for (t, p) in [(4, 1), (1, 4), (2, 2)] {
            let of = |sd| volumes(&symbols(model, t, p, sd));
            let activations = |sd| of(sd).total() - of(sd).gather;
            assert_eq!(rounded(activations(256) / activations(128)), 1.50, "{model} {t} {p}");
            assert_eq!(rounded(activations(512) / activations(256)), 1.67, "{model} {t} {p}");
        }
    }
}

/// The paper explains its growth by Sp+Sd-1 alone; its own equation 6 grows with Sd.
#[test]
fn figure_7_with_the_gather_of_the_logits_grows_a_little_more() {
    let total = |sd| volumes(&symbols("llama-3.1-8b", 4, 1, sd)).total();
    assert_eq!(rounded(total(256) / total(128)), 1.52);
    assert_eq!(rounded(total(512) / total(256)), 1.69);
}

#[test]
fn the_equations_are_the_sums_over_their_tables() {
    for (t, p) in [(2, 1), (4, 1), (1, 2), (1, 4), (2, 2)] {
        let s = symbols("llama-3.1-8b", t, p, 128);
        let d = t as f64;
        let summed: f64 = table(&s)
            .iter()
            .map(|row| {
                let bytes = (row.count * row.shape.iter().product::<u64>() * s.b) as f64;
                bytes
                    * match row.operation {
                        AllReduce => 2.0 * (d - 1.0) / d,
                        AllGather => (d - 1.0) / d,
                        _ => 1.0,
                    }
            })
            .sum();
        assert!((summed - volumes(&s).total()).abs() < 1.0, "t={t} p={p}");
    }
}

proptest! {
    #[test]
    fn every_volume_but_the_gather_is_proportional_to_the_rows(
        t in 1u64..9, p in 1u64..9, sp in 1u64..5000, sd in 1u64..5000,
    ) {
        let s = Symbols { t, p, sp, sd, ..symbols("llama-2-13b", 1, 1, 128) };
        let one = Symbols { sp: 1, sd: 1, ..s };
        let rows = (sp + sd - 1) as f64;
        let without_gather = |s: &Symbols| volumes(s).total() - volumes(s).gather;
        let (all, per_row) = (without_gather(&s), without_gather(&one));
        prop_assert!((all - rows * per_row).abs() <= all * 1e-12);
    }

    #[test]
    fn equation_3_contains_equations_1_and_2(t in 2u64..9, p in 2u64..9, sd in 1u64..999) {
        let s = symbols("llama-3.1-8b", t, p, sd);
        prop_assert_eq!(hybrid(&Symbols { p: 1, ..s }), tensor_parallel(&Symbols { p: 1, ..s }));
        let pipeline = hybrid(&Symbols { t: 1, ..s });
        prop_assert_eq!(
            pipeline.point_to_point,
            pipeline_parallel(&Symbols { t: 1, ..s }).point_to_point
        );
        prop_assert_eq!(pipeline.all_reduce + pipeline.all_gather, 0.0);
    }
}

//! The paper's tables and figures from the schedule of the engine.

use super::*;

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

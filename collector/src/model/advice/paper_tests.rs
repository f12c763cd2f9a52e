//! Figures 8 to 10 of the paper: what is measured there, and what is advised here.

use super::*;
use crate::model::presets::preset;
use std::fmt::Write;

/// A row of the figures, in milliseconds. Of TTFT, the least and the most that the paper says.
struct Measured {
    model: &'static str,
    layout: (u32, u32),
    nodes: u32,
    e2e: Option<f64>,
    ttft: (f64, f64),
    tpot: Option<f64>,
}

const fn row(
    model: &'static str,
    layout: (u32, u32),
    nodes: u32,
    e2e: Option<f64>,
    ttft: (f64, f64),
    tpot: Option<f64>,
) -> Measured {
    Measured { model, layout, nodes, e2e, ttft, tpot }
}

/// "About 2 ms" is what the paper says of PP=2 and PP=4; of the hybrid layouts it gives the range of
/// TTFT alone.
const FIGURES: [Measured; 10] = [
    row("llama-3.2-3b", (2, 1), 1, Some(310.0), (150.0, 150.0), Some(1.17)),
    row("llama-3.2-3b", (4, 1), 1, Some(210.0), (90.0, 90.0), Some(0.86)),
    row("llama-3.2-3b", (8, 1), 2, Some(1520.0), (30.0, 30.0), Some(11.56)),
    row("llama-3.2-3b", (1, 2), 1, Some(690.0), (430.0, 430.0), Some(2.0)),
    row("llama-3.2-3b", (1, 4), 1, Some(1360.0), (1110.0, 1110.0), Some(2.0)),
    row("llama-3.2-3b", (1, 8), 2, Some(4980.0), (2520.0, 2520.0), Some(19.22)),
    row("llama-2-13b", (8, 1), 2, Some(2370.0), (70.0, 70.0), Some(18.0)),
    row("llama-2-13b", (1, 8), 2, None, (2430.0, 2430.0), None),
    row("llama-2-13b", (2, 4), 2, None, (1930.0, 2610.0), None),
    row("llama-2-13b", (4, 2), 2, Some(15_150.0), (1930.0, 2610.0), Some(103.0)),
];

/// What is advised for the paper's request, in milliseconds.
fn advised(cluster: &str, measured: &Measured) -> Times {
    let (tensor, pipeline) = measured.layout;
    let workload = Workload { prompt: 128, output: 128, load: Load::Concurrent(1), first: true };
    let advice = advise(
        &preset(measured.model).unwrap(),
        Layout::new(tensor, pipeline),
        Settings { max_model_len: Some(2048), ..Settings::PAPER },
        &Cluster::preset(cluster).unwrap(),
        &workload,
    )
    .unwrap();
    assert_eq!(advice.nodes, measured.nodes);
    let times = advice.outcome.unwrap();
    let [ttft, tpot, e2e] = [times.ttft, times.tpot, times.e2e].map(|seconds| seconds * 1e3);
    Times { ttft, tpot, e2e, ..times }
}

/// The layouts of a model on so many nodes, the fastest first, as measured and as advised.
fn orders(
    cluster: &str,
    wanted: impl Fn(&Measured) -> bool,
    measured: impl Fn(&Measured) -> Option<f64>,
    ours: impl Fn(&Times) -> f64,
) -> [Vec<(u32, u32)>; 2] {
    let rows = FIGURES.iter().filter(|row| wanted(row));
    let rows: Vec<_> = rows.filter_map(|row| Some((row, measured(row)?))).collect();
    let sorted = |value: &dyn Fn(&(&Measured, f64)) -> f64| {
        let mut rows: Vec<_> = rows.iter().collect();
        rows.sort_by(|a, b| value(a).total_cmp(&value(b)));
        rows.iter().map(|(row, _)| row.layout).collect()
    };
    [sorted(&|(_, value)| *value), sorted(&|(row, _)| ours(&advised(cluster, row)))]
}

const CLUSTERS: [&str; 2] = ["paper", "paper-measured"];

#[test]
fn tpot_orders_the_layouts_of_each_model_as_in_the_paper_within_and_across_nodes() {
    for cluster in CLUSTERS {
        for (model, nodes) in [("llama-3.2-3b", 1), ("llama-3.2-3b", 2), ("llama-2-13b", 2)] {
            let wanted = |row: &Measured| row.model == model && row.nodes == nodes;
            let [theirs, ours] = orders(cluster, wanted, |row| row.tpot, |times| times.tpot);
            assert_eq!(ours, theirs, "{cluster} {model} on {nodes} nodes");
        }
    }
}

#[test]
fn tpot_grows_where_tensor_parallelism_leaves_the_node() {
    for cluster in CLUSTERS {
        let tensor = |row: &Measured| row.model == "llama-3.2-3b" && row.layout.1 == 1;
        let [theirs, ours] = orders(cluster, tensor, |row| row.tpot, |times| times.tpot);
        assert_eq!(ours, theirs, "{cluster}");
        assert_eq!(ours, [(4, 1), (2, 1), (8, 1)]);
    }
}

#[test]
fn ttft_and_e2e_order_the_layouts_of_one_node_by_public_figures_alone() {
    let one_node = |row: &Measured| row.nodes == 1;
    let ttft = |row: &Measured| Some(row.ttft.0);
    for [theirs, ours] in [
        orders("paper", one_node, ttft, |times| times.ttft),
        orders("paper", one_node, |row| row.e2e, |times| times.e2e),
    ] {
        assert_eq!(ours, theirs);
        assert_eq!(ours, [(4, 1), (2, 1), (1, 2), (1, 4)]);
    }
}

#[test]
fn ttft_orders_all_layouts_of_the_small_model_with_what_was_measured() {
    let small = |row: &Measured| row.model == "llama-3.2-3b";
    let ttft = |row: &Measured| Some(row.ttft.0);
    let [theirs, ours] = orders("paper-measured", small, ttft, |times| times.ttft);
    assert_eq!(ours, theirs);
    assert_eq!(ours, [(8, 1), (4, 1), (2, 1), (1, 2), (1, 4), (1, 8)]);
}

#[test]
fn e2e_orders_the_layouts_within_and_across_nodes_with_what_was_measured() {
    for nodes in [1, 2] {
        let small = |row: &Measured| row.model == "llama-3.2-3b" && row.nodes == nodes;
        let [theirs, ours] = orders("paper-measured", small, |row| row.e2e, |times| times.e2e);
        assert_eq!(ours, theirs);
    }
}

#[test]
fn tensor_parallelism_has_the_shortest_ttft_and_e2e_of_the_large_model_on_two_nodes() {
    let large = |row: &&Measured| row.model == "llama-2-13b";
    let of = |row: &Measured| advised("paper-measured", row);
    let rows: Vec<_> = FIGURES.iter().filter(large).collect();
    let (tensor, others) = rows.split_first().unwrap();
    assert_eq!(tensor.layout, (8, 1));
    for other in others {
        assert!(tensor.ttft.1 < other.ttft.0 && of(tensor).ttft < of(other).ttft);
        assert!(of(tensor).e2e < of(other).e2e);
    }
}

#[test]
fn decode_within_a_node_is_near_the_measurement_by_public_figures_alone() {
    for row in FIGURES.iter().filter(|row| row.nodes == 1) {
        let off = advised("paper", row).tpot / row.tpot.unwrap() - 1.0;
        assert!(off.abs() < 0.35, "{:?}: {off}", row.layout);
    }
}

#[test]
fn what_was_measured_of_the_small_model_gives_the_large_one_under_tensor_parallelism() {
    let row = FIGURES.iter().find(|row| row.model == "llama-2-13b").unwrap();
    let ours = advised("paper-measured", row);
    assert!((ours.tpot / 18.0 - 1.0).abs() < 0.1, "{}", ours.tpot);
    assert!((ours.e2e / 2370.0 - 1.0).abs() < 0.1, "{}", ours.e2e);
}

/// The table of `docs/advise.md`.
fn table() -> String {
    let mut text = String::from(
        "| model | layout | nodes | | measured | public figures | | with what was measured | |\n\
         | --- | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: |\n",
    );
    for row in &FIGURES {
        let [public, measured] = CLUSTERS.map(|cluster| advised(cluster, row));
        let layout = Layout::new(row.layout.0, row.layout.1);
        let mut cell = |what: &str, theirs: (f64, f64), of: fn(&Times) -> f64| {
            let number = |ms: f64| match ms {
                ms if ms < 100.0 => format!("{ms:.2} ms"),
                ms => format!("{ms:.0} ms"),
            };
            // Of a range, the nearest end; nothing if it is inside.
            let off = |ours: f64| match ours - ours.clamp(theirs.0, theirs.1) {
                0.0 => "0 %".to_owned(),
                off => format!("{:+.0} %", 100.0 * off / ours.clamp(theirs.0, theirs.1)),
            };
            let said = match theirs.0 == theirs.1 {
                true => number(theirs.0),
                false => format!("{:.0} to {:.0} ms", theirs.0, theirs.1),
            };
            let (public, measured) = (of(&public), of(&measured));
            let _ = writeln!(
                text,
                "| {} | {layout} | {} | {what} | {said} | {} | {} | {} | {} |",
                row.model,
                row.nodes,
                number(public),
                off(public),
                number(measured),
                off(measured),
            );
        };
        cell("TTFT", row.ttft, |times| times.ttft);
        if let Some(tpot) = row.tpot {
            cell("TPOT", (tpot, tpot), |times| times.tpot);
        }
        if let Some(e2e) = row.e2e {
            cell("E2E", (e2e, e2e), |times| times.e2e);
        }
    }
    text
}

#[test]
fn the_table_of_the_documentation_is_what_is_advised() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/advise.md");
    let (begin, end) = ("<!-- errors -->\n", "<!-- end of errors -->");
    let text = std::fs::read_to_string(file).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (kept, after) = rest.split_once(end).unwrap();
    let fresh = table();
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(file, format!("{before}{begin}{fresh}{end}{after}")).unwrap();
        return;
    }
    assert!(kept == fresh, "NCCLTAP_BLESS=1 writes the table, which is now:\n{fresh}");
}

//! What the fuzz targets have in common: a process to begin with, and what must hold in the end.
#![forbid(unsafe_code)]

use nccltap_collector::collector::Collector;
use nccltap_collector::outputs::prometheus::{Exposition, Format};
use nccltap_collector::outputs::{processes, rows, rows::View, text};
use nccltap_proto::{Function, PROTOCOL_VERSION, RECORD_SIZE, v1};
use std::sync::Arc;

/// The sums of every process agree, and every output can be made.
///
/// # Panics
/// When one of these does not hold.
pub fn holds_together(collector: Collector) {
    let collector = Arc::new(collector);
    for followed in collector.followed() {
        let accounting = followed.lock().accounting();
        assert!(accounting.balanced, "{accounting:?}");
    }
    let overview = processes::overview(&collector);
    for view in [View::Operations, View::Collectives] {
        let rows = rows::rows(&collector, view);
        assert!(rows::json(&rows).is_ok());
        assert!(!text::report(&rows, &overview, view).is_empty());
    }
    let metrics = Exposition::new(Arc::clone(&collector)).write(Format::OpenMetrics);
    assert!(metrics.is_ok_and(|metrics| metrics.ends_with(b"# EOF\n")));
}

/// The Hello of process `pid`, which a collector takes.
pub fn hello(pid: u32) -> v1::Hello {
    v1::Hello {
        protocol_version: PROTOCOL_VERSION,
        record_size: RECORD_SIZE as u32,
        process: Some(v1::Process { host: "node".into(), pid, ..Default::default() }),
        clock: v1::Clock::Monotonic.into(),
        started: Some(v1::Anchor { ticks: 1, monotonic_ns: 1, realtime_ns: 1 }),
        functions: Function::ALL
            .iter()
            .map(|function| v1::Function { id: function.id().into(), name: function.name().into() })
            .collect(),
        ..Default::default()
    }
}

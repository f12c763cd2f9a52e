//! The harness of the end-to-end tests: a host program with the tap in it, a collector beside it,
//! and a ground truth that neither of them has made.
//!
//! ```text
//! host program ── simulated NCCL ──> its own counts ─────────────┐
//!   └─ libnccltap.so ── gRPC ──> nccltap serve ──> report ──> compared, key by key
//! ```
//! - [`Stage`] has a directory of its own in which everything of one test happens;
//! - [`hosts`] compiles the programs under `tests/hosts/`, one behaviour each, and runs them;
//! - [`collector`] runs `nccltap serve` and asks it;
//! - [`prometheus`] runs a real Prometheus server that scrapes the collector, and asks it;
//! - [`tally`] is how calls are compared: from the simulator, from a report, from a ring file;
//! - [`kills`] kills a process in the middle of calls and does the sums;
//! - [`steady`] lets a process call at a steady rate and does the sums;
//! - [`matrix`] runs unmodified engines on simulated GPUs and does the sums;
//! - [`artifacts`] builds what is tested, once.
//!
//! Tests wait for conditions, never for time: see [`eventually`].
#![forbid(unsafe_code)]

pub mod artifacts;
pub mod collector;
pub mod hosts;
pub mod kills;
pub mod matrix;
pub mod prometheus;
pub mod rings;
mod stage;
pub mod steady;
pub mod tally;
mod wait;

pub use collector::Collector;
pub use hosts::{Host, Linkage, Run};
pub use prometheus::Prometheus;
pub use stage::Stage;
pub use tally::{Call, Tally};
pub use wait::{eventually, patience};

//! What a model, a layout and a workload must send: the paper's equations, and the schedule of an
//! engine call by call.
//!
//! ```text
//! config.json ──> Model ─┬─> equations        the paper's formulas, with its conventions
//!                        │
//! Layout, Settings ──────┴─> Deployment ─┐
//!                                        ├──> schedule ──> Prediction ──> comparison <── rows of a report
//! Request ──> scheduler ──> Step ────────┘
//! ```
//!
//! [`advice`] puts a price on the schedule, for a given cluster.
//!
//! All of it is pure: no clock, no runtime, no I/O. What the two predictors say, where they differ and
//! why is in `docs/model.md`.

pub mod advice;
pub mod comparison;
mod config;
mod description;
mod engine;
pub mod equations;
mod graphs;
mod layout;
mod modelled;
mod prediction;
pub mod presets;
mod schedule;
mod scheduler;
mod sequence_parallelism;
mod sglang;
mod speculation;
mod trace;
mod workload;

pub use config::ModelError;
pub use description::{Architecture, ExpertLayers, Experts, Model};
pub use engine::{Deployment, Engine, Refusal, Settings};
pub use graphs::Graphs;
pub use layout::{Layout, LayoutError, Place, layers_of_stages, padded_vocabulary};
pub use prediction::{Prediction, Row, Totals};
pub use schedule::{Call, Path, Ranks, Role, Schedule};
pub use scheduler::steps;
pub use speculation::{Draft, Eagle, Speculation};
pub use trace::{New, Scheduled, Trace, TraceError};
pub use workload::{Chunk, Phase, Request, Step};

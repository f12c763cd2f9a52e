//! OTLP: the metrics of [`prometheus`](super::prometheus), pushed to a receiver at intervals.
//!
//! [`request`] turns samples into the protocol's messages and is pure; [`push`] sends them.

pub mod push;
mod request;

pub use request::{POINTS_IN_A_REQUEST, Requests};

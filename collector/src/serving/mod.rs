//! What the engine itself says of its requests: time to first token, time per output token, end to end, beside what
//! its workers communicated in the same time.
//!
//! The numbers are the engine's own, from its `/metrics`; nothing of them is measured here.
//!
//! - [`exposition`]: the Prometheus text format;
//! - [`requests`]: the engine's counters and histograms;
//! - [`kv`]: KV caches that it moved to or from other machines;
//! - [`window`]: these beside the communication of the same time;
//! - [`address`]: where the engine answers;
//! - [`watch`]: asks it.

pub mod address;
pub mod exposition;
pub mod kv;
pub mod requests;
pub mod watch;
pub mod window;

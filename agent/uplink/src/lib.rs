//! `libnccltap_uplink.so`: carries encoded messages from `libnccltap.so` to the collector.
//!
//! It has the gRPC stack, whose tables would cost each exec of a process that has nothing to do with
//! NCCL; so `libnccltap.so` opens it only where the tap comes to life. What it exports is one
//! `Interface`; how the two get on is said there. It knows nothing of what it carries.
#![deny(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr
)]

mod codec;
mod socket;
mod stream;

#[allow(unsafe_code)]
mod interface;

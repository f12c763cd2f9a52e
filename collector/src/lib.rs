//! The collector: what taps report, counted, and shown.
//!
//! ```text
//! ingest ──> collector ──> process = timeline ──> ledger <── outputs
//!   ^            ^
//! recovery    recording
//! ```
//!
//! - [`ingest`]: sockets, the gRPC service, the rules a message must keep;
//! - [`recovery`]: the ring files of dead processes, as messages;
//! - [`recording`]: messages on disk;
//! - [`collector`]: the processes that are followed;
//! - [`process`]: one of them: its [`timeline`] (order, communicators, groups) and its [`ledger`]
//!   (counts by key). These three are pure: the same messages give the same counts, live or from a
//!   recording;
//! - [`outputs`]: rows, text, metrics, HTTP;
//! - [`server`]: a collector with its sockets, running;
//! - [`private`]: such a collector for the time of one command, and [`preload`], which brings the
//!   tap into it;
//! - [`replay`]: a recording, as the collector it was taken by;
//! - [`client`]: asks a collector that runs elsewhere;
//! - [`doctor`]: what preloading can and cannot see;
//! - [`commands`]: one module per command of `nccltap`.
#![forbid(unsafe_code)]

pub mod client;
pub mod collector;
pub mod commands;
pub mod doctor;
pub mod ingest;
pub mod ledger;
pub mod outputs;
pub mod preload;
pub mod private;
pub mod process;
pub mod recording;
pub mod recovery;
pub mod replay;
pub mod server;
pub mod timeline;

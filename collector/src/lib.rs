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
//! - [`collector`]: the processes that are followed, and the [`refusals`];
//! - [`process`]: one of them: its [`timeline`] (order, communicators, groups), its [`steps`] (which
//!   operations belong together, and for what), its [`ledger`] (counts by key), its [`backends`] (what the engine says of its all-reduces), its
//!   [`history`] (when) and, for exports, its [`journal`] (each operation). These are pure: the same messages give the same counts, live or from a recording;
//! - [`groups`]: communicators of all processes joined, their roles, the layout;
//! - [`outputs`]: rows, text, metrics, HTTP;
//! - [`model`]: what should be seen, and whether it was;
//! - [`serving`]: what the engine says of its requests, beside what was communicated meanwhile;
//! - [`server`]: a collector with its sockets, running;
//! - [`private`]: such a collector for the time of one command, [`preload`], which brings the
//!   tap into it, and [`plugin`], which brings along what marks the steps of vLLM and SGLang;
//! - [`replay`]: a recording, as the collector it was taken by;
//! - [`client`]: asks a collector that runs elsewhere;
//! - [`doctor`]: what preloading can and cannot see;
//! - [`commands`]: one module per command of `nccltap`.
//!
//! # Bounds
//!
//! Memory does not grow with time. What goes past a bound is counted, and the outputs show it.
//!
//! | what | bound | past it |
//! |---|---|---|
//! | connections | 8,192 ([`ingest::CONNECTIONS`]) | wait to be accepted |
//! | a message | 4 MiB | its stream is refused |
//! | processes | 4,096 ([`collector::PROCESSES`]) | those that ended first make room; a sum of their calls stays |
//! | rings, communicators, manifests of a process, and copies of each library | 1,024, 4,096, 4,096, 4 | its stream is refused |
//! | exact keys of a process | 8,192 ([`ledger::EXACT_KEYS`]) | sizes are powers of two, then without communicator |
//! | operations held for the end of their group | 65,536 a ring ([`timeline::HELD_OPERATIONS`]) | told at once |
//! | operations that wait for other threads of their process | 262,144 ([`timeline::WAITING_OPERATIONS`]) | told out of turn, and the step is unknown |
//! | kinds of calls held of a step | 256 | counted as unknown |
//! | slices of time that a process' life is told in | 256 ([`history::SLICES`]) | each two become one |
//! | steps of a process that wait for another pipeline stage, or are remembered for it per link | 4,096 ([`steps::WAITING_STEPS`]) | the oldest is unknown |
//! | operations of a journal that wait for their phase | 262,144 ([`journal::WAITING_OPERATIONS`]) | told as unknown |
//! | groups and links that processes know of each other | 65,536 and 4,096 | not joined: unknown |
//! | sizes that an engine captures into graphs | 1,024 | no padding is known |
//! | series of operations in the metrics | 4,096 ([`outputs::prometheus::continuity::SERIES`]) | summed as `other` |
//! | what the page shows: ranks, groups, pairs of ranks, seconds | 256, 64, 8,192, 300 ([`outputs::live`]) | left out and counted |
//! | listeners of the page's events | 256 ([`outputs::live::feed::LISTENERS`]) | refused |
//! | a recording | 16 GiB ([`recording::DEFAULT_LIMIT`], `--record-limit`) | it stops, and every report says so |
//! | a ring file that is read | 4 GiB ([`recovery::file::LARGEST_FILE`]) | left alone, and said so |
#![forbid(unsafe_code)]

mod accountant;
pub mod backends;
pub mod client;
pub mod collector;
pub mod commands;
pub mod doctor;
pub mod groups;
pub mod history;
pub mod ingest;
pub mod journal;
pub mod ledger;
pub mod model;
pub mod outputs;
pub mod plugin;
pub mod preload;
pub mod private;
pub mod process;
pub mod recording;
pub mod recovery;
pub mod refusals;
pub mod replay;
pub mod server;
pub mod serving;
pub mod steps;
pub mod timeline;

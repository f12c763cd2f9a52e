//! `libnccltap.so`: preloaded into a process, it records every NCCL call the process makes, every launch of a
//! kernel that moves data between GPUs beside NCCL, and every launch of a CUDA graph that has such calls in it.
//!
//! ```text
//! caller's PLT ──> arch (thunk) ──> resolve (which copy of NCCL?) ─┐
//! dlsym        ──> arch (trampoline) ──> resolve ──────────────────┤
//!                                                                  v
//!                 hook (one wrapper per function and copy) ──> record ──> ring
//!                       │ communicators born and ended ──> communicators
//!                       │ graphs captured and made executable ──> graphs
//!                       │ kernels named, and launched ──> kernels
//!                       │ first communicator ──> life ──> drain ──> stream ──> uplink ─┐
//!                                                     libnccltap_uplink.so ──> collector
//! engine, plugin ──> marks (of its steps) ──> record
//! ```
//!
//! What must hold, whatever happens here: the host's call goes through with its own arguments and
//! comes back with NCCL's own result. Trouble is counted (`faults`) and stepped around.
//!
//! Until the first communicator, or the first such kernel, nothing happens in a process: no thread, no allocation, no file.
//!
//! `unsafe` is in the modules that say `#![allow(unsafe_code)]` and nowhere else. Everything that
//! knows the processor is in `arch`.
#![deny(unsafe_code)]
// A test binary exports nothing, so that it does not interpose itself: the doors have no callers.
#![cfg_attr(test, allow(dead_code))]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::print_stdout,
        clippy::print_stderr
    )
)]

mod arch;
mod clock;
mod communicators;
#[cfg(test)]
mod coverage;
mod descriptors;
mod drain;
mod faults;
mod ffi;
mod graphs;
mod handles;
mod hook;
mod kernels;
mod leftovers;
mod life;
mod mapping;
mod marks;
mod pace;
mod record;
mod resolve;
mod ring;
mod settings;
mod shield;
mod stream;
mod sync;
mod thread;
mod uplink;

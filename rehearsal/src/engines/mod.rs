//! Engines to rehearse with: unmodified packages from PyPI, in an environment of their own, with
//! none of NVIDIA's CUDA libraries.
//!
//! - [`catalog`]: the releases that were tried, and what each needs to be told;
//! - [`left_out`]: the packages that are not installed, since their libraries are simulated;
//! - [`install`](mod@install): makes an environment;
//! - [`installed`]: where environments lie, and what is in them;
//! - [`environment`](mod@environment): what an engine runs with;
//! - [`command_line`]: what is added to a command so that it needs no weights.

pub mod catalog;
pub mod command_line;
pub mod environment;
pub mod install;
pub mod installed;
pub mod left_out;

//! What would be intercepted, what is, what is not, and what to set.
//!
//! - [`program`]: whether a program can be preloaded at all, from its file;
//! - [`procfs`]: what is mapped in a running process;
//! - [`findings`]: what is concluded, for people.

pub mod findings;
pub mod procfs;
pub mod program;

//! What a dead process leaves behind: its ring file, read and brought into the counts.
//!
//! [`left`] turns the bytes of a ring file into the messages the process would have sent, pure;
//! [`mod@file`] finds out whether the owner is dead, and reads; [`watch`] does both by itself while a
//! collector serves.

pub mod file;
pub mod left;
pub mod watch;

pub use watch::Recovery;

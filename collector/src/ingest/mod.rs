//! Messages in: sockets, the gRPC service, and the rules a message must keep.

mod connection;
pub mod contract;
pub mod listen;
mod service;

pub use connection::{CONNECTIONS, Connection, Peer};
pub use service::{TapService, Token, TokenError, now_ns};

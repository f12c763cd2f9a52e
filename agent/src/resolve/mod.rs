//! Finding the real functions, per loaded copy of NCCL, for callers that come through either door.
//!
//! - [`linkage`]: callers' procedure linkage tables, as in PyTorch;
//! - [`lookup`]: `dlsym` and `dlvsym` on a handle, as in vLLM's pynccl;
//! - [`libraries`]: the copies of NCCL and the addresses of their functions;
//! - [`elf`]: symbol look-up by hand, which needs neither dlsym nor malloc.

pub(crate) mod elf;
pub(crate) mod libraries;
pub(crate) mod linkage;
pub(crate) mod lookup;

//! Finding the real functions, per loaded copy of NCCL and CUDA, for callers that come through any door.
//!
//! - [`linkage`]: callers' procedure linkage tables, as in PyTorch;
//! - [`lookup`]: `dlsym` and `dlvsym` on a handle, as in vLLM's pynccl;
//! - [`driver`]: what callers ask CUDA itself for by name;
//! - [`libraries`]: the copies of NCCL and CUDA and the addresses of their functions;
//! - [`elf`]: symbol look-up by hand, which needs neither dlsym nor malloc.

pub(crate) mod driver;
pub(crate) mod elf;
pub(crate) mod libraries;
pub(crate) mod linkage;
pub(crate) mod lookup;

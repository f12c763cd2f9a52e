//! Everything that knows the processor: thunks, trampolines, thread storage, the time stamp counter.
//!
//! A port (aarch64 for Grace) is one more file beside `x86_64.rs` with the same items:
//!
//! - `ticks()` and `TRUSTED_CLOCKSOURCE`;
//! - `stack_pointer()`: the stack grows down;
//! - `thread_state()`: the address of this thread's [`State`](crate::thread::State), zero at birth;
//! - `thunk!`: an exported function that finds the wrapper for its caller and jumps to it;
//! - the exported `dlsym` and `dlvsym`.

#[cfg(target_arch = "x86_64")]
mod x86_64;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86_64::*;

#[cfg(not(target_arch = "x86_64"))]
compile_error!("nccltap runs on x86-64; another processor needs a file in agent/src/arch");

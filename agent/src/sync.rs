//! Atomics: the standard ones, or loom's when the ring is model-checked (`--cfg nccltap_loom`).

#[cfg(not(nccltap_loom))]
pub(crate) use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

#[cfg(nccltap_loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Locks `mutex`, whether or not a panic left it behind.
///
/// The standard mutex is one futex word. parking_lot's keeps waiting threads in a table shared by the
/// whole process, which a fork can catch in mid-change.
pub(crate) fn lock<T>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

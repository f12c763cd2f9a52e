//! Waiting by condition.

use std::time::{Duration, Instant};

/// How long a condition may take to come true: `NCCLTAP_TEST_PATIENCE` seconds, 30 when unset.
pub fn patience() -> Duration {
    let seconds = std::env::var("NCCLTAP_TEST_PATIENCE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(30))
}

/// Waits until `look` gives a value, and returns it.
///
/// # Panics
/// When patience is at an end, with what `look` said last was missing.
pub fn eventually<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(missing) if start.elapsed() > patience() => {
                panic!("not within {:?}: {missing}", patience())
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

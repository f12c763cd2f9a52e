//! A recording on disk, as the collector that it was taken by.

use crate::collector::Collector;
use crate::recording::{Reader, Tail};
use anyhow::Context;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A collector that has taken everything that is in the recording. What is wrong with the recording
/// is told in the log; what is whole is used.
pub fn replay(path: &Path, processes: usize) -> anyhow::Result<Collector> {
    let open = || -> anyhow::Result<_> {
        Ok(Reader::new(BufReader::with_capacity(1 << 20, File::open(path)?))?)
    };
    let mut reader = open().with_context(|| format!("{} is no use", path.display()))?;
    let collector = Collector::new(processes);
    let mut number = 0u64;
    while let Some(entry) = reader.next_entry()? {
        number += 1;
        if let Err(error) = collector.replay(entry) {
            tracing::warn!("{}: entry {number} is left out: {error}", path.display());
        }
    }
    if *reader.tail() != Tail::Whole {
        tracing::warn!("{}: {}", path.display(), reader.tail());
    }
    Ok(collector)
}

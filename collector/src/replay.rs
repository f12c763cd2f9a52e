//! A recording on disk, as the collector that it was taken by.

use crate::collector::Collector;
use crate::recording::{Reader, Tail};
use anyhow::Context;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// A collector that has taken everything that is in the recording. What is whole is used; what is wrong
/// with the recording stands in [`Collector::replayed`], and reports say it.
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
            // The first one is told, and all are counted: there may be as many as entries.
            if collector.replayed().left_out == 1 {
                tracing::warn!("{}: entry {number} is left out: {error}", path.display());
            }
        }
    }
    if *reader.tail() != Tail::Whole {
        tracing::warn!("{}: {}", path.display(), reader.tail());
        collector.note_tail(reader.tail().to_string());
    }
    Ok(collector)
}

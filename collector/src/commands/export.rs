//! `nccltap export`: the single operations of a recording, for other programs.

use super::say;
use crate::outputs::export::{Told, operations, parquet, trace};
use anyhow::{Context, ensure};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Writes the operations of a recording as a table or as a timeline
///
/// One row or event per operation, those of CUDA graphs as often as they were launched; docs/exports.md has the
/// columns. Reads the recording twice and holds neither it nor the result in memory.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// A recording, made by `nccltap serve --record FILE` or `nccltap run --record FILE`
    file: PathBuf,

    /// What to write: a Parquet file for DuckDB, pandas, Spark or ClickHouse, or a trace for ui.perfetto.dev and
    /// chrome://tracing
    #[arg(long, value_enum)]
    format: Format,

    /// Where to write it [default: FILE with the ending .parquet or .trace.json]
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Parquet,
    Perfetto,
}

impl Format {
    const fn ending(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Perfetto => "trace.json",
        }
    }
}

impl Export {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let to = match &self.output {
            Some(to) => to.clone(),
            None => self.file.with_extension(self.format.ending()),
        };
        ensure!(to != self.file, "{} is the recording itself; choose another -o", to.display());
        let what = || format!("cannot write {}", to.display());
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        // It gets its name when it is whole.
        let draft = tempfile::Builder::new()
            .prefix(".nccltap-export-")
            .tempfile_in(folder.unwrap_or(Path::new(".")))
            .with_context(what)?;
        let (told, untimed) = self.write(draft.as_file())?;
        let bytes = draft.as_file().metadata().with_context(what)?.len();
        draft.as_file().sync_all().with_context(what)?;
        draft.persist(&to).with_context(what)?;
        complain(&told, untimed);
        say(&format!("{}: {} operations, {bytes} bytes\n", to.display(), told.operations))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes everything. Gives what was told, and how many operations have no time that a trace could show.
    fn write(&self, to: &File) -> anyhow::Result<(Told, u64)> {
        let mut to = BufWriter::with_capacity(1 << 20, to);
        let done = match self.format {
            Format::Parquet => {
                let mut writer = parquet::Writer::new(&mut to)?;
                let told = operations(&self.file, |operation| writer.add(operation))?;
                writer.finish()?;
                (told, 0)
            }
            Format::Perfetto => {
                let mut writer = trace::Writer::new(&mut to)?;
                let told = operations(&self.file, |operation| Ok(writer.add(operation)?))?;
                (told, writer.finish()?)
            }
        };
        to.flush()?;
        Ok(done)
    }
}

/// What of the recording is not in the export, or not as in a report.
fn complain(told: &Told, untimed: u64) {
    if let (left_out @ 1.., first) = &told.left_out {
        let first = first.as_deref().unwrap_or_default();
        eprintln!("nccltap: {left_out} entries of the recording are left out: {first}");
    }
    if let Some(tail) = &told.tail {
        eprintln!("nccltap: {tail}");
    }
    if told.given_up > 0 {
        eprintln!(
            "nccltap: {} operations have the phase unknown, because more of them waited for it than are held; \
             `nccltap report` may know it",
            told.given_up
        );
    }
    if untimed > 0 {
        eprintln!(
            "nccltap: {untimed} operations are not in the trace: when they were is not known"
        );
    }
}

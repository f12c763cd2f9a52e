//! `nccltap library`: where the tap is, for those who preload it themselves.

use super::say;
use crate::plugin;
use crate::preload::{find_library, uplink_problem};
use anyhow::{Context, bail};
use nccltap_proto::uplink;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints the path of libnccltap.so, as LD_PRELOAD takes it
///
/// `LD_PRELOAD=$(nccltap library) vllm serve ...`. With --into, puts all that goes into an engine where another
/// container can reach it.
#[derive(Debug, clap::Args)]
pub(super) struct Library {
    /// Copy libnccltap.so, and libnccltap_uplink.so which it opens, into DIR, and the plugin that marks the steps
    /// of vLLM and SGLang into DIR/python, for PYTHONPATH; print the path of the copy
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Library {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut library = find_library()?;
        if let Some(problem) = uplink_problem(&library) {
            bail!("{problem}");
        }
        if let Some(directory) = &self.into {
            fs::create_dir_all(directory)
                .with_context(|| format!("{} cannot be made", directory.display()))?;
            put(&library.with_file_name(uplink::LIBRARY), directory)?;
            library = put(&library, directory)?;
            let python = directory.join("python");
            plugin::lay_out(&python)
                .with_context(|| format!("{} cannot be written", python.display()))?;
        }
        say(&format!("{}\n", library.display()))?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Copies a library into a directory. It is there complete or not at all, and processes that have an
/// older copy mapped keep theirs.
fn put(library: &Path, directory: &Path) -> anyhow::Result<PathBuf> {
    let name = library.file_name().context("a library has a name")?;
    let to = directory.join(name);
    let copied = || -> std::io::Result<()> {
        let draft = tempfile::Builder::new().prefix(".nccltap-").tempfile_in(directory)?;
        fs::copy(library, draft.path())?;
        draft.persist(&to)?;
        Ok(())
    };
    copied().with_context(|| format!("{} cannot be written", to.display()))?;
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_library_is_copied_with_its_mode_and_takes_the_place_of_an_older_one() {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("libnccltap.so");
        let copies = directory.path().join("copies");
        fs::create_dir(&copies).unwrap();
        for text in ["older", "newer"] {
            fs::write(&library, text).unwrap();
            fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
            let copy = put(&library, &copies).unwrap();
            assert_eq!(fs::read_to_string(&copy).unwrap(), text);
            assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o755);
        }
        assert_eq!(fs::read_dir(&copies).unwrap().count(), 1);
    }
}

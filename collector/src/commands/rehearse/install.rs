//! `nccltap rehearse install`: an environment with an engine and without NVIDIA's CUDA libraries.

use nccltap_rehearsal::engines::catalog::{DEFAULT, Wanted, known};
use nccltap_rehearsal::engines::install::Installation;
use nccltap_rehearsal::engines::installed;
use std::path::PathBuf;
use std::process::ExitCode;

/// Makes an environment with an engine from PyPI and without NVIDIA's CUDA libraries
///
/// Needs Python with its headers, gcc and g++, and a network. The same command goes on where an
/// earlier one stopped. Packages are installed by uv, which is fetched from PyPI where there is
/// none.
#[derive(Debug, clap::Args)]
pub(super) struct Install {
    /// The engine and its version
    #[arg(value_name = "ENGINE", default_value = DEFAULT)]
    engine: Wanted,

    /// Where to; by default a folder below `nccltap/engines` in XDG_DATA_HOME or ~/.local/share
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,

    /// The Python to make it from; by default one from PATH that the engine runs on
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
}

impl Install {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let wanted = &self.engine;
        if !wanted.is_tried() {
            eprintln!(
                "nccltap: {wanted} has not been tried; what is known of {} is assumed of it. Tried: \
                 {}",
                wanted.like.version,
                known()
            );
        }
        let home = installed::home();
        let folder = match self.into {
            Some(folder) => std::path::absolute(folder)?,
            None => installed::engines(home.as_deref().map_err(|e| anyhow::anyhow!("{e}"))?)
                .join(wanted.folder()),
        };
        let tools = home.map_or_else(|_| folder.join("tools"), |home| home.join("tools"));
        let installation = Installation { wanted, folder, tools, python: self.python };
        let engine = installation.make(&mut |line| eprintln!("{line}"))?;
        eprintln!(
            "{wanted} is ready: nccltap rehearse --engine {} -- CMD",
            engine.folder.display()
        );
        Ok(ExitCode::SUCCESS)
    }
}

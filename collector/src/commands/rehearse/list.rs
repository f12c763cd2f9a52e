//! `nccltap rehearse list`: what is installed, and what can be.

use crate::commands::say;
use nccltap_rehearsal::engines::catalog::RELEASES;
use nccltap_rehearsal::engines::installed::{self, Engine};
use nccltap_rehearsal::models::PRESETS;
use std::fmt::Write;
use std::process::ExitCode;

/// Lists the engines that are installed, those that were tried, and the models
#[derive(Debug, clap::Args)]
pub(super) struct List {}

impl List {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        say(&text(&installed::all(&installed::home()?)))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn text(engines: &[Engine]) -> String {
    let mut text = "engines that are installed, the one used by default last\n".to_owned();
    if engines.is_empty() {
        text.push_str("  none; `nccltap rehearse install` makes one\n");
    }
    for engine in engines {
        let name = format!("{}=={}", engine.manifest.package, engine.manifest.version);
        let (python, folder) = (&engine.manifest.python, engine.folder.display());
        let _ = writeln!(text, "  {name:<20}  Python {python:<8}  {folder}");
    }
    text.push_str("\nengines that were tried\n");
    for release in RELEASES {
        let name = format!("{}=={}", release.package, release.version);
        let gigabytes = release.disk as f64 / 1000.0;
        let (first, last) = release.python;
        let _ =
            writeln!(text, "  {name:<20}  Python 3.{first} to 3.{last}, {gigabytes:.1} GB on disk");
    }
    text.push_str("\nmodels that need no file\n");
    for preset in PRESETS {
        let _ = writeln!(text, "  {:<20}  {}", preset.name, preset.hub_name);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use nccltap_rehearsal::engines::installed::Manifest;

    #[test]
    fn what_is_installed_stands_first_and_what_can_be_behind() {
        let manifest = Manifest {
            package: "vllm".to_owned(),
            version: "0.11.0".to_owned(),
            python: "3.12.1".to_owned(),
        };
        let text = text(&[Engine { folder: "/e/vllm-0.11.0".into(), manifest }]);
        let line = "  vllm==0.11.0          Python 3.12.1    /e/vllm-0.11.0\n";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("  llama-3.1-70b         meta-llama/Llama-3.1-70B\n"), "{text}");
    }

    #[test]
    fn a_machine_without_engines_is_told_how_to_get_one() {
        assert!(text(&[]).contains("none; `nccltap rehearse install` makes one"));
    }
}

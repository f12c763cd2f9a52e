//! `nccltap man`: manual pages, from the definition of the commands.

use super::{Cli, say};
use anyhow::Context;
use clap::{Command, CommandFactory};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Prints a manual page, or writes all of them
///
/// `nccltap man serve | man -l -` reads that of `nccltap serve`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// The command that the page is about; without it `nccltap` itself
    #[arg(value_name = "COMMAND", conflicts_with = "into")]
    command: Vec<String>,

    /// Write the pages of all commands into DIR, as nccltap.1, nccltap-serve.1 and so on
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.into {
            Some(directory) => {
                std::fs::create_dir_all(directory)
                    .and_then(|()| write(&definition(), directory))
                    .with_context(|| format!("cannot write to {}", directory.display()))?;
            }
            None => say(&page(named(&definition(), &self.command)?)?)?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// The definition of the commands, each knowing the name it has with those above it: `nccltap-rehearse-install`.
fn definition() -> Command {
    let mut all = Cli::command().disable_help_subcommand(true);
    all.build();
    all
}

/// The command with these names: none for `nccltap`, `rehearse install` for that.
fn named<'a>(all: &'a Command, names: &[String]) -> anyhow::Result<&'a Command> {
    let mut command = all;
    for name in names {
        command = command
            .find_subcommand(name)
            .with_context(|| format!("there is no command `{}`", names.join(" ")))?;
    }
    Ok(command)
}

fn page(command: &Command) -> io::Result<String> {
    let mut text = Vec::new();
    let source = concat!("nccltap ", env!("CARGO_PKG_VERSION"));
    clap_mangen::Man::new(command.clone()).source(source).render(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Writes the page of a command and of those below it.
fn write(command: &Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    std::fs::write(directory.join(format!("{name}.1")), page(command)?)?;
    let below = command.get_subcommands().filter(|below| !below.is_hide_set());
    below.into_iter().try_for_each(|below| write(below, directory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::options::each_option;

    fn printed(names: &[&str]) -> String {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        page(named(&definition(), &names).unwrap()).unwrap()
    }

    #[test]
    fn every_option_of_every_command_is_on_its_page() {
        let looked_at = each_option(|command, option| {
            // A dash that is to be copied is escaped.
            let page = printed(&[command]).replace("\\-", "-");
            assert!(page.contains(&format!("\\fB--{option}\\fR")), "--{option}:\n{page}");
        });
        assert!(looked_at > 40, "{looked_at}");
    }

    #[test]
    fn all_pages_are_written_and_are_those_that_are_printed() {
        let directory = tempfile::tempdir().unwrap();
        let man = Man { command: Vec::new(), into: Some(directory.path().join("man1")) };
        man.run().unwrap();
        let written =
            |name: &str| std::fs::read_to_string(directory.path().join("man1").join(name)).unwrap();
        for (file, names) in [
            ("nccltap.1", &[][..]),
            ("nccltap-serve.1", &["serve"][..]),
            ("nccltap-rehearse-install.1", &["rehearse", "install"][..]),
        ] {
            let printed = printed(names);
            let name = file.strip_suffix(".1").unwrap();
            assert!(printed.contains(&format!(".TH {name} 1")), "{printed}");
            assert_eq!(written(file), printed, "{file}");
        }
    }

    #[test]
    fn a_command_that_is_not_there_has_no_page() {
        let error = named(&definition(), &["serve".into(), "tea".into()]).unwrap_err();
        assert_eq!(error.to_string(), "there is no command `serve tea`");
    }
}

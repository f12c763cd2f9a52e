//! `nccltap completions`: what a shell needs to complete a command line of `nccltap`.

use super::{Cli, say};
use clap::CommandFactory;
use clap_complete::Shell;
use std::process::ExitCode;

/// Prints what a shell needs to complete commands and options
///
/// For bash: `nccltap completions bash > ~/.local/share/bash-completion/completions/nccltap`. For zsh a
/// file `_nccltap` in a folder of $fpath, for fish `~/.config/fish/completions/nccltap.fish`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        say(&script(self.shell))?;
        Ok(ExitCode::SUCCESS)
    }
}

fn script(shell: Shell) -> String {
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::options::each_option;
    use std::process::Command;

    /// The part of a script that is about one command, by how each shell's script begins and ends it.
    fn part(shell: Shell, script: &str, command: &str) -> String {
        let between = |begin: String, end: &str| {
            let rest = script.split_once(&begin).unwrap_or_else(|| panic!("no `{begin}`")).1;
            rest.split(end).next().unwrap_or_default().to_owned()
        };
        match shell {
            Shell::Bash => between(format!("\n        nccltap__subcmd__{command})"), ";;"),
            Shell::Zsh => between(format!("({command})\n"), ";;"),
            Shell::Fish => {
                // A command with commands below it adds a condition.
                let of = format!("\"__fish_nccltap_using_subcommand {command}");
                let is_of = |line: &&str| {
                    line.split_once(&of).is_some_and(|(_, rest)| rest.starts_with(['"', ';']))
                };
                script.lines().filter(is_of).collect::<Vec<_>>().join("\n")
            }
            other => panic!("{other} is not looked at"),
        }
    }

    #[test]
    fn every_option_of_every_command_is_in_the_script_of_each_shell() {
        for (shell, dashes) in [(Shell::Bash, "--"), (Shell::Zsh, "--"), (Shell::Fish, "-l ")] {
            let script = script(shell);
            let looked_at = each_option(|command, option| {
                let part = part(shell, &script, command);
                let option = format!("{dashes}{option}");
                let ends = |rest: &str| {
                    !rest.starts_with(|next: char| next == '-' || next.is_ascii_alphanumeric())
                };
                assert!(
                    part.split(&option).skip(1).any(ends),
                    "{shell}: `{option}` of `{command}` is not in\n{part}"
                );
            });
            assert!(looked_at > 40, "{looked_at}");
        }
    }

    #[test]
    fn bash_completes_commands_options_and_values() {
        for (line, expected) in [
            (&["nccltap", "dem"][..], "demo"),
            (&["nccltap", "serve", "--lis"], "--listen"),
            (&["nccltap", "report", "--format", "js"], "json"),
            (&["nccltap", "rehearse", "ins"], "install"),
        ] {
            let asked = line.join(" ");
            let (last, index) = (line[line.len() - 1], line.len() - 1);
            let before = line[index - 1];
            let program = format!(
                "{}\nCOMP_WORDS=({asked}); COMP_CWORD={index}; COMP_LINE='{asked}'; COMP_POINT=${{#COMP_LINE}}\n\
                 _nccltap nccltap '{last}' '{before}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
                script(Shell::Bash)
            );
            let output = Command::new("bash").args(["-c", &program]).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(
                said.trim(),
                expected,
                "{asked}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

//! Every option of every command, for tests of what is made from their definition.

use super::Cli;
use clap::CommandFactory;

/// Calls `look` with the name of each command and each of its long options. Gives how many there were.
pub(super) fn each_option(mut look: impl FnMut(&str, &str)) -> usize {
    let mut all = Cli::command();
    all.build();
    let mut options = 0;
    for command in all.get_subcommands().filter(|command| command.get_name() != "help") {
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            if let Some(long) = option.get_long() {
                look(command.get_name(), long);
                options += 1;
            }
        }
    }
    options
}

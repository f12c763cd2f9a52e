//! What `nccltap rehearse` says of itself, word for word.
//! `NCCLTAP_BLESS=1 cargo test -p nccltap --test rehearse` writes it.
#![allow(missing_docs)]

use clap::CommandFactory;
use nccltap_collector::commands::Cli;
use std::path::Path;

/// The help of a command, as `--help` prints it.
fn help(words: &[&str]) -> String {
    let mut root = Cli::command();
    root.build();
    let command = words.iter().fold(&mut root, |command, word| {
        command.find_subcommand_mut(word).unwrap_or_else(|| panic!("there is no command {word}"))
    });
    command.render_long_help().to_string()
}

fn same_as_golden(name: &str, fresh: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("NCCLTAP_BLESS").is_some() {
        std::fs::write(&kept, fresh).unwrap();
        return;
    }
    let text = std::fs::read_to_string(&kept).unwrap_or_default();
    assert!(text == fresh, "{} differs from:\n{fresh}", kept.display());
}

#[test]
fn the_help_of_rehearse_and_its_tasks() {
    for (words, name) in [
        (&["rehearse"][..], "rehearse.txt"),
        (&["rehearse", "install"], "rehearse-install.txt"),
        (&["rehearse", "list"], "rehearse-list.txt"),
    ] {
        same_as_golden(name, &help(words));
    }
}

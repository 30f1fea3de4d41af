//! `completions`, `man`: what needs no daemon.

use std::path::Path;

use clap::CommandFactory;

use super::Context;
use crate::cli::Cli;
use crate::exit::{Exit, Failure};

/// Prints a completion script. It is taken from the same description as `--help`; what is hidden there is left out.
pub(super) fn completions(context: &mut Context<'_>, shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut shown(), "grantctl", &mut script);
    context.say(&String::from_utf8_lossy(&script))
}

/// Writes a page for grantctl and one for each command.
pub(super) fn man(directory: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(shown(), directory).map_err(|error| {
        Failure::new(Exit::Usage, format!("cannot write man pages into {}: {error}", directory.display()))
    })
}

/// The command line without what is not for people.
fn shown() -> clap::Command {
    let whole = Cli::command();
    let hidden: Vec<String> =
        whole.get_subcommands().filter(|sub| sub.is_hide_set()).map(|sub| sub.get_name().to_owned()).collect();
    let mut command = clap::Command::new("grantctl")
        .version(env!("CARGO_PKG_VERSION"))
        .args(whole.get_arguments().cloned())
        .subcommands(whole.get_subcommands().filter(|sub| !hidden.iter().any(|name| name == sub.get_name())).cloned());
    if let Some(about) = whole.get_about() {
        command = command.about(about.clone());
    }
    match whole.get_after_help() {
        Some(help) => command.after_help(help.clone()),
        None => command,
    }
}

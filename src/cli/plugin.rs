//! `kubectl lanekeeper`: kubectl runs the program that is found as `kubectl-lanekeeper`, and help is to name what was typed.

use std::env;
use std::path::Path;

use clap::Command;

/// What was typed to run this program, where it is a plugin of kubectl.
pub(super) fn called_as() -> Option<&'static str> {
    let program = env::args_os().next()?;
    let name = Path::new(&program).file_stem()?.to_str()?;
    (name == "kubectl-lanekeeper").then_some("kubectl lanekeeper")
}

/// A command whose usage and examples, and those of its subcommands, name it so.
pub(super) fn renamed(command: Command, name: &str) -> Command {
    let command = with_examples_of(command, name).bin_name(name);
    command.mut_subcommands(|sub| with_examples_of(sub, name))
}

fn with_examples_of(command: Command, name: &str) -> Command {
    let Some(examples) = command.get_after_help() else {
        return command;
    };
    let examples = examples.to_string().replace("lanekeeper ", &format!("{name} "));
    command.after_help(examples)
}

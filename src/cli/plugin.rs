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
    let examples = in_place_of_lanekeeper(&examples.to_string(), name);
    command.after_help(examples)
}

/// Puts a name where the program is run; what only ends with its name, as a label does, stays.
fn in_place_of_lanekeeper(text: &str, name: &str) -> String {
    let mut renamed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("lanekeeper ") {
        let (before, found) = rest.split_at(at);
        renamed.push_str(before);
        let is_run = renamed.is_empty() || renamed.ends_with(|c: char| c.is_whitespace() || c == '`');
        renamed.push_str(if is_run { name } else { "lanekeeper" });
        rest = found.strip_prefix("lanekeeper").unwrap_or_default();
    }
    renamed + rest
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    #[test]
    fn every_help_names_the_plugin_where_it_is_run_and_nothing_else_is_changed() {
        const NAME: &str = "kubectl lanekeeper";
        let mut seen = 0;
        for sub in Cli::command().get_subcommands() {
            let plain = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
            let renamed = renamed(Cli::command(), NAME);
            let renamed = renamed.find_subcommand(sub.get_name()).unwrap().clone();
            let renamed = renamed
                .get_after_help()
                .map(ToString::to_string)
                .unwrap_or_default();
            assert_eq!(renamed.replace(NAME, "lanekeeper"), plain, "{}", sub.get_name());
            for (at, _) in renamed.match_indices(NAME) {
                let before = renamed[..at].chars().next_back();
                assert!(before.is_none_or(|c| c.is_whitespace() || c == '`'), "{renamed}");
                seen += 1;
            }
            // Each example is run by the name that was typed.
            for line in renamed.lines().map(str::trim_start) {
                assert!(!line.starts_with("lanekeeper "), "{renamed}");
                assert!(!line.contains("| lanekeeper "), "{renamed}");
            }
        }
        assert!(seen > 20, "{seen}");
        let renamed = renamed(Cli::command(), NAME);
        let decisions = renamed.find_subcommand("decisions").unwrap().get_after_help();
        let decisions = decisions.unwrap().to_string();
        assert!(
            decisions.contains("name=lanekeeper --tail=-1 | kubectl lanekeeper decisions -"),
            "{decisions}"
        );
    }
}

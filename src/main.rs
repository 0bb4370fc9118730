//! The `lanekeeper` command.

fn main() -> std::process::ExitCode {
    lanekeeper::cli::run()
}

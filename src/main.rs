//! The `lanekeeper` command.

/// Decisions and files are many small allocations, on all processors at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    lanekeeper::cli::run()
}

//! How far a long check has come, on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::progress::Progress;

/// What takes no longer than this shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);

const BETWEEN: Duration = Duration::from_millis(100);

/// Does the work, and shows meanwhile how far it has come, if standard error is a terminal.
pub(super) fn shown<T>(progress: &Progress, work: impl FnOnce() -> T) -> T {
    if !io::stderr().is_terminal() {
        return work();
    }
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel();
        scope.spawn(move || show(progress, &ended));
        let result = work();
        drop(working);
        result
    })
}

/// Writes and rewrites one line until the work has ended, and takes it away.
fn show(progress: &Progress, ended: &Receiver<()>) {
    let mut patience = PATIENCE;
    let mut has_shown = false;
    while ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
        let (stage, done, total) = progress.now();
        // There is nowhere else to show it.
        let _ = write!(io::stderr(), "\r{done} of {total} {stage}\u{1b}[K");
        (patience, has_shown) = (BETWEEN, true);
    }
    if has_shown {
        let _ = write!(io::stderr(), "\r\u{1b}[K");
    }
}

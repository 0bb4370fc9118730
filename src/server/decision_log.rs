//! The decision log: one JSON line a decision, written before the answer goes out.

mod file;
mod stream;

use std::{
    fmt,
    fs::File,
    io,
    os::fd::AsFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::sync::{mpsc, oneshot};

use self::{file::LogFile, stream::Stream};
use super::Recent;
use crate::admission::Record;

/// Lines that may wait for the writer. Each is waited for, so only a writer that hangs lets it fill up.
const QUEUE: usize = 1024;

/// How long an answer waits for its line at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often a log that cannot be written is reported; the records themselves are reported each time.
const REPORT_EVERY: Duration = Duration::from_secs(60);

/// Where the decision log goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard output.
    Stdout,
    /// A file, rotated to `path.1`, `path.2` and so on.
    File {
        /// The file that is written to.
        path: PathBuf,
        /// The size in bytes at which it becomes `path.1`.
        max_bytes: u64,
        /// How many rotated files are kept.
        keep: u32,
    },
}

impl LogTarget {
    /// The size in bytes at which a file is rotated, if nothing else is said.
    pub const MAX_BYTES: u64 = 100 * 1024 * 1024;

    /// How many rotated files are kept, if nothing else is said.
    pub const KEEP: u32 = 5;

    /// The file `path`, rotated and kept as the constants say.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::File {
            path: path.into(),
            max_bytes: Self::MAX_BYTES,
            keep: Self::KEEP,
        }
    }
}

/// A decision log that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened for appending.
    #[error(
        "cannot open the decision log `{}`: {source}; its directory must exist and be writable",
        path.display()
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Standard output is closed.
    #[error("cannot write the decision log to standard output: {0}; leave it open, or name a file")]
    Stdout(#[source] io::Error),
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the decision log: {0}")]
    Thread(#[source] io::Error),
}

/// What takes lines.
trait Sink: Send {
    /// Writes `line` and a line's end, whole or not at all as far as a reader can tell.
    fn append(&mut self, line: &[u8]) -> io::Result<()>;
}

/// Why a record is not on the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost(String);

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the writer's thread is asked.
enum Order {
    /// Write this line, unless somebody has taken it, and say when it is written.
    Write(Bytes, Arc<AtomicBool>, oneshot::Sender<io::Result<()>>),
    /// Say when all that came before is written, and end.
    Close(oneshot::Sender<()>),
}

/// The decision log.
///
/// A thread of its own writes, so that a slow disk or a full pipe holds up answers (for two seconds at most),
/// but never the runtime's threads. A record that cannot be written goes to the program's own log.
#[derive(Debug)]
pub struct DecisionLog {
    orders: mpsc::Sender<Order>,
    is_required: bool,
    errors: Counter,
    recent: Option<Recent>,
    reported: Mutex<Option<Instant>>,
}

impl DecisionLog {
    /// Opens the log and starts its writer; `errors` counts the records that could not be written. What
    /// [`append`](Self::append) says of them is for whom a log `is_required`; here it is only a matter of words.
    pub fn open(target: &LogTarget, is_required: bool, errors: Counter) -> Result<Self, LogError> {
        match target {
            LogTarget::Stdout => {
                // Not `io::stdout()`, which would keep back what it could not write and write it later.
                let stdout = io::stdout()
                    .as_fd()
                    .try_clone_to_owned()
                    .map_err(LogError::Stdout)?;
                Self::start(Stream::new(File::from(stdout)), is_required, errors)
            }
            LogTarget::File {
                path,
                max_bytes,
                keep,
            } => {
                let file = LogFile::open(path, *max_bytes, *keep).map_err(|source| LogError::Open {
                    path: path.clone(),
                    source,
                })?;
                Self::start(file, is_required, errors)
            }
        }
    }

    fn start(mut sink: impl Sink + 'static, is_required: bool, errors: Counter) -> Result<Self, LogError> {
        let (orders, mut received) = mpsc::channel(QUEUE);
        let write = move || {
            while let Some(order) = received.blocking_recv() {
                match order {
                    // A receiver that is gone is a client that has hung up: its line is written all the same. One that was
                    // given up is in the program's log by now.
                    Order::Write(line, is_taken, written) => {
                        if !is_taken.swap(true, Ordering::SeqCst) {
                            let _ = written.send(sink.append(&line));
                        }
                    }
                    Order::Close(closed) => {
                        let _ = closed.send(());
                        return;
                    }
                }
            }
        };
        thread::Builder::new()
            .name("decision-log".to_owned())
            .spawn(write)
            .map_err(LogError::Thread)?;
        Ok(Self {
            orders,
            is_required,
            errors,
            recent: None,
            reported: Mutex::new(None),
        })
    }

    /// The same log, whose records are also kept there when their answers go out.
    #[must_use]
    pub fn shown(self, recent: Option<Recent>) -> Self {
        Self { recent, ..self }
    }

    /// Writes `record` and returns when it is written, or when it cannot be or `patience` has run out: then it
    /// is counted and goes to the program's own log.
    pub async fn append(&self, record: &Record, patience: Option<Duration>) -> Result<(), Lost> {
        let patience = patience.unwrap_or(PATIENCE).min(PATIENCE);
        let line = match serde_json::to_vec(record) {
            Ok(line) => Bytes::from(line),
            Err(error) => return Err(self.lose(&format!("{record:?}"), error.to_string())),
        };
        let (written, answer) = oneshot::channel();
        // Whoever swaps it first has the line: the writer, or who gives it up.
        let is_taken = Arc::new(AtomicBool::new(false));
        let order = Order::Write(line.clone(), Arc::clone(&is_taken), written);
        let why = match self.orders.try_send(order) {
            Err(mpsc::error::TrySendError::Full(_)) => "its writer hangs".to_owned(),
            Err(mpsc::error::TrySendError::Closed(_)) => "it is closed".to_owned(),
            Ok(()) => match tokio::time::timeout(patience, answer).await {
                Ok(Ok(Ok(()))) => {
                    self.show(line);
                    return Ok(());
                }
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => "its writer has ended".to_owned(),
                Err(_) if is_taken.swap(true, Ordering::SeqCst) => {
                    "its writer is slow (the record may still be written)".to_owned()
                }
                Err(_) => "its writer is slow".to_owned(),
            },
        };
        let lost = self.lose(&String::from_utf8_lossy(&line), why);
        if !self.is_required {
            self.show(line);
        }
        Err(lost)
    }

    fn show(&self, line: Bytes) {
        if let Some(recent) = &self.recent {
            recent.push(line);
        }
    }

    /// Counts and reports a record that could not be written.
    fn lose(&self, line: &str, why: String) -> Lost {
        self.errors.inc();
        let now = Instant::now();
        let due = {
            let mut reported = self.reported.lock();
            let due = reported.is_none_or(|last| now.duration_since(last) >= REPORT_EVERY);
            if due {
                *reported = Some(now);
            }
            due
        };
        if due {
            let answers = if self.is_required {
                "changes are answered with an error"
            } else {
                "answers go out as before"
            };
            tracing::error!(
                "cannot write the decision log: {why}; make room for it or mend its path: until then {answers} \
                 and the records go to this log"
            );
        }
        tracing::error!(target: "lanekeeper::decision", "{line}");
        Lost(why)
    }

    /// Writes what is queued and ends the writer; later records are counted as lost.
    pub async fn close(&self) {
        let (closed, done) = oneshot::channel();
        let close = async {
            if self.orders.send(Order::Close(closed)).await.is_ok() {
                let _ = done.await;
            }
        };
        if tokio::time::timeout(PATIENCE, close).await.is_err() {
            tracing::error!("the decision log's writer hangs: its last records may be lost");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::record;

    /// Fails, or hangs until it is let go.
    struct Scripted(std::sync::mpsc::Receiver<io::Result<()>>);

    impl Sink for Scripted {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            self.0.recv().unwrap_or(Ok(()))
        }
    }

    fn file_in(directory: &tempfile::TempDir) -> PathBuf {
        directory.path().join("decisions.jsonl")
    }

    #[tokio::test]
    async fn a_record_is_one_line_of_json_in_camel_case() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(&directory);
        let log = DecisionLog::open(&LogTarget::file(&path), false, Counter::default()).unwrap();
        let mut kept = record();
        kept.message = Some("two\nlines".to_owned());

        log.append(&kept, None).await.unwrap();

        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["dryRun"], false);
        assert_eq!(line["mode"], "enforce");
        assert_eq!(line["allowReason"], serde_json::Value::Null);
        assert_eq!(line["durationMicros"], 7);
        assert_eq!(line["indexVersion"], 3);
        assert_eq!(line["message"], "two\nlines");
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_written_is_counted_and_does_not_stop_the_next() {
        let (script, results) = std::sync::mpsc::channel();
        let errors = Counter::default();
        let log = DecisionLog::start(Scripted(results), false, errors.clone()).unwrap();
        script.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        script.send(Ok(())).unwrap();

        assert!(log.append(&record(), None).await.is_err());
        log.append(&record(), None).await.unwrap();

        assert_eq!(errors.get(), 1);
    }

    #[tokio::test]
    async fn a_writer_that_hangs_does_not_hold_an_answer_for_ever() {
        let (script, results) = std::sync::mpsc::channel();
        let errors = Counter::default();
        let log = DecisionLog::start(Scripted(results), false, errors.clone()).unwrap();

        let lost = log.append(&record(), Some(Duration::ZERO)).await.unwrap_err();
        assert!(lost.to_string().contains("slow"), "{lost}");

        assert_eq!(errors.get(), 1);
        drop(script);
    }

    /// Takes what it is let, and counts it.
    struct Counting(std::sync::mpsc::Receiver<()>, Arc<std::sync::atomic::AtomicUsize>);

    impl Sink for Counting {
        fn append(&mut self, _: &[u8]) -> io::Result<()> {
            self.0.recv().ok();
            self.1.fetch_add(1, Ordering::SeqCst);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_record_that_was_given_up_is_not_written_when_the_writer_goes_on() {
        let (go, gate) = std::sync::mpsc::channel();
        let written = Arc::default();
        let log =
            DecisionLog::start(Counting(gate, Arc::clone(&written)), false, Counter::default()).unwrap();
        let record = record();
        let mut first = Box::pin(log.append(&record, None));
        assert!(futures::poll!(first.as_mut()).is_pending());
        // The writer is busy with the first, so that the second is nobody's yet.
        log.append(&record, Some(Duration::from_millis(100)))
            .await
            .unwrap_err();

        go.send(()).unwrap();
        first.await.unwrap();
        drop(go);
        log.close().await;
        assert_eq!(written.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn closing_waits_for_what_is_queued() {
        let directory = tempfile::tempdir().unwrap();
        let path = file_in(&directory);
        let errors = Counter::default();
        let log = DecisionLog::open(&LogTarget::file(&path), false, errors.clone()).unwrap();
        let record = record();
        {
            // Queue lines and hang up at once, as a client does that goes away.
            for _ in 0..100 {
                let mut append = Box::pin(log.append(&record, None));
                let _ = futures::poll!(append.as_mut());
            }
        }

        log.close().await;

        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 100);
        assert!(log.append(&record, None).await.is_err());
        assert_eq!(errors.get(), 1, "a record after the end is counted as lost");
    }

    #[test]
    fn a_directory_that_does_not_exist_is_named() {
        let error = DecisionLog::open(
            &LogTarget::file("/nonexistent/decisions"),
            false,
            Counter::default(),
        )
        .unwrap_err();
        let message = error.to_string();
        assert!(
            message.contains("`/nonexistent/decisions`") && message.contains("must exist"),
            "{message}"
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_counted() {
        let errors = Counter::default();
        let log = DecisionLog::open(&LogTarget::file("/dev/full"), false, errors.clone()).unwrap();

        let lost = log.append(&record(), None).await.unwrap_err();

        assert!(lost.to_string().contains("No space left"), "{lost}");
        assert_eq!(errors.get(), 1);
    }
}

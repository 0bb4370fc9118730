//! The last decisions, and each new one as it is made, for whoever looks on.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::broadcast;

/// How many are kept, and how far whoever follows may fall behind.
const KEPT: usize = 200;

/// How many bytes they may take in all. Whoever can reach the webhook can make lines as long as a body.
const MOST_BYTES: usize = 2 << 20;

/// The longest line that is kept: no decision on one object is as long.
const LONGEST: usize = 64 << 10;

/// The last decisions of this server, each as its line of the decision log; what is too long is left out.
#[derive(Clone)]
pub struct Recent(Arc<Kept>);

struct Kept {
    last: Mutex<Last>,
    new: broadcast::Sender<Bytes>,
}

#[derive(Default)]
struct Last {
    lines: VecDeque<Bytes>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self(Arc::new(Kept {
            last: Mutex::default(),
            new: broadcast::Sender::new(KEPT),
        }))
    }
}

impl Recent {
    /// Keeps a line, and tells whoever follows.
    pub(super) fn push(&self, line: Bytes) {
        if line.len() > LONGEST {
            return;
        }
        // Under the lock, so that who begins to follow misses none and gets none twice.
        let mut last = self.0.last.lock();
        last.bytes += line.len();
        last.lines.push_back(line.clone());
        while last.lines.len() > KEPT || last.bytes > MOST_BYTES {
            let gone = last.lines.pop_front().unwrap_or_default();
            last.bytes -= gone.len();
        }
        // An error says that nobody follows.
        let _ = self.0.new.send(line);
    }

    /// The last lines, the oldest first.
    pub fn last(&self) -> Vec<Bytes> {
        self.0.last.lock().lines.iter().cloned().collect()
    }

    /// The last lines, and what gives those that come. Whoever falls behind misses some.
    pub fn follow(&self) -> (Vec<Bytes>, broadcast::Receiver<Bytes>) {
        let last = self.0.last.lock();
        (last.lines.iter().cloned().collect(), self.0.new.subscribe())
    }
}

impl fmt::Debug for Recent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recent")
            .field("kept", &self.0.last.lock().lines.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_are_kept_and_new_ones_arrive_once() {
        let recent = Recent::default();
        let line = |at: usize| Bytes::from(at.to_string());
        for at in 0..KEPT + 3 {
            recent.push(line(at));
        }
        let (last, mut new) = recent.follow();
        assert_eq!(
            (last.len(), &last[0], last.last()),
            (KEPT, &line(3), Some(&line(KEPT + 2)))
        );
        recent.push(line(1_000));
        assert_eq!(new.recv().await, Ok(line(1_000)));
        assert!(new.try_recv().is_err());
        assert_eq!(recent.last().last(), Some(&line(1_000)));
    }
    #[test]
    fn long_lines_take_no_more_memory_than_there_is_for_all() {
        let recent = Recent::default();
        recent.push(Bytes::from(vec![b'a'; LONGEST + 1]));
        assert!(recent.last().is_empty());
        for _ in 0..KEPT {
            recent.push(Bytes::from(vec![b'a'; LONGEST]));
        }
        let bytes: usize = recent.last().iter().map(Bytes::len).sum();
        assert!(bytes > MOST_BYTES / 2 && bytes <= MOST_BYTES, "{bytes}");
    }
}

//! Many requests at once.

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use crate::client::{Answer, Call};
use crate::mesh::Mesh;

/// After how many faults it is clear that something is wrong.
const MOST_FAULTS: usize = 10;

/// What came of many requests.
#[derive(Debug, Default)]
pub struct Outcome {
    /// How many were answered, or not in time.
    pub tried: usize,
    /// What was wrong with each that was not as it should be.
    pub wrong: Vec<String>,
    /// How long it all took.
    pub elapsed: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tried, wrong, seconds) = (self.tried, self.wrong.len(), self.elapsed.as_secs_f64());
        write!(f, "{tried} traces, {wrong} wrong, {seconds:.1} s")
    }
}

impl Outcome {
    /// The same outcome, which must be without fault.
    ///
    /// # Panics
    ///
    /// When anything was wrong.
    #[track_caller]
    pub fn expect_none_wrong(self) -> Self {
        assert!(self.wrong.is_empty(), "{self}:\n{}", self.wrong.join("\n"));
        self
    }
}

/// Sends `traces` requests to the gateway, `in_flight` at a time: `call` makes the request of a number, `judge` says what is
/// wrong with its answer, if anything is. It ends early after [`MOST_FAULTS`].
pub fn send(
    mesh: &Mesh,
    traces: usize,
    in_flight: usize,
    call: impl Fn(usize) -> Call,
    judge: impl Fn(usize, &Answer) -> Option<String>,
) -> Outcome {
    let started = Instant::now();
    let client = mesh.client();
    let answers = futures::stream::iter(0..traces).map(|number| {
        let (client, call) = (client.clone(), call(number));
        async move { (number, client.send(&call).await) }
    });
    let tried = Cell::new(0);
    let judged = answers
        .buffer_unordered(in_flight)
        .filter_map(|(number, answer)| {
            tried.set(tried.get() + 1);
            let fault = match &answer {
                Ok(answer) => judge(number, answer),
                Err(error) => Some(error.clone()),
            };
            std::future::ready(fault.map(|fault| format!("trace {number}: {fault}")))
        })
        .take(MOST_FAULTS);
    let wrong = mesh.runtime.block_on(judged.collect());
    Outcome {
        tried: tried.get(),
        wrong,
        elapsed: started.elapsed(),
    }
}

/// A `traceparent` that no other request has.
pub fn traceparent() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("00-{:016x}{:016x}-{:016x}-01", random(), random(), random() | 1)
}

//! What holds of the module whatever comes, in whatever order.

use std::collections::BTreeMap;

use lanekeeper_filter_core::store::records;
use lanekeeper_filter_core::{Key, lane};
use lanekeeper_filter_host::{Fault, Filter, Proxy, Traffic, Vm};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

const WORKERS: usize = 3;
const PIN_TIMEOUT: u32 = 600;

/// Something that happens to a proxy.
#[derive(Debug, Clone)]
enum Step {
    /// A request of a trace comes in to a worker, in a lane.
    In(usize, u8, u8),
    /// The application sends a request of a trace, which a worker gets.
    Out(usize, u8),
    /// One of the requests that came in ends.
    End(usize),
    /// A worker's VM is started anew, and never hears of its streams' ends.
    Reload(usize),
    /// The next conditional writes find another version there.
    Mismatches(u32),
    /// Time passes.
    Wait(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let worker = 0..WORKERS;
    let step = prop_oneof![
        6 => (worker.clone(), 1..40_u8, 0..4_u8).prop_map(|(worker, trace, lane)| Step::In(worker, trace, lane)),
        4 => (worker.clone(), 1..40_u8).prop_map(|(worker, trace)| Step::Out(worker, trace)),
        5 => any::<prop::sample::Index>().prop_map(|at| Step::End(at.index(64))),
        1 => worker.prop_map(Step::Reload),
        1 => (1..7_u32).prop_map(Step::Mismatches),
        1 => (1..700_u32).prop_map(Step::Wait),
    ];
    vec(step, 0..150)
}

/// What a record has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Expected {
    lane: u8,
    pins: u16,
    since: u32,
}

impl Expected {
    fn is_live(self, now: u32) -> bool {
        self.pins > 0 && now - self.since <= PIN_TIMEOUT
    }
}

/// A proxy, and what has to be in its store.
struct Run {
    proxy: Proxy,
    workers: Vec<Vm>,
    /// The requests that came in: which worker has them, their context and trace.
    streams: Vec<(usize, u32, u8)>,
    expected: BTreeMap<u8, Expected>,
    cache_size: usize,
    now: u32,
}

fn configuration(cache_size: usize) -> String {
    format!(r#"{{"cache_size": {cache_size}, "lane_header": "bu", "traffic_lane": "none", "type": "W3C"}}"#)
}

fn traceparent(trace: u8) -> String {
    format!("00-{trace:032x}-b7ad6b7169203331-01")
}

impl Run {
    fn new(cache_size: usize) -> Self {
        let proxy = Proxy::default();
        let start = |_| Vm::configured(&Filter::built(), &proxy, &configuration(cache_size));
        let workers = (0..WORKERS).map(start).collect();
        Self {
            proxy,
            workers,
            streams: Vec::new(),
            expected: BTreeMap::new(),
            cache_size,
            now: 0,
        }
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        match *step {
            Step::In(worker, trace, lane) => self.inbound(worker, trace, lane)?,
            Step::Out(worker, trace) => {
                let headers = [("traceparent", traceparent(trace))];
                let request = self.workers[worker].request(Traffic::Outbound, &headers);
                let expected = self.expected.get(&trace);
                let expected = expected.map_or("none".to_owned(), |record| format!("lane-{}", record.lane));
                prop_assert_eq!(request.expect("no trap").value("bu"), Some(expected));
            }
            Step::End(at) => {
                if at < self.streams.len() {
                    let (worker, context, trace) = self.streams.remove(at);
                    self.workers[worker].end(context).expect("no trap");
                    if let Some(record) = self.expected.get_mut(&trace) {
                        record.pins = record.pins.saturating_sub(1);
                    }
                }
            }
            Step::Reload(worker) => {
                self.workers[worker] =
                    Vm::configured(&Filter::built(), &self.proxy, &configuration(self.cache_size));
                self.streams.retain(|(other, ..)| *other != worker);
            }
            Step::Mismatches(count) => self.proxy.set_fault(Fault::Mismatches(count)),
            Step::Wait(seconds) => {
                self.now += seconds;
                self.proxy.set_clock(u64::from(self.now));
            }
        }
        let found = self.stored();
        prop_assert!(found.len() <= self.cache_size);
        prop_assert_eq!(&found, &self.expected);
        Ok(())
    }

    /// A request comes in: who had to go for it is for the filter to choose, but not at will.
    fn inbound(&mut self, worker: usize, trace: u8, lane: u8) -> TestCaseResult {
        let alarms = self.proxy.counter("lane_evicted_live");
        let value = format!("lane-{lane}");
        let headers = [("bu", &value), ("traceparent", &traceparent(trace))];
        let request = self.workers[worker].request(Traffic::Inbound, &headers);
        let context = request.expect("no trap").context;
        self.streams.push((worker, context, trace));
        let left = self.stored();
        let now = self.now;
        let others = |records: &BTreeMap<u8, Expected>| {
            let mut others = records.clone();
            others.remove(&trace);
            others
        };
        let (before, after) = (others(&self.expected), others(&left));
        let gone = before.iter().filter(|(trace, _)| !after.contains_key(trace));
        let gone: Vec<&Expected> = gone.map(|(_, record)| record).collect();
        prop_assert!(gone.len() <= 1, "one goes for one that comes");
        let live = gone.iter().filter(|record| record.is_live(now)).count();
        prop_assert!(
            live == 0 || after.values().all(|record| record.is_live(now)),
            "a live one went, and {after:?} stayed"
        );
        let alarm = self.proxy.counter("lane_evicted_live") - alarms;
        prop_assert_eq!(alarm, live as u64);
        if let Some(gone) = gone.first().filter(|record| !record.is_live(now)) {
            let finished = after.values().filter(|record| record.pins == 0).count();
            prop_assert!(
                gone.pins == 0 || finished == 0,
                "a stale pin went before a finished one"
            );
        }
        let pins = self.expected.get(&trace).map_or(0, |record| record.pins) + 1;
        self.expected.retain(|trace, _| after.contains_key(trace));
        let record = Expected {
            lane,
            pins,
            since: now,
        };
        self.expected.insert(trace, record);
        Ok(())
    }

    /// The records in the shared table.
    fn stored(&self) -> BTreeMap<u8, Expected> {
        let table = self.proxy.table();
        let bucket = table.get("lanekeeper.lane/1/bu/1/0").expect("the one bucket");
        let records = records(bucket).map(|record| {
            let Key(key) = record.key;
            let lane = record.lane.last().expect("a lane") - b'0';
            let expected = Expected {
                lane,
                pins: record.pins,
                since: record.since,
            };
            (key[15], expected)
        });
        records.collect()
    }
}

/// A header, as somebody might send it who means no good.
fn header() -> impl Strategy<Value = (String, Vec<u8>)> {
    let names = prop::sample::select(vec![
        "bu",
        "traceparent",
        "b3",
        "x-b3-traceid",
        "uber-trace-id",
        "sw8",
        "x-datadog-trace-id",
        "x-amzn-trace-id",
        "x-request-id",
        "baggage",
        "x-call",
        "x-lanekeeper-crash",
        "bu ",
    ]);
    let values = prop_oneof![
        vec(any::<u8>(), 0..80),
        "[0-9a-f]{0,40}[-:;=%][ -~]{0,60}".prop_map(String::into_bytes),
        Just(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_vec()),
        "[a-z]{1,6}".prop_map(String::into_bytes),
        (0..60_000_usize).prop_map(|length| vec![b'a'; length]),
    ];
    (names.prop_map(ToOwned::to_owned), values)
}

/// A configuration, good or bad.
fn any_configuration() -> impl Strategy<Value = Vec<u8>> {
    let types = prop::sample::select(vec![
        "W3C",
        "b3",
        "Jaeger",
        "sw8",
        "AUTO",
        "CUSTOM",
        "REQUEST_ID",
        "",
    ]);
    let good = (types, 0..3000_u32, any::<bool>(), any::<bool>(), 0..300_u32).prop_map(
        |(format, cache_size, baggage, generate, max_lane_len)| {
            let text = format!(
                r#"{{"lane_header": "bu", "type": "{format}", "trace_header": "x-call", "cache_size": {cache_size},
                "baggage": {baggage}, "generate_trace": {generate}, "max_lane_len": {max_lane_len}}}"#
            );
            text.into_bytes()
        },
    );
    prop_oneof![4 => good, 1 => vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_right_after_every_step_and_a_live_trace_goes_only_where_all_are(
        cache_size in 1..24_usize, steps in steps(),
    ) {
        let mut run = Run::new(cache_size);
        for step in &steps {
            run.step(step)?;
        }
        prop_assert_eq!(run.proxy.counter("lane_cas_giveup"), 0);
    }

    #[test]
    fn nothing_that_is_sent_makes_it_trap_or_write_a_lane_that_is_none(
        configurations in vec(any_configuration(), 1..3),
        requests in vec((any::<bool>(), vec(header(), 0..8), any::<bool>()), 0..30),
    ) {
        let proxy = Proxy::default();
        let mut vm = Vm::start(&Filter::built(), &proxy);
        for configuration in &configurations {
            vm.configure(configuration).expect("no trap");
            for (is_inbound, headers, ends) in &requests {
                let traffic = if *is_inbound { Traffic::Inbound } else { Traffic::Outbound };
                let request = vm.request(traffic, headers).expect("no trap");
                for value in request.values("bu") {
                    let came = headers.iter().any(|(name, other)| name == "bu" && other == value);
                    prop_assert!(came || lane::is_lane(value, 255), "{:?} is no lane", value);
                }
                if *ends {
                    vm.end(request.context).expect("no trap");
                }
            }
        }
    }
}

//! Several VMs over one table, as Envoy's workers are.

use std::sync::{Arc, Mutex};
use std::thread;

use lanekeeper_filter_core::Layout;
use lanekeeper_filter_core::store::records;
use lanekeeper_filter_host::{Fault, Filter, Proxy, Traffic, Vm};

fn configuration(cache_size: u32) -> String {
    format!(r#"{{"cache_size": {cache_size}, "lane_header": "bu", "traffic_lane": "wtchk", "type": "W3C"}}"#)
}

fn worker(proxy: &Proxy, cache_size: u32) -> Vm {
    Vm::configured(&Filter::built(), proxy, &configuration(cache_size))
}

fn traceparent(trace: u128) -> String {
    format!("00-{trace:032x}-b7ad6b7169203331-01")
}

/// A request with a lane comes in; its context.
fn put(vm: &mut Vm, trace: u128, lane: &str) -> u32 {
    let headers = [("bu", lane), ("traceparent", &traceparent(trace))];
    vm.request(Traffic::Inbound, &headers).expect("no trap").context
}

/// The lane that a request of the application gets.
fn lane(vm: &mut Vm, trace: u128) -> String {
    let headers = [("traceparent", traceparent(trace))];
    let request = vm.request(Traffic::Outbound, &headers).expect("no trap");
    request.value("bu").expect("there is a default")
}

/// How many records the buckets of a layout have.
fn stored(proxy: &Proxy, buckets: u32) -> usize {
    let table = proxy.table();
    let of_layout = table
        .iter()
        .filter(|(key, _)| key.contains(&format!("/bu/{buckets}/")));
    of_layout.map(|(_, bucket)| records(bucket).count()).sum()
}

#[test]
fn a_lane_that_one_worker_stores_is_given_by_every_other() {
    let proxy = Proxy::default();
    let mut workers: Vec<Vm> = (0..4).map(|_| worker(&proxy, 1024)).collect();
    for trace in 1..=400_u128 {
        let at = usize::try_from(trace % 4).expect("small");
        put(&mut workers[at], trace, &format!("lane-{trace}"));
    }
    for trace in 1..=400_u128 {
        for vm in &mut workers {
            assert_eq!(lane(vm, trace), format!("lane-{trace}"));
        }
    }
}

#[test]
fn of_two_workers_that_write_one_bucket_at_once_neither_loses_its_trace() {
    let proxy = Proxy::default();
    let mut first = worker(&proxy, 64);
    let second = Arc::new(Mutex::new(worker(&proxy, 64)));
    let other = Arc::clone(&second);
    proxy.between_read_and_write(move || {
        put(&mut other.lock().expect("free"), 2, "second");
    });
    put(&mut first, 1, "first");
    assert_eq!(
        (lane(&mut first, 1), lane(&mut first, 2)),
        ("first".into(), "second".into())
    );
    assert_eq!(proxy.counter("lane_cas_retry"), 1);
    assert_eq!(proxy.counter("lane_cas_giveup"), 0);
}

#[test]
fn a_write_is_tried_eight_times_and_then_given_up() {
    let proxy = Proxy::default();
    let mut vm = worker(&proxy, 64);
    proxy.set_fault(Fault::Mismatches(7));
    put(&mut vm, 1, "first");
    assert_eq!(
        (proxy.counter("lane_cas_retry"), proxy.counter("lane_cas_giveup")),
        (7, 0)
    );
    assert_eq!(lane(&mut vm, 1), "first");
    proxy.set_fault(Fault::Mismatches(8));
    let context = put(&mut vm, 2, "second");
    assert_eq!(
        (proxy.counter("lane_stored"), proxy.counter("lane_cas_giveup")),
        (1, 1)
    );
    assert_eq!(lane(&mut vm, 2), "wtchk");
    vm.end(context).expect("what was not stored has no end either");
    assert_eq!(proxy.counter("lane_cas_giveup"), 1);
}

#[test]
fn real_threads_over_one_table_lose_nothing() {
    const TRACES: u128 = 300;
    let proxy = Proxy::default();
    let ready = worker(&proxy, 4096);
    drop(ready);
    let threads: Vec<_> = (0..4_u128)
        .map(|number| {
            let proxy = proxy.clone();
            thread::spawn(move || {
                let mut vm = worker(&proxy, 4096);
                for trace in 0..TRACES {
                    let trace = trace * 4 + number + 1;
                    let context = put(&mut vm, trace, &format!("lane-{trace}"));
                    assert_eq!(lane(&mut vm, trace), format!("lane-{trace}"));
                    vm.end(context).expect("no trap");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("every lane is right");
    }
    let mut vm = worker(&proxy, 4096);
    for trace in 1..=TRACES * 4 {
        assert_eq!(lane(&mut vm, trace), format!("lane-{trace}"));
    }
    assert_eq!(proxy.counter("lane_cas_giveup"), 0);
    assert_eq!(proxy.counter("lane_evicted_live"), 0);
}

#[test]
fn lanes_outlive_the_vm_that_stored_them() {
    let proxy = Proxy::default();
    let filter = Filter::crashable();
    let mut vm = Vm::configured(&filter, &proxy, &configuration(64));
    put(&mut vm, 1, "first");
    let crash = vm.request(Traffic::Inbound, &[("x-lanekeeper-crash", "now")]);
    assert!(crash.is_err(), "it is what the name says");
    let mut anew = Vm::configured(&filter, &proxy, &configuration(64));
    assert_eq!(lane(&mut anew, 1), "first");
    // The crashed VM's pin goes when it is too old, and not before.
    for trace in 2..=65 {
        put(&mut anew, trace, "more");
    }
    assert_eq!(proxy.counter("lane_evicted_live"), 1);
}

#[test]
fn a_stream_that_a_crashed_vm_never_ended_holds_its_place_only_for_a_time() {
    let proxy = Proxy::default();
    proxy.set_clock(1_000_000);
    let mut vm = worker(&proxy, 2);
    put(&mut vm, 1, "crashed");
    put(&mut vm, 2, "crashed");
    let mut anew = worker(&proxy, 2);
    proxy.set_clock(1_000_601);
    put(&mut anew, 3, "later");
    assert_eq!(proxy.counter("lane_evicted_live"), 0);
    assert_eq!(lane(&mut anew, 3), "later");
}

#[test]
fn the_module_that_is_released_cannot_be_crashed_by_a_header() {
    let proxy = Proxy::default();
    let mut vm = worker(&proxy, 64);
    vm.request(Traffic::Inbound, &[("x-lanekeeper-crash", "now")])
        .expect("no trap");
}

#[test]
fn another_cache_size_loses_no_trace_while_workers_change_one_by_one() {
    let proxy = Proxy::default();
    let (mut old, mut new) = (worker(&proxy, 64), worker(&proxy, 64));
    put(&mut old, 1, "before");
    assert!(new.configure(configuration(640).as_bytes()).expect("no trap"));
    // One worker has it, the other not yet: each finds what either has stored.
    put(&mut old, 2, "old");
    put(&mut new, 3, "new");
    for vm in [&mut old, &mut new] {
        let found: Vec<String> = (1..=3).map(|trace| lane(vm, trace)).collect();
        assert_eq!(found, ["before", "old", "new"]);
    }
    assert!(old.configure(configuration(640).as_bytes()).expect("no trap"));
    assert_eq!(lane(&mut old, 2), "old");
}

#[test]
fn changing_the_cache_size_again_and_again_keeps_no_more_than_two_stores() {
    let proxy = Proxy::default();
    let mut vm = worker(&proxy, 64);
    let sizes = [64, 128, 192, 256, 320];
    for (round, size) in (0_u128..).zip(sizes) {
        assert!(vm.configure(configuration(size).as_bytes()).expect("no trap"));
        for trace in 0..200 {
            put(&mut vm, round * 1000 + trace + 1, "lane");
        }
    }
    let kept = sizes.map(|size| stored(&proxy, Layout::of(size).buckets));
    assert_eq!(kept[..3], [0, 0, 0]);
    assert!(kept[3] > 0 && kept[4] > 0, "{kept:?}");
}

#[test]
fn a_stream_that_began_before_a_configuration_ends_well_after_it() {
    let proxy = Proxy::default();
    let mut vm = worker(&proxy, 64);
    let context = put(&mut vm, 1, "before");
    assert!(vm.configure(configuration(640).as_bytes()).expect("no trap"));
    vm.end(context).expect("no trap");
    assert_eq!(lane(&mut vm, 1), "before");
    // Back in its old place, its pin is gone.
    assert!(vm.configure(configuration(64).as_bytes()).expect("no trap"));
    for trace in 2..=65 {
        put(&mut vm, trace, "more");
    }
    assert_eq!(proxy.counter("lane_evicted_live"), 0);
}

#[test]
fn plugins_of_two_lane_headers_do_not_see_each_others_lanes() {
    let proxy = Proxy::default();
    let mut bu = worker(&proxy, 64);
    let mut env = Vm::configured(
        &Filter::built(),
        &proxy,
        r#"{"lane_header": "env", "cache_size": 64}"#,
    );
    put(&mut bu, 1, "wicph");
    let headers = [("traceparent", traceparent(1))];
    let request = env.request(Traffic::Outbound, &headers).expect("no trap");
    assert_eq!(request.values("env").len(), 0);
    assert_eq!(lane(&mut bu, 1), "wicph");
}

#[test]
fn what_another_plugin_writes_into_a_bucket_harms_nothing() {
    let proxy = Proxy::default();
    let mut vm = worker(&proxy, 64);
    let keys: Vec<String> = proxy.table().into_keys().collect();
    for bytes in [&b"\xff"[..], &[0xff; 1000], &[0; 23], b""] {
        for key in &keys {
            proxy.overwrite(key, bytes);
        }
        let context = put(&mut vm, 1, "wicph");
        assert_eq!(lane(&mut vm, 1), "wicph");
        vm.end(context).expect("no trap");
        let other = format!(r#"{{"lane_header": "bu", "cache_size": {}}}"#, 128 + bytes.len());
        for key in &keys {
            proxy.overwrite(key, bytes);
        }
        assert!(vm.configure(other.as_bytes()).expect("no trap"));
        assert!(vm.configure(configuration(64).as_bytes()).expect("no trap"));
    }
}

#[test]
fn the_cache_never_holds_more_than_it_was_asked_for() {
    let proxy = Proxy::default();
    for cache_size in [1, 2, 63, 65, 200] {
        let mut vm = worker(&proxy, cache_size);
        for trace in 1..=500 {
            put(&mut vm, trace, "lane");
        }
        let stored = stored(&proxy, Layout::of(cache_size).buckets);
        assert!(
            stored <= usize::try_from(cache_size).expect("small"),
            "{stored} in {cache_size}"
        );
    }
}

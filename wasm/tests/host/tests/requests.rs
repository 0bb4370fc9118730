//! What becomes of a request, in either direction, in one VM.

use lanekeeper_filter_host::{Fault, Filter, Proxy, Request, Traffic, Vm};

const TRACE: (&str, &str) = (
    "traceparent",
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
);
const REQUEST_ID: (&str, &str) = ("x-request-id", "7d0f1c52-9a1e-4c34-8f0e-1a2b3c4d5e6f");

/// The configuration of the plugin that the filter stands in for, with more members.
fn with(more: &str) -> String {
    let comma = if more.is_empty() { "" } else { ", " };
    format!(
        r#"{{"cache_size": 1024, "lane_header": "bu", "traffic_lane": "wtchk", "type": "W3C"{comma}{more}}}"#
    )
}

fn traceparent_of(trace: u8) -> String {
    format!("00-{trace:032x}-00f067aa0ba902b7-01")
}

fn vm(more: &str) -> (Vm, Proxy) {
    let proxy = Proxy::default();
    let vm = Vm::configured(&Filter::built(), &proxy, &with(more));
    (vm, proxy)
}

fn inbound(vm: &mut Vm, headers: &[(&str, &str)]) -> Request {
    vm.request(Traffic::Inbound, headers).expect("no trap")
}

fn outbound(vm: &mut Vm, headers: &[(&str, &str)]) -> Request {
    vm.request(Traffic::Outbound, headers).expect("no trap")
}

/// The lane that the application's request gets.
fn lane(vm: &mut Vm, headers: &[(&str, &str)]) -> Option<String> {
    outbound(vm, headers).value("bu")
}

#[test]
fn a_request_gets_the_lane_of_the_one_that_it_is_sent_for() {
    let (mut vm, proxy) = vm("");
    let came = inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    assert_eq!(
        came.value("bu").as_deref(),
        Some("wicph"),
        "the application sees it as it came"
    );
    assert_eq!(lane(&mut vm, &[TRACE]).as_deref(), Some("wicph"));
    vm.end(came.context).expect("no trap");
    assert_eq!(
        lane(&mut vm, &[TRACE]).as_deref(),
        Some("wicph"),
        "it stays as long as there is room"
    );
    assert_eq!((proxy.counter("lane_stored"), proxy.counter("lane_hit")), (1, 2));
}

#[test]
fn a_request_that_came_with_a_trace_is_not_known_by_its_request_id() {
    let (mut vm, _) = vm("");
    inbound(&mut vm, &[("bu", "wicph"), TRACE, REQUEST_ID]);
    assert_eq!(lane(&mut vm, &[REQUEST_ID]).as_deref(), Some("wtchk"));
    assert_eq!(lane(&mut vm, &[TRACE, REQUEST_ID]).as_deref(), Some("wicph"));
}

#[test]
fn every_format_of_trace_ids_leads_to_the_lane() {
    let sw8 = "1-NDVmYTc=-c2Vn-3-cG9ydGFs-djE=-L2E=-MTAuMC4wLjE6ODA=";
    for (format, inbound_headers, outbound_headers) in [
        (
            "W3C",
            vec![TRACE],
            vec![(
                "traceparent",
                "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00",
            )],
        ),
        (
            "w3c",
            vec![TRACE],
            vec![(
                "traceparent",
                "01-0AF7651916CD43DD8448EB211C80319C-00f067aa0ba902b7-00-later",
            )],
        ),
        (
            "B3",
            vec![("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1")],
            vec![("x-b3-traceid", "0af7651916cd43dd8448eb211c80319c")],
        ),
        (
            "B3",
            vec![("x-b3-traceid", "8448eb211c80319c")],
            vec![("b3", "00000000000000008448eb211c80319c-b7ad6b7169203331")],
        ),
        (
            "JAEGER",
            vec![(
                "uber-trace-id",
                "af7651916cd43dd8448eb211c80319c:b7ad6b7169203331:0:1",
            )],
            vec![(
                "uber-trace-id",
                "0af7651916cd43dd8448eb211c80319c%3A1%3Ab7ad6b7169203331%3A1",
            )],
        ),
        (
            "SkyWalking",
            vec![("sw8", sw8)],
            vec![("sw8", &sw8[..sw8.len() - 1])],
        ),
        (
            "DATADOG",
            vec![("x-datadog-trace-id", "9532127138774266268")],
            vec![("x-datadog-trace-id", "9532127138774266268")],
        ),
        (
            "XRAY",
            vec![(
                "x-amzn-trace-id",
                "Root=1-0af76519-16cd43dd8448eb211c80319c;Parent=b7ad6b7169203331;Sampled=1",
            )],
            vec![(
                "x-amzn-trace-id",
                "Self=1-1-1;Root=1-0af76519-16cd43dd8448eb211c80319c",
            )],
        ),
        (
            "REQUEST_ID",
            vec![REQUEST_ID],
            vec![("x-request-id", "7d0f1c52-9a1e-9c34-8f0e-1a2b3c4d5e6f")],
        ),
        (
            "CUSTOM",
            vec![("x-call", "any text; at all")],
            vec![("X-Call", "any text; at all")],
        ),
    ] {
        let (mut one, proxy) = vm(&format!(r#""type": "{format}", "trace_header": "x-call""#));
        let mut headers = vec![("bu", "wicph")];
        headers.extend(inbound_headers);
        inbound(&mut one, &headers);
        assert_eq!(
            lane(&mut one, &outbound_headers).as_deref(),
            Some("wicph"),
            "{format}"
        );
        assert_eq!(
            lane(&mut one, &[("accept", "*/*")]).as_deref(),
            Some("wtchk"),
            "{format}"
        );
        assert_eq!(proxy.counter("lane_stored"), 1, "{format}");
    }
}

#[test]
fn auto_takes_a_trace_in_one_format_and_gives_its_lane_in_another() {
    let (mut vm, _) = vm(r#""type": "AUTO""#);
    inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    let b3 = ("b3", "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1");
    assert_eq!(lane(&mut vm, &[b3]).as_deref(), Some("wicph"));
    // What is no id counts as if it were not there.
    assert_eq!(
        lane(&mut vm, &[("traceparent", "00-none"), b3]).as_deref(),
        Some("wicph")
    );
}

#[test]
fn a_request_without_a_trace_is_known_by_its_request_id() {
    let (mut one, proxy) = vm("");
    inbound(&mut one, &[("bu", "wicph"), REQUEST_ID]);
    assert_eq!(proxy.counter("lane_no_trace"), 1);
    assert_eq!(lane(&mut one, &[REQUEST_ID]).as_deref(), Some("wicph"));
    // The sidecar's tracer has given the application's request a trace that never came in.
    assert_eq!(lane(&mut one, &[TRACE, REQUEST_ID]).as_deref(), Some("wicph"));
    let (mut strict, _) = vm(r#""request_id_fallback": false"#);
    inbound(&mut strict, &[("bu", "wicph"), REQUEST_ID]);
    assert_eq!(lane(&mut strict, &[REQUEST_ID]).as_deref(), Some("wtchk"));
}

#[test]
fn a_request_without_a_lane_gets_the_default_one() {
    let (mut one, proxy) = vm("");
    assert_eq!(inbound(&mut one, &[TRACE]).value("bu").as_deref(), Some("wtchk"));
    assert_eq!(lane(&mut one, &[TRACE]).as_deref(), Some("wtchk"));
    assert_eq!(lane(&mut one, &[]).as_deref(), Some("wtchk"));
    assert_eq!(lane(&mut one, &[("bu", "")]).as_deref(), Some("wtchk"));
    assert_eq!(proxy.counter("lane_default"), 4);
    // Outbound only: one with a trace that is not stored, and two without.
    assert_eq!(
        (proxy.counter("lane_miss"), proxy.counter("lane_no_trace")),
        (1, 2)
    );
    let (mut quiet, _) = vm(r#""inbound_default": false"#);
    assert_eq!(inbound(&mut quiet, &[TRACE]).value("bu"), None);
    assert_eq!(lane(&mut quiet, &[TRACE]).as_deref(), Some("wtchk"));
    let (mut none, _) = vm(r#""traffic_lane": """#);
    assert_eq!(inbound(&mut none, &[TRACE]).value("bu"), None);
    assert_eq!(lane(&mut none, &[TRACE]), None);
}

#[test]
fn a_lane_that_the_application_sends_itself_stays() {
    let (mut vm, _) = vm("");
    inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    let sent = outbound(&mut vm, &[("bu", "gray"), TRACE]);
    assert_eq!(sent.values("bu"), [b"gray"]);
    let twice = outbound(&mut vm, &[("BU", "gray"), ("bu", "blue"), TRACE]);
    assert_eq!(twice.values("bu"), [&b"gray"[..], b"blue"]);
    let empty = outbound(&mut vm, &[("bu", ""), ("bu", "blue"), TRACE]);
    assert_eq!(
        empty.values("bu"),
        [b"wicph"],
        "the first counts, and it is empty"
    );
}

#[test]
fn only_listed_lanes_are_stored() {
    let (mut vm, proxy) = vm(r#""lanes": ["wicph"]"#);
    inbound(&mut vm, &[("bu", "other"), TRACE]);
    assert_eq!(
        (proxy.counter("lane_invalid"), proxy.counter("lane_stored")),
        (1, 0)
    );
    assert_eq!(lane(&mut vm, &[TRACE]).as_deref(), Some("wtchk"));
    inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    assert_eq!(lane(&mut vm, &[TRACE]).as_deref(), Some("wicph"));
}

#[test]
fn a_configured_direction_counts_whatever_envoy_says() {
    let (mut vm_in, proxy) = vm(r#""direction": "inbound""#);
    let mut vm_out = Vm::configured(&Filter::built(), &proxy, &with(r#""direction": "OUTBOUND""#));
    let unknown = Traffic::Unspecified;
    vm_in
        .request(unknown, &[("bu", "wicph"), TRACE])
        .expect("no trap");
    let sent = vm_out.request(unknown, &[TRACE]).expect("no trap");
    assert_eq!(sent.value("bu").as_deref(), Some("wicph"));
    // Where nothing is stored the direction decides: an outbound request without a trace is one that lost it.
    let lost = vm_out.request(unknown, &[("accept", "*/*")]).expect("no trap");
    assert_eq!(lost.value("bu").as_deref(), Some("wtchk"));
    assert_eq!(proxy.counter("lane_no_trace"), 1);
}

#[test]
fn a_lane_that_is_stored_is_given_without_asking_for_the_direction() {
    let (mut vm, proxy) = vm(r#""inbound_default": false"#);
    inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    for direction in [Traffic::Outbound, Traffic::Inbound] {
        let before = vm.calls();
        let request = vm.request(direction, &[TRACE]).expect("no trap");
        assert_eq!(request.value("bu").as_deref(), Some("wicph"));
        // The lane header, the trace, the bucket, the lane header again and a counter.
        assert_eq!(vm.calls() - before, 5);
    }
    assert_eq!((proxy.counter("lane_hit"), proxy.counter("lane_stored")), (2, 1));
}

#[test]
fn where_envoy_does_not_tell_the_direction_only_what_is_stored_counts_and_it_is_told_once() {
    let (mut vm, proxy) = vm("");
    inbound(&mut vm, &[("bu", "wicph"), ("traceparent", &traceparent_of(2))]);
    let known = vm.request(Traffic::Unspecified, &[("traceparent", &traceparent_of(2))]);
    assert_eq!(known.expect("no trap").value("bu").as_deref(), Some("wicph"));
    for _ in 0..3 {
        let request = vm.request(Traffic::Unspecified, &[TRACE]).expect("no trap");
        assert_eq!(request.values("bu").len(), 0);
    }
    let told: Vec<_> = proxy.log();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("set `direction` to inbound or outbound"));
}

#[test]
fn baggage_carries_the_lane_through_an_application_that_forwards_it_alone() {
    let (mut one, _) = vm(r#""baggage": true"#);
    let came = inbound(&mut one, &[("bu", "wi%ph"), TRACE, ("baggage", "user=1,bu=old")]);
    assert_eq!(came.value("baggage").as_deref(), Some("user=1,bu=wi%25ph"));
    assert_eq!(
        lane(&mut one, &[("baggage", "user=1,bu=wi%25ph")]).as_deref(),
        Some("wi%ph")
    );
    // A lane that is none is not believed, and the store is asked first.
    assert_eq!(
        lane(&mut one, &[("baggage", "bu=a%0d%0ab")]).as_deref(),
        Some("wtchk")
    );
    assert_eq!(
        lane(&mut one, &[("baggage", "bu=gray"), TRACE]).as_deref(),
        Some("wi%ph")
    );
    let (mut off, _) = vm("");
    let came = inbound(&mut off, &[("bu", "wicph"), TRACE]);
    assert_eq!(came.value("baggage"), None);
    assert_eq!(
        lane(&mut off, &[("baggage", "bu=gray")]).as_deref(),
        Some("wtchk")
    );
}

#[test]
fn a_trace_is_made_where_none_comes_if_that_is_wanted() {
    let (mut vm, proxy) = vm(r#""generate_trace": true"#);
    proxy.set_clock(1_800_000_000);
    let made = |vm: &mut Vm| {
        let came = inbound(vm, &[("bu", "wicph"), REQUEST_ID]);
        came.value("traceparent").expect("it is made")
    };
    let (first, second) = (made(&mut vm), made(&mut vm));
    assert_ne!(first, second);
    assert_eq!(
        lane(&mut vm, &[("traceparent", &first)]).as_deref(),
        Some("wicph")
    );
    let came = inbound(&mut vm, &[("bu", "wicph"), TRACE]);
    assert_eq!(
        came.value("traceparent").as_deref(),
        Some(TRACE.1),
        "one that comes stays"
    );
    let none = inbound(&mut vm, &[REQUEST_ID]);
    assert_eq!(none.value("traceparent"), None, "no lane, no need");
}

#[test]
fn hostile_headers_are_not_stored_and_harm_nothing() {
    let (mut vm, proxy) = vm(r#""type": "AUTO", "baggage": true, "generate_trace": true"#);
    let long = "a".repeat(60_000);
    let values: [&[u8]; 9] = [
        b"\xff\xfe\x80",
        b"",
        b"   ",
        b"a\r\nx-evil: 1",
        b"a\0b",
        long.as_bytes(),
        "泳道".as_bytes(),
        b"-",
        b"a,b;c=d",
    ];
    let names = [
        "bu",
        "traceparent",
        "b3",
        "x-b3-traceid",
        "uber-trace-id",
        "sw8",
        "x-datadog-trace-id",
        "x-amzn-trace-id",
        "baggage",
        "x-request-id",
    ];
    for traffic in [Traffic::Inbound, Traffic::Outbound] {
        for value in values {
            for name in names {
                let mut headers: Vec<(&str, &[u8])> = vec![("bu", b"wicph"), (TRACE.0, TRACE.1.as_bytes())];
                headers.retain(|(other, _)| *other != name);
                headers.extend([(name, value), (name, value)]);
                let request = vm.request(traffic, &headers).expect("no trap");
                vm.end(request.context).expect("no trap");
            }
            let all: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, value)).collect();
            let request = vm.request(traffic, &all).expect("no trap");
            vm.end(request.context).expect("no trap");
        }
    }
    let rows: usize = proxy.table().values().map(Vec::len).sum();
    assert!(rows < 60_000, "what is no lane is in the store: {rows} bytes");
    assert_eq!(
        lane(&mut vm, &[TRACE]).as_deref(),
        Some("wicph"),
        "it still works"
    );
    assert!(
        vm.memory() < 4 << 20,
        "{} bytes of memory are not given back",
        vm.memory()
    );
}

#[test]
fn a_bad_configuration_is_refused_with_a_reason_and_the_last_good_one_serves_on() {
    let (mut vm, proxy) = vm("");
    for bad in [
        &b""[..],
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        br#"{"lane_header": ":path"}"#,
        br#"{"lane_header": "bu", "cache_size": 0}"#,
        br#"{"lane_header": "bu", "cache_size": 1000001}"#,
        br#"{"lane_header": "bu", "type": "ZIPKIN2"}"#,
        br#"{"lane_header": "bu", "traffic_lane": "a\r\nb"}"#,
        br#"{"lane_header": "bu", "type": "CUSTOM"}"#,
    ] {
        let lines = proxy.log().len();
        assert!(
            !vm.configure(bad).expect("no trap"),
            "{}",
            String::from_utf8_lossy(bad)
        );
        assert!(
            proxy.log()[lines].starts_with("4 lanekeeper: pluginConfig is refused: "),
            "{:?}",
            proxy.log()[lines]
        );
        inbound(&mut vm, &[("bu", "wicph"), TRACE]);
        assert_eq!(lane(&mut vm, &[TRACE]).as_deref(), Some("wicph"));
    }
    // What has no effect is told, and taken.
    assert!(
        vm.configure(with(r#""cach_size": 4"#).as_bytes())
            .expect("no trap")
    );
    assert!(
        proxy
            .log()
            .last()
            .expect("a line")
            .contains("cach_size is no key that the lane filter knows")
    );
}

#[test]
fn a_host_that_answers_every_call_with_an_error_makes_nothing_trap() {
    for status in 1..=12 {
        let (mut one, proxy) = vm(r#""baggage": true, "generate_trace": true"#);
        proxy.set_fault(Fault::Status(status));
        for traffic in [Traffic::Inbound, Traffic::Outbound, Traffic::Unspecified] {
            let request = one.request(traffic, &[("bu", "wicph"), TRACE]).expect("no trap");
            one.end(request.context).expect("no trap");
        }
        assert!(
            !one.configure(with("").as_bytes()).expect("no trap"),
            "there is no configuration"
        );
        proxy.set_fault(Fault::None);
        inbound(&mut one, &[("bu", "wicph"), TRACE]);
        assert_eq!(lane(&mut one, &[TRACE]).as_deref(), Some("wicph"));
    }
}

#[test]
fn a_request_that_belongs_to_no_plugin_is_left_alone() {
    let proxy = Proxy::default();
    let mut vm = Vm::start(&Filter::built(), &proxy);
    let request = outbound(&mut vm, &[TRACE]);
    assert_eq!(request.values("bu").len(), 0);
    vm.end(request.context).expect("no trap");
    vm.end(request.context).expect("twice harms nothing");
    vm.end(4711).expect("nor does what never was");
}

//! What the lane filter reads of a request, of its configuration and of the store that all workers share: no panic,
//! which would end a worker's VM, and what is written can be read again.

#![no_main]

use lanekeeper_filter_core::baggage::{member, with_member};
use lanekeeper_filter_core::lane::is_lane;
use lanekeeper_filter_core::store::{done, get, records};
use lanekeeper_filter_core::trace_id::traceparent_from;
use lanekeeper_filter_core::{Config, Format, Layout, Store};
use libfuzzer_sys::fuzz_target;

const FORMATS: [Format; 8] = [
    Format::W3c,
    Format::B3,
    Format::Jaeger,
    Format::SkyWalking,
    Format::Datadog,
    Format::XRay,
    Format::RequestId,
    Format::Custom,
];

// The first byte says what the rest is; a line's end parts two texts.
fuzz_target!(|bytes: &[u8]| {
    let Some((what, rest)) = bytes.split_first() else { return };
    let end = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    let (first, second) = (&rest[..end], rest.get(end + 1..).unwrap_or_default());
    match what % 4 {
        0 => {
            for format in FORMATS {
                let key = format.key(first);
                assert_eq!(key, format.key(&[b" ", first, b"\t"].concat()), "space around it is no part");
            }
            assert!(Format::W3c.key(&traceparent_from(first)).is_some());
        }
        1 => {
            let name = "lane";
            member(first, name);
            if is_lane(second, 128) {
                assert_eq!(member(&with_member(first, name, second), name).as_deref(), Some(second));
            }
        }
        2 => {
            if let Ok(config) = Config::parse(rest) {
                for lane in config.lanes.iter().chain(&config.default_lane) {
                    assert!(config.has_lane(lane.as_bytes()), "{lane} is none");
                }
                config.trace_headers().for_each(drop);
            }
        }
        _ => {
            let store = Store {
                layout: Layout::of(u32::from(first.first().copied().unwrap_or_default())),
                pin_timeout: 60,
            };
            let (bucket, lane) = (second, &first[..first.len().min(128)]);
            let Some(key) = Format::Custom.key(first) else { return };
            let put = store.put(bucket, &key, lane, 100);
            assert_eq!(get(&put.bucket, &key), Some(lane));
            let most = usize::try_from(store.layout.ways).expect("a small number");
            assert!(records(&put.bucket).count() <= most);
            let mut after = put.bucket;
            assert!(done(&mut after, &key));
        }
    }
});

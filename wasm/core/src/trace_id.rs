//! Trace ids: what makes the requests of one call chain recognisable, in every format that the filter knows.
//!
//! All formats give one [`Key`] of 128 bits. Where a format's id has 128 bits of its own the key is the id, so that
//! an application which takes one format in and sends another on keeps its lane; anything else is hashed.

use alloc::vec::Vec;

/// What a trace is stored under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub [u8; 16]);

impl Key {
    /// The key that `id` is; zero is no id in any format.
    fn of(id: u128) -> Option<Self> {
        (id != 0).then(|| Self(id.to_be_bytes()))
    }

    /// The key of an id of any length.
    ///
    /// FNV-1a: what it gives must stay the same in every build of the filter, because the store outlives it.
    fn hashed(bytes: impl IntoIterator<Item = u8>) -> Self {
        const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
        let hash = bytes
            .into_iter()
            .fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
        Self(hash.to_be_bytes())
    }
}

/// A format of trace ids, by the name that `type` has for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `traceparent` (W3C Trace Context).
    W3c,
    /// `b3`, or `x-b3-traceid` (Zipkin).
    B3,
    /// `uber-trace-id`.
    Jaeger,
    /// `sw8`.
    SkyWalking,
    /// `x-datadog-trace-id`.
    Datadog,
    /// `x-amzn-trace-id`.
    XRay,
    /// `x-request-id`, which Envoy makes where none comes.
    RequestId,
    /// The header `trace_header`, whose whole value is the id.
    Custom,
}

/// Envoy's request id.
pub const REQUEST_ID: &str = "x-request-id";

/// The W3C header.
pub const TRACEPARENT: &str = "traceparent";

impl Format {
    /// The formats that `AUTO` tries, in this order.
    pub const AUTO: [Self; 6] = [
        Self::W3c,
        Self::B3,
        Self::Jaeger,
        Self::SkyWalking,
        Self::Datadog,
        Self::XRay,
    ];

    /// The format that `name` means, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_uppercase();
        Some(match name.as_str() {
            "W3C" => Self::W3c,
            "B3" => Self::B3,
            "JAEGER" => Self::Jaeger,
            "SKYWALKING" => Self::SkyWalking,
            "DATADOG" => Self::Datadog,
            "XRAY" => Self::XRay,
            "REQUEST_ID" => Self::RequestId,
            "CUSTOM" => Self::Custom,
            _ => return None,
        })
    }

    /// The headers that can hold the id, the preferred one first; those of `CUSTOM` are configured.
    pub fn headers(self) -> &'static [&'static str] {
        match self {
            Self::W3c => &[TRACEPARENT],
            Self::B3 => &["b3", "x-b3-traceid"],
            Self::Jaeger => &["uber-trace-id"],
            Self::SkyWalking => &["sw8"],
            Self::Datadog => &["x-datadog-trace-id"],
            Self::XRay => &["x-amzn-trace-id"],
            Self::RequestId => &[REQUEST_ID],
            Self::Custom => &[],
        }
    }

    /// The key in a header's value; `None` where it holds no valid id.
    pub fn key(self, value: &[u8]) -> Option<Key> {
        let value = value.trim_ascii();
        match self {
            Self::W3c => traceparent(value),
            Self::B3 => b3(value),
            Self::Jaeger => jaeger(value),
            Self::SkyWalking => sw8(value),
            Self::Datadog => datadog(value),
            Self::XRay => xray(value),
            Self::RequestId => request_id(value),
            Self::Custom => (!value.is_empty()).then(|| Key::hashed(value.iter().copied())),
        }
    }
}

/// W3C Trace Context, section 3.2: `version-trace_id-parent_id-flags`; a later version may go on with `-…`.
fn traceparent(value: &[u8]) -> Option<Key> {
    let mut fields = value.splitn(5, |byte| *byte == b'-');
    let version = fixed_hex(fields.next()?, 2)?;
    let trace = fixed_hex(fields.next()?, 32)?;
    fixed_hex(fields.next()?, 16)?;
    fixed_hex(fields.next()?, 2)?;
    let has_more = fields.next().is_some();
    if version == 0xff || (version == 0 && has_more) {
        return None;
    }
    Key::of(trace)
}

/// Zipkin, `b3-propagation`: `trace-span-sampled-parent`, or the trace id alone in `x-b3-traceid`. A lone `0`, `1` or
/// `d` in `b3` decides on sampling and names no trace.
fn b3(value: &[u8]) -> Option<Key> {
    let id = value.split(|byte| *byte == b'-').next()?;
    match id.len() {
        16 | 32 => Key::of(hex(id)?),
        _ => None,
    }
}

/// Jaeger, "Trace/Span identity": `trace:span:parent:flags`, leading zeros missing, often URL-encoded.
fn jaeger(value: &[u8]) -> Option<Key> {
    let end = value.iter().position(|byte| *byte == b':' || *byte == b'%')?;
    let (id, rest) = value.split_at_checked(end)?;
    let is_colon = rest.starts_with(b":") || rest.get(..3)?.eq_ignore_ascii_case(b"%3a");
    (is_colon && (1..=32).contains(&id.len())).then(|| Key::of(hex(id)?))?
}

/// `SkyWalking` Cross Process Propagation v3: eight fields of which the second is the trace id in base64.
fn sw8(value: &[u8]) -> Option<Key> {
    let mut fields = value.split(|byte| *byte == b'-');
    let sample = fields.next()?;
    let trace = fields.next()?;
    let is_sw8 = matches!(sample, b"0" | b"1") && !trace.is_empty() && fields.count() == 6;
    is_sw8.then(|| Key::hashed(trace.iter().copied()))
}

/// Datadog: the low 64 bits of the trace id in decimal.
fn datadog(value: &[u8]) -> Option<Key> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let id: u64 = core::str::from_utf8(value).ok()?.parse().ok()?;
    Key::of(u128::from(id))
}

/// AWS X-Ray, "Tracing header": `Root=1-8hex-24hex` among fields parted by `;`.
fn xray(value: &[u8]) -> Option<Key> {
    let mut fields = value.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let root = fields.find_map(|field| field.strip_prefix(b"Root="))?;
    let mut parts = root.split(|byte| *byte == b'-');
    let version = parts.next()?;
    let seconds = fixed_hex(parts.next()?, 8)?;
    let random = fixed_hex(parts.next()?, 24)?;
    let is_xray = version == b"1" && parts.next().is_none();
    is_xray.then(|| Key::of((seconds << 96) | random))?
}

/// Envoy writes the trace decision into character 14 of a UUID (`UuidRequestIdExtension`), so that it changes on the
/// way: it does not count.
fn request_id(value: &[u8]) -> Option<Key> {
    const DECISION: usize = 14;
    let is_uuid = value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    let bytes = value.iter().copied().enumerate();
    let masked = bytes.map(|(at, byte)| if is_uuid && at == DECISION { b'4' } else { byte });
    (!value.is_empty()).then(|| Key::hashed(masked))
}

/// The number that exactly `digits` hexadecimal digits are.
fn fixed_hex(text: &[u8], digits: usize) -> Option<u128> {
    (text.len() == digits).then(|| hex(text))?
}

/// The number that 1 to 32 hexadecimal digits are, in either case.
fn hex(text: &[u8]) -> Option<u128> {
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    text.iter().try_fold(0_u128, |number, digit| {
        let digit = char::from(*digit).to_digit(16)?;
        Some((number << 4) | u128::from(digit))
    })
}

/// A `traceparent` for a request that has no trace: not sampled, its ids made from `seed`, which is to be as good as
/// unique.
pub fn traceparent_from(seed: &[u8]) -> Vec<u8> {
    let Key(trace) = Key::hashed(seed.iter().copied());
    let Key(span) = Key::hashed(trace.iter().copied());
    let mut text = b"00-".to_vec();
    push_hex(&mut text, &trace);
    text.push(b'-');
    push_hex(&mut text, span.first_chunk::<8>().unwrap_or(&[1; 8]));
    text.extend_from_slice(b"-00");
    text
}

fn push_hex(text: &mut Vec<u8>, bytes: &[u8]) {
    let digit = |value: u8| {
        char::from_digit(u32::from(value), 16).map_or(b'0', |digit| u8::try_from(digit).unwrap_or(b'0'))
    };
    text.extend(
        bytes
            .iter()
            .flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    fn id() -> Option<Key> {
        Key::of(u128::from_str_radix(TRACE, 16).unwrap())
    }

    fn key(format: Format, value: &str) -> Option<Key> {
        format.key(value.as_bytes())
    }

    #[test]
    fn a_traceparent_gives_its_trace_id_in_either_case_and_in_later_versions() {
        let valid = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(key(Format::W3c, valid), id());
        assert_eq!(key(Format::W3c, &valid.to_ascii_uppercase()), id());
        assert_eq!(key(Format::W3c, &alloc::format!(" {valid}\t")), id());
        assert_eq!(
            key(Format::W3c, &alloc::format!("cc{}-what-ever", &valid[2..])),
            id()
        );
        for invalid in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(key(Format::W3c, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn b3_is_read_in_one_header_or_several_with_64_bits_or_128() {
        assert_eq!(
            key(Format::B3, "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1"),
            id()
        );
        assert_eq!(
            key(Format::B3, "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"),
            id()
        );
        assert_eq!(key(Format::B3, TRACE), id());
        assert_eq!(
            key(Format::B3, "a3ce929d0e0e4736"),
            key(Format::B3, "0000000000000000a3ce929d0e0e4736")
        );
        for invalid in [
            "",
            "0",
            "1",
            "d",
            "0000000000000000",
            "a3ce929d0e0e47361",
            "x3ce929d0e0e4736",
        ] {
            assert_eq!(key(Format::B3, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn jaeger_is_read_url_encoded_and_without_leading_zeros() {
        assert_eq!(
            key(
                Format::Jaeger,
                "4bf92f3577b34da6a3ce929d0e0e4736:f067aa0ba902b7:0:1"
            ),
            id()
        );
        assert_eq!(
            key(
                Format::Jaeger,
                "4bf92f3577b34da6a3ce929d0e0e4736%3Af067aa0ba902b7%3A0%3A1"
            ),
            id()
        );
        assert_eq!(key(Format::Jaeger, "e4736:1:0:1"), Key::of(0xe4736));
        for invalid in [
            "",
            ":1:0:1",
            "e4736",
            "0:1:0:1",
            "e4736%3",
            "e4736%2A1",
            "g:1:0:1",
        ] {
            assert_eq!(key(Format::Jaeger, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn sw8_is_its_second_field() {
        let sw8 = |trace: &str, segment: &str| {
            key(
                Format::SkyWalking,
                &alloc::format!("1-{trace}-{segment}-3-bWVzaA==-aW5z-L2E=-YjoxMA=="),
            )
        };
        assert!(sw8("YTI4NGY1", "c2Vn").is_some());
        assert_eq!(sw8("YTI4NGY1", "c2Vn"), sw8("YTI4NGY1", "b3RoZXI="));
        assert_ne!(sw8("YTI4NGY1", "c2Vn"), sw8("YTI4NGY2", "c2Vn"));
        for invalid in [
            "",
            "1-YTI4NGY1",
            "1--a-b-c-d-e-f",
            "2-YTI4-a-3-b-c-d-e",
            "1-YTI4-a-3-b-c-d-e-f",
        ] {
            assert_eq!(key(Format::SkyWalking, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn datadog_is_a_decimal_number_of_64_bits() {
        assert_eq!(
            key(Format::Datadog, "18446744073709551615"),
            Key::of(u128::from(u64::MAX))
        );
        for invalid in ["", "0", "+1", "-1", "1a", "18446744073709551616"] {
            assert_eq!(key(Format::Datadog, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn xray_is_its_root() {
        let root = "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736";
        assert_eq!(key(Format::XRay, root), id());
        assert_eq!(
            key(
                Format::XRay,
                &alloc::format!("Self=1-67891234-12456789abcdef012345678;{root};Sampled=1")
            ),
            id()
        );
        for invalid in [
            "",
            "Root=",
            "Root=2-4bf92f35-77b34da6a3ce929d0e0e4736",
            "Root=1-4bf92f35-77b3",
            "Parent=1",
        ] {
            assert_eq!(key(Format::XRay, invalid), None, "{invalid}");
        }
    }

    #[test]
    fn a_request_id_is_the_same_whatever_the_trace_decision() {
        let with = |decision| {
            key(
                Format::RequestId,
                &alloc::format!("6b8e7c1a-52c5-{decision}f4e-9d1c-0242ac120002"),
            )
        };
        assert_eq!(with('4'), with('9'));
        assert_eq!(with('4'), with('a'));
        let other = key(Format::RequestId, "7b8e7c1a-52c5-4f4e-9d1c-0242ac120002");
        assert_ne!(with('4'), other);
        // What is no UUID counts whole.
        assert_ne!(
            key(Format::RequestId, "request-000001x"),
            key(Format::RequestId, "request-0000019")
        );
        assert_eq!(key(Format::RequestId, " "), None);
    }

    #[test]
    fn a_made_traceparent_is_valid_and_its_own() {
        let made = traceparent_from(b"seed");
        assert!(Format::W3c.key(&made).is_some());
        assert_ne!(made, traceparent_from(b"other"));
        assert_eq!(made.len(), 55);
    }

    proptest! {
        #[test]
        fn no_bytes_make_any_format_panic(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in Format::AUTO.into_iter().chain([Format::RequestId, Format::Custom]) {
                let _ = format.key(&value);
            }
        }

        #[test]
        fn every_128_bit_format_gives_one_key_for_one_id(id in 1_u128..) {
            let hex = alloc::format!("{id:032x}");
            let expected = Key::of(id);
            prop_assert_eq!(key(Format::W3c, &alloc::format!("00-{hex}-00f067aa0ba902b7-01")), expected);
            prop_assert_eq!(key(Format::B3, &alloc::format!("{hex}-00f067aa0ba902b7-1")), expected);
            prop_assert_eq!(key(Format::Jaeger, &alloc::format!("{id:x}:1:0:1")), expected);
            let (seconds, random) = hex.split_at(8);
            prop_assert_eq!(key(Format::XRay, &alloc::format!("Root=1-{seconds}-{random}")), expected);
        }
    }
}

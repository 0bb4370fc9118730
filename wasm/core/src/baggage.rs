//! A lane in `baggage` (W3C Baggage), which applications with OpenTelemetry pass on by themselves.

use alloc::vec::Vec;

/// The header.
pub const BAGGAGE: &str = "baggage";

/// The value of the member `name` of a `baggage` header, percent-decoded.
pub fn member(baggage: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut members = baggage.split(|byte| *byte == b',');
    members.find_map(|member| {
        let pair = member.split(|byte| *byte == b';').next()?;
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at_checked(at)?;
        let is_it = key.trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        is_it.then(|| decoded(value.strip_prefix(b"=")?.trim_ascii()))?
    })
}

/// `baggage` with the member `name=lane` at its end, and no other member of that name.
///
/// Of the characters of a lane only `%` has to be encoded.
pub fn with_member(baggage: &[u8], name: &str, lane: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    for other in baggage.split(|byte| *byte == b',') {
        if !other.trim_ascii().is_empty() && member(other, name).is_none() {
            text.extend_from_slice(other);
            text.push(b',');
        }
    }
    text.extend_from_slice(name.as_bytes());
    text.push(b'=');
    for byte in lane {
        match byte {
            b'%' => text.extend_from_slice(b"%25"),
            byte => text.push(*byte),
        }
    }
    text
}

fn decoded(value: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = char::from(bytes.next()?).to_digit(16)?;
            let low = char::from(bytes.next()?).to_digit(16)?;
            text.push(u8::try_from((high << 4) | low).ok()?);
        } else {
            text.push(byte);
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_member_is_found_among_others_with_properties_and_spaces() {
        let header = b"user=1, bu = wicph;ttl=3 ,bus=x";
        assert_eq!(member(header, "bu").unwrap(), b"wicph");
        assert_eq!(member(b"bu=a%25b", "bu").unwrap(), b"a%b");
        for none in [&b""[..], b"bu", b"b=u", b"bu=%", b"bu=%2", b"bu=%zz", b"xbu=1"] {
            assert_eq!(member(none, "bu"), None);
        }
    }

    #[test]
    fn a_member_is_added_once() {
        assert_eq!(with_member(b"", "bu", b"wicph"), b"bu=wicph");
        assert_eq!(with_member(b"user=1", "bu", b"a%b"), b"user=1,bu=a%25b");
        assert_eq!(with_member(b"bu=old,user=1;p", "bu", b"new"), b"user=1;p,bu=new");
    }

    proptest! {
        #[test]
        fn a_lane_that_is_added_is_read_again(
            baggage in proptest::collection::vec(any::<u8>(), 0..64), lane in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}",
        ) {
            prop_assert_eq!(member(&with_member(&baggage, "bu", lane.as_bytes()), "bu"), Some(lane.into_bytes()));
        }
    }
}

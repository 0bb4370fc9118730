//! Lane names as header values.

/// Whether `value` can be a lane: one to `max_len` bytes of a header's token (RFC 9110, section 5.6.2).
///
/// A token has no space, quote, comma or control character, so a lane is safe in any header, in `baggage` and in a log.
pub fn is_lane(value: &[u8], max_len: usize) -> bool {
    !value.is_empty() && value.len() <= max_len && value.iter().copied().all(is_token)
}

/// Whether a byte may stand in a token of HTTP.
pub fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_a_token_of_limited_length() {
        for lane in ["wtchk", "v1.2", "feat_1-a", "8001", "a%2Fb"] {
            assert!(is_lane(lane.as_bytes(), 128), "{lane}");
        }
        for value in ["", " ", "a b", "a,b", "a\r\nx: y", "泳道", "a=b", "\"a\"", "a\0"] {
            assert!(!is_lane(value.as_bytes(), 128), "{value:?}");
        }
        assert!(is_lane(&[b'a'; 128], 128));
        assert!(!is_lane(&[b'a'; 129], 128));
    }
}

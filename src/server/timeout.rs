//! The API server's `?timeout=`.

use std::time::Duration;

/// How long a decision may take, from the query of the request: half of the API server's timeout, so that an
/// answer arrives while somebody waits for it. `None` where no timeout is given or it cannot be read.
pub(super) fn deadline(query: Option<&str>) -> Option<Duration> {
    let timeout = query?.split('&').find_map(|pair| pair.strip_prefix("timeout="))?;
    parse(timeout).map(|timeout| timeout / 2)
}

/// Parses a duration as Go's `time.ParseDuration` does: `10s`, `1m30s`, `1.5h`, `250ms`.
fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Some(Duration::ZERO);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_end);
        let unit_end = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" | "%C2%B5s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.checked_add(Duration::try_from_secs_f64(number * unit).ok()?)?;
        rest = after;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, millis) in [
            ("10s", 10_000),
            ("+10s", 10_000),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("2.s", 2000),
            ("250ms", 250),
            ("1000us", 1),
            ("1000µs", 1),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "+",
            "10",
            "s",
            ".s",
            "-1s",
            "10 s",
            "10d",
            "1.2.3s",
            "1e3s",
            "inf",
            "9999999999999999999h",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn half_of_the_timeout_is_for_the_decision() {
        assert_eq!(deadline(Some("timeout=10s")), Some(Duration::from_secs(5)));
        assert_eq!(
            deadline(Some("dryRun=All&timeout=3s")),
            Some(Duration::from_millis(1500))
        );
        assert_eq!(deadline(Some("notimeout=3s")), None);
        assert_eq!(deadline(Some("timeout=soon")), None);
        assert_eq!(deadline(None), None);
    }
}

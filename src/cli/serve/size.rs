//! A size of a file, as people write it.

use std::str::FromStr;

/// A size in bytes, more than nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        // Kubernetes leaves the B out.
        let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
            "" => 1,
            "k" | "K" => 1_000,
            "M" => 1_000_000,
            "G" => 1_000_000_000,
            "Ki" => 1 << 10,
            "Mi" => 1 << 20,
            "Gi" => 1 << 30,
            _ => 0,
        };
        let bytes = number
            .parse()
            .ok()
            .and_then(|number: u64| number.checked_mul(factor));
        match bytes {
            Some(bytes) if bytes > 0 => Ok(Self(bytes)),
            _ => Err("write a whole number and a unit, as in 500KiB, 100MiB or 1GiB".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_and_kubernetes_write_them() {
        for (text, bytes) in [
            ("1", 1),
            ("512B", 512),
            ("500KiB", 512_000),
            ("100MiB", 104_857_600),
            ("100Mi", 104_857_600),
            ("100 MiB", 104_857_600),
            ("2G", 2_000_000_000),
            ("2GB", 2_000_000_000),
            ("7k", 7_000),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in [
            "",
            "0",
            "0MiB",
            "MiB",
            "-1",
            "1.5GiB",
            "1TiBB",
            "1m",
            "99999999999GiB",
            "1 Mi B",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}

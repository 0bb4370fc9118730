//! Finds the type of a scalar as kubectl does: by the rules of go-yaml v2, which are those of YAML 1.1 with
//! changes of its own.

use std::borrow::Cow;

use saphyr_parser::Tag;

use super::Scalar;

/// The type of a scalar by its text, its style and its tag; the error is a message.
pub(super) fn resolve(text: &str, is_plain: bool, tag: Option<&Tag>) -> Result<Scalar, String> {
    let Some(tag) = tag else {
        return if is_plain { plain(text) } else { Ok(Scalar::String) };
    };
    let tag = format!("{}{}", tag.handle, tag.suffix);
    match tag.strip_prefix("tag:yaml.org,2002:") {
        Some("binary") => {
            Err("kubectl would decode !!binary; write the base64 text without this tag".to_owned())
        }
        Some(name @ ("null" | "bool" | "int" | "float")) => match (name, plain(text)?) {
            ("float", Scalar::Int(_) | Scalar::Float(_)) => Ok(plain(text)?),
            ("null", scalar @ Scalar::Null)
            | ("bool", scalar @ Scalar::Bool(_))
            | ("int", scalar @ (Scalar::Int(_) | Scalar::Uint(_))) => Ok(scalar),
            _ => Err(format!("the tag !!{name} does not fit `{text}`")),
        },
        _ => Ok(Scalar::String),
    }
}

/// The type of a plain scalar.
fn plain(text: &str) -> Result<Scalar, String> {
    let scalar = match text.as_bytes().first() {
        None => Some(Scalar::Null),
        Some(b'.') if !text[1..].starts_with(|next: char| next.is_ascii_digit()) => None,
        Some(b'0'..=b'9' | b'+' | b'-' | b'.') => {
            let digits = if text.contains('_') {
                Cow::from(text.replace('_', ""))
            } else {
                Cow::from(text)
            };
            integer(&digits).or_else(|| float(&digits))
        }
        Some(_) => word(text),
    };
    match scalar {
        None if matches!(
            text.trim_start_matches(['+', '-']),
            ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN"
        ) =>
        {
            Err(format!(
                "kubectl cannot write `{text}` as JSON; quote it if a string is meant"
            ))
        }
        scalar => Ok(scalar.unwrap_or(Scalar::String)),
    }
}

fn word(text: &str) -> Option<Scalar> {
    match text {
        "~" | "null" | "Null" | "NULL" => Some(Scalar::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Some(Scalar::Bool(true))
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Some(Scalar::Bool(false))
        }
        _ => None,
    }
}

/// An integer as Go writes them: `0x`, `0o`, `0b`, and a mere `0` for octal.
fn integer(text: &str) -> Option<Scalar> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (radix, digits) = match unsigned.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &unsigned[2..]),
        [b'0', b'o' | b'O', ..] => (8, &unsigned[2..]),
        [b'0', b'b' | b'B', ..] => (2, &unsigned[2..]),
        [b'0', _, ..] => (8, &unsigned[1..]),
        _ => (10, unsigned),
    };
    // The standard library takes a second sign here.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if text.starts_with('-') {
        return 0_i64.checked_sub_unsigned(magnitude).map(Scalar::Int);
    }
    match i64::try_from(magnitude) {
        Ok(number) => Some(Scalar::Int(number)),
        Err(_) if text.starts_with('+') => None,
        Err(_) => Some(Scalar::Uint(magnitude)),
    }
}

/// A decimal number with a fraction or an exponent; what is too large for it stays a string.
fn float(text: &str) -> Option<Scalar> {
    let is_decimal = |c: char| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-');
    let number = text.parse::<f64>().ok()?;
    (text.chars().all(is_decimal) && number.is_finite()).then_some(Scalar::Float(number))
}

/// The text that kubectl gives a key that is no string; `None` if it refuses it.
pub(super) fn key(scalar: Scalar) -> Option<String> {
    match scalar {
        Scalar::Bool(value) => Some(value.to_string()),
        Scalar::Int(value) => Some(value.to_string()),
        Scalar::Float(value) => Some(go_float(value)),
        Scalar::Null | Scalar::Uint(_) | Scalar::String => None,
    }
}

/// The shortest text of a 32-bit float, as Go's `%g` writes it.
fn go_float(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation)]
    let value = value as f32;
    let scientific = format!("{value:e}");
    match scientific.split_once('e') {
        Some((mantissa, exponent)) => match exponent.parse::<i32>() {
            Ok(exponent) if !(-4..6).contains(&exponent) => {
                let sign = if exponent < 0 { '-' } else { '+' };
                format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
            }
            _ => value.to_string(),
        },
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::{Value, json};

    use super::super::{Error, documents};

    // What `YAMLToJSON` of sigs.k8s.io/yaml v1.6.0 (with go.yaml.in/yaml/v2 v2.4.4) makes of each text as the
    // value of a key, and of each text as a key; found by running it.
    const TRUE: &str = "y Y yes Yes YES true True TRUE on On ON";
    const FALSE: &str = "n N no No NO false False FALSE off Off OFF";
    const NULL: &str = "~ null Null NULL";
    const STRINGS: &str = "yEs tRUE nULL 0xg _1 . .. ._5 1e400 -1e400 .9e400 .iNf inf nan Infinity + +-1 0x 0b 0o \
        0xfffffffffffffffff 190:20:30 1:2 2001-12-14 2001-12-14t21:59:43.10-05:00 2001-1-1 1.2.3 1e 1e5e 0x1p-2 = << \
        1,000 0b2 -0b ++1 0.0.1 1-2 .e5 .5.5 1Gi 100m 10s 1/2";
    const ERRORS: &str = ".inf -.inf +.inf .INF .nan .NaN";
    const NUMBERS: &str = "0=0 -0=0 +1=1 12=12 0777=511 -0777=-511 0o7=7 0O17=15 08=8 09.5=9.5 0x1f=31 0X1F=31 \
        -0x1f=-31 0b101=5 0B11=3 -0b11=-3 1_000=1000 1__0_=10 +_1=1 0_7=7 0x_1=1 1.=1 1.0=1 1.5=1.5 .5=0.5 -.5=-0.5 \
        +.5=0.5 .1_0=0.1 1_0.5=10.5 1e3=1000 1E3=1000 1e+3=1000 1.e5=100000 1e-400=0 \
        9223372036854775807=9223372036854775807 9223372036854775808=9223372036854775808 \
        18446744073709551615=18446744073709551615 18446744073709551616=18446744073709552000 \
        -9223372036854775808=-9223372036854775808 -9223372036854775809=-9223372036854776000 \
        +18446744073709551615=18446744073709552000 0xffffffffffffffff=18446744073709551615 \
        12345678901234567890123=1.2345678901234568e+22 1e21=1e+21 1e20=100000000000000000000 \
        123456789.0=123456789 0.000001=0.000001 1e-7=1e-7 1.10=1.1 -0o7=-7 +0x1=1 00=0 007=7 8e-1=0.8 \
        0xDEADBEEF=3735928559 0888=888 01.5=1.5 01e1=10 -08=-8 0b1_0=2 0b_1=1 .5e1=5 +.5e-1=0.05";
    const STYLED: &str = r#"''="" "yes"="yes" "1"="1" '~'="~" !!str 1="1" !!str yes="yes" !!str .inf=".inf"
        !!int "1"=1 !!float 1=1 !!float "1.5"=1.5 !!bool "yes"=true !!null ""=null !foo 1="1" !!foo 1="1" ! 1="1"
        !!timestamp 2001-01-01="2001-01-01" !!str="" !!int "x"=error !!bool 1=error !!null x=error !!int=error"#;
    const KEYS: &str = "yes=true on=true y=true n=false off=false true=true 1=1 -1=-1 0x1f=31 010=8 1_000=1000 1.10=1.1 \
        1.0=1 1.5e3=1500 1234567.0=1.234567e+06 1e21=1e+21 0.00001=1e-05 100000.0=100000 1000000.0=1e+06 \
        2001-01-01=2001-01-01 ~=error null=error 9223372036854775808=error";

    fn decode(text: &str) -> Result<Value, Error> {
        let node = documents(text)[0].decode()?;
        Value::deserialize(&node)
    }

    fn value(scalar: &str) -> Result<Value, Error> {
        decode(&format!("a: {scalar}\n")).map(|document| document["a"].clone())
    }

    #[test]
    fn plain_scalars_resolve_as_in_kubectl() {
        for (texts, expected) in [(TRUE, json!(true)), (FALSE, json!(false)), (NULL, json!(null))] {
            for text in texts.split_whitespace() {
                assert_eq!(value(text), Ok(expected.clone()), "{text}");
            }
        }
        for text in STRINGS.split_whitespace() {
            assert_eq!(value(text), Ok(json!(text)));
        }
        for text in ERRORS.split_whitespace() {
            assert!(value(text).is_err(), "{text}");
        }
        assert_eq!(value(""), Ok(json!(null)));
    }

    #[test]
    fn numbers_resolve_as_in_kubectl() {
        for pair in NUMBERS.split_whitespace() {
            let (text, expected) = pair.split_once('=').unwrap();
            let found = value(text).unwrap();
            let expected: Value = serde_json::from_str(expected).unwrap();
            let is_same = found == expected || found.is_f64() && found.as_f64() == expected.as_f64();
            assert!(is_same, "{text}: {found}, not {expected}");
        }
    }

    #[test]
    fn quotes_and_tags_resolve_as_in_kubectl() {
        let words: Vec<&str> = STYLED.split_whitespace().collect();
        let pairs = words
            .split_inclusive(|word| word.contains('='))
            .map(|pair| pair.join(" "));
        for pair in pairs {
            let (text, expected) = pair.split_once('=').unwrap();
            match serde_json::from_str::<Value>(expected) {
                Ok(expected) => assert_eq!(value(text), Ok(expected), "{text}"),
                Err(_) => assert!(value(text).is_err(), "{text}"),
            }
        }
    }

    #[test]
    fn keys_become_the_strings_that_kubectl_makes_of_them() {
        for pair in KEYS.split_whitespace() {
            let (text, expected) = pair.split_once('=').unwrap();
            match decode(&format!("{text}: x\n")) {
                Ok(found) => assert_eq!(found, json!({ expected: "x" }), "{text}"),
                Err(error) => assert_eq!(expected, "error", "{text}: {error}"),
            }
        }
    }
}

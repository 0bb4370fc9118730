//! Decodes a [`Node`] into typed values with the strictness of the API server's JSON.

use std::fmt::Display;

use serde::de::{self, DeserializeSeed, Deserializer, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::{Entry, Error, Node, Position, Scalar, Value};

/// Methods that take one kind of value.
macro_rules! deserialize_only {
    ($($($method:ident)+: $pattern:pat, $expected:literal;)+) => {
        $($(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                match self.value {
                    $pattern => self.deserialize_any(visitor),
                    _ => Err(self.mismatch($expected)),
                }
            }
        )+)+
    };
}

/// Strings, numbers and booleans are not taken for one another; a whole number with a fraction of zero is an
/// integer, as kubectl writes it. Null is an absent field in a struct and an empty string where a string must
/// be, as it is for the API server.
impl<'de> Deserializer<'de> for &'de Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        // The values in lists and mappings give their errors a place; this gives one to the document's.
        let value = match &self.value {
            Value::Scalar(Scalar::Null, _) => visitor.visit_unit(),
            Value::Scalar(Scalar::Bool(value), _) => visitor.visit_bool(*value),
            Value::Scalar(Scalar::String, text) => visitor.visit_borrowed_str(text),
            Value::Scalar(number, _) => visit_number(*number, visitor),
            Value::Sequence(items) => visitor.visit_seq(Items {
                items: items.iter(),
                next: 0,
            }),
            Value::Mapping(entries) => visitor.visit_map(Entries::new(entries, false)),
        };
        value.map_err(|error| error.within(self))
    }

    deserialize_only! {
        deserialize_bool: Value::Scalar(Scalar::Bool(_), _), "true or false";
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64:
            Value::Scalar(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_), _), "an integer";
        deserialize_f32 deserialize_f64:
            Value::Scalar(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_), _), "a number";
        deserialize_seq: Value::Sequence(_), "a list";
        deserialize_map: Value::Mapping(_), "a mapping";
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Scalar(Scalar::String | Scalar::Null, _) => {
                visitor.visit_borrowed_str(self.as_str().unwrap_or_default())
            }
            _ => Err(self.mismatch("a string")),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() {
            return visitor.visit_none();
        }
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match &self.value {
            Value::Mapping(entries) => {
                let value = visitor.visit_map(Entries::new(entries, true));
                value.map_err(|error| error.within(self))
            }
            _ => Err(self.mismatch("a mapping")),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.as_str() {
            Some(text) => visitor.visit_enum(de::value::BorrowedStrDeserializer::new(text)),
            None => Err(self.mismatch("a string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct }
}

impl Node<'_> {
    /// The error for a value of another type than is wanted.
    fn mismatch(&self, expected: &str) -> Error {
        Error::new(self.span.start, self.other_than(expected))
    }

    /// The message for a value of another type than is wanted, which is told as `a string`, `an integer`.
    pub fn other_than(&self, expected: &str) -> String {
        let found = match &self.value {
            Value::Sequence(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Scalar(Scalar::Null, _) => "null".to_owned(),
            Value::Scalar(Scalar::String, text) => {
                let is_unquotable = text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok();
                let help = if is_unquotable { " (remove the quotes)" } else { "" };
                format!("the string {}{help}", quoted(text))
            }
            Value::Scalar(scalar, text) => {
                let is_bool = matches!(scalar, Scalar::Bool(_));
                let kind = if is_bool { "boolean" } else { "number" };
                match expected {
                    "a string" => format!("the {kind} {text} (quote it: \"{text}\")"),
                    _ => format!("the {kind} {text}"),
                }
            }
        };
        format!("expected {expected}, found {found}")
    }
}

/// Gives a number to a visitor: as an integer, if that is what kubectl would write.
fn visit_number<'de, V: Visitor<'de>>(number: Scalar, visitor: V) -> Result<V::Value, Error> {
    match number {
        Scalar::Int(value) => match u64::try_from(value) {
            Ok(value) => visitor.visit_u64(value),
            Err(_) => visitor.visit_i64(value),
        },
        Scalar::Uint(value) => visitor.visit_u64(value),
        Scalar::Float(value) if value.fract() == 0.0 && value.abs() < TWO_TO_63 => {
            #[allow(clippy::cast_possible_truncation)]
            let whole = value as i64;
            visit_number(Scalar::Int(whole), visitor)
        }
        Scalar::Float(value) => visitor.visit_f64(value),
        Scalar::Null | Scalar::Bool(_) | Scalar::String => visitor.visit_unit(),
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// A string for a message, cut where it gets long.
fn quoted(text: &str) -> String {
    const LONG: usize = 40;
    match text.char_indices().nth(LONG) {
        Some((cut, _)) => format!("{:?}", format!("{}…", &text[..cut])),
        None => format!("{text:?}"),
    }
}

struct Items<'de, 'a> {
    items: std::slice::Iter<'de, Node<'a>>,
    next: usize,
}

impl<'de> de::SeqAccess<'de> for Items<'de, '_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(item) = self.items.next() else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        let value = seed.deserialize(item).map_err(|error| error.within(item));
        value.map(Some).map_err(|error| error.under_index(index))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len())
    }
}

struct Entries<'de, 'a> {
    rest: std::slice::Iter<'de, Entry<'a>>,
    /// The entry whose key was given and whose value comes next.
    open: Option<&'de Entry<'a>>,
    skips_null: bool,
}

impl<'de, 'a> Entries<'de, 'a> {
    fn new(entries: &'de [Entry<'a>], skips_null: bool) -> Self {
        Self {
            rest: entries.iter(),
            open: None,
            skips_null,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let skips_null = self.skips_null;
        self.open = self.rest.find(|entry| !(skips_null && entry.value.is_null()));
        let Some(entry) = self.open else {
            return Ok(None);
        };
        seed.deserialize(&entry.key)
            .map(Some)
            .map_err(|error| error.within(&entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.open.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let value = seed
            .deserialize(&entry.value)
            .map_err(|error| error.within(&entry.value));
        value.map_err(|error| error.under_key(entry.name()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

impl Error {
    /// Gives the error the place of a node, unless it arose deeper.
    fn within(self, node: &Node<'_>) -> Self {
        if self.line > 0 {
            return self;
        }
        let Position { line, column, .. } = node.span.start;
        Self { line, column, ..self }
    }
}

impl de::Error for Error {
    fn custom<T: Display>(message: T) -> Self {
        Self {
            message: message.to_string(),
            line: 0,
            column: 0,
            path: String::new(),
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!("expected {expected}, found {found}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::IgnoredAny;

    use super::super::documents;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Spec {
        hosts: Vec<String>,
        port: u16,
        weight: f64,
        enabled: bool,
        mode: Option<Mode>,
        labels: BTreeMap<Name, String>,
        export_to: Option<Vec<String>>,
        any: Option<IgnoredAny>,
        routes: Vec<Route>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Route {
        host: String,
    }

    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    struct Name(String);

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "UPPERCASE")]
    enum Mode {
        Strict,
    }

    fn decode<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, String> {
        let documents = documents(text);
        let node = documents[0].decode().unwrap();
        T::deserialize(&node).map_err(|error| error.to_string())
    }

    fn spec_error(text: &str) -> String {
        decode::<Spec>(text).unwrap_err()
    }

    #[test]
    fn typed_values_are_read() {
        let text = "hosts: [a]\nport: 80.0\nweight: 5\nenabled: yes\nmode: STRICT\nlabels: {on: 'x'}\nany: {a: [b]}\nelse: 1\n";
        let spec: Spec = decode(text).unwrap();
        let labels = BTreeMap::from([(Name("true".into()), "x".into())]);
        assert_eq!(
            spec,
            Spec {
                hosts: vec!["a".into()],
                port: 80,
                weight: 5.0,
                enabled: true,
                mode: Some(Mode::Strict),
                labels,
                any: Some(IgnoredAny),
                ..Spec::default()
            }
        );
    }

    #[test]
    fn null_is_an_absent_field_and_an_empty_string() {
        assert_eq!(
            decode("hosts:\nport: ~\nmode: null\nexportTo:\n"),
            Ok(Spec::default())
        );
        let spec: Spec = decode("labels: {a: }").unwrap();
        assert_eq!(spec.labels[&Name("a".into())], "");
        assert_eq!(
            spec_error("routes: [{host: }]"),
            "line 1, column 10: routes[0]: missing field `host`"
        );
        assert_eq!(
            spec_error("routes: [~]"),
            "line 1, column 10: routes[0]: expected a mapping, found null"
        );
    }

    #[test]
    fn a_value_of_another_type_is_refused_with_its_place_and_help() {
        for (text, expected) in [
            (
                "labels:\n  version: 1.0\n",
                "line 2, column 12: labels.version: expected a string, found the number 1.0 (quote it: \"1.0\")",
            ),
            (
                "labels: {a.b/c: yes}",
                "line 1, column 17: labels[a.b/c]: expected a string, found the boolean yes (quote it: \"yes\")",
            ),
            (
                "hosts: [a, 0x1f]",
                "line 1, column 12: hosts[1]: expected a string, found the number 0x1f (quote it: \"0x1f\")",
            ),
            (
                "port: '8080'",
                "line 1, column 7: port: expected an integer, found the string \"8080\" (remove the quotes)",
            ),
            (
                "port: http",
                "line 1, column 7: port: expected an integer, found the string \"http\"",
            ),
            (
                "weight: x",
                "line 1, column 9: weight: expected a number, found the string \"x\"",
            ),
            (
                "port: 80.5",
                "line 1, column 7: port: expected u16, found floating point `80.5`",
            ),
            (
                "port: 70000",
                "line 1, column 7: port: expected u16, found integer `70000`",
            ),
            (
                "port: -1",
                "line 1, column 7: port: expected u16, found integer `-1`",
            ),
            (
                "enabled: 'true'",
                "line 1, column 10: enabled: expected true or false, found the string \"true\" (remove the quotes)",
            ),
            (
                "enabled: 1",
                "line 1, column 10: enabled: expected true or false, found the number 1",
            ),
            (
                "hosts: a",
                "line 1, column 8: hosts: expected a list, found the string \"a\"",
            ),
            (
                "labels: [a]",
                "line 1, column 9: labels: expected a mapping, found a list",
            ),
            (
                "hosts: [[a]]",
                "line 1, column 9: hosts[0]: expected a string, found a list",
            ),
            (
                "routes: [a]",
                "line 1, column 10: routes[0]: expected a mapping, found the string \"a\"",
            ),
            (
                "mode: LAX",
                "line 1, column 7: mode: unknown variant `LAX`, expected `STRICT`",
            ),
            (
                "routes: [{}]",
                "line 1, column 10: routes[0]: missing field `host`",
            ),
        ] {
            assert_eq!(spec_error(text), expected);
        }
    }

    #[test]
    fn long_strings_are_cut_in_messages() {
        let error = spec_error(&format!("port: {}", "é".repeat(50)));
        assert!(
            error.ends_with(&format!("found the string \"{}…\"", "é".repeat(40))),
            "{error}"
        );
    }

    #[test]
    fn strings_can_be_borrowed_from_the_file() {
        #[derive(Deserialize)]
        struct Borrowed<'a> {
            kind: &'a str,
        }
        let text = String::from("kind: Service\n");
        let documents = documents(&text);
        let node = documents[0].decode().unwrap();
        assert_eq!(Borrowed::deserialize(&node).unwrap().kind, "Service");
    }
}

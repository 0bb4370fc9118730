//! Decodes a [`Node`] into typed values with the strictness of the API server's JSON.

use std::fmt::Display;

use serde::de::{self, DeserializeSeed, Deserializer, Expected, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::{Entry, Error, Node, Position, Scalar, Value};

/// Methods that take a number.
macro_rules! deserialize_numbers {
    ($($expected:literal: $($method:ident)+;)+) => {
        $($(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
                self.deserialize_number($expected, visitor)
            }
        )+)+
    };
}

/// Strings, numbers and booleans are not taken for one another; a whole number with a fraction of zero is an integer, as kubectl
/// writes it. Null is an absent field in a struct and an empty string where a string must be, as it is for the API server.
impl<'de> Deserializer<'de> for &'de Node<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = match &self.value {
            Value::Scalar(Scalar::Null, _) => visitor.visit_unit(),
            Value::Scalar(Scalar::Bool(value), _) => visitor.visit_bool(*value),
            Value::Scalar(Scalar::String, text) => visitor.visit_borrowed_str(text),
            Value::Scalar(number, _) => visit_number(*number, visitor),
            Value::Sequence(items) => visitor.visit_seq(Items { items: items.iter(), next: 0 }),
            Value::Mapping(entries) => visitor.visit_map(Entries::new(entries, false)),
        };
        value.map_err(|error| error.within(self))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Scalar(Scalar::Bool(_), _) => self.deserialize_any(visitor),
            _ => Err(self.mismatch("true or false")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self.value {
            Value::Scalar(Scalar::String | Scalar::Null, _) => {
                let text = self.as_str().unwrap_or_default();
                visitor.visit_borrowed_str(text).map_err(|error: Error| error.within(self))
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

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self).map_err(|error| error.within(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Sequence(_) => self.deserialize_any(visitor),
            _ => Err(self.mismatch("a list")),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Mapping(_) => self.deserialize_any(visitor),
            _ => Err(self.mismatch("a mapping")),
        }
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
            Some(text) => {
                let variant = de::value::BorrowedStrDeserializer::<Error>::new(text);
                visitor.visit_enum(variant).map_err(|error| error.within(self))
            }
            None => Err(self.mismatch("a string")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    deserialize_numbers! {
        "an integer": deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
            deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64;
        "a number": deserialize_f32 deserialize_f64;
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    forward_to_deserialize_any! { i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct }
}

impl<'de> Node<'_> {
    fn deserialize_number<V: Visitor<'de>>(&'de self, expected: &str, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Scalar(Scalar::Int(_) | Scalar::Uint(_) | Scalar::Float(_), _) => self.deserialize_any(visitor),
            _ => Err(self.mismatch(expected)),
        }
    }

    /// The error for a value of another type than is wanted.
    fn mismatch(&self, expected: &str) -> Error {
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
                let kind = if matches!(scalar, Scalar::Bool(_)) { "boolean" } else { "number" };
                let help = if expected == "a string" { format!(" (quote it: \"{text}\")") } else { String::new() };
                format!("the {kind} {text}{help}")
            }
        };
        Error::new(self.span.start, format!("expected {expected}, found {found}"))
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
    entries: std::slice::Iter<'de, Entry<'a>>,
    /// The entry whose key was given and whose value comes next.
    open: Option<&'de Entry<'a>>,
    skips_null: bool,
}

impl<'de, 'a> Entries<'de, 'a> {
    fn new(entries: &'de [Entry<'a>], skips_null: bool) -> Self {
        Self {
            entries: entries.iter(),
            open: None,
            skips_null,
        }
    }
}

impl<'de> de::MapAccess<'de> for Entries<'de, '_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let skips_null = self.skips_null;
        self.open = self.entries.find(|entry| !(skips_null && entry.value.is_null()));
        let Some(entry) = self.open else {
            return Ok(None);
        };
        seed.deserialize(&entry.key).map(Some).map_err(|error| error.within(&entry.key))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let Some(entry) = self.open.take() else {
            return Err(de::Error::custom("a value was asked for before its key"));
        };
        let value = seed.deserialize(&entry.value).map_err(|error| error.within(&entry.value));
        value.map_err(|error| error.under_key(entry.name()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.entries.len())
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

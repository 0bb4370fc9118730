//! The table of fields, which `tests/schema.rs` makes from the schemas of Istio and Kubernetes.
//!
//! Its first line names their versions. Every other line is a mapping: its name (a kind's is the kind), then
//! `field=type` (`field!=type` where it is required), `a|b` for fields of which only one may be there, and `*` where
//! unknown fields are kept. A type is a mapping's name, one of the words in [`Type::read`], a list of values
//! `(A|B)`, or another type behind `[]` (a list of it) or `{}` (a mapping with keys of any name).

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::resource::Kind;

/// The table, parsed when it is first asked for.
pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("fields.txt")));

/// All mappings of all kinds.
#[derive(Debug)]
pub(super) struct Table {
    /// `Istio 1.2.3, Kubernetes 1.2.3`.
    versions: &'static str,
    mappings: Vec<Fields>,
    /// In the order of [`Kind::ALL`].
    kinds: Vec<Type>,
}

/// The fields of a mapping.
#[derive(Debug, Default)]
pub(super) struct Fields {
    /// By the length of their names, then by name.
    all: Vec<Field>,
    /// How many of them are required.
    pub(super) required: usize,
    /// Of each of these only one may be there.
    pub(super) alternatives: Vec<Vec<&'static str>>,
    /// Whether unknown fields are kept.
    pub(super) is_open: bool,
}

/// One field of a mapping.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) is_required: bool,
    pub(super) value: Type,
}

/// What a value has to be; null is taken for any of them.
#[derive(Debug)]
pub(super) enum Type {
    /// Anything.
    Any,
    /// A string.
    String,
    /// A boolean.
    Bool,
    /// An integer within bounds.
    Integer(i64, i64),
    /// A number.
    Number,
    /// A port by number or name, a percentage.
    IntegerOrString,
    /// A quantity.
    NumberOrString,
    /// One of these strings.
    Enum(Vec<&'static str>),
    /// A list.
    List(Box<Type>),
    /// A mapping with keys of any name.
    Map(Box<Type>),
    /// One of the table's mappings.
    Mapping(usize),
}

impl Table {
    /// The type of a kind's objects.
    pub(super) fn kind(&self, kind: Kind) -> &Type {
        self.kinds.get(kind as usize).unwrap_or(&Type::Any)
    }

    /// Whose schema a kind's is, for the end of a message: ` (Istio 1.2.3)`; of the own kind nothing.
    pub(super) fn source(&self, kind: Kind) -> String {
        let (istio, kubernetes) = self.versions.split_once(", ").unwrap_or_default();
        match kind.group() {
            "lanekeeper.dev" => String::new(),
            group if group.ends_with("istio.io") => format!(" ({istio})"),
            _ => format!(" ({kubernetes})"),
        }
    }

    /// The fields of a [`Type::Mapping`].
    pub(super) fn fields(&self, mapping: usize) -> &Fields {
        &self.mappings[mapping]
    }

    /// The fields of the mapping that a value of this type is, or that the items of the list are.
    pub(super) fn fields_in(&self, value: &Type) -> Option<&Fields> {
        match value {
            Type::Mapping(mapping) => Some(self.fields(*mapping)),
            Type::List(items) => self.fields_in(items),
            _ => None,
        }
    }

    fn read(text: &'static str) -> Self {
        let (versions, lines) = text.split_once('\n').unwrap_or_default();
        let lines: Vec<(&str, &str)> = lines.lines().filter_map(|line| line.split_once(' ')).collect();
        let names = lines.iter().enumerate().map(|(at, (name, _))| (*name, at));
        let names: HashMap<&str, usize> = names.collect();
        let kinds = Kind::ALL.iter().map(|kind| Type::read(kind.name(), &names));
        Self {
            versions,
            kinds: kinds.collect(),
            mappings: lines.iter().map(|(_, text)| Fields::read(text, &names)).collect(),
        }
    }
}

impl Fields {
    /// The field of this name.
    pub(super) fn get(&self, name: &str) -> Option<&Field> {
        let order = |field: &Field| {
            field
                .name
                .len()
                .cmp(&name.len())
                .then_with(|| field.name.cmp(name))
        };
        self.all.binary_search_by(order).ok().map(|at| &self.all[at])
    }

    /// All fields.
    pub(super) fn all(&self) -> &[Field] {
        &self.all
    }

    fn read(text: &'static str, names: &HashMap<&str, usize>) -> Self {
        let mut fields = Self::default();
        for word in text.split(' ') {
            match word.split_once('=') {
                Some((name, value)) => fields.all.push(Field {
                    is_required: name.ends_with('!'),
                    name: name.trim_end_matches('!'),
                    value: Type::read(value, names),
                }),
                None if word == "*" => fields.is_open = true,
                None => fields.alternatives.push(word.split('|').collect()),
            }
        }
        fields.all.sort_by_key(|field| (field.name.len(), field.name));
        fields.required = fields.all.iter().filter(|field| field.is_required).count();
        fields
    }
}

impl Type {
    /// The type that a word of the table stands for; a word that is none takes anything.
    fn read(word: &'static str, names: &HashMap<&str, usize>) -> Self {
        if let Some(items) = word.strip_prefix("[]") {
            return Self::List(Box::new(Self::read(items, names)));
        }
        if let Some(values) = word.strip_prefix("{}") {
            return Self::Map(Box::new(Self::read(values, names)));
        }
        if let Some(values) = word.strip_prefix('(') {
            return Self::Enum(values.trim_end_matches(')').split('|').collect());
        }
        if let Some(bounds) = word.strip_prefix("int:") {
            let (least, most) = bounds.split_once("..").unwrap_or_default();
            return Self::Integer(
                least.parse().unwrap_or(i64::MIN),
                most.parse().unwrap_or(i64::MAX),
            );
        }
        match word {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int" => Self::Integer(i64::MIN, i64::MAX),
            "int32" => Self::Integer(i32::MIN.into(), i32::MAX.into()),
            "number" => Self::Number,
            "intOrString" => Self::IntegerOrString,
            "numberOrString" => Self::NumberOrString,
            name => names.get(name).map_or(Self::Any, |at| Self::Mapping(*at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That every word of a type is known: an unknown one would take anything.
    fn assert_known(value: &Type, place: &str, word: &str) {
        match value {
            Type::Any => assert_eq!(word, "any", "{place}"),
            Type::List(items) => assert_known(items, place, &word[2..]),
            Type::Map(values) => assert_known(values, place, &word[2..]),
            _ => {}
        }
    }

    #[test]
    fn every_word_of_the_table_is_understood() {
        for kind in Kind::ALL {
            assert!(
                matches!(TABLE.kind(*kind), Type::Mapping(_)),
                "{kind} is not in the table"
            );
        }
        for line in include_str!("fields.txt").lines().skip(1) {
            let names: HashMap<&str, usize> = include_str!("fields.txt")
                .lines()
                .skip(1)
                .filter_map(|line| Some((line.split_once(' ')?.0, 0)))
                .collect();
            for word in line.split(' ').skip(1) {
                if let Some((_, value)) = word.split_once('=') {
                    assert_known(&Type::read(value, &names), line, value);
                }
            }
        }
    }

    #[test]
    fn a_field_is_found_by_its_name_only() {
        let fields = TABLE.fields_in(TABLE.kind(Kind::VirtualService)).unwrap();
        let spec = TABLE.fields_in(&fields.get("spec").unwrap().value).unwrap();
        for field in spec.all() {
            assert_eq!(spec.get(field.name).unwrap().name, field.name);
        }
        assert!(spec.get("Hosts").is_none() && spec.get("host").is_none() && spec.get("").is_none());
    }
}

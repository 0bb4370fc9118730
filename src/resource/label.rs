//! Label sets, interned whole: the thousand pods of one template share one.

use std::fmt;

use internment::ArcIntern;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::symbol::Symbol;

/// A set of labels, or of a selector's `matchLabels`, sorted by key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Labels(ArcIntern<Box<[(Symbol, Symbol)]>>);

impl Labels {
    /// The set with these pairs; of a key given twice, the last value counts.
    pub fn new(pairs: impl IntoIterator<Item = (Symbol, Symbol)>) -> Self {
        let mut labels: Vec<_> = pairs.into_iter().collect();
        labels.reverse();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(ArcIntern::new(labels.into()))
    }

    /// The pairs, sorted by key.
    pub fn pairs(&self) -> &[(Symbol, Symbol)] {
        &self.0
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Symbol> {
        self.0
            .binary_search_by(|(name, _)| name.as_str().cmp(key))
            .ok()
            .map(|at| &self.0[at].1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a selector with these labels chooses an object with `labels`: each pair is among them. An
    /// empty selector chooses everything.
    pub fn select(&self, labels: &Self) -> bool {
        pairs_select(&self.0, labels)
    }

    /// Whether an object can have these labels and those of `other`: no key has another value there.
    pub fn agree_with(&self, other: &Self) -> bool {
        let agrees = |(key, value): &(Symbol, Symbol)| other.get(key).is_none_or(|found| found == value);
        self.0.iter().all(agrees)
    }
}

/// Whether every pair of `selector` is among `labels`.
pub(crate) fn pairs_select(selector: &[(Symbol, Symbol)], labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

impl Default for Labels {
    fn default() -> Self {
        Self::new([])
    }
}

/// `app=portal,version=wicph`, as `kubectl -l` takes it.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (key, value)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{key}={value}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut pairs = Vec::with_capacity(map.size_hint().unwrap_or(4));
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Labels::new(pairs))
            }

            fn visit_unit<E>(self) -> Result<Labels, E> {
                Ok(Labels::default())
            }
        }

        deserializer.deserialize_any(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        Labels::new(
            text.split_terminator(',')
                .map(|pair| pair.split_once('=').unwrap())
                .map(|(key, value)| (key.into(), value.into())),
        )
    }

    #[test]
    fn a_selector_chooses_what_has_all_its_pairs() {
        assert!(labels("app=a").select(&labels("app=a,version=v1")));
        assert!(labels("").select(&labels("app=a")));
        assert!(!labels("app=a,version=v2").select(&labels("app=a,version=v1")));
        assert!(!labels("app=a,version=v1").select(&labels("app=a")));
    }

    #[test]
    fn selectors_agree_unless_they_contradict_each_other() {
        assert!(labels("app=a").agree_with(&labels("version=v1")));
        assert!(labels("app=a").agree_with(&labels("app=a")));
        assert!(labels("").agree_with(&labels("app=a")));
        assert!(!labels("app=a,version=v1").agree_with(&labels("app=b,version=v1")));
    }

    #[test]
    fn of_a_key_given_twice_the_last_value_counts() {
        assert_eq!(labels("app=a,app=b"), labels("app=b"));
    }
}

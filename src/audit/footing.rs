//! Which judgements rest on what.

use std::collections::BTreeSet;

use hashbrown::{HashMap, HashSet};

use super::Changes;
use crate::resource::ObjectRef;
use crate::world::{Fact, SharedFacts};

/// A fact, by number.
type Number = u32;

/// What each judgement rests on. An object has some dozens of facts, so each fact is stored once, and who rests on one is found by
/// going through all: some milliseconds for a hundred thousand objects, and half of the memory that lists in both directions take.
#[derive(Debug, Default)]
pub(super) struct Footing {
    numbers: HashMap<Fact, Number>,
    objects: HashMap<ObjectRef, Box<[Number]>>,
    /// What is shared, and what that rests on: what it ever has since everything was judged.
    shared: HashMap<Number, HashSet<Number>>,
}

impl Footing {
    /// The object's judgement rests on these from now on.
    pub(super) fn set(&mut self, object: ObjectRef, facts: HashSet<Fact>) {
        let facts = facts.into_iter().map(|fact| self.number(fact)).collect();
        self.objects.insert(object, facts);
    }

    /// The object is gone.
    pub(super) fn forget(&mut self, object: &ObjectRef) {
        self.objects.remove(object);
    }

    /// What is shared rests on these too.
    pub(super) fn share(&mut self, shared: SharedFacts) {
        for (shared, facts) in shared {
            let shared = self.number(Fact::Shared(shared));
            for fact in facts {
                let fact = self.number(fact);
                self.shared.entry(shared).or_default().insert(fact);
            }
        }
    }

    /// The objects that the changes concern: they themselves, and those whose judgement rests on what they alter.
    pub(super) fn concerned(&mut self, changes: &Changes) -> BTreeSet<ObjectRef> {
        let mut altered = vec![false; self.numbers.len()];
        let mut alter = |number: Number| match altered.get_mut(number as usize) {
            Some(is_altered) => !std::mem::replace(is_altered, true),
            None => false,
        };
        let mut is_any = false;
        for number in changes.facts().filter_map(|fact| self.numbers.get(fact)) {
            is_any |= alter(*number);
        }
        let mut concerned: BTreeSet<ObjectRef> = changes.objects().cloned().collect();
        if is_any {
            // What is shared may rest on something else that is.
            loop {
                let rest_on_it = |facts: &HashSet<Number>| {
                    facts
                        .iter()
                        .any(|fact| altered.get(*fact as usize) == Some(&true))
                };
                let found: Vec<Number> = self
                    .shared
                    .iter()
                    .filter(|(shared, facts)| {
                        altered.get(**shared as usize) == Some(&false) && rest_on_it(facts)
                    })
                    .map(|(shared, _)| *shared)
                    .collect();
                if found.is_empty() {
                    break;
                }
                for shared in found {
                    if let Some(is_altered) = altered.get_mut(shared as usize) {
                        *is_altered = true;
                    }
                }
            }
            let rests = |facts: &[Number]| {
                facts
                    .iter()
                    .any(|fact| altered.get(*fact as usize) == Some(&true))
            };
            let found = self.objects.iter().filter(|(_, facts)| rests(facts));
            concerned.extend(found.map(|(object, _)| object.clone()));
        }
        concerned
    }

    fn number(&mut self, fact: Fact) -> Number {
        // More than four billion facts do not fit any machine.
        let next = Number::try_from(self.numbers.len()).unwrap_or(Number::MAX);
        *self.numbers.entry(fact).or_insert(next)
    }
}

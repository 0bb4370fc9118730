//! What answers rest on, and what a change alters.
//!
//! ```text
//!   View::noting ──questions──▶ facts that a judgement rests on ─┐
//!                                                                ├─ one in common: the judgement may be another one now
//!   World::facts_of ──before and after a change──▶ facts ────────┘
//! ```
//!
//! Every question of a view is a look-up of a [`Key`], of an object by name, or of what keys name. So what an answer rests on is noted
//! where it is looked up, and follows from no list that somebody keeps in step with the rules.

use std::cell::RefCell;

use hashbrown::{HashMap, HashSet};

use super::Key;
use crate::resource::ObjectRef;
use crate::symbol::Symbol;

/// One thing that an answer rests on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fact {
    /// What a key leads to, and what these objects say.
    Key(Key),
    /// Whether an object is there, and what it says.
    Object(ObjectRef),
    /// Which values of a header routes to services of a namespace name.
    Named(Symbol, Symbol),
    /// Which headers routes to services of a namespace name.
    NamedHeaders(Symbol),
    /// To the services of which namespaces routes lead that name a header.
    Naming(Symbol),
    /// Which namespaces have services.
    WithServices,
    /// Something that is worked out once for all who ask for it.
    Shared(Shared),
}

/// What is worked out once for several objects: it rests on facts of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Shared {
    /// The lane groups of a namespace, with all that was asked of them.
    Groups(Symbol),
    /// The lane group of a full host.
    GroupOf(Symbol),
    /// The `DestinationRules` for a full host.
    Rules(Symbol),
    /// What was worked out of the routes of a `VirtualService`.
    Routes(ObjectRef),
}

/// Facts by what rests on them: what was judged by itself, and what it shares with others.
pub type SharedFacts = HashMap<Shared, HashSet<Fact>>;

/// The notes of one view.
#[derive(Debug, Default)]
pub(super) struct Notes {
    own: RefCell<HashSet<Fact>>,
    shared: RefCell<SharedFacts>,
    /// What is being worked out now, the innermost last.
    open: RefCell<Vec<Shared>>,
}

impl Notes {
    pub(super) fn note(&self, fact: Fact) {
        match self.open.borrow().last() {
            Some(shared) => {
                let mut all = self.shared.borrow_mut();
                match all.get_mut(shared) {
                    Some(facts) => drop(facts.insert(fact)),
                    None => drop(all.insert(shared.clone(), HashSet::from([fact]))),
                }
            }
            None => {
                self.own.borrow_mut().insert(fact);
            }
        }
    }

    /// What is noted during `work` is for `shared`.
    pub(super) fn within<T>(&self, shared: Shared, work: impl FnOnce() -> T) -> T {
        self.open.borrow_mut().push(shared);
        let done = work();
        self.open.borrow_mut().pop();
        done
    }

    pub(super) fn take_own(&self) -> HashSet<Fact> {
        self.own.take()
    }

    pub(super) fn take_shared(&self) -> SharedFacts {
        self.shared.take()
    }
}

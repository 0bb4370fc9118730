//! What `routing` makes of several `DestinationRules` for one host. A view keeps it, for every route to the host asks for it.

use std::rc::Rc;

use crate::resource::{DestinationRule, Labels, Subset};

/// The rule that Istio makes, for one caller, of all `DestinationRules` for a host.
#[derive(Debug, Clone, PartialEq)]
pub struct EffectiveRule<'w> {
    /// The objects it is made of, the first one first.
    pub sources: Vec<&'w DestinationRule>,
    /// Its subsets; of one name, the first definition counts.
    pub subsets: Vec<EffectiveSubset<'w>>,
}

/// A subset and where it is defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EffectiveSubset<'w> {
    /// The subset.
    pub subset: &'w Subset,
    /// The object that defines it.
    pub rule: &'w DestinationRule,
}

/// What proxies of one namespace get for a host.
#[derive(Debug, Clone, Default)]
pub struct Lookup<'w> {
    /// The rule of those that no `workloadSelector` chooses.
    pub rule: Option<Rc<EffectiveRule<'w>>>,
    /// What that would be if the rules were of other ages, where these are not known, or equal to the second, and
    /// decide it: which of two rules is the younger one is then a matter of chance [s37].
    pub otherwise: Vec<Option<Rc<EffectiveRule<'w>>>>,
    /// The rules of those that a `workloadSelector` chooses; the first that does counts.
    pub selected: Vec<(&'w Labels, Rc<EffectiveRule<'w>>)>,
}

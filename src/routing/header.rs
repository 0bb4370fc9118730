//! What becomes of a request header on its way through a route.
//!
//! Istio hands the operations of a route and of its destinations to Envoy, which carries them out in rounds
//! (`applyHTTPRouteDestination` in `pilot/pkg/networking/core/route/route.go`; `evaluateHeaders` in Envoy's
//! `source/common/router/header_parser.cc`; all of it seen in Envoy 1.40) [s29]:
//!
//! - Of several destinations, the chosen one's operations are the first round, and the route's the second. A single
//!   destination's are appended to the route's, so that there is one round.
//! - In a round all removals come first. Then every value is made from the headers as they are by now, and one that
//!   comes out empty is dropped. Then each `set` overwrites what is there, the destination's after the route's, and
//!   last each `add` puts its value beside it.

mod apply;

pub(super) use apply::{apply, authority_of};

use super::Route;
use crate::resource::{HeaderOperations, Kind, ObjectRef};
use crate::yaml::field;

/// A request header after the operations of a route and one of its destinations, as far as the configuration tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderOutcome<'w> {
    /// What it is.
    pub state: HeaderState<'w>,
    /// Whether what the caller sent under its name can still be there: as it was sent, beside what is added, or
    /// where the header that is copied to it was not sent.
    pub keeps_sent: bool,
    /// The operations on it that do nothing.
    pub void: Vec<Void<'w>>,
}

/// What a request header is after all operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderState<'w> {
    /// As the caller sent it, or not there if the caller sent none.
    AsSent,
    /// Gone, by this removal.
    Removed(Operation<'w>),
    /// This one value.
    Set(Effect<'w>),
    /// Several values: these, and what the caller sent if [`HeaderOutcome::keeps_sent`] says so.
    Added(Vec<Effect<'w>>),
}

/// A value that an operation gives a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effect<'w> {
    /// The operation.
    pub operation: Operation<'w>,
    /// The value.
    pub value: HeaderValue<'w>,
}

/// An operation on a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation<'w> {
    /// Whose it is.
    pub block: Block,
    /// What it does.
    pub verb: Verb,
    /// The header, as it is written there.
    pub name: &'w str,
    /// The value, as it is written; empty for a removal.
    pub written: &'w str,
}

/// Whose operations they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// The route's, for all its destinations.
    Route,
    /// Those of the destination at this place.
    Destination(usize),
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// It overwrites the header.
    Set,
    /// It puts one more value to the header.
    Add,
    /// It takes the header away.
    Remove,
}

/// A value as Envoy reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeaderValue<'w> {
    /// The text itself.
    Text(&'w str),
    /// `%REQ(name)%`: what the caller sent in another header, and nothing if it sent none.
    Copy(&'w str),
    /// Made by other formatters, or from several parts.
    Computed(&'w str),
}

/// An operation that does nothing, because its value comes out empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Void<'w> {
    /// The operation.
    pub operation: Operation<'w>,
    /// Why.
    pub why: Empty<'w>,
}

/// Why a value comes out empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Empty<'w> {
    /// The header that it copies is gone by then, by this removal.
    Removed(Operation<'w>),
    /// It is written so.
    Text,
    /// It copies the very header that it is set to.
    Itself,
}

impl<'w> HeaderValue<'w> {
    /// Reads a value.
    pub fn read(written: &'w str) -> Self {
        let copied = written
            .strip_prefix("%REQ(")
            .and_then(|rest| rest.strip_suffix(")%"));
        match copied {
            Some(name) if !name.is_empty() && !name.contains(['%', '?', '(', ')']) => Self::Copy(name),
            _ if written.contains('%') => Self::Computed(written),
            _ => Self::Text(written),
        }
    }
}

impl HeaderOutcome<'_> {
    /// Whether nothing gives the header a value, and nothing tries to.
    pub fn is_untouched(&self) -> bool {
        self.is_unset() && self.void.is_empty()
    }

    /// Whether nothing gives the header a value.
    pub fn is_unset(&self) -> bool {
        matches!(self.state, HeaderState::AsSent | HeaderState::Removed(_))
    }
}

impl<'w> Route<'w> {
    /// The request operations that are the route's own, or its delegating route's, or those of one destination.
    pub fn operations(&self, block: Block) -> Option<&'w HeaderOperations> {
        let headers = match block {
            Block::Route => self.headers(),
            Block::Destination(at) => self.route.route.get(at).and_then(|to| to.headers.as_ref()),
        };
        headers.map(|headers| &headers.request)
    }

    /// The object and the path of a block of request operations, or of where it would be.
    pub fn place_of_block(&self, block: Block) -> (ObjectRef, String) {
        let (object, index) = match (block, self.root) {
            (Block::Route, Some(root)) if self.inherits_headers() => {
                (root.vs.meta.reference(Kind::VirtualService), root.index)
            }
            _ => (self.reference(), self.index),
        };
        let path = match block {
            Block::Route => format!("spec.http[{index}].headers.request"),
            Block::Destination(at) => format!("spec.http[{index}].route[{at}].headers.request"),
        };
        (object, path)
    }

    /// The object and the path of an operation.
    pub fn place_of(&self, operation: &Operation<'_>) -> (ObjectRef, String) {
        let (object, block) = self.place_of_block(operation.block);
        let path = match operation.verb {
            Verb::Set => format!("{block}.set{}", field(operation.name)),
            Verb::Add => format!("{block}.add{}", field(operation.name)),
            Verb::Remove => format!("{block}.remove"),
        };
        (object, path)
    }
}

/// Operations that Envoy carries out together.
type Round<'w> = Vec<(Block, &'w HeaderOperations)>;

/// What the request header `name` (in any case) is after the operations of `route` and, of its destinations,
/// of the one at `destination`.
pub fn header_after<'w>(route: &Route<'w>, destination: usize, name: &str) -> HeaderOutcome<'w> {
    after(&rounds(route, destination), name)
}

/// The rounds in which the operations of `route` and of its destination at `destination` are carried out.
fn rounds<'w>(route: &Route<'w>, destination: usize) -> Vec<Round<'w>> {
    let block = |block| route.operations(block).map(|operations| (block, operations));
    let of_route = block(Block::Route).into_iter();
    let of_destination = block(Block::Destination(destination)).into_iter();
    if route.route.route.len() > 1 {
        vec![of_destination.collect(), of_route.collect()]
    } else {
        vec![of_route.chain(of_destination).collect()]
    }
}

fn after<'w>(rounds: &[Round<'w>], name: &str) -> HeaderOutcome<'w> {
    let Some((round, before)) = rounds.split_last() else {
        return HeaderOutcome {
            state: HeaderState::AsSent,
            keeps_sent: true,
            void: Vec::new(),
        };
    };
    let mut outcome = after(before, name);
    if let Some(removal) = removal(round, name) {
        outcome.state = HeaderState::Removed(removal);
        outcome.keeps_sent = false;
    }
    for verb in [Verb::Set, Verb::Add] {
        for operation in values(round, verb, name) {
            match evaluate(before, round, operation, name) {
                Err(why) => outcome.void.push(Void { operation, why }),
                Ok(value) => outcome.give(Effect { operation, value }),
            }
        }
    }
    outcome
}

impl<'w> HeaderOutcome<'w> {
    fn give(&mut self, effect: Effect<'w>) {
        if effect.operation.verb == Verb::Set {
            self.keeps_sent &= matches!(effect.value, HeaderValue::Copy(_));
            self.state = HeaderState::Set(effect);
            return;
        }
        let mut effects = match std::mem::replace(&mut self.state, HeaderState::AsSent) {
            HeaderState::Removed(_) => {
                self.state = HeaderState::Set(effect);
                return;
            }
            HeaderState::AsSent => Vec::new(),
            HeaderState::Set(first) => vec![first],
            HeaderState::Added(effects) => effects,
        };
        effects.push(effect);
        self.state = HeaderState::Added(effects);
    }
}

/// The round's removal of the header.
fn removal<'w>(round: &Round<'w>, name: &str) -> Option<Operation<'w>> {
    round.iter().find_map(|(block, operations)| {
        let mut removed = operations.remove.iter();
        let removed = removed.find(|removed| removed.eq_ignore_ascii_case(name))?;
        Some(Operation {
            block: *block,
            verb: Verb::Remove,
            name: removed,
            written: "",
        })
    })
}

/// The round's operations that give the header a value, in order: of two spellings of one name, Istio sorts the
/// small letters last.
fn values<'w>(round: &Round<'w>, verb: Verb, name: &str) -> Vec<Operation<'w>> {
    let mut found = Vec::new();
    for (block, operations) in round {
        let pairs = if verb == Verb::Set {
            &operations.set
        } else {
            &operations.add
        };
        let of_name = pairs.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let mut of_name: Vec<_> = of_name.collect();
        of_name.sort_by_key(|(other, _)| other);
        found.extend(of_name.into_iter().map(|(other, written)| Operation {
            block: *block,
            verb,
            name: other,
            written,
        }));
    }
    found
}

/// The value of an operation on the header `name`.
fn evaluate<'w>(
    before: &[Round<'w>],
    round: &Round<'w>,
    operation: Operation<'w>,
    name: &str,
) -> Result<HeaderValue<'w>, Empty<'w>> {
    let value = HeaderValue::read(operation.written);
    let source = match value {
        HeaderValue::Text("") => return Err(Empty::Text),
        HeaderValue::Text(_) | HeaderValue::Computed(_) => return Ok(value),
        HeaderValue::Copy(source) => source,
    };
    if let Some(removal) = removal(round, source) {
        return Err(Empty::Removed(removal));
    }
    match after(before, source).state {
        HeaderState::AsSent if source.eq_ignore_ascii_case(name) && operation.verb == Verb::Set => {
            Err(Empty::Itself)
        }
        HeaderState::AsSent => Ok(value),
        HeaderState::Removed(removal) => Err(Empty::Removed(removal)),
        HeaderState::Set(Effect {
            value: HeaderValue::Text(text),
            ..
        }) => Ok(HeaderValue::Text(text)),
        HeaderState::Set(_) | HeaderState::Added(_) => Ok(HeaderValue::Computed(operation.written)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::VirtualService;

    /// A route, and its destinations with these operations.
    pub(super) fn vs(of_route: &Value, of_destinations: &[Value]) -> VirtualService {
        let destinations: Vec<_> = of_destinations
            .iter()
            .map(|request| json!({"destination": {"host": "a"}, "headers": {"request": request}}))
            .collect();
        let route = json!({"headers": {"request": of_route}, "route": destinations});
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"http": [route]}})).unwrap()
    }

    pub(super) fn route(vs: &VirtualService) -> Route<'_> {
        Route {
            vs,
            index: 0,
            route: &vs.http[0],
            root: None,
            conditions: Vec::new(),
        }
    }

    /// What `bu` is after the operations of the only route and of its first destination: `-` if it is gone, `sent` as
    /// the caller sent it, else its values; with what the caller sent in front where that can still be there.
    fn bu(vs: &VirtualService) -> String {
        let outcome = header_after(&route(vs), 0, "bu");
        let value = |effect: &Effect<'_>| match effect.value {
            HeaderValue::Text(text) => text.to_owned(),
            HeaderValue::Copy(name) => format!("={name}"),
            HeaderValue::Computed(text) => format!("~{text}"),
        };
        let values = match &outcome.state {
            HeaderState::AsSent => Vec::new(),
            HeaderState::Removed(_) => vec!["-".to_owned()],
            HeaderState::Set(effect) => vec![value(effect)],
            HeaderState::Added(effects) => effects.iter().map(value).collect(),
        };
        let sent = outcome.keeps_sent.then(|| "sent".to_owned());
        sent.into_iter().chain(values).collect::<Vec<_>>().join(" ")
    }

    /// What becomes of `bu` by the operations of the route and of its one destination, and of the first of two.
    fn one_and_two(of_route: &Value, of_destination: &Value) -> [String; 2] {
        let one = vs(of_route, std::slice::from_ref(of_destination));
        let two = vs(of_route, &[of_destination.clone(), json!({})]);
        [bu(&one), bu(&two)]
    }

    #[test]
    fn of_one_destination_what_it_sets_comes_last_and_wins() {
        let set = |value: &str| json!({"set": {"Bu": value}});
        assert_eq!(one_and_two(&set("x"), &set("y")), ["y", "x"]);
    }

    #[test]
    fn of_several_destinations_the_routes_operations_come_last_and_win() {
        let (removal, set) = (json!({"remove": ["bu"]}), json!({"set": {"bu": "x"}}));
        assert_eq!(one_and_two(&removal, &set), ["x", "-"]);
    }

    #[test]
    fn of_one_destination_all_removals_come_first_also_its_own() {
        let (set, removal) = (json!({"set": {"bu": "x"}}), json!({"remove": ["BU"]}));
        assert_eq!(one_and_two(&set, &removal), ["x", "x"]);
        assert_eq!(one_and_two(&json!({}), &removal), ["-", "-"]);
    }

    #[test]
    fn an_addition_after_a_removal_is_the_one_value() {
        let both = json!({"remove": ["bu"], "add": {"bu": "x"}});
        assert_eq!(one_and_two(&both, &json!({})), ["x", "x"]);
    }

    #[test]
    fn an_addition_leaves_what_is_there() {
        let (add, set) = (json!({"add": {"bu": "a"}}), json!({"set": {"bu": "b"}}));
        assert_eq!(one_and_two(&add, &json!({})), ["sent a", "sent a"]);
        assert_eq!(one_and_two(&add, &set), ["b a", "b a"]);
        assert_eq!(one_and_two(&set, &add), ["b a", "b"]);
    }

    #[test]
    fn a_header_that_is_removed_before_it_is_copied_sets_nothing() {
        let (copy, removal) = (json!({"set": {"bu": "%REQ(buid)%"}}), json!({"remove": ["BuId"]}));
        let both = json!({"set": {"bu": "%REQ(buid)%"}, "remove": ["buid"]});
        assert_eq!(one_and_two(&both, &json!({})), ["sent", "sent"]);
        assert_eq!(one_and_two(&copy, &removal), ["sent", "sent"]);
        // With two destinations the route's removal comes after the copy.
        assert_eq!(one_and_two(&removal, &copy), ["sent", "sent =buid"]);
    }

    #[test]
    fn what_does_nothing_is_told_with_its_reason() {
        let object = vs(
            &json!({"set": {"bu": "%REQ(buid)%"}}),
            &[json!({"remove": ["BuId"]})],
        );
        let outcome = header_after(&route(&object), 0, "bu");
        let [
            Void {
                operation,
                why: Empty::Removed(removal),
            },
        ] = outcome.void.as_slice()
        else {
            panic!("{outcome:?}")
        };
        let path = |operation| route(&object).place_of(operation).1;
        assert_eq!(path(operation), "spec.http[0].headers.request.set.bu");
        assert_eq!(path(removal), "spec.http[0].route[0].headers.request.remove");
        for (written, why) in [("", Empty::Text), ("%REQ(Bu)%", Empty::Itself)] {
            let object = vs(&json!({"set": {"bu": written}}), &[json!({})]);
            let outcome = header_after(&route(&object), 0, "bu");
            assert!(outcome.is_unset() && !outcome.is_untouched());
            assert_eq!(outcome.void[0].why, why);
        }
    }

    #[test]
    fn a_copy_leaves_what_was_there_where_nothing_is_to_copy() {
        let (copy, removal) = (json!({"set": {"bu": "%REQ(buid)%"}}), json!({"remove": ["bu"]}));
        assert_eq!(one_and_two(&copy, &json!({})), ["sent =buid", "sent =buid"]);
        assert_eq!(one_and_two(&copy, &removal), ["=buid", "=buid"]);
        assert_eq!(one_and_two(&removal, &copy), ["=buid", "-"]);
        let text = json!({"set": {"bu": "x"}});
        assert_eq!(one_and_two(&text, &copy), ["=buid", "x"]);
    }

    #[test]
    fn values_are_made_from_the_headers_as_they_are_before_the_round_sets_any() {
        let (copy, other) = (
            json!({"set": {"bu": "%REQ(buid)%"}}),
            json!({"set": {"buid": "z"}}),
        );
        assert_eq!(one_and_two(&copy, &other), ["sent =buid", "z"]);
        assert_eq!(one_and_two(&other, &copy), ["sent =buid", "sent =buid"]);
    }

    #[test]
    fn other_formatters_are_taken_for_some_value() {
        for written in ["%REQ(buid?x)%", "lane-%REQ(buid)%", "%HOSTNAME%"] {
            let set = json!({"set": {"bu": written}});
            assert_eq!(one_and_two(&set, &json!({}))[0], format!("~{written}"));
        }
    }

    #[test]
    fn of_two_spellings_the_one_in_small_letters_comes_last() {
        let both = json!({"set": {"bu": "low", "Bu": "up"}});
        assert_eq!(one_and_two(&both, &json!({})), ["low", "low"]);
    }
}

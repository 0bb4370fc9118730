//! A route or a set that names a lane which the group does not have.
//!
//! ## What it does
//! It takes each exact value of the lane header, in a match or in what a route sets, and looks for a lane of
//! that name in the lane group of the route's destination. In a group that is written down, the lanes are those
//! of the `LaneGroup`, or of `lanes` in the plugin's configuration; in a group that a plugin only implies, those that
//! a route names and that something carries: there an unknown name warns, and a near miss of a lane denies. Values of the entry header need not be lanes,
//! so there only near misses count. A near name that the same object uses too is a lane of its own, not a slip.
//!
//! ## Why it matters
//! Nobody ever sends the misspelt name, so the route never matches: the lane's requests fall through to the
//! default route, and the wrong version answers, or to none, and 404 is the answer.
//!
//! ## Example
//! The lanes are `wtchk` and `wicph`; the route says:
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wtcph}}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//! ```
//!
//! ## References
//! Neither `istioctl analyze` nor Kiali knows lanes: to both, any value of a header is as good as another.

use super::{Check, Finding, Level, Rule, Subject, Suggestion};
use crate::lane::Entry;
use crate::resource::{HeaderOperations, HttpRoute, Kind, ObjectRef, Resource, StringMatch, VirtualService};
use crate::routing::Lanes;
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK301",
    name: "unknown-lane",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk301.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (index, route) in vs.http.iter().enumerate() {
        for lanes in check.groups_of(vs, route) {
            let header = &lanes.group.header;
            let judged = Judged {
                vs,
                lanes: &lanes,
                object,
            };
            // Paths are written only where there is something to tell.
            if !named_values(route, header).all(|value| lanes.contains(value)) {
                for (path, value) in named(route, index, header) {
                    findings.extend(judged.unknown(header, value, &path));
                }
            }
            let entry = lanes.entry().filter(|entry| entry.header != *header);
            let is_told =
                |entry: &&Entry| !matched_values(route, &entry.header).all(|value| lanes.contains(value));
            if let Some(entry) = entry.filter(is_told) {
                for (path, value) in matched(route, index, &entry.header) {
                    findings.extend(judged.near(&entry.header, value, &path));
                }
            }
        }
    }
    findings
}

struct Judged<'c, 'v, 'w> {
    vs: &'c VirtualService,
    lanes: &'c Lanes<'v, 'w>,
    object: &'c Resource,
}

impl Judged<'_, '_, '_> {
    /// A value of the lane header.
    fn unknown(&self, header: &Symbol, value: &str, path: &str) -> Option<Finding> {
        if self.lanes.contains(value) {
            return None;
        }
        if let Some(finding) = self.near(header, value, path) {
            return Some(finding);
        }
        let group = &self.lanes.group;
        let is_written = group.lanes.is_some();
        let add = match (is_written, group.is_implicit()) {
            (true, true) => format!("add it to pluginConfig.lanes of {} first", group.source),
            (true, false) => format!("add it to spec.lanes of {} first", self.lanes.group.title()),
            (false, _) => "add a subset and a workload for it".to_owned(),
        };
        let help = match self.lanes.nearest(value) {
            Some(near) => format!("did you mean `{near}`? Otherwise {add}"),
            None => format!("{add}, or correct the name"),
        };
        let finding = self.finding(header, value, path).missing_if(true);
        let message = if is_written {
            self.message(value, path)
        } else {
            format!(
                "`{value}` is not yet a lane of {} (its lanes: {}): no subset that its routes reach carries it",
                self.lanes.group.title(),
                list(self.lanes.all())
            )
        };
        Some(finding.warning_if(!is_written).says(message, help))
    }

    /// A value that is a near miss of a lane which this object does not name itself.
    fn near(&self, header: &Symbol, value: &str, path: &str) -> Option<Finding> {
        if self.lanes.contains(value) {
            return None;
        }
        let near = self.lanes.nearest(value)?;
        let is_named = self.vs.http.iter().enumerate().any(|(index, route)| {
            named(route, index, header)
                .into_iter()
                .any(|(_, named)| near == named)
        });
        if is_named {
            return None;
        }
        let message = self.message(value, path);
        let suggestion = Suggestion::set(self.object.reference(), path, near.as_str());
        let help = suggestion.question();
        let finding = self.finding(header, value, path).says(message, help);
        Some(finding.mended_by(suggestion))
    }

    fn message(&self, value: &str, path: &str) -> String {
        let then = if path.contains(".match[") {
            "nobody sends it, so the match takes no request; those of the lane that is meant go on to the next route"
        } else {
            "behind this route the requests are in a lane that does not exist"
        };
        let lanes = list(self.lanes.all());
        format!(
            "`{value}` is no lane of {} (its lanes: {lanes}): {then}",
            self.lanes.group.title()
        )
    }

    fn finding(&self, header: &Symbol, value: &str, path: &str) -> Finding {
        let group = &self.lanes.group;
        let written = (!group.is_implicit()).then(|| {
            let object = ObjectRef::new(Kind::LaneGroup, &group.namespace, &group.source);
            (object, "spec.lanes".to_owned(), "its lanes")
        });
        Finding::new(&RULE, self.object.reference(), path)
            .from_fields(written)
            .about(Subject {
                lane: Some(value.into()),
                header: Some(header.clone()),
                ..Subject::default()
            })
    }
}

fn list(lanes: &[Symbol]) -> String {
    let names: Vec<_> = lanes.iter().map(Symbol::as_str).collect();
    if names.is_empty() {
        "no lane".to_owned()
    } else {
        names.join(", ")
    }
}

/// The exact values of `header` in the route's matches, with their paths.
fn matched<'r>(route: &'r HttpRoute, index: usize, header: &str) -> Vec<(String, &'r str)> {
    let mut found = Vec::new();
    for (at, condition) in route.matches.iter().enumerate() {
        let values = condition
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(header));
        found.extend(values.filter_map(|(name, value)| {
            let path = format!(
                "spec.http[{index}].match[{at}].headers{}.exact",
                super::field(name)
            );
            value.exact().map(|value| (path, value))
        }));
    }
    found
}

/// The exact values of `header` in the route's matches.
fn matched_values<'r>(route: &'r HttpRoute, header: &str) -> impl Iterator<Item = &'r str> {
    let values = route
        .matches
        .iter()
        .flat_map(move |part| part.headers.named(header));
    values.filter_map(StringMatch::exact)
}

/// The values of [`named`].
fn named_values<'r>(route: &'r HttpRoute, header: &str) -> impl Iterator<Item = &'r str> {
    let on_destinations = route.route.iter().filter_map(|to| to.headers.as_ref());
    let operations = route
        .headers
        .iter()
        .chain(on_destinations)
        .map(|headers| &headers.request);
    let written = operations.flat_map(|operations| operations.set.iter().chain(operations.add.iter()));
    let literal = written.filter(move |(name, value)| is_literal(name, value, header));
    matched_values(route, header).chain(literal.map(|(_, value)| &**value))
}

/// Whether `value` is what the header `header` becomes, as it stands.
fn is_literal(name: &str, value: &str, header: &str) -> bool {
    name.eq_ignore_ascii_case(header) && !value.is_empty() && !value.contains(['%', '{'])
}

/// The values of `header` that the route names: in its matches, and literally in what it or a destination
/// sets.
fn named<'r>(route: &'r HttpRoute, index: usize, header: &str) -> Vec<(String, &'r str)> {
    let mut found = matched(route, index, header);
    for (path, operations) in super::request_operations(route, index) {
        found.extend(literals(operations, &path, header));
    }
    found
}

fn literals<'r>(
    operations: &'r HeaderOperations,
    path: &str,
    header: &str,
) -> impl Iterator<Item = (String, &'r str)> {
    let set = operations.set.iter().map(|pair| ("set", pair));
    let all = set.chain(operations.add.iter().map(|pair| ("add", pair)));
    all.filter(|(_, (name, value))| is_literal(name, value, header))
        .map(|(verb, (name, value))| (format!("{path}.{verb}{}", super::field(name)), &**value))
        .collect::<Vec<_>>()
        .into_iter()
}

//! A route is chosen by a header that does not carry the lane where the route applies.
//!
//! ## What it does
//! On the mesh it takes the matches on a group's entry header: behind the gateway the lane is in the lane header, so
//! such a match denies. It warns where the `VirtualService` is on a gateway too and the match does not say
//! `gateways: [mesh]`, or where the route sets the lane header, and is quiet where the lane header's same value is matched
//! beside it. On the mesh and at gateways
//! it also warns of any other header whose value is matched against a lane's exact name (`build: wtchk` for
//! `buid: wtchk`): header names are judged by their values. A header that has other values too is something of its own,
//! and so is one in a match on the lane header, or in a route that sets the lane header itself.
//!
//! ## Why it matters
//! Applications pass the trace on and not the entry header, so nothing that arrives has it: the match takes no
//! request, and the lane's requests go on to the default route, where the wrong version answers 200, or to none, and
//! 404 is the answer.
//!
//! ## Example
//! Callers outside use `buid`, the lane header is `bu`, and a `VirtualService` on `mesh` says:
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {bu: {exact: wicph}}
//! ```
//!
//! ## References
//! Istio's routes choose by any header (`TranslateRouteMatch` in `pilot/pkg/networking/core/route/route.go`); what a
//! header is for neither its analyzers nor Kiali know.

use std::collections::BTreeMap;

use super::{Check, Finding, Level, Rule, Subject, Suggestion};
use crate::resource::{HttpMatch, Kind, Resource, StringMatch, VirtualService};
use crate::routing::{Condition, HeaderState, Lanes, Route, VirtualHost, header_after, reached};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK302",
    name: "wrong-lane-header",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk302.rs"),
    check,
};

/// Findings by the path of the header: one list of routes is as good as another, and a denial outweighs a warning.
type Found = BTreeMap<String, Finding>;

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let mut found = Found::new();
    for host in &check.virtual_hosts(vs).lists {
        for route in &host.routes {
            for condition in &route.conditions {
                for (part, index, at) in parts_of(vs, route, *condition) {
                    let place = Place {
                        check,
                        vs,
                        host,
                        route,
                        condition: *condition,
                        part,
                    };
                    for (finding, name, meant) in place.findings() {
                        let path = format!("spec.http[{index}].match[{at}].headers{}", super::field(&name));
                        let object = finding.object.clone();
                        let finding = Finding {
                            path: path.clone(),
                            suggestion: meant
                                .map(|header| Suggestion::rename(object, path.clone(), header.as_str())),
                            ..finding
                        };
                        let known = found.entry(path).or_insert_with(|| finding.clone());
                        if finding.level > known.level {
                            *known = finding;
                        }
                    }
                }
            }
        }
    }
    found.into_values().collect()
}

/// The parts of a condition that `vs` has, each with its path there.
fn parts_of<'w>(
    vs: &VirtualService,
    route: &Route<'w>,
    condition: Condition<'w>,
) -> impl Iterator<Item = (&'w HttpMatch, usize, usize)> {
    let own = condition.own.filter(|_| route.is_of(vs));
    let own = own.map(|(at, part)| (part, route.index, at));
    let root = route.root.filter(|root| std::ptr::eq(root.vs, vs));
    let of_root = root.zip(condition.root);
    let of_root = of_root.map(|(root, (at, part))| (part, root.index, at));
    own.into_iter().chain(of_root)
}

/// A part of a condition where it applies.
struct Place<'c, 'v, 'w> {
    check: &'c Check<'v, 'w>,
    vs: &'c VirtualService,
    host: &'c VirtualHost<'w>,
    route: &'c Route<'w>,
    condition: Condition<'w>,
    part: &'w HttpMatch,
}

impl Place<'_, '_, '_> {
    /// The findings on the part's headers, each with the header's name as written, and the header that is meant, where
    /// that is sure.
    fn findings(&self) -> Vec<(Finding, String, Option<Symbol>)> {
        let mut findings = Vec::new();
        for lanes in self.check.groups_of(self.route.vs, self.route.route) {
            let header = &lanes.group.header;
            if self.condition.header(header).is_some() {
                continue;
            }
            for (name, value) in self.part.headers.iter() {
                let is_entry = lanes
                    .entry()
                    .is_some_and(|entry| entry.header.eq_ignore_ascii_case(name));
                let finding = if is_entry {
                    self.entry_header(&lanes, name, value)
                } else {
                    self.other_header(&lanes, name, value)
                };
                findings.extend(finding.map(|(finding, meant)| (finding, name.to_string(), meant)));
            }
        }
        findings
    }

    /// The entry header on the mesh.
    fn entry_header(
        &self,
        lanes: &Lanes<'_, '_>,
        name: &str,
        value: &StringMatch,
    ) -> Option<(Finding, Option<Symbol>)> {
        let is_matched_rightly = || {
            let conditions = self.host.routes.iter().flat_map(|route| &route.conditions);
            let mut by_lane = conditions.filter_map(|condition| condition.header(&lanes.group.header));
            by_lane.any(|other| other == value)
        };
        if self.host.gateway.is_some() || is_matched_rightly() {
            return None;
        }
        let header = &lanes.group.header;
        let is_for_mesh_only = |part: &HttpMatch| {
            !part.gateways.is_empty() && part.gateways.iter().all(|gateway| *gateway == "mesh")
        };
        let is_for_gateways_too = self.route.bound().bound_gateways().next().is_some()
            && !self.condition.parts().any(is_for_mesh_only);
        let (then, help) = if is_for_gateways_too {
            (
                "on the mesh the match takes no request",
                format!(
                    "where the route is for callers outside only, say `gateways: [<gateway>]` in the match; for the mesh match `{header}`"
                ),
            )
        } else {
            (
                "the match takes no request, and those of the lane go on to the next route",
                format!("match `{header}` instead"),
            )
        };
        let finding = self
            .finding(name, value)
            .warning_if(is_for_gateways_too || sets(self.route, header))
            .says(
                format!(
                    "`{name}` is how callers outside name their lane; in the mesh the lane of {} is in `{header}`, and applications do not pass `{name}` on: {then}",
                    lanes.group.title()
                ),
                help,
            );
        Some((finding, (!is_for_gateways_too).then(|| header.clone())))
    }

    /// A header that is neither, matched against a lane's name.
    fn other_header(
        &self,
        lanes: &Lanes<'_, '_>,
        name: &str,
        value: &StringMatch,
    ) -> Option<(Finding, Option<Symbol>)> {
        let lane = value.exact().filter(|value| lanes.contains(value))?;
        let group = &lanes.group;
        if sets(self.route, &group.header) {
            return None;
        }
        let lower = Symbol::from(name.to_ascii_lowercase());
        let values = self.check.view.named_values(&group.namespace, &lower);
        // What has other values too is something of its own.
        if values.iter().any(|value| !lanes.contains(value)) {
            return None;
        }
        let entry = lanes.entry().map(|entry| entry.header.clone());
        let expected = match (&self.host.gateway, entry) {
            (Some(_), Some(entry)) => entry,
            // Which of several headers is the entry is not known: LK401 tells of that.
            (Some(_), None) if !lanes.entry_candidates().is_empty() => return None,
            _ => group.header.clone(),
        };
        let whose = match &self.host.gateway {
            Some(gateway) => format!("callers at gateway {gateway} name"),
            None => "the mesh carries".to_owned(),
        };
        let what = format!(
            "`{name}` is matched against `{lane}`, a lane of {}, which {whose} in `{expected}`",
            group.title()
        );
        let finding = self.finding(name, value).warning_if(true).says(
            format!("{what}: unless callers send `{name}`, the match takes no request"),
            format!("did you mean `{expected}`? If the header is another matter, say so with the annotation lanekeeper.dev/allow: LK302"),
        );
        Some((finding, Some(expected)))
    }

    fn finding(&self, name: &str, value: &StringMatch) -> Finding {
        Finding::new(&RULE, self.vs.meta.reference(Kind::VirtualService), "").about(Subject {
            lane: value.exact().map(Symbol::new),
            header: Some(name.to_ascii_lowercase().into()),
            ..Subject::default()
        })
    }
}

/// Whether the route gives what it takes the lane header: requests enter their lane here.
fn sets(route: &Route<'_>, header: &str) -> bool {
    let mut states = reached(route.route).map(|(at, _)| header_after(route, at, header));
    states.any(|state| matches!(state.state, HeaderState::Set(_) | HeaderState::Added(_)))
}

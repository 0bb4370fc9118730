//! A gateway route sets the lane header to a lane that it does not lead to.
//!
//! ## What it does
//! For each destination of a gateway route it computes the lane header's value after all operations (a copy of
//! the entry header counts as the value that the route matches) and compares it with the lane of the
//! destination's subset. Where the default lane stands in for a lane of which the service has no version (Fallback
//! groups, and with a warning groups that a plugin implies), the value may be that lane. A value that delegates have
//! from the route which delegates to them is told of the object that has the field.
//!
//! ## Why it matters
//! The first service answers in one lane and all the services behind it in another: lanes mix in a single
//! request, and nothing reports an error.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   headers:
//!     request:
//!       set: {bu: wtchk}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//!       set: {bu: wicph}
//! ```
//!
//! ## References
//! Envoy's order of header operations, as in LK404. Neither `istioctl analyze` nor Kiali
//! compares headers with subsets.

use super::entry::on_entry_routes;
use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{Kind, Resource};
use crate::routing::{EntryDestination, EntryMatch, EntryRoute, HeaderState, HeaderValue};

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK403",
    name: "wrong-rewrite",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk403.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    on_entry_routes(check, object, |route| {
        let findings = route.destinations.iter().filter_map(|to| judge(route, to));
        findings.collect()
    })
}

fn judge(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Option<Finding> {
    let HeaderState::Set(effect) = &to.header.state else {
        return None;
    };
    let (value, lane) = wrong_value(route, to, effect.value)?;
    let group = &route.lanes.group;
    // The default lane stands in for a lane of which the service has no version.
    let stands_in = group.default_lane.as_deref() == Some(lane)
        && route.lanes.contains(value)
        && !route.lanes.serves(&to.host, value);
    if stands_in && !group.is_strict() && !group.is_implicit() {
        return None;
    }
    let header = &group.header;
    let (owner, path) = route.route.place_of(&effect.operation);
    let delegate = Some(route.route.reference()).filter(|delegate| *delegate != owner);
    let mut help = format!("set `{header}: {lane}`");
    if let Some(delegate) = &delegate {
        help = format!("{help} in {} of {delegate} instead", route.route.path());
    }
    if route.lanes.contains(value) {
        help = format!("{help}, or route to the subset of lane `{value}`");
    }
    let finding = Finding::new(&RULE, owner, path)
        .about(Subject {
            host: Some(to.host.clone()),
            subset: to.subset.cloned(),
            lane: Some(value.into()),
            header: Some(header.clone()),
            ..Subject::default()
        })
        .warning_if(stands_in && group.is_implicit())
        .from_objects(delegate.clone());
    let who = delegate.map_or_else(
        || "the route".to_owned(),
        |delegate| format!("{} of {delegate}", route.route.path()),
    );
    let message = message(&who, effect.operation.written, value, lane, route, to);
    Some(finding.says(message, help))
}

fn message(
    who: &str,
    written: &str,
    value: &str,
    lane: &str,
    route: &EntryRoute<'_, '_>,
    to: &EntryDestination<'_>,
) -> String {
    let header = &route.lanes.group.header;
    let copied = if written == value {
        String::new()
    } else {
        format!(", which is `{value}` here")
    };
    let then = if route.lanes.contains(value) {
        "the services behind it answer in another lane".to_owned()
    } else {
        format!("`{value}` is no lane, and the services behind it answer 404 or in the default lane")
    };
    format!(
        "{who} leads to lane `{lane}` of {} and sends `{header}: {written}`{copied}: {then}",
        to.host
    )
}

/// The value that the lane header surely has, if it is not the destination's lane; and that lane.
fn wrong_value<'r>(
    route: &'r EntryRoute<'_, '_>,
    to: &'r EntryDestination<'_>,
    value: HeaderValue<'r>,
) -> Option<(&'r str, &'r str)> {
    let lane = to.lane.as_deref()?;
    let value = match value {
        HeaderValue::Text(text) => text,
        // A copy of the entry header is the value that the route matches.
        HeaderValue::Copy(copied) => {
            let entry = route.entry.as_ref()?;
            let EntryMatch::Exact(values) = &route.by else {
                return None;
            };
            if !copied.eq_ignore_ascii_case(&entry.header) {
                return None;
            }
            values.iter().copied().find(|value| *value != lane)?
        }
        HeaderValue::Computed(_) => return None,
    };
    (value != lane && !value.contains("{{")).then_some((value, lane))
}

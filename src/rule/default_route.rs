//! The route that is missing for requests without a lane, made after a lane's route.

use serde_json::{Value, json};

use super::{Change, Check, Suggestion};
use crate::resource::{HeaderOperations, HttpMatch, HttpRouteDestination};
use crate::routing::{Lanes, Route, home_of, rule_for};
use crate::symbol::Symbol;
use crate::yaml::field;

/// A route that takes what `route` takes without any of these headers, and leads to the default lane: a copy of it at
/// the end, whose destinations name the default lane's subsets. `None` where one of them has none.
pub(super) fn missing_default(
    check: &Check<'_, '_>,
    route: &Route<'_>,
    headers: &[Symbol],
    lanes: &Lanes<'_, '_>,
) -> Option<Suggestion> {
    let default = lanes.group.default_lane.as_ref()?;
    let own = route.route;
    if route.root.is_some() || own.delegate.is_some() || own.answers_itself() || own.route.is_empty() {
        return None;
    }
    let mut fields: Vec<(String, Value)> = Vec::new();
    let mut set_lane = |operations: Option<&HeaderOperations>, block: &str| {
        let set = operations
            .into_iter()
            .flat_map(|operations| operations.set.iter());
        let of_lane = set.filter(|(name, value)| {
            name.eq_ignore_ascii_case(&lanes.group.header) && lanes.contains(value) && **value != **default
        });
        fields.extend(of_lane.map(|(name, _)| {
            let path = format!("{block}headers.request.set{}", field(name));
            (path, json!(default.as_str()))
        }));
    };
    set_lane(own.headers.as_ref().map(|headers| &headers.request), "");
    for (at, to) in own.route.iter().enumerate() {
        let request = to.headers.as_ref().map(|headers| &headers.request);
        set_lane(request, &format!("route[{at}]."));
    }
    for (at, to) in own.route.iter().enumerate() {
        if let Some(subset) = subset_for(check, route, to, lanes, default)? {
            let path = format!("route[{at}].destination.subset");
            fields.push((path, json!(subset.as_str())));
        }
    }
    Some(Suggestion {
        object: route.reference(),
        change: Change::Append {
            list: "spec.http".to_owned(),
            from: Some(route.index),
            without: without(&own.matches, headers),
            fields,
        },
    })
}

/// The subset that leads a destination to the default lane, where it is another than it has; `None`: there is none.
#[allow(
    clippy::option_option,
    reason = "no subset to be found and none to be changed are two things"
)]
fn subset_for(
    check: &Check<'_, '_>,
    route: &Route<'_>,
    to: &HttpRouteDestination,
    lanes: &Lanes<'_, '_>,
    default: &Symbol,
) -> Option<Option<Symbol>> {
    let view = check.view;
    let host = route.host_of(view, &to.destination);
    let reach = lanes.reach_of(&host, &to.destination);
    if reach.is_some_and(|reach| reach.only() == Some(default)) {
        return Some(None);
    }
    let home = home_of(view, &host);
    let rule = rule_for(view, home?, &host, home)?;
    let mut subsets = rule.subsets.iter().map(|defined| defined.subset);
    let subset = subsets.find(|subset| lanes.lane_of_subset(subset).as_ref() == Some(default))?;
    Some(Some(subset.name.clone()))
}

/// What a copy is not to have: its name, and what its matches ask of the headers; the whole matches where one of them
/// asks for nothing else.
fn without(matches: &[HttpMatch], headers: &[Symbol]) -> Vec<String> {
    let is_one = |name: &str| headers.iter().any(|header| header.eq_ignore_ascii_case(name));
    let rest = |part: &HttpMatch| HttpMatch {
        headers: part
            .headers
            .iter()
            .filter(|(name, _)| !is_one(name))
            .cloned()
            .collect(),
        ..part.clone()
    };
    let mut paths = vec!["name".to_owned()];
    if matches.iter().any(|part| rest(part) == HttpMatch::default()) {
        paths.push("match".to_owned());
        return paths;
    }
    for (at, part) in matches.iter().enumerate() {
        if rest(part).headers.iter().next().is_none() {
            paths.push(format!("match[{at}].headers"));
            continue;
        }
        let asked = part.headers.iter().filter(|(name, _)| is_one(name));
        paths.extend(asked.map(|(name, _)| format!("match[{at}].headers{}", field(name))));
    }
    paths
}

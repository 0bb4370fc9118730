//! A gateway route leads to a lane and does not set the lane header: the next hop leaves the lane.
//!
//! ## What it does
//! It takes the routes of a `VirtualService` on a gateway that lead to a lane other than the default one, and
//! looks at what becomes of the lane header there, after all operations of route and destination in the order
//! in which Envoy applies them. If it stays as the caller sent it, or is removed, the rule denies where the
//! route tells the lane by the entry header, and warns where it does so by host, path, cookie or percentage, or where
//! the destination is not of one lane. The mutating webhook adds the header before this rule looks; on objects that
//! it leaves alone (those that Argo CD tracks, or with `lanekeeper.dev/rewrite: "false"`), and in files, the help has
//! the lines to add.
//!
//! A delegate's route has the header block of the route that delegates to it only while it has none itself: one of
//! its own replaces the whole of it, and with it what sets the lane header.
//!
//! Where a plugin implies the group and the values of two headers lead to its lanes at gateways, neither is taken for
//! the entry header; the rule says so once, on the plugin.
//!
//! ## Why it matters
//! The gateway finds the right version of the first service, but behind it nobody knows the lane: the sidecars
//! route by the lane header only, so from the second hop on the default lane answers, or 404.
//!
//! ## Example
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//! Use instead:
//! ```yaml
//! - match:
//!   - headers: {buid: {exact: wicph}}
//!   headers:
//!     request:
//!       set: {bu: wicph}
//!   route:
//!   - destination: {host: cars-api-portal, subset: cars-api-portal-wicph}
//! ```
//!
//! ## References
//! Envoy, "HTTP header manipulation"; routes are chosen before headers are changed, so the gateway matches
//! `buid`, never the `bu` that it is about to set. Istio, `mergeHTTPRoute` in `pilot/pkg/model/virtualservice.go` for
//! delegates. Neither `istioctl analyze` nor Kiali looks at header operations.

use super::entry::on_entry_routes;
use super::{Check, Finding, Level, Rule, Subject};
use crate::resource::{HeaderOperations, Kind, ObjectRef, Resource, WasmPlugin};
use crate::rewrite::{covers_route, lane_edits};
use crate::routing::{Block, Empty, EntryDestination, EntryMatch, EntryRoute, HeaderState};
use crate::symbol::Symbol;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK401",
    name: "entry-not-rewritten",
    level: Level::Deny,
    kinds: &[Kind::VirtualService, Kind::WasmPlugin, Kind::TrafficExtension],
    source: include_str!("lk401.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    match object {
        Resource::VirtualService(_) => on_entry_routes(check, object, not_rewritten),
        Resource::WasmPlugin(plugin) => ambiguous_entry(check, plugin).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn not_rewritten(route: &EntryRoute<'_, '_>) -> Vec<Finding> {
    if route.by == EntryMatch::LaneHeader {
        return Vec::new();
    }
    route
        .destinations
        .iter()
        .filter_map(|to| judge(route, to))
        .collect()
}

fn judge(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Option<Finding> {
    let group = &route.lanes.group;
    let is_default = to.lane.is_some() && to.lane == group.default_lane;
    // Without a lane of its own, a route that does not look at the entry header is no entry to a lane.
    let is_no_entry = to.lane.is_none() && !route.is_by_entry_header();
    if to.is_undefined || is_default || is_no_entry || !to.header.is_unset() {
        return None;
    }
    // A copy of what was removed before is LK404's.
    let void = to.header.void.last();
    if void.is_some_and(|void| matches!(void.why, Empty::Removed(_))) {
        return None;
    }
    let header = &group.header;
    let Place { object, path, help } = place(route, to);
    let finding = Finding::new(&RULE, object, path).about(Subject {
        host: Some(to.host.clone()),
        subset: to.subset.cloned(),
        lane: to.lane.clone(),
        header: Some(header.clone()),
        ..Subject::default()
    });
    let what = match (void.map(|void| void.why), &to.header.state) {
        (Some(Empty::Text), _) => {
            format!("sets the lane header `{header}` to nothing, which Envoy leaves out")
        }
        (Some(_), _) => format!("sets the lane header `{header}` to itself"),
        (None, HeaderState::Removed(_)) => format!("removes the lane header `{header}`"),
        (None, _) => format!("does not set the lane header `{header}`"),
    };
    let (replaced, root) = replaced_block(route);
    let message = match &to.lane {
        Some(lane) => format!(
            "the route leads to lane `{lane}` and {what}{replaced}: behind {} the request leaves its lane",
            to.host
        ),
        None => format!(
            "the route enters by the entry header, {what}{replaced}, and {} is not of one lane: behind it the request leaves its lane",
            to.host
        ),
    };
    Some(
        finding
            .warning_if(to.lane.is_none() || !route.is_by_entry_header())
            // The webhook adds it when the delegate comes next.
            .missing_if(route.route.root.is_some())
            .from_objects(root)
            .says(message, help),
    )
}

/// What a delegate's own block of headers has taken from it, and the object that has it [s26].
fn replaced_block(route: &EntryRoute<'_, '_>) -> (String, Option<ObjectRef>) {
    let header = &route.lanes.group.header;
    let Some(root) = route.route.root else {
        return (String::new(), None);
    };
    let object = root.vs.meta.reference(Kind::VirtualService);
    let of_root = root.route.headers.as_ref().map(|headers| &headers.request);
    let is_set = of_root
        .and_then(|operations| operations.set_value(header))
        .is_some();
    let said = if is_set && route.route.route.headers.is_some() {
        format!(
            " (its own headers replace all those of {object} spec.http[{}], which set it)",
            root.index
        )
    } else {
        String::new()
    };
    (said, Some(object))
}

/// Where the lane header is to be set, and how.
struct Place {
    object: ObjectRef,
    path: String,
    help: String,
}

/// Where the webhook would set it, or, where it does not, what is in the way.
fn place(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>) -> Place {
    let header = &route.lanes.group.header;
    let own = Block::Destination(to.index);
    if let Some(void) = to.header.void.last() {
        let (object, path) = route.route.place_of(&void.operation);
        let help = match &to.lane {
            Some(lane) => format!("write `{header}: {lane}` there"),
            None => "write the lane that the route is for there".to_owned(),
        };
        return Place { object, path, help };
    }
    let Some(lane) = &to.lane else {
        let block = if covers_route(route) { Block::Route } else { own };
        let (object, path) = route.route.place_of_block(block);
        let help = format!("set `{header}` in {path}.set to the lane that the route is for");
        let path = format!("{path}.set");
        return Place { object, path, help };
    };
    let edits = lane_edits(route).into_iter();
    let edits: Vec<_> = edits
        .filter(|edit| edit.destination.is_none_or(|at| at == to.index))
        .collect();
    if let Some(first) = edits.first() {
        let lines: Vec<String> = edits.iter().map(|edit| format!("`{edit}`")).collect();
        return Place {
            object: route.route.reference(),
            path: format!("{}.set", first.path()),
            help: format!("add {}", lines.join(" and ")),
        };
    }
    before_removal(route, to, lane)
}

/// Of several destinations the route's removal comes last and spoils all that they set [s29].
fn before_removal(route: &EntryRoute<'_, '_>, to: &EntryDestination<'_>, lane: &str) -> Place {
    let header = &route.lanes.group.header;
    let own = Block::Destination(to.index);
    let (object, path) = match &to.header.state {
        HeaderState::Removed(removal) => route.route.place_of(removal),
        _ => route.route.place_of_block(own),
    };
    let mut help = format!("take `{header}` out of {path}, which comes last");
    let is_set = |operations: &HeaderOperations| operations.set_value(header).is_some();
    if !route.route.operations(own).is_some_and(is_set) {
        let (_, block) = route.route.place_of_block(own);
        help = format!("{help}, and add `{block}.set: {{{header}: {lane}}}`");
    }
    Place { object, path, help }
}

/// What is to be said where two headers could be the entry header of the group that `plugin` implies: once, on the
/// plugin that the group comes from [s32].
fn ambiguous_entry<'w>(check: &Check<'_, 'w>, plugin: &'w WasmPlugin) -> Option<Finding> {
    let header = plugin.lane_header.as_ref()?;
    let (namespace, candidates) = groups_of(check, plugin)
        .into_iter()
        .find(|(_, headers)| headers.len() > 1)?;
    let field = match plugin.kind {
        Kind::TrafficExtension => "spec.wasm.pluginConfig.lane_header",
        _ => "spec.pluginConfig.lane_header",
    };
    let names: Vec<String> = candidates.iter().map(|name| format!("`{name}`")).collect();
    let names = names.join(" and of ");
    let subject = Subject {
        header: Some(header.clone()),
        ..Subject::default()
    };
    Some(
        Finding::new(&RULE, plugin.meta.reference(plugin.kind), field)
            .about(subject)
            .warning_if(true)
            .says(
                format!("at gateways the values of {names} lead to the lanes of namespace {namespace}: which of them is the entry header is not known, and no route is rewritten or refused for it"),
                "write a LaneGroup with spec.entry.header, or match on one of them only",
            ),
    )
}

/// The groups that `plugin` is the first to imply, as their namespaces, with what could be their entry header.
fn groups_of(check: &Check<'_, '_>, plugin: &WasmPlugin) -> Vec<(Symbol, Vec<Symbol>)> {
    let home = &plugin.meta.namespace;
    let mut namespaces = vec![home.clone()];
    if let Some(selector) = plugin
        .selector
        .as_ref()
        .filter(|_| home == check.view.root_namespace())
    {
        // Without a selector it is for every namespace there is, and which these are is not known here.
        let others = check.view.namespaces_with(selector).into_iter();
        namespaces.extend(others.filter(|other| other != home));
    }
    let source = format!("{} {}", plugin.kind, plugin.meta.name);
    let mut found = Vec::new();
    for namespace in namespaces {
        let mut own = check.view.lane_plugins(&namespace).into_iter();
        if namespace != *home && own.any(|own| own.lane_header == plugin.lane_header) {
            continue;
        }
        let groups = check.groups.of_namespace(&namespace).into_iter();
        let implied = groups.filter(|lanes| lanes.group.is_implicit() && lanes.group.source == source);
        found.extend(implied.map(|lanes| (namespace.clone(), lanes.entry_candidates())));
    }
    found
}

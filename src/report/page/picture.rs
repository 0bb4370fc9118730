//! A request drawn: a band for each lane, a column for each service, and the way from one to the next.

use maud::{Markup, html};

use super::text;
use crate::routing::{Branch, Outcome};
use crate::symbol::Symbol;
use crate::trace::{Hop, Left, Trace};

/// The distance of columns, of bands, and what is left for names, in pixels.
const COLUMN: usize = 230;
const BAND: usize = 74;
const LEFT: usize = 130;
const TOP: usize = 64;

/// How many letters of a name are shown; the rest is in its tooltip.
const LETTERS: usize = 28;

/// A place on the way.
struct Stop {
    column: usize,
    /// Those who may answer; the way goes on from the first.
    nodes: Vec<Node>,
    /// What is written on the way here.
    label: String,
    /// Whether the request has left its lane by here.
    is_left: bool,
}

/// Somebody who may answer.
struct Node {
    band: usize,
    /// Who it is, or what is said where nobody answers.
    name: String,
    is_failure: bool,
}

impl Stop {
    /// The band that the way goes on from.
    fn band(&self) -> usize {
        self.nodes.first().map(|node| node.band).unwrap_or_default()
    }
}

/// What stands above a column.
struct Head {
    name: String,
    /// Of a service its subset.
    below: String,
}

/// The picture; in words it is told beside it.
pub(super) fn picture(trace: &Trace<'_>) -> Markup {
    let (bands, heads, stops) = laid_out(trace);
    let (width, height) = (LEFT + heads.len() * COLUMN, TOP + bands.len() * BAND);
    let x = |column: usize| LEFT + column * COLUMN + COLUMN / 2;
    let y = |band: usize| TOP + band * BAND + BAND / 2 - 8;
    let ways = stops.iter().zip(stops.iter().skip(1));
    let ways: Vec<(&Stop, &Stop)> = ways.collect();
    html! {
        svg role="img" aria-labelledby="picture-title" width=(width) height=(height) viewBox={ "0 0 " (width) " " (height) } {
            title #picture-title { (in_words(trace)) }
            @for (at, band) in bands.iter().enumerate() {
                rect .lane .own[band.is_some() && *band == trace.lane.as_ref()]
                    x="4" y=(TOP + at * BAND + 3) width=(width - 8) height=(BAND - 6) rx="6" {}
                text .faint[band.is_none()] x="14" y=(y(at) + 4) {
                    @match band { Some(lane) => { title { (text(lane)) } (short(lane)) } None => { "no lane" } }
                }
            }
            @for (at, head) in heads.iter().enumerate() {
                (named(x(at), 24, "", &head.name))
                (named(x(at), 42, "faint", &head.below))
            }
            @for (from, to) in &ways {
                @for node in &to.nodes {
                    @let (x1, x2) = (x(from.column) + 9, x(to.column) - 9);
                    @let (y1, y2) = (y(from.band()), y(node.band));
                    @let middle = x1.midpoint(x2);
                    path .way .left[to.is_left] d={ "M" (x1) " " (y1) " C" (middle) " " (y1) " " (middle) " " (y2) " " (x2) " " (y2) } {}
                }
                @if !to.label.is_empty() {
                    // On the side of the line to which it does not bend.
                    @let beside = if to.band() < from.band() { y(from.band()) + 18 } else { y(from.band()) - 9 };
                    (named(x(from.column).midpoint(x(to.column)), beside, "faint", &to.label))
                }
            }
            @for stop in &stops {
                @for node in &stop.nodes {
                    @let (x, y) = (x(stop.column), y(node.band));
                    @if node.is_failure {
                        path .cross d={ "M" (x - 7) " " (y - 7) " l14 14 m0 -14 l-14 14" } {}
                    } @else {
                        circle .node .left[stop.is_left] cx=(x) cy=(y) r="8" {}
                    }
                    (named(x, y + 27, if node.is_failure { "bad" } else { "" }, &node.name))
                }
            }
        }
    }
}

/// A text in the middle of a place, whole in its tooltip.
fn named(x: usize, y: usize, class: &str, name: &str) -> Markup {
    html! { text class=(class) x=(x) y=(y) text-anchor="middle" { title { (text(name)) } (short(name)) } }
}

/// The bands (of the lanes that are met, and of none where that is needed), what stands above the columns, and the stops.
fn laid_out<'t>(trace: &'t Trace<'_>) -> (Vec<Option<&'t Symbol>>, Vec<Head>, Vec<Stop>) {
    let of_hops = trace.hops.iter().flat_map(|hop| &hop.lanes);
    let mut lanes: Vec<&Symbol> = of_hops.chain(&trace.lane).collect();
    lanes.sort();
    lanes.dedup();
    let mut bands: Vec<Option<&Symbol>> = lanes.into_iter().map(Some).collect();
    let is_in_none = |hop: &Hop<'_>| {
        let branches = hop.branches().iter().enumerate();
        branches
            .filter(|(_, branch)| !branch.ending.carriers().is_empty())
            .any(|(at, _)| lanes_of(hop, at).is_empty())
    };
    if trace.lane.is_none() || trace.hops.iter().any(is_in_none) {
        bands.push(None);
    }
    let band_of = |lane: Option<&Symbol>| {
        bands
            .iter()
            .position(|band| *band == lane)
            .unwrap_or(bands.len() - 1)
    };
    let own = band_of(trace.lane.as_ref());
    let mut heads = Vec::new();
    let mut stops: Vec<Stop> = Vec::new();
    let mut is_left = false;
    for hop in &trace.hops {
        if stops.is_empty() {
            let (name, below) = match &hop.gateway {
                Some(gateway) => (gateway.to_string(), format!("gateway, port {}", hop.port)),
                None => (hop.namespace.to_string(), "a workload of it".to_owned()),
            };
            let headers = hop.request.headers.iter();
            let headers: Vec<String> = headers.map(|(name, value)| format!("{name}: {value}")).collect();
            heads.push(Head { name, below });
            stops.push(Stop {
                column: 0,
                nodes: vec![Node {
                    band: own,
                    name: headers.join(", "),
                    is_failure: false,
                }],
                label: String::new(),
                is_left: false,
            });
        }
        is_left |= hop.left.as_ref().is_some_and(|left| *left != Left::StoodIn);
        heads.push(head(hop));
        let before = stops.last().map_or(own, Stop::band);
        stops.push(Stop {
            column: stops.len(),
            nodes: nodes(hop, own, before, &band_of),
            label: label(hop),
            is_left,
        });
    }
    (bands, heads, stops)
}

/// The lanes of a branch.
fn lanes_of<'h>(hop: &'h Hop<'_>, branch: usize) -> &'h [Symbol] {
    hop.lanes_of_branches
        .get(branch)
        .map(Vec::as_slice)
        .unwrap_or_default()
}

/// Who may answer a hop, the branch that is followed first, and of its lanes the request's own.
fn nodes(hop: &Hop<'_>, own: usize, before: usize, band_of: &dyn Fn(Option<&Symbol>) -> usize) -> Vec<Node> {
    let (name, is_failure) = outcome(hop);
    if hop.branches().is_empty() {
        return vec![Node {
            band: before,
            name,
            is_failure,
        }];
    }
    let mut nodes = Vec::new();
    let mut branches: Vec<(usize, &Branch<'_>)> = hop.branches().iter().enumerate().collect();
    branches.sort_by_key(|(at, _)| (Some(*at) != hop.branch, *at));
    for (at, branch) in branches {
        let (name, is_failure) = of_branch(branch);
        let mut bands: Vec<usize> = lanes_of(hop, at).iter().map(|lane| band_of(Some(lane))).collect();
        if bands.is_empty() {
            bands.push(if branch.ending.carriers().is_empty() {
                before
            } else {
                band_of(None)
            });
        }
        bands.sort_by_key(|band| (*band != own, *band));
        let share = match hop.branches().len() {
            1 => String::new(),
            _ => format!("{:.0} % ", 100.0 * branch.weight / branch.of),
        };
        nodes.extend(bands.into_iter().map(|band| Node {
            band,
            name: format!("{share}{name}"),
            is_failure,
        }));
    }
    nodes
}

/// The service that a hop leads to, or what the request names where it leads to none.
fn head(hop: &Hop<'_>) -> Head {
    let Some(branch) = hop.followed() else {
        return Head {
            name: hop.request.host(),
            below: format!("port {}", hop.port),
        };
    };
    let name = branch.host.split('.').next().unwrap_or_default();
    let port = branch.port.as_ref().map(|port| format!(":{}", port.number));
    Head {
        name: format!("{name}{}", port.unwrap_or_default()),
        below: branch
            .subset
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

/// What is said of a hop that leads to no destination, and whether it is a failure.
fn outcome(hop: &Hop<'_>) -> (String, bool) {
    match &hop.simulation.outcome {
        Outcome::Answered { status, location, .. } => {
            let to = location
                .as_ref()
                .map(|to| format!(" to {to}"))
                .unwrap_or_default();
            (format!("{status}{to}"), *status >= 400)
        }
        outcome => (
            outcome
                .status()
                .map_or("no connection".to_owned(), |status| status.to_string()),
            true,
        ),
    }
}

/// Who answers at a destination (its name, and how many more might), or what is said where nobody does.
fn of_branch(branch: &Branch<'_>) -> (String, bool) {
    if let Some(status) = branch.ending.status() {
        return (status.to_string(), true);
    }
    if branch.is_other_protocol() {
        return ("wrong protocol".to_owned(), true);
    }
    let carriers = branch.ending.carriers();
    let first = carriers.first().and_then(|carrier| carrier.object);
    let first = first.map(|object| object.reference().name.to_string());
    let name = match (first, carriers.len()) {
        (Some(name), 1) => name,
        (Some(name), many) => format!("{name} +{}", many - 1),
        (None, _) => branch.ending.to_string(),
    };
    (name, false)
}

/// The lane header that comes in on the way.
fn label(hop: &Hop<'_>) -> String {
    if let Some(written) = &hop.written {
        return format!("{}: {}", written.header, written.lane);
    }
    let changed = hop
        .followed()
        .and_then(|branch| branch.changed(&hop.request).next());
    changed
        .map(|(name, value)| format!("{name}: {value}"))
        .unwrap_or_default()
}

fn in_words(trace: &Trace<'_>) -> String {
    let lane = trace.lane.as_ref();
    let lane = lane.map(|lane| format!(" in lane {lane}")).unwrap_or_default();
    let stops = trace.hops.iter().map(|hop| {
        let (said, _) = hop.followed().map_or_else(|| outcome(hop), of_branch);
        format!("{} ({said})", head(hop).name)
    });
    let stops: Vec<String> = stops.collect();
    text(&format!("A request{lane}: {}", stops.join(", then ")))
}

/// The beginning of a name that is too long.
fn short(name: &str) -> String {
    let name = text(name);
    if name.chars().count() <= LETTERS {
        return name;
    }
    let begin: String = name.chars().take(LETTERS - 1).collect();
    format!("{begin}…")
}

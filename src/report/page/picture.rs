//! A request drawn: a band for each lane, a column for each service, and the way from one to the next.

use maud::{Markup, html};

use super::text;
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
    /// The bands of those who may answer; the way goes on from the first.
    bands: Vec<usize>,
    /// Who is there.
    name: String,
    /// The status in whose place nobody answers.
    failure: Option<String>,
    /// What is written on the way here.
    label: String,
    /// Whether the request has left its lane by here.
    is_left: bool,
}

impl Stop {
    /// The band that the way goes on from.
    fn band(&self) -> usize {
        self.bands.first().copied().unwrap_or_default()
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
                    @match band { Some(lane) => { (short(lane)) } None => { "no lane" } }
                }
            }
            @for (at, head) in heads.iter().enumerate() {
                text x=(x(at)) y="24" text-anchor="middle" { title { (text(&head.name)) } (short(&head.name)) }
                text .faint x=(x(at)) y="42" text-anchor="middle" { title { (text(&head.below)) } (short(&head.below)) }
            }
            @for (from, to) in &ways {
                @for band in &to.bands {
                    @let (x1, x2) = (x(from.column) + 9, x(to.column) - 9);
                    @let (y1, y2) = (y(from.band()), y(*band));
                    @let middle = x1.midpoint(x2);
                    path .way .left[to.is_left] d={ "M" (x1) " " (y1) " C" (middle) " " (y1) " " (middle) " " (y2) " " (x2) " " (y2) } {}
                }
                @if !to.label.is_empty() {
                    // On the side of the line to which it does not bend.
                    @let beside = if to.band() < from.band() { y(from.band()) + 18 } else { y(from.band()) - 9 };
                    text .faint x=(x(from.column).midpoint(x(to.column))) y=(beside) text-anchor="middle" { (short(&to.label)) }
                }
            }
            @for stop in &stops {
                @for band in &stop.bands {
                    @let (x, y) = (x(stop.column), y(*band));
                    @if let Some(failure) = &stop.failure {
                        path .cross d={ "M" (x - 7) " " (y - 7) " l14 14 m0 -14 l-14 14" } {}
                        text .bad x=(x) y=(y + 27) text-anchor="middle" { (short(failure)) }
                    } @else {
                        circle .node .left[stop.is_left] cx=(x) cy=(y) r="8" {}
                        text x=(x) y=(y + 27) text-anchor="middle" { title { (text(&stop.name)) } (short(&stop.name)) }
                    }
                }
            }
        }
    }
}

/// The bands (of the lanes, and of none where that is needed), what stands above the columns, and the stops.
fn laid_out<'t>(trace: &'t Trace<'_>) -> (Vec<Option<&'t Symbol>>, Vec<Head>, Vec<Stop>) {
    let of_hops = trace.hops.iter().flat_map(|hop| &hop.lanes);
    let mut lanes: Vec<&Symbol> = trace.lanes.iter().chain(of_hops).chain(&trace.lane).collect();
    lanes.sort();
    lanes.dedup();
    let mut bands: Vec<Option<&Symbol>> = lanes.into_iter().map(Some).collect();
    let has_none = trace.lane.is_none()
        || trace
            .hops
            .iter()
            .any(|hop| is_answered(hop) && hop.lanes.is_empty());
    if has_none {
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
            let headers: Vec<String> = hop
                .request
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            heads.push(Head { name, below });
            stops.push(Stop {
                column: 0,
                bands: vec![own],
                name: headers.join(", "),
                failure: None,
                label: String::new(),
                is_left: false,
            });
        }
        is_left |= hop.left.as_ref().is_some_and(|left| *left != Left::StoodIn);
        heads.push(head(hop));
        let before = stops.last().map_or(own, Stop::band);
        let mut reached: Vec<usize> = hop.lanes.iter().map(|lane| band_of(Some(lane))).collect();
        if is_answered(hop) && reached.is_empty() {
            reached.push(band_of(None));
        }
        if reached.is_empty() {
            reached.push(before);
        }
        // Of several, the way goes on from its own.
        reached.sort_by_key(|band| (*band != own, *band));
        stops.push(Stop {
            column: stops.len(),
            bands: reached,
            name: answering(hop),
            failure: failure(hop),
            label: label(hop),
            is_left,
        });
    }
    (bands, heads, stops)
}

fn is_answered(hop: &Hop<'_>) -> bool {
    hop.answering().is_some()
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

/// Who answers: its name, and how many more might.
fn answering(hop: &Hop<'_>) -> String {
    let Some(branch) = hop.followed() else {
        return String::new();
    };
    let carriers = branch.ending.carriers();
    let first = carriers.first().and_then(|carrier| carrier.object);
    let first = first.map(|object| object.reference().name.to_string());
    match (first, carriers.len()) {
        (Some(name), 1) => name,
        (Some(name), many) => format!("{name} +{}", many - 1),
        (None, _) => branch.ending.to_string(),
    }
}

/// What is said where nobody answers, in a word.
fn failure(hop: &Hop<'_>) -> Option<String> {
    if is_answered(hop) && hop.left != Some(Left::OtherProtocol) {
        return None;
    }
    if hop.left == Some(Left::OtherProtocol) {
        return Some("wrong protocol".to_owned());
    }
    Some(match (hop.simulation.outcome.status(), hop.followed()) {
        (Some(status), _) => status.to_string(),
        // It leaves what is known, or nothing connects.
        (None, Some(branch)) if branch.ending.status().is_none() => return None,
        (None, _) => "no connection".to_owned(),
    })
}

/// The lane header that comes in on the way.
fn label(hop: &Hop<'_>) -> String {
    if let Some(written) = &hop.written {
        return format!("{}: {}", written.header, written.lane);
    }
    let changed = hop.followed().and_then(|branch| hop.changed(branch).next());
    changed
        .map(|(name, value)| format!("{name}: {value}"))
        .unwrap_or_default()
}

fn in_words(trace: &Trace<'_>) -> String {
    let lane = trace.lane.as_ref();
    let lane = lane.map(|lane| format!(" in lane {lane}")).unwrap_or_default();
    let stops = trace.hops.iter().map(|hop| {
        let name = head(hop).name;
        match failure(hop) {
            Some(failure) => format!("{name} ({failure})"),
            None => format!("{name} ({})", answering(hop)),
        }
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

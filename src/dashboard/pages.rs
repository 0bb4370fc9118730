//! The page, and what is sent to it while it is open.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};

use super::query::{Query, written};
use super::{App, Looked, api, typed};
use crate::audit::Report;
use crate::decisions::Decision;
use crate::matrix::{Cell, Matrix, Row};
use crate::report::{
    Shown, decision_row, decisions_section, findings_section, matrices_section, page, trace_section,
};
use crate::resource::ObjectRef;
use crate::rule;
use crate::trace::{follow, gateways};
use crate::world::View;

const HTML: &str = "text/html; charset=utf-8";

const NAV: [(&str, &str); 4] = [
    ("#lanes", "Lanes"),
    ("#findings", "Findings"),
    ("#decisions", "Decisions"),
    ("#trace", "Trace"),
];

/// How many rows of a matrix, and how many findings, are on the page at once.
const MOST: usize = 200;

/// All of it, on one page.
pub(super) async fn lanes(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Response> {
    let page = app.look(move |app, looked| whole(app, looked, &Query::of(&uri)).into_string());
    Ok(typed(HTML, page.await?))
}

fn whole(app: &App, looked: &Looked, query: &Query) -> Markup {
    let report = (app.findings)();
    let from = query.get("from").and_then(|from| from.parse().ok()).unwrap_or(0);
    let body = html! {
        (lanes_of(looked, report.as_deref(), from))
        (findings(report.as_deref(), query))
        (decisions(app))
        (trace(looked, query))
    };
    page("Lanekeeper", &NAV, &body)
}

fn lanes_of(looked: &Looked, report: Option<&Report>, from: usize) -> Markup {
    let on = |object: &ObjectRef| -> Vec<(String, &'static str)> {
        let all = report.map(Report::all).unwrap_or_default().iter().enumerate();
        let on_it = all.filter(|(_, one)| one.finding.object == *object);
        on_it
            .map(|(at, one)| (format!("#finding-{at}"), one.finding.code))
            .collect()
    };
    matrices_section(&Shown {
        matrices: looked.matrices(),
        from,
        most: MOST,
        findings: &on,
        trace: &followed,
    })
}

/// Where the request of a cell is followed: at a way in, as a caller outside sends it; to a service, as a workload of the
/// group does.
fn followed(matrix: &Matrix, row: &Row, cell: &Cell) -> Option<String> {
    let request = cell.steps.first()?;
    let url = request.text.split_whitespace().nth(1)?;
    let lane = cell.lane.as_ref().map(ToString::to_string);
    let entry = matrix.entry.as_ref().filter(|_| row.gateway.is_some());
    let name = entry.unwrap_or(&matrix.header);
    let header = lane.map(|lane| format!("{name}: {lane}")).unwrap_or_default();
    let port = match row.gateway {
        // A URL with the port that the gateway listens on.
        Some(_) => url.to_owned(),
        None => with_port(url, row.port.number),
    };
    let from = match row.gateway {
        Some(_) => String::new(),
        None => matrix.namespace.to_string(),
    };
    let gateway = row.gateway.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut pairs = vec![
        ("url", port.as_str()),
        ("header", &header),
        ("method", &row.probe.method),
    ];
    pairs.extend(
        [("from", from.as_str()), ("gateway", &gateway)]
            .into_iter()
            .filter(|(_, value)| !value.is_empty()),
    );
    pairs.extend(row.probe.is_grpc.then_some(("grpc", "true")));
    Some(format!("?{}#trace", written(pairs)))
}

/// The URL, whose host is without a port, with this one.
fn with_port(url: &str, port: u32) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    format!("{scheme}://{host}:{port}{path}")
}

fn findings(report: Option<&Report>, query: &Query) -> Markup {
    let Some(report) = report else {
        return html! {
            section #findings aria-labelledby="findings-title" {
                h2 #findings-title { "What is wrong" }
                p { "What runs is not judged here, or not yet: with --no-audit, or before everything is read." }
            }
        };
    };
    let all = report.all();
    let taken = all.iter().enumerate().filter(|(_, one)| query.takes(one));
    let taken: Vec<_> = taken.collect();
    let (mut namespaces, mut codes): (Vec<&str>, Vec<&str>) = all
        .iter()
        .map(|one| (one.finding.object.namespace.as_str(), one.finding.code))
        .unzip();
    for names in [&mut namespaces, &mut codes] {
        names.sort_unstable();
        names.dedup();
    }
    let choice = |name: &str, label: &str, all: &str, values: &[&str]| {
        html! {
            label {
                (label)
                select name=(name) {
                    option value="" { (all) }
                    @for value in values { option value=(value) selected[query.get(name) == Some(value)] { (value) } }
                }
            }
        }
    };
    let filter = html! {
        @if !all.is_empty() {
            form method="get" action="./#findings" {
                (choice("rule", "Rule", "all rules", &codes))
                (choice("namespace", "Namespace", "all namespaces", &namespaces))
                (choice("level", "Level", "all levels", &["deny", "warn"]))
                button type="submit" { "Filter" }
            }
            @if taken.len() > MOST {
                p { "The first " (MOST) " are shown: filter, or read " a href="api/v1/findings" { "all of them as JSON" } "." }
            }
        }
    };
    let shown = taken.get(..MOST.min(taken.len())).unwrap_or_default();
    findings_section(shown, all.len(), &filter)
}

fn decisions(app: &App) -> Markup {
    let last = app.recent.last();
    let decisions: Vec<Decision<'_>> = last
        .iter()
        .rev()
        .filter_map(|line| serde_json::from_slice(line).ok())
        .collect();
    decisions_section(decisions.iter(), "live")
}

fn trace(looked: &Looked, query: &Query) -> Markup {
    let mut form = query.question(gateways(&looked.world));
    if form.question.url.is_empty() || form.error.is_some() {
        return trace_section(&form, None);
    }
    let view = View::new(&looked.world);
    match form.question.start(&view, &looked.world) {
        Ok(start) => {
            let trace = follow(&view, start, form.question.via.as_deref());
            trace_section(&form, Some(&trace))
        }
        Err(unclear) => {
            form.error = Some(unclear.to_string());
            trace_section(&form, None)
        }
    }
}

/// Each new decision as a row for the page.
pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    api::stream(&app.recent, |decision, _| decision_row(decision).into_string())
}

/// What a rule is about.
pub(super) async fn rule(Path(code): Path<String>) -> Response {
    let Some(rule) = rule::find(&code) else {
        return api::refusal(
            StatusCode::NOT_FOUND,
            &format!("no rule has the code or name `{code}`"),
        );
    };
    let body = html! { section { pre .mono { (rule.page()) } } };
    let page = page(
        &format!("{} {}", rule.code, rule.name),
        &[("../#findings", "Findings")],
        &body,
    );
    typed(HTML, page.into_string())
}

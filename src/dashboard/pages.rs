//! The pages, and what is sent to them while they are open.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use maud::{Markup, html};

use super::query::{self, OF_FINDINGS, Query, of_question, written};
use super::refusal::Refusal;
use super::{App, Snapshot, api, typed};
use crate::audit::{Report, Reported};
use crate::decisions::Decision;
use crate::matrix::{Cell, Step};
use crate::report::{
    Links, Shown, SomeRows, cell_title, decision_row, decisions_section, findings_section, matrices_section,
    page, steps, trace_section,
};
use crate::resource::{Kind, ObjectRef};
use crate::rule;
use crate::trace::{Question, gateways};
use crate::world::View;

const HTML: &str = "text/html; charset=utf-8";

const NAV: [(&str, &str); 4] = [
    ("#lanes", "Lanes"),
    ("#findings", "Findings"),
    ("#decisions", "Decisions"),
    ("#trace", "Trace"),
];

/// How many findings, or cells of an object, are on a page at once.
const MOST: usize = 200;

/// How many cells of matrices are.
const MOST_CELLS: usize = 1_000;

/// All of it, on one page.
pub(super) async fn whole(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    let page = app.look(HTML, move |app, snapshot| {
        let query = Query::of(&uri);
        let report = (app.findings)();
        let findings = Findings::of(report.as_deref(), &query, "./");
        let pending = (app.pending)();
        let body = html! {
            @if pending.is_empty() {
                (lanes(snapshot, &findings, &query))
            } @else {
                (unread(&pending))
            }
            (findings.section(&query))
            (decisions(app))
            (trace(snapshot, &query))
        };
        Ok(page("Lanekeeper", "./", &NAV, &body).into_string().into_bytes())
    });
    page.await
}

/// What stands in the place of lanes that would seem to be broken, because a part of them is not read yet.
fn unread(pending: &[String]) -> Markup {
    html! {
        section #lanes {
            h2 { "What each lane reaches" }
            p .banner role="status" { "Not everything is read yet: " (pending.join(", ")) ". Reload the page in a moment." }
        }
    }
}

fn lanes(snapshot: &Snapshot, findings: &Findings<'_>, query: &Query) -> Markup {
    let number = |name: &str| {
        query
            .get(name)
            .and_then(|number| number.parse().ok())
            .unwrap_or(0)
    };
    let rest = query.without(&["group", "row"]);
    let rows = |group: usize, row: usize| {
        let (group, row) = (group.to_string(), row.to_string());
        let pairs = rest
            .iter()
            .copied()
            .chain([("group", group.as_str()), ("row", &row)]);
        format!("?{}#group-{group}", written(pairs))
    };
    let known = gateways(&snapshot.world);
    matrices_section(&Shown {
        matrices: snapshot.matrices(),
        part: Some(SomeRows {
            most_cells: MOST_CELLS,
            from: (number("group"), number("row")),
        }),
        links: &Links {
            findings: Some(&|step| findings.on(step)),
            object: Some(&|object| format!("./{}", place_of(object))),
            trace: Some(&|cell| followed(cell, &known).map(|query| format!("?{query}#trace"))),
            rows: Some(&rows),
        },
    })
}

/// The page of an object.
fn place_of(object: &ObjectRef) -> String {
    let namespace = match object.namespace.as_str() {
        "" => "-",
        namespace => namespace,
    };
    let part = |text: &str| {
        form_urlencoded::byte_serialize(text.as_bytes())
            .collect::<String>()
            .replace('+', "%20")
    };
    format!(
        "objects/{}/{}/{}",
        object.kind.name(),
        part(namespace),
        part(&object.name)
    )
}

/// The query that follows the request of a cell, from one of these gateways or from a workload.
fn followed(cell: &Cell, gateways: &[String]) -> Option<String> {
    let asked = cell.asked.as_ref()?;
    let question = Question::of(&asked.client, &asked.request, asked.port)?;
    let is_there = question
        .gateway
        .as_ref()
        .is_none_or(|gateway| gateways.contains(gateway));
    is_there.then(|| of_question(&question))
}

/// What is reported, and what of it is on the page.
struct Findings<'r> {
    report: Option<&'r Report>,
    shown: Vec<(usize, &'r Reported)>,
    taken: usize,
    by_object: BTreeMap<&'r ObjectRef, Vec<(usize, &'r Reported)>>,
    home: &'static str,
}

impl<'r> Findings<'r> {
    fn of(report: Option<&'r Report>, query: &Query, home: &'static str) -> Self {
        let all = report.map(Report::all).unwrap_or_default();
        let is_asked = query.filter();
        let mut shown: Vec<_> = all.iter().enumerate().filter(|(_, one)| is_asked(one)).collect();
        let taken = shown.len();
        shown.truncate(MOST);
        let mut by_object: BTreeMap<&ObjectRef, Vec<(usize, &Reported)>> = BTreeMap::new();
        for (at, one) in all.iter().enumerate() {
            by_object.entry(&one.finding.object).or_default().push((at, one));
        }
        Self {
            report,
            shown,
            taken,
            by_object,
            home,
        }
    }

    /// What is wrong with what a step is about: where that is told, and the codes.
    fn on(&self, step: &Step) -> Vec<(String, &'static str)> {
        let of_object = step.object.as_ref().and_then(|object| self.by_object.get(object));
        let concerned = of_object
            .into_iter()
            .flatten()
            .filter(|(_, one)| meet(&step.path, &one.finding.path));
        let mut seen = BTreeSet::new();
        let once = concerned.filter(|(_, one)| seen.insert(one.finding.code));
        once.map(|(at, one)| (self.place(*at, one), one.finding.code))
            .collect()
    }

    /// Where a finding is: on this page, or on one that is filtered for it.
    fn place(&self, at: usize, one: &Reported) -> String {
        if self.shown.iter().any(|(shown, _)| *shown == at) {
            return format!("#finding-{at}");
        }
        let finding = &one.finding;
        let query = written([
            ("rule", finding.code),
            ("namespace", finding.object.namespace.as_str()),
        ]);
        format!("{}?{query}#findings", self.home)
    }

    fn section(&self, query: &Query) -> Markup {
        let Some(report) = self.report else {
            return html! {
                section #findings aria-labelledby="findings-title" {
                    h2 #findings-title { "What is wrong" }
                    p { "What runs is not judged here, or not yet: with --no-audit, or before everything is read." }
                }
            };
        };
        let all = report.all();
        let of = |name: fn(&'r Reported) -> &'r str| -> BTreeSet<&str> { all.iter().map(name).collect() };
        let (codes, namespaces) = (
            of(|one| one.finding.code),
            of(|one| &one.finding.object.namespace),
        );
        let choice = |name: &str, label: &str, any: &str, values: BTreeSet<&str>| {
            let chosen = query.chosen(name);
            let values: BTreeSet<&str> = values
                .into_iter()
                .chain(chosen.iter().map(String::as_str))
                .collect();
            html! {
                label {
                    (label)
                    select name=(name) {
                        option value="" { (any) }
                        @for value in values {
                            option value=(value) selected[chosen.first().is_some_and(|chosen| chosen == value)] { (value) }
                        }
                    }
                }
            }
        };
        let filter = html! {
            @if !all.is_empty() {
                form method="get" action="./#findings" {
                    @for (name, value) in query.without(&OF_FINDINGS) { input type="hidden" name=(name) value=(value); }
                    (choice("rule", "Rule", "all rules", codes))
                    (choice("namespace", "Namespace", "all namespaces", namespaces))
                    (choice("level", "Level", "all levels", ["deny", "warn"].into()))
                    button type="submit" { "Filter" }
                }
                @if self.taken > MOST {
                    p { "The first " (MOST) " are shown: filter, or read " a href="api/v1/findings" { "all of them as JSON" } "." }
                }
            }
        };
        findings_section("What is wrong", &self.shown, all.len(), self.home, &filter)
    }
}

/// Whether two fields of an object are one, or one is in the other.
fn meet(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short)
        .is_some_and(|rest| short.is_empty() || rest.is_empty() || rest.starts_with(['.', '[']))
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

fn trace(snapshot: &Snapshot, query: &Query) -> Markup {
    let mut form = query.question(gateways(&snapshot.world));
    if form.question.url.is_empty() || form.error.is_some() {
        return trace_section(&form, None);
    }
    let view = View::new(&snapshot.world);
    match query::followed(&form, &view, &snapshot.world) {
        Ok(trace) => trace_section(&form, Some(&trace)),
        Err(why) => {
            form.error = Some(why);
            trace_section(&form, None)
        }
    }
}

/// Each new decision as a row for the page.
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refusal> {
    api::stream(&app, &headers, |decision, _| decision_row(decision).into_string())
}

/// What is known of an object: what is wrong with it, and which cells rest on it.
pub(super) async fn object(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    uri: Uri,
) -> Result<Response, Refusal> {
    let no_object = || {
        Refusal::new(
            StatusCode::NOT_FOUND,
            "an object is at /objects/KIND/NAMESPACE/NAME",
        )
    };
    let Path((kind, namespace, name)) = path.map_err(|_| no_object())?;
    let kind = *Kind::ALL
        .iter()
        .find(|known| known.name() == kind)
        .ok_or_else(no_object)?;
    let namespace = if namespace == "-" { "" } else { &namespace };
    let object = ObjectRef::new(kind, namespace, &name);
    let page = app.look(HTML, move |app, snapshot| {
        app.is_read()?;
        let report = (app.findings)();
        let query = Query::of(&uri);
        let findings = Findings::of(report.as_deref(), &query, HOME);
        let of_object = findings.by_object.get(&object).cloned().unwrap_or_default();
        let none = html! {};
        let body = html! {
            h2 { (object.to_string()) }
            (findings_section("What is wrong with it", &of_object, of_object.len(), HOME, &none))
            (cells_of(snapshot, &findings, &object))
        };
        let nav = NAV.map(|(target, name)| (format!("{HOME}{target}"), name));
        let nav: Vec<(&str, &str)> = nav
            .iter()
            .map(|(target, name)| (target.as_str(), *name))
            .collect();
        Ok(page(&object.to_string(), HOME, &nav, &body)
            .into_string()
            .into_bytes())
    });
    page.await
}

/// The way from an object's page to the whole.
const HOME: &str = "../../../";

fn cells_of(snapshot: &Snapshot, findings: &Findings<'_>, object: &ObjectRef) -> Markup {
    let known = gateways(&snapshot.world);
    let links = Links {
        findings: Some(&|step| findings.on(step)),
        object: Some(&|other| format!("{HOME}{}", place_of(other))),
        trace: Some(&|cell| followed(cell, &known).map(|query| format!("{HOME}?{query}#trace"))),
        rows: None,
    };
    let cells = snapshot.matrices().iter().flat_map(|matrix| &matrix.rows);
    let cells = cells.flat_map(|row| row.cells.iter().map(move |cell| (row, cell)));
    let rests = |cell: &Cell| cell.steps.iter().any(|step| step.object.as_ref() == Some(object));
    let cells: Vec<_> = cells.filter(|(_, cell)| rests(cell)).collect();
    html! {
        section aria-labelledby="cells-title" {
            h2 #cells-title { "Requests that meet it" }
            @if cells.is_empty() { p { "None of those that are asked for the lane groups." } }
            @if cells.len() > MOST { p .faint { "The first " (MOST) " of " (cells.len()) "." } }
            @for (row, cell) in cells.iter().take(MOST) {
                details {
                    summary {
                        @if !cell.is_whole { span .mark.bad { "broken" } " " }
                        (cell_title(row, cell))
                    }
                    (steps(&links, cell))
                }
            }
        }
    }
}

/// What a rule is about.
pub(super) async fn rule(path: Result<Path<String>, PathRejection>) -> Result<Response, Refusal> {
    let rule = path.ok().and_then(|Path(code)| rule::find(&code));
    let rule = rule.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "no rule has this code or name"))?;
    let title = format!("{} {}", rule.code, rule.name);
    let page_of_rule = rule.page();
    // Its first line is the title.
    let (_, text) = page_of_rule.split_once('\n').unwrap_or_default();
    let body = html! { section { h2 { (title) } pre .mono { (text.trim_start()) } } };
    let page = page(&title, "../", &[("../#findings", "Findings")], &body);
    Ok(typed(HTML, page.into_string()))
}

#[cfg(test)]
mod tests {
    use super::meet;

    #[test]
    fn fields_meet_where_one_is_in_the_other() {
        let field = "spec.subsets[1].labels.version";
        for other in ["", "spec", "spec.subsets[1]", "spec.subsets[1].labels", field] {
            assert!(meet(field, other) && meet(other, field), "{other}");
        }
        for other in [
            "spec.subsets[0]",
            "spec.subsets[10]",
            "spec.sub",
            "spec.subsets[1].labels.v",
            "metadata",
        ] {
            assert!(!meet(field, other) && !meet(other, field), "{other}");
        }
    }
}

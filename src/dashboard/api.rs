//! The same as JSON, for programs: `docs/api.md` says what is in it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;

use super::query::Query;
use super::{App, typed};
use crate::decisions::Decision;
use crate::matrix::Matrix;
use crate::report::{write_findings_json, write_matrices_json, write_trace_json};
use crate::server::Recent;
use crate::symbol::Symbol;
use crate::trace::{follow, gateways};
use crate::world::View;

const JSON: &str = "application/json";

/// `{"error": "…"}`.
pub(super) fn refusal(status: StatusCode, why: &str) -> Response {
    (status, typed(JSON, json!({ "error": why }).to_string())).into_response()
}

/// The groups, without their rows.
pub(super) async fn groups(State(app): State<Arc<App>>) -> Result<Response, Response> {
    let groups = app.look(|_, looked| {
        let groups: Vec<Value> = looked.matrices().iter().map(group).collect();
        json!({ "schema": 1, "groups": groups }).to_string()
    });
    Ok(typed(JSON, groups.await?))
}

fn group(matrix: &Matrix) -> Value {
    json!({
        "group": matrix.title,
        "namespace": matrix.namespace.as_str(),
        "header": matrix.header.as_str(),
        "entryHeader": matrix.entry.as_deref(),
        "lanes": matrix.lanes.iter().map(Symbol::as_str).collect::<Vec<_>>(),
        "defaultLane": matrix.default_lane.as_deref(),
        "strict": matrix.is_strict,
        "whole": matrix.is_whole(),
        "rows": matrix.rows.len(),
        "broken": matrix.faults().count(),
    })
}

/// What each lane reaches, as `lanekeeper matrix -o json` has it, with the steps of each cell.
pub(super) async fn matrix(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Response> {
    let matrices = app.look(move |_, looked| {
        let query = Query::of(&uri);
        let is = |name: &str, value: &str| query.get(name).is_none_or(|asked| asked == value);
        let asked = looked.matrices().iter();
        let asked = asked.filter(|matrix| is("namespace", &matrix.namespace) && is("group", &matrix.title));
        let asked: Vec<Matrix> = asked.cloned().collect();
        on_paper(|out| write_matrices_json(&asked, out))
    });
    Ok(typed(JSON, matrices.await?))
}

/// What is wrong.
pub(super) async fn findings(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Response> {
    let written = app.look(move |app, _| {
        let report = (app.findings)()?;
        let query = Query::of(&uri);
        let findings = report.all().iter().filter(|one| query.takes(one));
        Some(on_paper(|out| write_findings_json(findings, out)))
    });
    let not_judged = || {
        let why = "what runs is not judged here, or not yet: with --no-audit, or before everything is read";
        refusal(StatusCode::SERVICE_UNAVAILABLE, why)
    };
    Ok(typed(JSON, written.await?.ok_or_else(not_judged)?))
}

/// The last decisions, the newest first, each as its line of the decision log.
pub(super) async fn decisions(State(app): State<Arc<App>>) -> Response {
    let mut text = br#"{"schema":1,"decisions":["#.to_vec();
    for (at, line) in app.recent.last().iter().rev().enumerate() {
        text.extend_from_slice(if at == 0 { b"" } else { b"," });
        text.extend_from_slice(line);
    }
    text.extend_from_slice(b"]}");
    typed(JSON, text)
}

/// The last decisions and each new one, as server-sent events.
pub(super) async fn live(State(app): State<Arc<App>>) -> Response {
    stream(&app.recent, |_, line| String::from_utf8_lossy(line).into_owned())
}

/// The last decisions and each new one, each made into an event with its id.
pub(super) fn stream(
    recent: &Recent,
    make: impl Fn(&Decision<'_>, &[u8]) -> String + Send + 'static,
) -> Response {
    let event = move |line: Bytes| {
        let decision: Decision<'_> = serde_json::from_slice(&line).ok()?;
        // Neither a row nor a line has a line's end in it that matters, and one would end the event.
        let data = make(&decision, &line).replace(['\r', '\n'], " ");
        Some(Ok::<_, Infallible>(
            Event::default().id(&*decision.decision).data(data),
        ))
    };
    let events = lines(recent).filter_map(move |line| std::future::ready(event(line)));
    Sse::new(events).keep_alive(KeepAlive::default()).into_response()
}

/// The last lines and then each new one; who is too slow misses some.
fn lines(recent: &Recent) -> impl Stream<Item = Bytes> + Send + use<> {
    let (last, new) = recent.follow();
    let new = stream::unfold(new, async |mut new| {
        loop {
            match new.recv().await {
                Ok(line) => return Some((line, new)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    stream::iter(last).chain(new)
}

/// One request followed, as `lanekeeper trace -o json` has it.
pub(super) async fn trace(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Response> {
    let traced = app.look(move |_, looked| {
        let form = Query::of(&uri).question(gateways(&looked.world));
        if let Some(error) = form.error {
            return Err(error);
        }
        let view = View::new(&looked.world);
        let start = form.question.start(&view, &looked.world);
        let start = start.map_err(|unclear| unclear.to_string())?;
        let trace = follow(&view, start, form.question.via.as_deref());
        Ok(on_paper(|out| write_trace_json(&trace, &|_, _| None, out)))
    });
    let text = traced
        .await?
        .map_err(|why| refusal(StatusCode::BAD_REQUEST, &why))?;
    Ok(typed(JSON, text))
}

/// What is written, in memory, where writing does not fail.
fn on_paper(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Body {
    let mut out = Vec::new();
    if let Err(error) = write(&mut out) {
        tracing::error!(%error, "what was asked for could not be written");
    }
    Body::from(out)
}

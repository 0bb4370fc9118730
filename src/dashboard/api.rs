//! The same as JSON, for programs: `docs/api.md` says what is in it.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;

use super::query::{Query, followed};
use super::refusal::Refusal;
use super::{App, place, typed};
use crate::decisions::Decision;
use crate::report::{write_findings_json, write_groups_json, write_matrices_json, write_trace_json};
use crate::server::Recent;
use crate::trace::gateways;
use crate::world::View;

const JSON: &str = "application/json";

/// The groups, without their rows.
pub(super) async fn groups(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let groups = app.look(JSON, |app, snapshot| {
        app.is_read()?;
        on_paper(|out| write_groups_json(snapshot.matrices(), out))
    });
    groups.await
}

/// What each lane reaches, as `lanekeeper matrix -o json` has it, with the steps of each cell.
pub(super) async fn matrix(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    let matrices = app.look(JSON, move |app, snapshot| {
        app.is_read()?;
        let query = Query::of(&uri);
        let is = |name: &str, value: &str| query.get(name).is_none_or(|asked| asked == value);
        let asked = snapshot.matrices().iter();
        let asked = asked.filter(|matrix| is("namespace", &matrix.namespace) && is("group", &matrix.title));
        on_paper(|out| write_matrices_json(asked, out))
    });
    matrices.await
}

/// What is wrong.
pub(super) async fn findings(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    // Files are judged on the spot: not on a thread that answers.
    let app = Arc::clone(&app);
    let report = tokio::task::spawn_blocking(move || (app.findings)()).await;
    let Ok(Some(report)) = report else {
        let why = "what runs is not judged here, or not yet: with --no-audit, or before everything is read";
        return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let is_asked = Query::of(&uri).filter();
    let findings = report.all().iter().filter(|one| is_asked(one));
    Ok(typed(JSON, on_paper(|out| write_findings_json(findings, out))?))
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
pub(super) async fn live(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Response, Refusal> {
    stream(&app, &headers, |_, line| {
        String::from_utf8_lossy(line).into_owned()
    })
}

/// The last decisions and each new one, each made into an event with its id. Whoever names the last one that it has got
/// (`Last-Event-ID`) gets those after it.
pub(super) fn stream(
    app: &App,
    headers: &HeaderMap,
    make: impl Fn(&Decision<'_>, &[u8]) -> String + Send + 'static,
) -> Result<Response, Refusal> {
    let following = place(&app.following)?;
    let known = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok())
        .map(str::to_owned);
    let event = move |line: Line| {
        // It has to last as long as the stream.
        let _ = &following;
        let Line::Decision(line) = line else {
            return Some(Ok(Event::default()
                .event("missed")
                .data("some decisions were too many at once")));
        };
        let decision: Decision<'_> = serde_json::from_slice(&line).ok()?;
        // Neither a row nor a line has a line's end in it that matters, and one would end the event.
        let data = make(&decision, &line).replace(['\r', '\n'], " ");
        Some(Ok::<_, Infallible>(
            Event::default().id(&*decision.decision).data(data),
        ))
    };
    let events = lines(&app.recent, known.as_deref()).filter_map(move |line| std::future::ready(event(line)));
    Ok(Sse::new(events).keep_alive(KeepAlive::default()).into_response())
}

/// What comes to whoever follows.
enum Line {
    Decision(Bytes),
    /// There were more than wait for who is slow.
    Missed,
}

/// The last lines after the one with the id `known`, or all of them, and then each new one.
fn lines(recent: &Recent, known: Option<&str>) -> impl Stream<Item = Line> + Send + use<> {
    let (mut last, new) = recent.follow();
    let is_known = |line: &Bytes| {
        let decision = serde_json::from_slice::<Decision<'_>>(line);
        known.is_some_and(|known| decision.is_ok_and(|decision| decision.decision == known))
    };
    if let Some(at) = last.iter().position(is_known) {
        last.drain(..=at);
    }
    let new = stream::unfold(new, async |mut new| match new.recv().await {
        Ok(line) => Some((Line::Decision(line), new)),
        Err(RecvError::Lagged(_)) => Some((Line::Missed, new)),
        Err(RecvError::Closed) => None,
    });
    stream::iter(last.into_iter().map(Line::Decision)).chain(new)
}

/// One request followed, as `lanekeeper trace -o json` has it.
pub(super) async fn trace(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Refusal> {
    let traced = app.look(JSON, move |app, snapshot| {
        app.is_read()?;
        let form = Query::of(&uri).question(gateways(&snapshot.world));
        let view = View::new(&snapshot.world);
        let trace = followed(&form, &view, &snapshot.world);
        let trace = trace.map_err(|why| Refusal::new(StatusCode::BAD_REQUEST, why))?;
        on_paper(|out| write_trace_json(&trace, &|_, _| None, out))
    });
    traced.await
}

/// What is written, in memory.
fn on_paper(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    let written = write(&mut out);
    written.map_err(|error| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    Ok(out)
}

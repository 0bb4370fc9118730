//! The webhook's routes: from a request to a decision that is on the log, and to its answer.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{
        Method, StatusCode, Uri,
        header::{CONTENT_TYPE, EXPECT},
    },
    response::{IntoResponse, Response},
    routing::post,
};
use bytes::{Bytes, BytesMut};
use futures::{FutureExt, StreamExt};

use super::{
    App, Webhook,
    metrics::Unjudged,
    refusal::{BODY_LIMIT, Refusal, json},
    timeout,
};
use crate::{
    admission::{Answer, Judge},
    verdict::Mode,
};

/// How much of a body beyond the limit is read and thrown away: a client that is still sending when the
/// connection closes sees a broken pipe instead of the answer that says why.
const DISCARD_LIMIT: usize = 4 * BODY_LIMIT;

const ROUTES: &str = "POST reviews to /validate/MODE or /mutate/MODE, where MODE is warn, enforce or protect";

/// The routes of the webhook listener: `POST /validate/{mode}` and `POST /mutate/{mode}`.
///
/// Everything else is a JSON error. [`Config::webhook_routes`](super::Config::webhook_routes) are beside them,
/// and more can be added to what is returned.
pub fn router<J: Judge>(app: Arc<App<J>>) -> Router {
    let more = app.config.webhook_routes.clone();
    let mut router = Router::new();
    for mode in Mode::ALL {
        let webhooks = [Webhook::Validate(mode), Webhook::Mutate(mode)];
        for webhook in webhooks {
            let admit = move |State(app): State<Arc<App<J>>>, request: Request| async move {
                app.admit(webhook, request).await
            };
            router = router.route(&format!("/{}/{mode}", webhook.name()), post(admit));
        }
    }
    router
        .with_state(app)
        .merge(more)
        .fallback(async |uri: Uri| Refusal::NotFound {
            path: uri.path().to_owned(),
            known: ROUTES,
        })
        .method_not_allowed_fallback(async |method: Method, uri: Uri| Refusal::MethodNotAllowed {
            path: uri.path().to_owned(),
            method: method.to_string(),
            instead: ROUTES,
        })
}

impl<J: Judge> App<J> {
    /// Answers a request to a webhook.
    async fn admit(&self, webhook: Webhook, request: Request) -> Response {
        let arrived = Instant::now();
        let _in_flight = self.metrics.enter();
        let deadline = timeout::deadline(request.uri().query());
        match self.judge(webhook, request, arrived, deadline).await {
            Ok(Answer { status, body, record }) => {
                if let Some(record) = record {
                    // The log may take a quarter of the API server's timeout when the judge has taken half.
                    let logged = self
                        .log
                        .append(&record, deadline.map(|deadline| deadline / 2))
                        .await;
                    if let (Err(lost), true) = (logged, self.config.decision_log_required) {
                        // The webhook's failure policy decides then, as for every other error.
                        let refusal = Refusal::Unlogged(lost.to_string());
                        self.metrics.unjudged(refusal.kind(), webhook);
                        return refusal.into_response();
                    }
                    self.metrics.judged(&record, webhook, arrived.elapsed());
                } else {
                    self.metrics.unjudged(Unjudged::Unreadable, webhook);
                }
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                json(status, body)
            }
            Err(refusal) => {
                self.metrics.unjudged(refusal.kind(), webhook);
                refusal.into_response()
            }
        }
    }

    async fn judge(
        &self,
        webhook: Webhook,
        request: Request,
        arrived: Instant,
        deadline: Option<Duration>,
    ) -> Result<Answer, Refusal> {
        check_content_type(&request)?;
        let body = tokio::time::timeout(self.body_timeout, read(request))
            .await
            .map_err(|_| Refusal::TooSlow(self.body_timeout.as_secs()))??;

        // Only now: who sends slowly must not take the place of who is ready.
        let Ok(_permit) = self.permits.try_acquire() else {
            return Err(Refusal::Busy);
        };
        let deadline = deadline.map(|deadline| deadline.saturating_sub(arrived.elapsed()));
        let judging = AssertUnwindSafe(self.ask(webhook, body, deadline));
        judging.catch_unwind().await.map_err(|panic| {
            self.metrics.panics.inc();
            let message = message_of(panic.as_ref());
            tracing::error!(webhook = webhook.name(), "a panic ended one review: {message}");
            Refusal::Panicked
        })
    }

    async fn ask(&self, webhook: Webhook, body: Bytes, deadline: Option<Duration>) -> Answer {
        match webhook {
            Webhook::Validate(mode) => self.judge.validate(mode, body, deadline).await,
            Webhook::Mutate(mode) => self.judge.mutate(mode, body, deadline).await,
        }
    }
}

fn check_content_type(request: &Request) -> Result<(), Refusal> {
    let Some(value) = request.headers().get(CONTENT_TYPE) else {
        return Err(Refusal::NotJson("missing".to_owned()));
    };
    let text = String::from_utf8_lossy(value.as_bytes());
    let essence = text.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        Ok(())
    } else {
        Err(Refusal::NotJson(format!("`{text}`")))
    }
}

/// Reads a body up to the limit, whatever its `Content-Length` says.
async fn read(request: Request<Body>) -> Result<Bytes, Refusal> {
    let waits_for_leave = request.headers().contains_key(EXPECT);
    let body = request.into_body();
    let announced = http_body_size(&body);
    // Who asks first (`Expect: 100-continue`) is told without sending anything.
    if announced > BODY_LIMIT as u64 && (waits_for_leave || announced > DISCARD_LIMIT as u64) {
        return Err(Refusal::TooLarge);
    }

    let mut chunks = body.into_data_stream();
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    let mut length = 0;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| Refusal::Incomplete(error.to_string()))?;
        length += chunk.len();
        if length > DISCARD_LIMIT {
            break;
        }
        if length > BODY_LIMIT {
            first = Bytes::new();
            whole = BytesMut::new();
        } else if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            // A body of one chunk is never copied.
            whole.extend_from_slice(&std::mem::take(&mut first));
            whole.extend_from_slice(&chunk);
        }
    }
    if length > BODY_LIMIT {
        return Err(Refusal::TooLarge);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The size that the request announces; 0 if it does not.
fn http_body_size(body: &Body) -> u64 {
    use axum::body::HttpBody;
    body.size_hint().lower()
}

/// What a panic said.
fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&'static str>().copied())
        .unwrap_or("no message")
}

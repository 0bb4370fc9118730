//! The webhook's routes, driven without a socket.

use futures::stream;

use super::*;

/// One byte more than is read.
const TOO_LONG: usize = 7 * 1024 * 1024 + 1;

/// A body of `length` bytes whose length is not announced.
fn chunked(length: usize) -> Body {
    let chunk = Bytes::from(vec![b' '; 64 * 1024]);
    let chunks = (0..length)
        .step_by(chunk.len())
        .map(move |start| Ok::<_, std::convert::Infallible>(chunk.slice(..chunk.len().min(length - start))));
    Body::from_stream(stream::iter(chunks.collect::<Vec<_>>()))
}

#[tokio::test]
async fn each_path_asks_the_judge_for_its_webhook_and_mode() {
    let routes = Routes::new();
    let paths = [
        "/validate/warn",
        "/validate/enforce",
        "/validate/protect",
        "/mutate/warn",
        "/mutate/enforce",
        "/mutate/protect",
    ];
    for path in paths {
        let reply = routes.send(post(path, "review")).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("content-type"), "application/json");
        assert_eq!(reply.body, "{\"response\":{}}");
    }
    let asked: Vec<_> = routes
        .puppet
        .asked
        .lock()
        .iter()
        .map(|(webhook, ..)| format!("/{webhook}"))
        .collect();
    assert_eq!(asked, paths);
}

#[tokio::test]
async fn the_judge_is_given_at_most_half_of_the_api_servers_timeout() {
    let routes = Routes::new();
    routes.send(post("/mutate/enforce?timeout=10s", "review")).await;
    routes.send(post("/mutate/enforce", "review")).await;

    let asked = routes.puppet.asked.lock();
    let deadline = asked[0].2.unwrap();
    assert!(
        deadline > Duration::ZERO && deadline <= Duration::from_secs(5),
        "{deadline:?}"
    );
    assert_eq!(asked[1].2, None);
}

#[tokio::test]
async fn a_path_that_is_not_there_is_404_and_names_those_that_are() {
    let routes = Routes::new();
    for path in [
        "/",
        "/validate",
        "/validate/",
        "/validate/off",
        "/validate/%FF",
        "/healthz",
        "/mutate",
        "/mutate/",
    ] {
        let reply = routes.send(post(path, "review")).await;
        assert_eq!(reply.status, 404, "{path}");
        assert!(reply.error().contains("/validate/MODE"), "{reply:?}");
    }
}

#[tokio::test]
async fn another_method_than_post_is_405_and_names_the_one_that_is_allowed() {
    let routes = Routes::new();
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let request = Request::builder()
            .method(method)
            .uri("/validate/warn")
            .body(Body::empty())
            .unwrap();
        let reply = routes.send(request).await;
        assert_eq!(reply.status, 405, "{method}");
        assert_eq!(reply.header("allow"), "POST");
        assert!(reply.error().contains(method), "{reply:?}");
    }
}

#[tokio::test]
async fn another_content_type_than_json_is_415_and_json_with_parameters_is_not() {
    let routes = Routes::new();
    for (content_type, status) in [
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("Application/JSON;charset=utf-8"), 200),
        (Some("application/jsonp"), 415),
        (Some("application/yaml"), 415),
        (Some("text/plain; application/json"), 415),
        (Some(""), 415),
        (None, 415),
    ] {
        let mut request = post("/mutate/enforce", "review");
        request.headers_mut().remove("content-type");
        if let Some(content_type) = content_type {
            request
                .headers_mut()
                .insert("content-type", content_type.parse().unwrap());
        }
        let reply = routes.send(request).await;
        assert_eq!(reply.status, status, "{content_type:?}");
        if status == 415 {
            assert!(reply.error().contains("application/json"), "{reply:?}");
        }
    }
    assert_eq!(routes.puppet.asked.lock().len(), 3);
}

#[tokio::test]
async fn a_body_of_7_mib_is_read_and_one_byte_more_is_413() {
    let routes = Routes::new();
    for (body, status) in [
        (Body::from(vec![b' '; TOO_LONG - 1]), 200),
        (Body::from(vec![b' '; TOO_LONG]), 413),
        (chunked(TOO_LONG - 1), 200),
        (chunked(TOO_LONG), 413),
        (chunked(TOO_LONG * 9), 413),
    ] {
        let reply = routes.send(post("/mutate/enforce", body)).await;
        assert_eq!(reply.status, status);
        if status == 413 {
            assert!(reply.error().contains("7 MiB"), "{reply:?}");
        }
    }
    let lengths: Vec<_> = routes
        .puppet
        .asked
        .lock()
        .iter()
        .map(|(_, length, _)| *length)
        .collect();
    assert_eq!(lengths, [TOO_LONG - 1, TOO_LONG - 1]);
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_too_much_is_told_at_once() {
    let routes = Routes::new();
    // A body that never comes: only an answer that does not wait for it can be right.
    let (_sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let body = Body::new(Announced {
        body: Body::from_stream(body),
        size: TOO_LONG as u64,
    });
    let mut request = post("/mutate/enforce", body);
    request
        .headers_mut()
        .insert("expect", "100-continue".parse().unwrap());

    assert_eq!(routes.send(request).await.status, 413);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408() {
    let (config, directory) = config();
    let mut app = App::new(config, Puppet::new()).unwrap();
    app.body_timeout = Duration::ZERO;
    let routes = Routes::of(app, directory);
    let (_sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();

    let reply = routes
        .send(post("/mutate/enforce", Body::from_stream(body)))
        .await;

    assert_eq!(reply.status, 408);
    assert!(reply.error().contains("did not arrive"), "{reply:?}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let routes = Routes::new();
    let chunks = [Ok(Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))];
    let reply = routes
        .send(post("/mutate/enforce", Body::from_stream(stream::iter(chunks))))
        .await;
    assert_eq!(reply.status, 400);
    assert!(reply.error().contains("gone"), "{reply:?}");
}

#[tokio::test]
async fn a_panic_answers_its_request_only() {
    let routes = Routes::new();
    let waiting = tokio::spawn(routes.webhook.clone().oneshot(post("/mutate/enforce", "wait")));
    routes.puppet.has_one_waiting().await;

    let reply = routes.send(post("/validate/enforce", "panic")).await;
    assert_eq!(reply.status, 500);
    assert!(reply.error().contains("defect"), "{reply:?}");

    routes.puppet.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(routes.send(post("/validate/enforce", "review")).await.status, 200);
    assert!(
        routes
            .admin("/metrics")
            .await
            .body
            .contains("lanekeeper_panics_total 1\n")
    );
}

#[tokio::test]
async fn one_review_more_than_may_be_judged_at_once_is_429_and_the_place_is_free_afterwards() {
    let routes = Routes::with(|config| config.concurrency = 1);
    let waiting = tokio::spawn(routes.webhook.clone().oneshot(post("/mutate/enforce", "wait")));
    routes.puppet.has_one_waiting().await;

    let reply = routes.send(post("/mutate/enforce", "review")).await;
    assert_eq!(reply.status, 429);
    assert_eq!(reply.header("retry-after"), "1");
    assert!(reply.error().contains("try again"), "{reply:?}");

    routes.puppet.gate.add_permits(1);
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
    assert_eq!(routes.send(post("/mutate/enforce", "panic")).await.status, 500);
    assert_eq!(routes.send(post("/mutate/enforce", "review")).await.status, 200);
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_its_place() {
    let routes = Routes::with(|config| config.concurrency = 1);
    let waiting = tokio::spawn(routes.webhook.clone().oneshot(post("/mutate/enforce", "wait")));
    routes.puppet.has_one_waiting().await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());

    assert_eq!(routes.send(post("/mutate/enforce", "review")).await.status, 200);
    assert!(
        routes
            .admin("/metrics")
            .await
            .body
            .contains("lanekeeper_admission_in_flight 0\n")
    );
}

#[tokio::test]
async fn who_sends_slowly_takes_no_place() {
    let routes = Routes::with(|config| config.concurrency = 1);
    let (sender, body) = futures::channel::mpsc::unbounded::<Result<Bytes, std::io::Error>>();
    let mut slow = Box::pin(routes.send(post("/mutate/enforce", Body::from_stream(body))));
    assert!(futures::poll!(slow.as_mut()).is_pending());

    assert_eq!(routes.send(post("/mutate/enforce", "review")).await.status, 200);
    drop(sender);
    assert_eq!(slow.await.status, 200);
}

#[tokio::test]
async fn a_decision_is_on_the_log_before_its_answer_goes_out() {
    let routes = Routes::new();
    for count in 1..=20 {
        assert_eq!(routes.send(post("/validate/enforce", "review")).await.status, 200);
        assert_eq!(log_lines(&routes.directory), count);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_answered_as_the_judge_says_and_leaves_no_line() {
    let routes = Routes::new();
    let reply = routes.send(post("/validate/enforce", "unreadable")).await;
    assert_eq!(reply.status, 400);
    assert_eq!(reply.error(), "no review");
    assert_eq!(log_lines(&routes.directory), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_log_on_a_full_disk_costs_no_decision() {
    let routes = Routes::with(|config| config.decision_log = LogTarget::file("/dev/full"));
    for _ in 0..3 {
        let reply = routes.send(post("/validate/enforce", "refuse")).await;
        assert_eq!(
            (reply.status.as_u16(), reply.body.as_str()),
            (200, "{\"response\":{}}")
        );
    }
    assert!(
        routes
            .admin("/metrics")
            .await
            .body
            .contains("lanekeeper_audit_log_errors_total 3\n")
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_decision_that_a_required_log_does_not_take_is_not_given() {
    let routes = Routes::with(|config| {
        config.decision_log = LogTarget::file("/dev/full");
        config.decision_log_required = true;
    });
    for word in ["refuse", "review"] {
        let reply = routes.send(post("/validate/enforce", word)).await;
        assert_eq!(reply.status, 500);
        let error = reply.error();
        assert!(
            error.contains("No space left") && error.contains("--audit-log-required"),
            "{error}"
        );
    }
    // What is no decision needs no line.
    assert_eq!(
        routes.send(post("/validate/enforce", "unreadable")).await.status,
        400
    );
    let metrics = routes.admin("/metrics").await.body;
    for line in [
        "lanekeeper_audit_log_errors_total 2\n",
        "kind=\"unknown\",operation=\"unknown\",decision=\"unlogged\"} 2\n",
    ] {
        assert!(metrics.contains(line), "no {line} in {metrics}");
    }
    assert!(!metrics.contains("decision=\"deny\""), "{metrics}");
}

#[tokio::test]
async fn a_required_log_that_takes_decisions_changes_nothing() {
    let routes = Routes::with(|config| config.decision_log_required = true);
    let reply = routes.send(post("/validate/enforce", "review")).await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_str()),
        (200, "{\"response\":{}}")
    );
    assert_eq!(log_lines(&routes.directory), 1);
}

#[tokio::test]
async fn routes_can_be_added() {
    let extra = Router::new().route("/noop", axum::routing::post(async || "nothing"));
    let routes = Routes::with(|config| config.webhook_routes = extra.clone());
    assert_eq!(routes.send(post("/noop", "")).await.body, "nothing");
    assert_eq!(routes.send(post("/mutate/enforce", "review")).await.status, 200);
    let wrong = Request::get("/noop").body(Body::empty()).unwrap();
    assert_eq!(routes.send(wrong).await.status, 405);

    let routes = Routes::with(|config| config.admin_routes = extra);
    let reply = routes.admin.clone().oneshot(post("/noop", "")).await.unwrap();
    assert_eq!(Reply::of(reply).await.body, "nothing");
    assert_eq!(routes.admin("/healthz").await.status, 200);
}

#[cfg(feature = "lane-filter")]
#[tokio::test]
async fn the_lane_filter_is_served_under_its_digest() {
    let routes = Routes::with(|_| ());
    let path = super::super::lane_filter_path().unwrap();
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = routes.admin.clone().oneshot(request).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/wasm");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert!(bytes.starts_with(b"\0asm"));
    // What stands in the manifests is what `sha256sum` has found.
    let digest = include_str!("../../../target/wasm/lanekeeper.wasm.sha256").trim_ascii();
    assert_eq!(path, format!("/wasm/lane-{digest}.wasm"));

    let reply = routes.admin("/wasm/lane-00.wasm").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains(path), "{}", reply.body);
}

#[cfg(not(feature = "lane-filter"))]
#[tokio::test]
async fn a_build_without_the_lane_filter_says_so() {
    let reply = Routes::with(|_| ()).admin("/wasm/lane-00.wasm").await;
    assert_eq!(reply.status, 503);
    assert!(reply.body.contains("make build"), "{}", reply.body);
}

/// A body that says how long it is.
struct Announced {
    body: Body,
    size: u64,
}

impl hyper::body::Body for Announced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(cx)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.size)
    }
}

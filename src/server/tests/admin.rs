//! Health, readiness and metrics.

use std::time::SystemTime;

use prometheus_client::metrics::counter::Counter;

use super::*;
use crate::version::{COMMIT, VERSION};

#[tokio::test]
async fn a_live_server_is_healthy_whatever_it_is_not_ready_for() {
    let routes = Routes::new();
    routes.puppet.unsynced.lock().push("Pod".to_owned());
    let reply = routes.admin("/healthz").await;
    assert_eq!((reply.status.as_u16(), reply.body.as_str()), (200, "ok\n"));
}

#[tokio::test]
async fn readiness_gives_a_line_for_each_reason() {
    let mut routes = Routes::new();
    assert_eq!(routes.admin("/readyz").await.status, 200);

    routes
        .puppet
        .unsynced
        .lock()
        .extend(["Pod".to_owned(), "Service".to_owned()]);
    let reply = routes.admin("/readyz").await;
    assert_eq!(
        (reply.status.as_u16(), reply.body.as_str()),
        (503, "not synced yet: Pod, Service\n")
    );

    // A certificate of long ago, which has expired since.
    let (config, directory) = config();
    let mut app = App::new(config, routes.puppet.clone()).unwrap();
    app.certificates = Certificates::load(
        CertificateSource::SelfMade(Vec::new()),
        None,
        Counter::default(),
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000),
    )
    .unwrap();
    app.stage.send_replace(Stage::Stopping);
    routes = Routes::of(app, directory);
    let reply = routes.admin("/readyz").await;
    assert_eq!(reply.status, 503);
    let lines: Vec<_> = reply.body.lines().collect();
    assert_eq!(
        lines,
        [
            "stopping",
            "not synced yet: Pod, Service",
            "the server's certificate expired at 2017-10-12T02:40:00Z"
        ]
    );
}

/// An increase is seen from the second value on only.
#[tokio::test]
async fn what_may_go_wrong_with_a_request_is_counted_from_nothing_on() {
    let body = Routes::new().openmetrics().await.body;
    for webhook in ["validate", "mutate"] {
        for decision in ["unreadable", "rejected", "shed", "panic", "unlogged"] {
            let line = format!(
                "lanekeeper_admission_requests_total{{webhook=\"{webhook}\",kind=\"unknown\",operation=\"unknown\",\
                 decision=\"{decision}\"}} 0"
            );
            assert!(
                body.lines().any(|found| found == line),
                "no line `{line}` in:\n{body}"
            );
        }
    }
}

#[tokio::test]
async fn metrics_count_each_request_by_what_came_of_it() {
    let routes = Routes::new();
    for body in ["review", "review", "refuse", "strange", "unreadable", "panic"] {
        routes.send(post("/validate/enforce", body)).await;
    }
    let mut wrong = post("/mutate/enforce", "review");
    wrong.headers_mut().remove("content-type");
    routes.send(wrong).await;

    let reply = routes.openmetrics().await;
    assert_eq!(
        reply.header("content-type"),
        "application/openmetrics-text; version=1.0.0; charset=utf-8"
    );
    let requests = |webhook: &str, kind: &str, operation: &str, decision: &str| {
        format!(
            "lanekeeper_admission_requests_total{{webhook=\"{webhook}\",kind=\"{kind}\",\
             operation=\"{operation}\",decision=\"{decision}\"}}"
        )
    };
    for line in [
        requests("validate", "VirtualService", "CREATE", "allow") + " 2",
        requests("validate", "VirtualService", "CREATE", "deny") + " 1",
        requests("validate", "other", "other", "allow") + " 1",
        requests("validate", "unknown", "unknown", "unreadable") + " 1",
        requests("validate", "unknown", "unknown", "panic") + " 1",
        requests("mutate", "unknown", "unknown", "rejected") + " 1",
        format!("lanekeeper_build_info{{version=\"{VERSION}\",commit=\"{COMMIT}\"}} 1"),
        "lanekeeper_admission_duration_seconds_count{webhook=\"validate\"} 4".to_owned(),
        "lanekeeper_admission_in_flight 0".to_owned(),
        "lanekeeper_panics_total 1".to_owned(),
        "lanekeeper_audit_log_errors_total 0".to_owned(),
        "lanekeeper_certificate_errors_total 0".to_owned(),
        "lanekeeper_index_objects{kind=\"Pod\"} 12".to_owned(),
        "lanekeeper_index_objects{kind=\"Service\"} 0".to_owned(),
        "lanekeeper_index_version 34".to_owned(),
        "# EOF".to_owned(),
    ] {
        assert!(
            reply.body.lines().any(|found| found == line),
            "no line `{line}` in:\n{}",
            reply.body
        );
    }
    for bound in ["0.001", "10.0", "+Inf"] {
        let bucket = format!("_bucket{{le=\"{bound}\",webhook=\"validate\"}}");
        assert!(reply.body.contains(&bucket), "no `{bucket}` in:\n{}", reply.body);
    }
}

#[tokio::test]
async fn who_does_not_ask_for_openmetrics_gets_the_format_that_every_reader_knows() {
    let routes = Routes::new();
    let reply = routes.admin("/metrics").await;
    assert_eq!(
        reply.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(
        reply.body.contains("# TYPE lanekeeper_panics_total counter\n") && !reply.body.contains("# EOF"),
        "{}",
        reply.body
    );
    let reply = routes.openmetrics().await;
    assert!(
        reply.body.contains("# TYPE lanekeeper_panics counter\n") && reply.body.ends_with("# EOF\n"),
        "{}",
        reply.body
    );
}

#[tokio::test]
async fn metrics_of_others_are_served_too() {
    let routes = Routes::with(|config| {
        config.registry.register(
            "watch_restarts",
            "Watches that were begun again",
            Counter::<u64>::default(),
        );
    });
    assert!(
        routes
            .admin("/metrics")
            .await
            .body
            .contains("\nwatch_restarts_total 0\n")
    );
}

#[tokio::test]
async fn other_pages_and_methods_are_json_errors() {
    let routes = Routes::new();
    let reply = routes.admin("/").await;
    assert_eq!(reply.status, 404);
    assert!(reply.error().contains("/readyz"), "{reply:?}");
    let reply = Reply::of(routes.admin.clone().oneshot(post("/healthz", "")).await.unwrap()).await;
    assert_eq!(reply.status, 405);
    assert!(reply.error().contains("POST"), "{reply:?}");
}

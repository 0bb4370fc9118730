//! Admission, from the body of a review to the body of the answer, without sockets.
//!
//! The cluster of every test is one that is right: the namespace `cars` enforces, and its service `portal` runs in
//! the lanes `wtchk` and `wicph`. A test says what is different, what is asked, and what comes back.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic that says why")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use lanekeeper::admission::{Answer, Engine, FreshReads, Judge, Outcome, Record};
use lanekeeper::resource::{Kind, ObjectRef, Resource};
use lanekeeper::verdict::{Mode, Settings};
use lanekeeper::world::{self, Read, World};
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};

// ---- What was wrong before ----

#[tokio::test]
async fn a_fault_that_was_there_before_does_not_block_an_unrelated_edit_and_is_told() {
    let broken = routes(&[to_subset("gone")]);
    let edited = with(&broken, "/metadata/labels", json!({"team": "blue"}));
    let reply = Cluster::new().and(&broken).asked(update(&broken, &edited)).await;
    reply.is_allowed().warns_of("LK103", "spec.http[0]");
}

#[tokio::test]
async fn a_route_inserted_above_an_old_fault_passes() {
    let broken = routes(&[to_subset("gone")]);
    let longer = routes(&[to_lane("wicph"), to_subset("gone")]);
    let reply = Cluster::new().and(&broken).asked(update(&broken, &longer)).await;
    reply.is_allowed().warns_of("LK103", "spec.http[1]");
}

#[tokio::test]
async fn two_equal_faults_where_there_was_one_are_one_too_many() {
    let broken = routes(&[to_subset("gone")]);
    let twice = routes(&[to_subset("gone"), to_subset("gone")]);
    let reply = Cluster::new().and(&broken).asked(update(&broken, &twice)).await;
    reply.is_denied_for(&["LK103"]);
    assert_eq!(reply.causes(), ["spec.http[1].route[0].destination.subset"]);
}

#[tokio::test]
async fn a_fault_that_changes_into_another_is_a_new_one() {
    let broken = routes(&[to_subset("gone")]);
    let other = routes(&[to_subset("lost")]);
    let reply = Cluster::new().and(&broken).asked(update(&broken, &other)).await;
    reply.is_denied_for(&["LK103"]);
}

#[tokio::test]
async fn the_old_object_counts_and_not_the_copy_that_the_watch_has() {
    let (right, broken) = (routes(&[to_lane("wicph")]), routes(&[to_subset("gone")]));
    // The watch has not seen the fault yet that the API server has.
    let edited = with(&broken, "/metadata/labels", json!({"team": "blue"}));
    let reply = Cluster::new().and(&right).asked(update(&broken, &edited)).await;
    reply.is_allowed().warns_of("LK103", "spec.http[0]");
}

#[tokio::test]
async fn what_was_wrong_before_with_another_object_is_not_told() {
    let broken = routes(&[to_lane("wicph"), to_subset("gone")]);
    let labelled = with(&rule(&LANES), "/metadata/labels", json!({"team": "blue"}));
    let reply = Cluster::new()
        .and(&broken)
        .asked(update(&rule(&LANES), &labelled))
        .await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
}

// ---- What a change takes from others ----

#[tokio::test]
async fn the_last_carrier_is_not_scaled_to_zero_through_its_scale() {
    let reply = Cluster::new().asked(scale("portal-wicph", 2, 0)).await;
    reply
        .is_denied_for(&["LK101"])
        .says("DestinationRule cars/portal");
    assert_eq!(reply.causes(), ["spec.subsets[1].labels"]);
    assert_eq!(reply.record().name, "portal-wicph");
}

#[tokio::test]
async fn the_last_carrier_is_not_scaled_to_zero_through_its_deployment() {
    let at_zero = with(&deployment("wicph"), "/spec/replicas", json!(0));
    let reply = Cluster::new().asked(update(&deployment("wicph"), &at_zero)).await;
    reply.is_denied_for(&["LK101"]);
}

#[tokio::test]
async fn scaling_that_leaves_a_carrier_passes() {
    Cluster::new()
        .asked(scale("portal-wicph", 2, 1))
        .await
        .is_allowed();
    let second = with(&deployment("wicph"), "/metadata/name", json!("portal-wicph-2"));
    let cluster = Cluster::new().and(&second);
    cluster.asked(scale("portal-wicph", 2, 0)).await.is_allowed();
}

#[tokio::test]
async fn an_autoscaler_that_scales_to_zero_is_warned() {
    let by_scaler =
        scale("portal-wicph", 2, 0).by("system:serviceaccount:kube-system:horizontal-pod-autoscaler");
    let reply = Cluster::new().asked(by_scaler).await;
    reply.is_allowed().warns_of("LK101", "wicph");
}

#[tokio::test]
async fn the_scale_of_a_workload_that_is_not_known_yet_passes_with_a_word() {
    let reply = Cluster::new().asked(scale("portal-new", 2, 0)).await;
    reply
        .is_allowed()
        .warns("Deployment cars/portal-new was not judged");
}

#[tokio::test]
async fn living_pods_do_not_hide_that_their_workload_is_relabelled() {
    let cluster = Cluster::new().and(&replica_set("wicph")).and(&pod("wicph"));
    let relabelled = with(
        &deployment("wicph"),
        "/spec/template/metadata/labels/version",
        json!("wicphx"),
    );
    let reply = cluster.asked(update(&deployment("wicph"), &relabelled)).await;
    reply
        .is_denied_for(&["LK101", "LK601"])
        .says("did you mean `wicph`?");
}

#[tokio::test]
async fn a_rule_does_not_lose_a_subset_that_routes_use() {
    let reply = Cluster::new()
        .asked(update(&rule(&LANES), &rule(&["wtchk"])))
        .await;
    reply.is_denied_for(&["LK103"]).says("VirtualService cars/portal");
    let unrouted = Cluster::new().and(&routes(&[to_lane("wtchk")]));
    unrouted
        .asked(update(&rule(&LANES), &rule(&["wtchk"])))
        .await
        .is_allowed();
}

#[tokio::test]
async fn a_rule_that_comes_in_two_parts_is_not_refused_for_what_the_other_part_brings() {
    let part = |lane: &str| with(&rule(&[lane]), "/metadata/name", json!(format!("portal-{lane}")));
    let bare = Cluster::new()
        .and(&fallback_group())
        .without(Kind::DestinationRule, "portal");
    let reply = bare.asked(create(&part("wtchk"))).await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
    // What the other part defines is not given up.
    let whole = bare.and(&part("wtchk")).and(&part("wicph"));
    let renamed = with(&part("wicph"), "/spec/subsets/0/name", json!("portal-new"));
    whole
        .asked(update(&part("wicph"), &renamed))
        .await
        .is_denied_for(&["LK103"]);
}

#[tokio::test]
async fn a_service_does_not_lose_a_port_that_routes_use() {
    let to_port = with(
        &to_lane("wicph"),
        "/route/0/destination/port",
        json!({"number": 8080}),
    );
    let cluster = Cluster::new().and(&routes(&[to_port]));
    let moved = with(&service(), "/spec/ports/0/port", json!(8181));
    cluster
        .asked(update(&service(), &moved))
        .await
        .is_denied_for(&["LK105"]);
}

// ---- Services, carriers and rules ----

/// The rule for the portal, of the day and with other keys of its spec.
fn dated(name: &str, day: u8, lanes: &[&str], keys: &Value) -> Value {
    let mut rule = rule(lanes);
    rule["metadata"]["name"] = json!(name);
    rule["metadata"]["creationTimestamp"] = json!(format!("2026-11-{day:02}T00:00:00Z"));
    for (key, value) in keys.as_object().unwrap() {
        rule["spec"][key] = value.clone();
    }
    rule
}

#[tokio::test]
async fn a_rule_that_replaces_another_and_lacks_what_is_routed_is_refused() {
    let old = dated("portal", 1, &LANES, &json!({}));
    let replaces = dated("portal-tls", 2, &[], &json!({"exportTo": ["*"]}));
    let reply = Cluster::new().and(&old).asked(create(&replaces)).await;
    reply.is_denied_for(&["LK103", "LK108"]);
    let merges = dated("portal-tls", 2, &[], &json!({}));
    Cluster::new().and(&old).asked(create(&merges)).await.is_allowed();
}

#[tokio::test]
async fn a_rule_for_some_workloads_that_lacks_what_is_routed_is_refused_where_they_run() {
    let selector = json!({"workloadSelector": {"matchLabels": {"app": "front"}}});
    let for_some = dated("portal-front", 2, &["wtchk"], &selector);
    let old = dated("portal", 1, &LANES, &json!({}));
    let cluster = Cluster::new().and(&old);
    cluster.asked(create(&for_some)).await.is_allowed();
    let mut front = with(&deployment("wicph"), "/metadata/name", json!("front"));
    front["spec"]["template"]["metadata"]["labels"] = json!({"app": "front"});
    let reply = Cluster::new()
        .and(&old)
        .and(&front)
        .asked(create(&for_some))
        .await;
    reply.is_denied_for(&["LK108"]).says("app=front");
}

#[tokio::test]
async fn a_lane_does_not_lose_the_port_that_the_service_names() {
    let named = |lane: &str, port: &str| {
        let mut deployment = deployment(lane);
        let ports = json!([{"name": port, "containerPort": 8080}]);
        deployment["spec"]["template"]["spec"] = json!({"containers": [{"name": "app", "ports": ports}]});
        deployment
    };
    let by_name = with(&service(), "/spec/ports/0/targetPort", json!("web"));
    let cluster = || {
        let lanes = LANES
            .iter()
            .fold(Cluster::new(), |cluster, lane| cluster.and(&named(lane, "web")));
        lanes.and(&by_name)
    };
    let renamed = update(&named("wicph", "web"), &named("wicph", "http"));
    let reply = cluster().asked(renamed).await;
    reply.is_denied_for(&["LK109"]).says("Service cars/portal");
    // An applier of sets may bring the Service next.
    let by_helm = update(&named("wicph", "web"), &named("wicph", "http")).by("helm");
    cluster().asked(by_helm).await.is_allowed();
}

#[tokio::test]
async fn what_serves_a_host_outside_is_not_taken_from_a_routed_subset() {
    let entry = |version: &str| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"namespace": "cars", "name": "pay"},
            "spec": {"hosts": ["pay.example.com"], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
                "resolution": "STATIC", "endpoints": [{"address": "192.0.2.1", "labels": {"version": version}}]}})
    };
    let mut rule = rule(&["wicph"]);
    rule["metadata"]["name"] = json!("pay");
    rule["spec"]["host"] = json!("pay.example.com");
    let mut routes =
        routes(&[json!({"route": [{"destination": {"host": "pay.example.com", "subset": "portal-wicph"}}]})]);
    routes["metadata"]["name"] = json!("pay");
    routes["spec"]["hosts"] = json!(["pay.example.com"]);
    let cluster = Cluster::new().and(&entry("wicph")).and(&rule).and(&routes);
    let reply = cluster.asked(update(&entry("wicph"), &entry("blue"))).await;
    reply.is_denied_for(&["LK101"]).says("ServiceEntry cars/pay");
}

#[tokio::test]
async fn a_workload_outside_is_not_taken_from_a_routed_subset() {
    let networking = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": kind,
            "metadata": {"namespace": "cars", "name": name}, "spec": spec})
    };
    let host = "pay.example.com";
    let entry = json!({"hosts": [host], "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC", "workloadSelector": {"labels": {"app": "pay"}}});
    let subset = json!({"name": "wicph", "labels": {"version": "wicph"}});
    let route = json!({"route": [{"destination": {"host": host, "subset": "wicph"}}]});
    let workload = |version: &str| {
        let labels = json!({"app": "pay", "version": version});
        networking(
            "WorkloadEntry",
            "pay-vm",
            json!({"address": "192.0.2.1", "labels": labels}),
        )
    };
    let cluster = Cluster::new()
        .and(&networking("ServiceEntry", "pay", entry))
        .and(&networking(
            "DestinationRule",
            "pay",
            json!({"host": host, "subsets": [subset]}),
        ))
        .and(&networking(
            "VirtualService",
            "pay",
            json!({"hosts": [host], "http": [route]}),
        ))
        .and(&workload("wicph"));
    let reply = cluster.asked(update(&workload("wicph"), &workload("blue"))).await;
    reply.is_denied_for(&["LK101"]).says("DestinationRule cars/pay");
}

#[tokio::test]
async fn a_subset_that_is_routed_through_an_alias_is_not_dropped() {
    let alias = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "cars", "name": "old"},
        "spec": {"type": "ExternalName", "externalName": "portal.cars.svc.cluster.local",
            "ports": [{"name": "http", "port": 8080}]}});
    let mut routes =
        routes(&[json!({"route": [{"destination": {"host": "old", "subset": "portal-wicph"}}]})]);
    routes["metadata"]["name"] = json!("old");
    routes["spec"]["hosts"] = json!(["old"]);
    let cluster = Cluster::new().and(&alias).and(&routes);
    let cluster = cluster.and(&self::routes(&[to_lane("wtchk")]));
    let reply = cluster.asked(update(&rule(&LANES), &rule(&["wtchk"]))).await;
    reply.is_denied_for(&["LK103"]).says("VirtualService cars/old");
}

// ---- Taking things down ----

#[tokio::test]
async fn deleting_the_last_carrier_warns_where_it_is_enforced_and_is_refused_where_it_is_protected() {
    let cluster = Cluster::new();
    let reply = cluster.asked(delete(&deployment("wicph"))).await;
    reply.is_allowed().warns_of("LK101", "wicph");
    let reply = cluster
        .asked(delete(&deployment("wicph")).at(Mode::Protect))
        .await;
    reply.is_denied_for(&["LK101"]);
}

#[tokio::test]
async fn pods_that_go_with_their_workload_do_not_hide_its_deletion_and_orphans_stay() {
    let cluster = Cluster::new().and(&replica_set("wicph")).and(&pod("wicph"));
    let deletion = || delete(&deployment("wicph")).at(Mode::Protect);
    cluster.asked(deletion()).await.is_denied_for(&["LK101"]);
    for policy in ["Background", "Foreground"] {
        let reply = cluster
            .asked(deletion().option("propagationPolicy", policy))
            .await;
        reply.is_denied_for(&["LK101"]);
    }
    let orphaning = [
        deletion().option("propagationPolicy", "Orphan"),
        deletion().option("orphanDependents", true),
    ];
    for deletion in orphaning {
        cluster.asked(deletion).await.is_allowed();
    }
}

#[tokio::test]
async fn a_deletecollection_names_its_object_by_the_old_one_alone() {
    let nameless = delete(&deployment("wicph"))
        .at(Mode::Protect)
        .without("name")
        .without("namespace");
    let reply = Cluster::new().asked(nameless).await;
    reply.is_denied_for(&["LK101"]);
    let record = reply.record();
    assert_eq!(
        (record.namespace.as_str(), record.name.as_str()),
        ("cars", "portal-wicph")
    );
}

#[tokio::test]
async fn an_object_that_is_being_deleted_always_passes() {
    let deleting = with(
        &routes(&[to_subset("gone")]),
        "/metadata/deletionTimestamp",
        json!("2026-11-01T00:00:00Z"),
    );
    let reply = Cluster::new()
        .asked(update(&routes(&[to_lane("wicph")]), &deleting).at(Mode::Protect))
        .await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
}

#[tokio::test]
async fn a_workload_that_is_being_deleted_carries_nothing() {
    let deleting = with(
        &deployment("wicph"),
        "/metadata/deletionTimestamp",
        json!("2026-11-01T00:00:00Z"),
    );
    let unrouted = routes(&[to_lane("wtchk")]);
    let cluster = Cluster::new().and(&deleting).and(&unrouted);
    let reply = cluster.asked(create(&rule(&LANES))).await;
    reply.is_denied_for(&["LK101"]);
}

// ---- What the request lacks ----

#[tokio::test]
async fn an_object_whose_name_is_yet_to_be_generated_is_judged() {
    let mut nameless = routes(&[to_subset("gone")]);
    nameless["metadata"] = json!({"generateName": "portal-", "namespace": "cars"});
    let reply = Cluster::new().asked(create(&nameless)).await;
    reply
        .is_denied_for(&["LK103"])
        .says("VirtualService cars/portal-…");
}

#[tokio::test]
async fn without_a_readable_old_object_nothing_is_refused() {
    let broken = routes(&[to_subset("gone")]);
    let right = routes(&[to_lane("wicph")]);
    let cluster = Cluster::new();
    let reply = cluster.asked(update(&right, &broken).without("oldObject")).await;
    reply.is_allowed().warns("no oldObject");
    let malformed = with(&right, "/spec/http", json!("none"));
    let reply = cluster.asked(update(&malformed, &broken)).await;
    reply
        .is_allowed()
        .warns("its old state cannot be read: spec.http");
    let reply = cluster
        .asked(
            delete(&deployment("wicph"))
                .at(Mode::Protect)
                .without("oldObject"),
        )
        .await;
    reply.is_allowed().warns("no oldObject");
}

#[tokio::test]
async fn an_object_of_the_wrong_shape_is_invalid_and_its_field_is_named() {
    let wrong = with(
        &routes(&[to_lane("wicph")]),
        "/spec/http/0/route/0/destination/port",
        json!({"number": "8080"}),
    );
    let cluster = Cluster::new();
    let reply = cluster.asked(create(&wrong)).await;
    assert_eq!(reply.status("code"), 422);
    assert_eq!(reply.status("reason"), "Invalid");
    assert_eq!(reply.causes(), ["spec.http[0].route[0].destination.port.number"]);
    let reply = cluster.asked(create(&wrong).at(Mode::Warn)).await;
    reply.is_allowed().warns("was not judged: spec.http[0]");
}

#[tokio::test]
async fn what_is_no_review_is_no_answer_but_an_error() {
    for (body, why) in [
        ("{", "EOF"),
        ("[]", "AdmissionReview"),
        ("{}", "apiVersion ``"),
        (
            r#"{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}"#,
            "no request",
        ),
    ] {
        let answer = Judge::validate(&*Cluster::new().engine(), Mode::Enforce, body.into(), None).await;
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.record.is_none());
        let error = String::from_utf8(answer.body).unwrap();
        assert!(error.contains(why), "{error}");
    }
}

#[tokio::test]
async fn kinds_and_sub_resources_that_are_not_judged_pass() {
    let cluster = Cluster::new();
    let pod = create(&pod("wicph"));
    assert_eq!(cluster.asked(pod).await.is_allowed().warnings(), [""; 0]);
    let secret = create(&routes(&[to_subset("gone")])).of("", "secrets");
    cluster.asked(secret).await.is_allowed();
    let broken = routes(&[to_subset("gone")]);
    let status = update(&routes(&[to_lane("wicph")]), &broken).on("status");
    cluster.asked(status).await.is_allowed();
    let connect = create(&broken).saying("operation", "CONNECT");
    cluster.asked(connect).await.is_allowed();
}

// ---- Who asks, and how ----

#[tokio::test]
async fn in_a_set_what_is_only_missing_may_be_on_its_way_and_what_is_contradicted_is_refused() {
    let cluster = Cluster::new();
    let missing = create(&routes(&[to_subset("canary")]));
    let near = create(&routes(&[to_subset("portal-wicpd")]));
    let in_a_set: [fn(Review) -> Review; 4] = [
        |review| review.saying("dryRun", true),
        |review| review.by("system:serviceaccount:flux-system:kustomize-controller"),
        |review| review.option("fieldManager", "argocd-controller"),
        |review| review.option("fieldManager", "helm"),
    ];
    for how in in_a_set {
        let reply = cluster.asked(how(missing.clone())).await;
        reply.is_allowed().warns_of("LK103", "spec.http[0]");
        let reply = cluster.asked(how(near.clone())).await;
        reply
            .is_denied_for(&["LK103"])
            .says("did you mean `portal-wicph`?");
    }
    cluster.asked(missing).await.is_denied_for(&["LK103"]);
}

#[tokio::test]
async fn who_sets_objects_can_be_configured() {
    let mut cluster = Cluster::new();
    cluster.settings.set_appliers = BTreeSet::from(["deployer".to_owned()]);
    let missing = create(&routes(&[to_subset("canary")]));
    cluster.asked(missing.clone().by("deployer")).await.is_allowed();
    let by_helm = missing.option("fieldManager", "helm");
    cluster.asked(by_helm).await.is_denied_for(&["LK103"]);
}

#[tokio::test]
async fn a_namespace_that_only_warns_refuses_nothing() {
    let reply = Cluster::new()
        .asked(create(&routes(&[to_subset("gone")])).at(Mode::Warn))
        .await;
    reply.is_allowed().warns_of("LK103", "spec.http[0]");
}

// ---- What is allowed by name ----

#[tokio::test]
async fn an_annotation_on_the_requested_object_allows_a_finding_and_its_reason_is_kept() {
    let allowed = annotated(
        &routes(&[to_subset("gone")]),
        &[
            ("lanekeeper.dev/allow", "LK103"),
            ("lanekeeper.dev/allow-reason", "moved by hand"),
        ],
    );
    let reply = Cluster::new()
        .and(&fallback_group())
        .asked(create(&allowed))
        .await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
    assert_eq!(reply.record().allow_reason.as_deref(), Some("moved by hand"));
    let for_another = annotated(
        &routes(&[to_subset("gone")]),
        &[("lanekeeper.dev/allow", "LK101")],
    );
    let reply = Cluster::new().asked(create(&for_another)).await;
    reply.is_denied_for(&["LK103"]);
    assert_eq!(reply.record().allow_reason, None);
}

#[tokio::test]
async fn an_annotation_on_the_old_object_allows_its_deletion() {
    let allowed = annotated(&deployment("wicph"), &[("lanekeeper.dev/allow", "LK101")]);
    let reply = Cluster::new()
        .and(&allowed)
        .asked(delete(&allowed).at(Mode::Protect))
        .await;
    reply.is_allowed();
    assert_eq!(reply.record().allow_reason.as_deref(), Some("no reason given"));
}

#[tokio::test]
async fn an_annotation_on_the_object_that_breaks_allows_it_too() {
    let allowing = annotated(
        &routes(&[to_lane("wtchk"), to_lane("wicph")]),
        &[
            ("lanekeeper.dev/allow", "LK103, LK105"),
            ("lanekeeper.dev/allow-reason", "on its way out"),
        ],
    );
    let reply = Cluster::new()
        .and(&allowing)
        .asked(update(&rule(&LANES), &rule(&["wtchk"])))
        .await;
    reply.is_allowed();
    assert_eq!(reply.record().allow_reason.as_deref(), Some("on its way out"));
}

#[tokio::test]
async fn a_finding_in_a_namespace_that_does_not_enforce_warns() {
    let mut abroad = routes(&[to_lane("wicph")]);
    abroad["metadata"]["namespace"] = json!("shop");
    abroad["spec"]["hosts"] = json!(["portal.cars.svc.cluster.local"]);
    abroad["spec"]["http"][0]["route"][0]["destination"]["host"] = json!("portal.cars.svc.cluster.local");
    let cluster = Cluster::new().and(&routes(&[to_lane("wtchk")])).and(&abroad);
    let loss = update(&rule(&LANES), &rule(&["wtchk"]));
    for (label, is_allowed) in [(None, true), (Some("warn"), true), (Some("enforce"), false)] {
        let cluster = cluster.clone().and(&namespace("shop", label));
        let reply = cluster.asked(loss.clone()).await;
        assert_eq!(
            reply.body["response"]["allowed"], is_allowed,
            "{label:?}: {reply:?}"
        );
    }
    let reply = cluster.asked(loss).await;
    reply.is_allowed().warns_of("LK103", "VirtualService shop/portal");
}

// ---- Confirming ----

#[tokio::test]
async fn a_denial_that_fresh_reads_clear_is_none() {
    let stale = Cluster::new().and(&rule(&["wtchk"])).but_really(Cluster::new());
    let reply = stale
        .asked(create(&routes(&[to_lane("wicph"), to_subset("portal-wtchk")])))
        .await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
}

#[tokio::test]
async fn a_denial_that_fresh_reads_confirm_stands() {
    let confirmed = Cluster::new().and(&rule(&["wtchk"]));
    let confirmed = confirmed.clone().but_really(confirmed);
    let reply = confirmed.asked(create(&routes(&[to_lane("wicph")]))).await;
    reply.is_denied_for(&["LK103"]);
}

#[tokio::test]
async fn workloads_services_and_groups_that_the_watch_missed_are_found_afresh() {
    let canary = || {
        Cluster::new()
            .and(&deployment("gray"))
            .and(&lane_group(&["wtchk", "wicph", "gray"]))
            .and(&rule(&["wtchk", "wicph", "gray"]))
    };
    let to_gray = create(&routes(&[to_lane("wicph"), to_lane("gray")]));
    let missing_a_workload = canary().without(Kind::Deployment, "portal-gray");
    let missing_the_group = canary().and(&lane_group(&LANES));
    missing_the_group
        .asked(to_gray.clone())
        .await
        .is_denied_for(&["LK301"]);
    missing_the_group
        .but_really(canary())
        .asked(to_gray)
        .await
        .is_allowed();
    let three = update(&rule(&LANES), &rule(&["wtchk", "wicph", "gray"]));
    missing_a_workload
        .asked(three.clone())
        .await
        .is_denied_for(&["LK101"]);
    missing_a_workload
        .but_really(canary())
        .asked(three)
        .await
        .is_allowed();
}

#[tokio::test]
async fn a_rule_in_the_callers_namespace_that_the_watch_missed_is_found_afresh() {
    // Callers in shop have a rule of their own, which hides the service's.
    let mut own = rule(&LANES);
    own["metadata"]["namespace"] = json!("shop");
    own["spec"]["host"] = json!("portal.cars.svc.cluster.local");
    let mut abroad = routes(&[to_lane("wicph")]);
    abroad["metadata"]["namespace"] = json!("shop");
    abroad["spec"]["exportTo"] = json!(["."]);
    abroad["spec"]["http"][0]["route"][0]["destination"]["host"] = json!("portal.cars.svc.cluster.local");
    let real = Cluster::new()
        .and(&namespace("shop", Some("enforce")))
        .and(&rule(&["wtchk"]))
        .and(&own);
    let stale = real.clone().without(Kind::DestinationRule, "shop/portal");
    stale.asked(create(&abroad)).await.is_denied_for(&["LK103"]);
    stale.but_really(real).asked(create(&abroad)).await.is_allowed();
}

#[tokio::test]
async fn routes_of_other_namespaces_and_service_entries_are_read_afresh_too() {
    let mut abroad = routes(&[to_lane("wicph")]);
    abroad["metadata"]["namespace"] = json!("shop");
    abroad["spec"]["http"][0]["route"][0]["destination"]["host"] = json!("portal.cars.svc.cluster.local");
    let real = Cluster::new()
        .and(&routes(&[to_lane("wtchk")]))
        .without(Kind::LaneGroup, "cars");
    let stale = real.clone().and(&abroad);
    // The route that used the subset is gone, and the watch has not told yet.
    let last = scale("portal-wicph", 2, 0);
    stale.asked(last.clone()).await.is_denied_for(&["LK101"]);
    stale.but_really(real).asked(last).await.is_allowed();

    let entry = |ports: &Value| {
        json!({"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
            "metadata": {"namespace": "shop", "name": "pay"}, "spec": {"hosts": ["pay.example.com"], "ports": ports}})
    };
    let stale = Cluster::new().and(&entry(&json!([{"number": 80}])));
    let real = Cluster::new().and(&entry(&json!([{"number": 80}, {"number": 443}])));
    let to_pay = json!({"route": [{"destination": {"host": "pay.example.com", "port": {"number": 443}}}]});
    let pays = create(&routes(&[to_pay]));
    stale.asked(pays.clone()).await.is_denied_for(&["LK105"]);
    stale.but_really(real).asked(pays).await.is_allowed();
}

#[tokio::test]
async fn pods_and_workloads_of_before_do_not_outlive_a_fresh_read() {
    // The watch still has the Deployment and its pod, and neither is there any more.
    let stale = Cluster::new().and(&replica_set("wicph")).and(&pod("wicph"));
    let real = Cluster::new()
        .without(Kind::Deployment, "portal-wicph")
        .and(&deployment("wicpd"));
    let near = with(
        &rule(&["wtchk"]),
        "/spec/subsets/0/labels/version",
        json!("wtchd"),
    );
    let reply = stale.but_really(real).asked(create(&near)).await;
    // The routes to `wicph` had no subset before either.
    reply.is_denied_for(&["LK101"]);
    let message = reply.status("message").to_string();
    assert!(
        message.contains("version=wicpd") && !message.contains("version=wicph"),
        "{message}"
    );
}

#[tokio::test]
async fn what_a_fresh_read_breaks_is_confirmed_too() {
    // The index lacks the subset; really it is there, and nobody carries its label.
    let cluster = Cluster::new().but_really(Cluster::new().and(&rule(&["wtchk", "wicph", "gone"])));
    let reply = cluster.asked(create(&routes(&[to_subset("portal-gone")]))).await;
    reply.is_denied_for(&["LK101"]);
    let asked = cluster.asked_afresh();
    assert_eq!(asked.len(), 2, "{asked:?}");
    // What was read before is read again: it belongs together.
    assert!(asked[0].iter().all(|read| asked[1].contains(read)), "{asked:?}");
}

#[tokio::test]
async fn what_a_rule_would_refuse_for_next_is_read_afresh_too() {
    // Callers in two namespaces have rules of their own, which hide the new one; both are gone, and the watch has not told.
    let in_namespace = |object: &Value, namespace: &str| {
        let object = with(object, "/metadata/namespace", json!(namespace));
        let text = object.to_string();
        let full = r#""host":"portal.cars.svc.cluster.local""#;
        serde_json::from_str::<Value>(&text.replace(r#""host":"portal""#, full)).unwrap()
    };
    let abroad = with(&routes(&[to_lane("wicph")]), "/spec/exportTo", json!(["."]));
    let mut real = Cluster::new().without(Kind::DestinationRule, "portal");
    let mut stale = real.clone();
    for name in ["shop", "bank"] {
        real = real.and(&namespace(name, None)).and(&in_namespace(&abroad, name));
        stale = stale
            .and(&namespace(name, None))
            .and(&in_namespace(&abroad, name));
        stale = stale.and(&in_namespace(&rule(&["wtchk"]), name));
    }
    let new = create(&rule(&LANES));
    stale.asked(new.clone()).await.is_denied_for(&["LK108"]);
    stale.but_really(real).asked(new).await.is_allowed();
}

#[tokio::test]
async fn what_fails_in_a_later_round_is_told_as_it_is_known_then() {
    let mut cluster = Cluster::new().but_really(Cluster::new().and(&rule(&["wtchk", "wicph", "gone"])));
    if let Some(Fresh::Really { fails_after, .. }) = &mut cluster.fresh {
        *fails_after = 1;
    }
    let reply = cluster.asked(create(&routes(&[to_subset("portal-gone")]))).await;
    reply.is_allowed().warns("could not read the cluster afresh");
    reply.warns_of("LK101", "spec.subsets[2]");
    assert!(!reply.warnings().iter().any(|warning| warning.contains("LK103")));
}

#[tokio::test]
async fn only_what_the_refusing_rules_rest_on_is_read() {
    let lists = async |broken: Review| {
        let cluster = Cluster::new().but_really(Cluster::new());
        assert_eq!(cluster.asked(broken).await.body["response"]["allowed"], false);
        let [asked] = &cluster.asked_afresh()[..] else {
            panic!("asked more than once")
        };
        asked.iter().map(Read::kind).collect::<Vec<_>>()
    };
    let asked = lists(create(&routes(&[to_subset("gone")]))).await;
    assert!(
        asked.contains(&Kind::DestinationRule) && !asked.contains(&Kind::ServiceEntry),
        "{asked:?}"
    );
    // Which routes lose what they lead to is for the API server to say.
    let asked = lists(update(&rule(&LANES), &rule(&["wtchk"]))).await;
    assert!(asked.contains(&Kind::VirtualService), "{asked:?}");
}

#[tokio::test]
async fn where_nothing_can_be_read_afresh_nothing_is_refused() {
    let mut cluster = Cluster::new();
    cluster.fresh = Some(Fresh::Failing);
    let reply = cluster.asked(create(&routes(&[to_subset("gone")]))).await;
    reply
        .is_allowed()
        .warns("could not read the cluster afresh (the API server is away)");
    reply.warns_of("LK103", "spec.http[0]");
    assert!(reply.record().codes.is_empty());
}

#[tokio::test]
async fn where_reading_afresh_takes_too_long_nothing_is_refused() {
    let mut cluster = Cluster::new();
    cluster.fresh = Some(Fresh::Hanging);
    let broken = create(&routes(&[to_subset("gone")])).within(Duration::from_millis(50));
    let reply = cluster.asked(broken).await;
    reply.is_allowed().warns("no answer within");
}

#[tokio::test]
async fn what_is_allowed_reads_nothing() {
    let mut cluster = Cluster::new();
    cluster.fresh = Some(Fresh::Failing);
    let reply = cluster
        .asked(create(&routes(&[to_lane("wicph"), to_subset("portal-wtchk")])))
        .await;
    assert_eq!(reply.is_allowed().warnings(), [""; 0]);
}

#[tokio::test]
async fn what_comes_of_reading_afresh_is_counted() {
    let broken = || create(&routes(&[to_subset("gone")]));
    let counted = async |cluster: Cluster, review: Review| {
        let engine = cluster.engine();
        Judge::validate(&*engine, review.mode, review.body(), review.within).await;
        let count = |outcome| engine.confirmations().of(outcome);
        [Outcome::Upheld, Outcome::Lifted, Outcome::Failed].map(count)
    };
    let upheld = Cluster::new().but_really(Cluster::new());
    assert_eq!(counted(upheld, broken()).await, [1, 0, 0]);
    let gone = rule(&["wtchk", "wicph", "gone"]);
    let behind = Cluster::new().but_really(Cluster::new().and(&gone).and(&deployment("gone")));
    let to_new = create(&routes(&[to_subset("portal-gone")]));
    assert_eq!(counted(behind, to_new).await, [0, 1, 0]);
    let mut away = Cluster::new();
    away.fresh = Some(Fresh::Failing);
    assert_eq!(counted(away.clone(), broken()).await, [0, 0, 1]);
    // What passes is not read again.
    assert_eq!(
        counted(away, create(&routes(&[to_lane("wicph")]))).await,
        [0, 0, 0]
    );
}

// ---- The answer ----

#[tokio::test]
async fn a_denial_says_what_the_api_server_shows_and_a_program_reads() {
    let reply = Cluster::new()
        .asked(create(&routes(&[to_subset("gone"), to_subset("lost")])))
        .await;
    assert_eq!(reply.body["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(reply.body["kind"], "AdmissionReview");
    assert_eq!(reply.body["response"]["uid"], "7f");
    assert_eq!(reply.status("status"), "Failure");
    assert_eq!(reply.status("code"), 403);
    assert_eq!(reply.status("reason"), "Forbidden");
    let message = reply.status("message");
    let lines: Vec<_> = message.as_str().unwrap().lines().collect();
    assert_eq!(lines.len(), 2);
    for line in lines {
        assert!(
            line.starts_with("[LK103 unknown-subset] VirtualService cars/portal spec.http["),
            "{line}"
        );
    }
    assert_eq!(
        reply.causes(),
        [
            "spec.http[0].route[0].destination.subset",
            "spec.http[1].route[0].destination.subset"
        ]
    );
    let details = &reply.body["response"]["status"]["details"];
    assert_eq!(details["kind"], "VirtualService");
    assert_eq!(details["group"], "networking.istio.io");
    assert_eq!(details["name"], "portal");
    let annotations = &reply.body["response"]["auditAnnotations"];
    assert_eq!(annotations["codes"], "LK103");
    assert_eq!(annotations["mode"], "enforce");
    assert_eq!(annotations["decision"], reply.record().decision.as_str());
    let record = reply.record();
    assert_eq!(
        (record.operation.as_str(), record.kind.as_str()),
        ("CREATE", "VirtualService")
    );
    assert!(!record.allowed && record.codes == ["LK103"]);
}

#[tokio::test]
async fn replicas_that_start_at_once_give_no_id_twice() {
    let world = Arc::new(RwLock::new(World::new(world::Settings::default())));
    let engines: Vec<_> = (0..100)
        .map(|_| Engine::new(Arc::clone(&world), Settings::default()))
        .collect();
    let mut ids = BTreeSet::new();
    for engine in &engines {
        let body = create(&routes(&[to_lane("wicph")])).body();
        let answer = Judge::validate(engine, Mode::Enforce, body, None).await;
        ids.insert(answer.record.unwrap().decision);
    }
    assert_eq!(ids.len(), engines.len(), "{ids:?}");
}

#[tokio::test]
async fn warnings_are_no_longer_than_what_the_api_server_takes() {
    let long = "x".repeat(300);
    let reply = Cluster::new()
        .and(&fallback_group())
        .asked(create(&routes(&[to_subset(&long), to_subset("gone")])).at(Mode::Warn))
        .await;
    let warnings = reply.is_allowed().warnings();
    // Two unknown subsets, and the second route is never reached.
    assert_eq!(warnings.len(), 3);
    assert!(
        warnings.iter().all(|warning| warning.chars().count() <= 256),
        "{warnings:?}"
    );
    assert!(warnings[0].starts_with("[LK103] VirtualService cars/portal spec.http[0]"));
}

#[tokio::test]
async fn a_gateway_route_gets_the_lane_header_by_a_patch_and_only_once() {
    let entering = gateway_routes();
    let cluster = Cluster::new().and(&gateway());
    let reply = cluster.asked_to_mutate(create(&entering)).await;
    reply
        .is_allowed()
        .warns("spec.http[0].headers.request.set: {bu: wicph}");
    assert_eq!(reply.body["response"]["patchType"], "JSONPatch");
    let mut patched = entering.clone();
    json_patch::patch(&mut patched, &reply.patch()).unwrap();
    let set = patched.pointer("/spec/http/0/headers/request/set");
    assert_eq!(set, Some(&json!({"bu": "wicph"})));
    assert_eq!(
        reply.record().patch,
        Some(serde_json::to_value(reply.patch()).unwrap())
    );

    let again = cluster.asked_to_mutate(create(&patched)).await;
    assert_eq!(again.is_allowed().warnings(), [""; 0]);
    assert_eq!(again.body["response"]["patch"], Value::Null);
    cluster.asked(create(&entering)).await.is_denied_for(&["LK401"]);
    cluster.asked(create(&patched)).await.is_allowed();
}

#[tokio::test]
async fn a_namespace_that_only_warns_is_told_the_lines_and_not_patched() {
    let cluster = Cluster::new().and(&gateway());
    let reply = cluster
        .asked_to_mutate(create(&gateway_routes()).at(Mode::Warn))
        .await;
    reply
        .is_allowed()
        .warns("add spec.http[0].headers.request.set: {bu: wicph}");
    assert_eq!(reply.body["response"]["patch"], Value::Null);
}

#[tokio::test]
async fn what_argo_cd_tracks_is_not_patched_and_the_denial_has_the_lines_to_add() {
    let cluster = Cluster::new().and(&gateway());
    let labelled = |key: &str| with(&gateway_routes(), "/metadata/labels", json!({key: "cars"}));
    let tracked = [
        create(&labelled("argocd.argoproj.io/instance")),
        create(&annotated(
            &gateway_routes(),
            &[("argocd.argoproj.io/tracking-id", "cars:x")],
        )),
        // The older label is on what Helm installs too: it counts where Argo CD itself sends the object.
        create(&labelled("app.kubernetes.io/instance")).option("fieldManager", "argocd-controller"),
        create(&labelled("app.kubernetes.io/instance"))
            .by("system:serviceaccount:argocd:argocd-application-controller"),
    ];
    let line = "add spec.http[0].headers.request.set: {bu: wicph}";
    for review in tracked {
        let reply = cluster.asked_to_mutate(review.clone()).await;
        reply.is_allowed().warns(line);
        assert_eq!(reply.body["response"]["patch"], Value::Null);
        cluster
            .asked(review)
            .await
            .is_denied_for(&["LK401"])
            .says("add `spec.http[0].headers.request.set: {bu: wicph}`");
    }
    let by_helm = create(&labelled("app.kubernetes.io/instance"));
    let reply = cluster.asked_to_mutate(by_helm).await;
    assert!(!reply.patch().is_empty());
}

// ---- Delegates ----

/// The gateway's routes with `headers`, of which the `VirtualService` `portal-entry` has the route itself.
fn delegating(request: &Value) -> Value {
    let route = json!({"match": [{"headers": {"buid": {"exact": "wicph"}}}], "headers": {"request": request},
        "delegate": {"name": "portal-entry"}});
    with(&gateway_routes(), "/spec/http", json!([route]))
}

/// A delegate with one route to a lane.
fn delegate(lane: &str) -> Value {
    let mut delegate = routes(&[json!({"route": to_lane(lane)["route"]})]);
    delegate["metadata"]["name"] = json!("portal-entry");
    delegate["spec"].as_object_mut().unwrap().remove("hosts");
    delegate
}

#[tokio::test]
async fn what_a_delegates_change_breaks_of_the_route_that_delegates_is_told_there() {
    let root = delegating(&json!({"set": {"bu": "wicph"}}));
    let cluster = Cluster::new().and(&gateway()).and(&root).and(&delegate("wicph"));
    let other = cluster
        .asked(update(&delegate("wicph"), &delegate("wtchk")))
        .await;
    other
        .is_denied_for(&["LK403"])
        .says("VirtualService cars/entry spec.http[0].headers.request.set.bu");
    // And so it is where the lane behind it changes under both.
    let mut relabelled = rule(&LANES);
    relabelled["spec"]["subsets"][1]["labels"]["version"] = json!("wtchk");
    let reply = cluster.asked(update(&rule(&LANES), &relabelled)).await;
    assert_eq!(reply.status("code"), 403);
    reply.says("[LK403 wrong-rewrite] VirtualService cars/entry spec.http[0].headers.request.set.bu");
}

#[tokio::test]
async fn what_a_change_of_the_route_that_delegates_breaks_is_told_of_its_delegate() {
    let root = delegating(&json!({"set": {"bu": "wicph"}}));
    let cluster = Cluster::new().and(&gateway()).and(&root).and(&delegate("wicph"));
    let without = delegating(&json!({"set": {"x-by": "edge"}}));
    let reply = cluster.asked(update(&root, &without)).await;
    reply
        .is_denied_for(&["LK401"])
        .says("VirtualService cars/portal-entry spec.http[0].route[0].headers.request.set");
    // The delegate may be on its way in the same set.
    let by_helm = update(&root, &without).option("fieldManager", "helm");
    cluster
        .asked(by_helm)
        .await
        .is_allowed()
        .warns_of("LK401", "cars/portal-entry");
}

#[tokio::test]
async fn a_second_entry_header_of_an_implied_group_is_told_of_its_plugin() {
    let plugin = json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin",
        "metadata": {"namespace": "cars", "name": "lanes"},
        "spec": {"selector": {"matchLabels": {"app": "portal"}},
            "pluginConfig": {"lane_header": "bu", "traffic_lane": "wtchk"}}});
    let setting = with(
        &gateway_routes(),
        "/spec/http/0/headers",
        json!({"request": {"set": {"bu": "wicph"}}}),
    );
    let mut second = setting.clone();
    second["metadata"]["name"] = json!("second");
    second["spec"]["hosts"] = json!(["second.example.com"]);
    second["spec"]["http"][0]["match"] = json!([{"headers": {"x-lane": {"exact": "wicph"}}}]);
    let cluster = Cluster::new().without(Kind::LaneGroup, "cars").and(&plugin);
    let cluster = cluster.and(&gateway()).and(&setting);
    let reply = cluster.asked(create(&second)).await;
    reply.is_allowed().warns_of("LK401", "WasmPlugin cars/lanes");
    let again = cluster.and(&second).asked(update(&second, &second)).await;
    assert_eq!(again.is_allowed().warnings(), [""; 0]);
}

// ---- The cluster ----

const LANES: [&str; 2] = ["wtchk", "wicph"];

// ---- What a change takes from the routes of others ----

#[tokio::test]
async fn a_younger_virtual_service_for_a_host_that_is_claimed_is_refused_and_is_the_one_to_change() {
    let known = with(
        &routes(&[to_lane("wicph"), to_lane("wtchk")]),
        "/metadata/creationTimestamp",
        json!(OLD),
    );
    let second = with(
        &routes(&[to_lane("wicph")]),
        "/metadata/name",
        json!("portal-again"),
    );
    let reply = Cluster::new().and(&known).asked(create(&second)).await;
    reply
        .is_denied_for(&["LK107"])
        .says("VirtualService cars/portal-again");
}

#[tokio::test]
async fn a_change_by_which_another_is_ignored_is_refused_for_the_other() {
    let known = with(
        &routes(&[to_lane("wicph"), to_lane("wtchk")]),
        "/metadata/creationTimestamp",
        json!(YOUNG),
    );
    let elsewhere = with(
        &with(&known, "/metadata/name", json!("moved")),
        "/metadata/creationTimestamp",
        json!(OLD),
    );
    let elsewhere = with(&elsewhere, "/spec/hosts", json!(["other.example.com"]));
    let moved = with(&elsewhere, "/spec/hosts", json!(["portal"]));
    let moved = with(&moved, "/spec/http", json!([to_lane("wtchk")]));
    let reply = Cluster::new()
        .and(&known)
        .and(&elsewhere)
        .asked(update(&elsewhere, &moved))
        .await;
    reply
        .is_denied_for(&["LK107"])
        .says("VirtualService cars/portal spec.hosts[0]");
}

#[tokio::test]
async fn a_change_of_a_root_that_loses_its_delegates_lane_route_is_refused_for_the_delegate() {
    let under = |prefix: &str| {
        routes(&[
            json!({"match": [{"uri": {"prefix": prefix}}], "delegate": {"name": "api"}}),
            to_subset("portal-wtchk"),
        ])
    };
    let matched = json!({"uri": {"prefix": "/api/v2"}, "headers": {"bu": {"exact": "wicph"}}});
    let delegate = json!([{"match": [matched], "route": [{"destination": {"host": "portal", "subset": "portal-wicph"}}]}]);
    let delegate = with(
        &with(&routes(&[]), "/metadata/name", json!("api")),
        "/spec",
        json!({"http": delegate}),
    );
    let cluster = Cluster::new().and(&under("/api")).and(&delegate);
    let reply = cluster.asked(update(&under("/api"), &under("/web"))).await;
    reply
        .is_denied_for(&["LK305"])
        .says("VirtualService cars/api spec.http[0].match");
    let within = cluster.asked(update(&under("/api"), &under("/api/v2"))).await;
    assert_eq!(within.is_allowed().warnings(), [""; 0]);
}

#[tokio::test]
async fn a_route_at_a_gateway_that_takes_anothers_requests_is_refused_for_the_other() {
    let entry = with(
        &gateway_routes(),
        "/spec/http/0/headers",
        json!({"request": {"set": {"bu": "wicph"}}}),
    );
    let entry = with(&entry, "/metadata/creationTimestamp", json!(YOUNG));
    let all = |header: &str| {
        let match_ = json!([{"headers": {header: {"regex": ".+"}}}]);
        let http = json!([{"match": match_, "headers": {"request": {"set": {"bu": "wtchk"}}},
            "route": [{"destination": {"host": "portal", "subset": "portal-wtchk"}}]}]);
        let older = with(
            &with(&entry, "/metadata/name", json!("all")),
            "/metadata/creationTimestamp",
            json!(OLD),
        );
        with(&older, "/spec/http", http)
    };
    let cluster = Cluster::new().and(&gateway()).and(&entry).and(&all("x-other"));
    let reply = cluster.asked(update(&all("x-other"), &all("buid"))).await;
    reply
        .is_denied_for(&["LK305"])
        .says("VirtualService cars/entry spec.http[0].match[0]");
}

// ---- What a change means for the lanes ----

#[tokio::test]
async fn deleting_the_routes_that_keep_lanes_apart_warns_and_is_refused_where_it_is_protected() {
    let cluster = Cluster::new();
    let portal = routes(&[to_lane("wicph"), to_lane("wtchk")]);
    let reply = cluster.asked(delete(&portal)).await;
    reply.is_allowed().warns_of("LK308", "Service cars/portal");
    let reply = cluster.asked(delete(&portal).at(Mode::Protect)).await;
    reply.is_denied_for(&["LK308"]).says("Service cars/portal");
    // What was never kept apart is nobody's fault now.
    let entry = cluster
        .without(Kind::VirtualService, "portal")
        .and(&gateway())
        .and(&gateway_routes());
    let reply = entry.asked(delete(&gateway_routes()).at(Mode::Protect)).await;
    reply.is_allowed();
}

#[tokio::test]
async fn a_lane_that_a_group_gets_is_told_of_what_lacks_it() {
    let more = lane_group(&["wtchk", "wicph", "wivnm"]);
    let reply = Cluster::new().asked(update(&lane_group(&LANES), &more)).await;
    reply
        .is_allowed()
        .warns_of("LK304", "DestinationRule cars/portal");
}

#[tokio::test]
async fn the_first_workload_of_a_second_lane_is_told_of_the_routes_that_it_mixes() {
    let cluster = Cluster::new()
        .without(Kind::Deployment, "portal-wicph")
        .and(&routes(&[
            to_lane("wicph"),
            json!({"route": [{"destination": {"host": "portal"}}]}),
        ]));
    let reply = cluster.asked(create(&deployment("wicph"))).await;
    reply.is_allowed().warns_of("LK308", "VirtualService cars/portal");
}

#[tokio::test]
async fn a_plugin_that_goes_is_told_of_the_routes_that_relied_on_it() {
    let plugin = json!({"apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"namespace": "cars", "name": "lanes"},
        "spec": {"pluginConfig": {"lane_header": "bu", "traffic_lane": "wtchk"}}});
    let reply = Cluster::new().and(&plugin).asked(delete(&plugin)).await;
    reply.is_allowed().warns_of("LK306", "VirtualService cars/portal");
}

#[tokio::test]
async fn a_subset_does_not_become_another_lanes_while_routes_lead_to_it() {
    let crossed = with(&rule(&LANES), "/spec/subsets/1/labels/version", json!("wtchk"));
    let reply = Cluster::new().asked(update(&rule(&LANES), &crossed)).await;
    reply.is_denied_for(&["LK303"]).says("VirtualService cars/portal");
}

#[tokio::test]
async fn a_service_gets_a_lane_of_its_own_though_the_default_lane_still_stands_in_for_it() {
    let to_default = with(
        &to_lane("wicph"),
        "/route/0/destination/subset",
        json!("portal-wtchk"),
    );
    let cluster = Cluster::new()
        .and(&fallback_group())
        .without(Kind::Deployment, "portal-wicph")
        .and(&rule(&["wtchk"]))
        .and(&routes(&[to_default.clone(), to_lane("wtchk")]));
    let reply = cluster.asked(create(&deployment("wicph"))).await;
    reply.is_allowed().warns_of("LK303", "VirtualService cars/portal");
    let cluster = cluster.and(&deployment("wicph"));
    let reply = cluster.asked(update(&rule(&["wtchk"]), &rule(&LANES))).await;
    reply.is_allowed();
    // Once it has the lane, such a route is a fault.
    let reply = cluster
        .and(&rule(&LANES))
        .and(&routes(&[to_lane("wicph"), to_lane("wtchk")]))
        .asked(update(
            &routes(&[to_lane("wicph"), to_lane("wtchk")]),
            &routes(&[to_default, to_lane("wtchk")]),
        ))
        .await;
    reply.is_denied_for(&["LK303"]);
}

const OLD: &str = "2026-11-01T00:00:00Z";
const YOUNG: &str = "2026-11-02T00:00:00Z";

/// The objects that the engine knows, what the API server would tell it, and how it is configured.
#[derive(Clone)]
struct Cluster {
    objects: Vec<Resource>,
    fresh: Option<Fresh>,
    settings: Settings,
}

/// What reading afresh comes to.
#[derive(Clone)]
enum Fresh {
    /// What there really is, what has been asked of it, and how often it answers.
    Really {
        objects: Vec<Resource>,
        asked: Arc<Mutex<Vec<Vec<Read>>>>,
        fails_after: usize,
    },
    Failing,
    Hanging,
}

impl FreshReads for Fresh {
    fn read(&self, reads: Vec<Read>) -> BoxFuture<'_, anyhow::Result<(World, Vec<Read>)>> {
        async move {
            match self {
                Self::Really {
                    objects,
                    asked,
                    fails_after,
                } => {
                    asked.lock().push(reads.clone());
                    if asked.lock().len() > *fails_after {
                        anyhow::bail!("the API server is away");
                    }
                    let is_read = |object: &&Resource| reads.iter().any(|read| read.covers(object));
                    let found = objects.iter().filter(is_read).cloned();
                    Ok((World::of(world::Settings::default(), found), reads))
                }
                Self::Failing => anyhow::bail!("the API server is away"),
                Self::Hanging => std::future::pending().await,
            }
        }
        .boxed()
    }
}

impl Cluster {
    fn new() -> Self {
        let cluster = Self {
            objects: Vec::new(),
            fresh: None,
            settings: Settings::default(),
        };
        cluster
            .and(&namespace("cars", Some("enforce")))
            .and(&lane_group(&LANES))
            .and(&service())
            .and(&deployment("wtchk"))
            .and(&deployment("wicph"))
            .and(&rule(&LANES))
            .and(&routes(&[to_lane("wicph"), to_lane("wtchk")]))
    }

    /// The cluster with this object, in the place of the one of its name.
    fn and(mut self, object: &Value) -> Self {
        let kind = Kind::of(
            object["apiVersion"].as_str().unwrap(),
            object["kind"].as_str().unwrap(),
        );
        let object = Resource::parse(kind.unwrap(), object).unwrap();
        self.objects
            .retain(|other| other.reference() != object.reference());
        self.objects.push(object);
        self
    }

    /// The cluster without the object `name`, of `cars` unless it says `namespace/name`.
    fn without(mut self, kind: Kind, name: &str) -> Self {
        let (namespace, name) = name.split_once('/').unwrap_or(("cars", name));
        let reference = ObjectRef::new(kind, namespace, name);
        let before = self.objects.len();
        self.objects.retain(|object| object.reference() != reference);
        assert_eq!(self.objects.len() + 1, before, "there is no {reference}");
        self
    }

    /// The cluster, that the API server knows as `real`.
    fn but_really(mut self, real: Self) -> Self {
        self.fresh = Some(Fresh::Really {
            objects: real.objects,
            asked: Arc::default(),
            fails_after: usize::MAX,
        });
        self
    }

    /// What has been read afresh, each time.
    fn asked_afresh(&self) -> Vec<Vec<Read>> {
        match &self.fresh {
            Some(Fresh::Really { asked, .. }) => asked.lock().clone(),
            _ => Vec::new(),
        }
    }

    fn engine(&self) -> Arc<Engine> {
        let world = World::of(world::Settings::default(), self.objects.iter().cloned());
        let engine = Engine::new(Arc::new(RwLock::new(world)), self.settings.clone());
        Arc::new(match &self.fresh {
            Some(fresh) => engine.confirming(Arc::new(fresh.clone())),
            None => engine,
        })
    }

    async fn asked(&self, review: Review) -> Reply {
        let (mode, within) = (review.mode, review.within);
        Reply::of(Judge::validate(&*self.engine(), mode, review.body(), within).await)
    }

    async fn asked_to_mutate(&self, review: Review) -> Reply {
        let (mode, within) = (review.mode, review.within);
        Reply::of(Judge::mutate(&*self.engine(), mode, review.body(), within).await)
    }
}

// ---- Objects ----

/// The object with `value` at a JSON pointer, of which all but the last part exists.
fn with(object: &Value, pointer: &str, value: Value) -> Value {
    let mut object = object.clone();
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = object.pointer_mut(parent).unwrap();
    match field.parse::<usize>() {
        Ok(at) => parent[at] = value,
        Err(_) => parent[field] = value,
    }
    object
}

fn annotated(object: &Value, annotations: &[(&str, &str)]) -> Value {
    let annotations = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)));
    with(
        object,
        "/metadata/annotations",
        Value::Object(annotations.collect()),
    )
}

fn namespace(name: &str, mode: Option<&str>) -> Value {
    let labels = mode.map(|mode| json!({"lanekeeper.dev/enforcement": mode}));
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
}

fn lane_group(lanes: &[&str]) -> Value {
    json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup", "metadata": {"namespace": "cars", "name": "cars"},
        "spec": {"header": "bu", "entry": {"header": "buid"}, "workloads": {"matchLabels": {"app": "portal"}},
            "laneLabel": "version", "lanes": lanes, "defaultLane": "wtchk"}})
}

/// The group of [`lane_group`], in which a service may lack a lane.
fn fallback_group() -> Value {
    with(&lane_group(&LANES), "/spec/completeness", json!("Fallback"))
}

fn service() -> Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "cars", "name": "portal"},
        "spec": {"selector": {"app": "portal"}, "ports": [{"name": "http", "port": 8080}]}})
}

fn deployment(lane: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": "cars", "name": format!("portal-{lane}")},
        "spec": {"replicas": 2, "template": {"metadata": {"labels": {"app": "portal", "version": lane}}}}})
}

fn replica_set(lane: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"namespace": "cars", "name": format!("portal-{lane}-5d"),
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "name": format!("portal-{lane}"), "controller": true}]}})
}

fn pod(lane: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "cars", "name": format!("portal-{lane}-5d-x"),
        "labels": {"app": "portal", "version": lane, "pod-template-hash": "5d"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("portal-{lane}-5d"), "controller": true}]}})
}

fn rule(lanes: &[&str]) -> Value {
    let subsets: Vec<_> = lanes
        .iter()
        .map(|lane| json!({"name": format!("portal-{lane}"), "labels": {"version": lane}}))
        .collect();
    json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule", "metadata": {"namespace": "cars", "name": "portal"},
        "spec": {"host": "portal", "subsets": subsets}})
}

fn routes(http: &[Value]) -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"namespace": "cars", "name": "portal"},
        "spec": {"hosts": ["portal"], "http": http}})
}

/// A route by the lane header to the lane's subset.
fn to_lane(lane: &str) -> Value {
    json!({"match": [{"headers": {"bu": {"exact": lane}}}],
        "route": [{"destination": {"host": "portal", "subset": format!("portal-{lane}")}}]})
}

/// A route that takes every request.
fn to_subset(subset: &str) -> Value {
    json!({"route": [{"destination": {"host": "portal", "subset": subset}}]})
}

fn gateway() -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": {"namespace": "cars", "name": "cars"},
        "spec": {"selector": {"istio": "ingressgateway"},
            "servers": [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]}})
}

/// A `VirtualService` by which requests enter lane `wicph`, and that does not set the lane header.
fn gateway_routes() -> Value {
    json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"namespace": "cars", "name": "entry"},
        "spec": {"hosts": ["cars.example.com"], "gateways": ["cars"], "http": [
            {"match": [{"headers": {"buid": {"exact": "wicph"}}}],
             "route": [{"destination": {"host": "portal", "subset": "portal-wicph"}}]}]}})
}

// ---- Reviews and answers ----

/// A review that is being put together.
#[derive(Debug, Clone)]
struct Review {
    request: Value,
    mode: Mode,
    within: Option<Duration>,
}

fn create(object: &Value) -> Review {
    Review::new("CREATE", object, &Value::Null, object)
}

fn update(old: &Value, new: &Value) -> Review {
    Review::new("UPDATE", new, old, new)
}

fn delete(old: &Value) -> Review {
    Review::new("DELETE", old, old, &Value::Null)
}

/// A write to a Deployment's `scale`.
fn scale(name: &str, from: u32, to: u32) -> Review {
    let scale = |replicas: u32| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"namespace": "cars", "name": name},
            "spec": {"replicas": replicas}})
    };
    update(&scale(from), &scale(to))
        .of("apps", "deployments")
        .on("scale")
}

impl Review {
    fn new(operation: &str, of: &Value, old: &Value, new: &Value) -> Self {
        let api_version = of["apiVersion"].as_str().unwrap();
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        let kind = Kind::of(api_version, of["kind"].as_str().unwrap());
        let request = json!({
            "uid": "7f",
            "kind": {"group": group, "version": version, "kind": of["kind"]},
            "resource": {"group": group, "version": version, "resource": kind.map_or("scales", Kind::plural)},
            "name": of["metadata"]["name"].as_str().unwrap_or_default(),
            "namespace": of["metadata"]["namespace"],
            "operation": operation,
            "userInfo": {"username": "dev", "groups": ["system:authenticated"]},
            "object": new,
            "oldObject": old,
            "dryRun": false,
            "options": {},
        });
        Self {
            request,
            mode: Mode::Enforce,
            within: None,
        }
    }

    fn at(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    fn by(mut self, user: &str) -> Self {
        self.request["userInfo"]["username"] = json!(user);
        self
    }

    fn option(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.request["options"][name] = value.into();
        self
    }

    fn saying(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.request[field] = value.into();
        self
    }

    fn without(mut self, field: &str) -> Self {
        self.request.as_object_mut().unwrap().remove(field);
        self
    }

    fn of(mut self, group: &str, resource: &str) -> Self {
        self.request["resource"] = json!({"group": group, "version": "v1", "resource": resource});
        self
    }

    fn on(self, sub_resource: &str) -> Self {
        self.saying("subResource", sub_resource)
    }

    /// How long the answer may take.
    fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    fn body(&self) -> axum::body::Bytes {
        let review =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": self.request});
        review.to_string().into()
    }
}

#[derive(Debug)]
struct Reply {
    body: Value,
    record: Option<Record>,
}

impl Reply {
    fn of(answer: Answer) -> Self {
        assert_eq!(answer.status, 200, "{answer:?}");
        Self {
            body: serde_json::from_slice(&answer.body).unwrap(),
            record: answer.record,
        }
    }

    #[track_caller]
    fn is_allowed(&self) -> &Self {
        assert_eq!(self.body["response"]["allowed"], true, "{self:#?}");
        assert_eq!(self.record().codes, [""; 0]);
        self
    }

    #[track_caller]
    fn is_denied_for(&self, codes: &[&str]) -> &Self {
        assert_eq!(self.body["response"]["allowed"], false, "{self:#?}");
        assert_eq!(self.record().codes, codes, "{self:#?}");
        self
    }

    #[track_caller]
    fn says(&self, text: &str) -> &Self {
        let message = self.status("message");
        assert!(message.as_str().unwrap().contains(text), "{message}");
        self
    }

    #[track_caller]
    fn warns(&self, text: &str) -> &Self {
        let warnings = self.warnings();
        assert!(
            warnings.iter().any(|warning| warning.contains(text)),
            "{warnings:#?}"
        );
        self
    }

    #[track_caller]
    fn warns_of(&self, code: &str, text: &str) -> &Self {
        self.warns(&format!("[{code}] ")).warns(text);
        assert!(self.record().warned.contains(&code), "{self:#?}");
        self
    }

    fn warnings(&self) -> Vec<&str> {
        let warnings = self.body["response"]["warnings"].as_array();
        warnings
            .into_iter()
            .flatten()
            .map(|warning| warning.as_str().unwrap())
            .collect()
    }

    fn status(&self, field: &str) -> &Value {
        &self.body["response"]["status"][field]
    }

    fn causes(&self) -> Vec<&str> {
        let causes = self.status("details")["causes"].as_array().unwrap();
        causes
            .iter()
            .map(|cause| cause["field"].as_str().unwrap())
            .collect()
    }

    fn record(&self) -> &Record {
        self.record.as_ref().unwrap()
    }

    /// The patch, which is base64 of JSON.
    fn patch(&self) -> json_patch::Patch {
        let text = self.body["response"]["patch"].as_str().unwrap();
        let json = base64::engine::general_purpose::STANDARD.decode(text).unwrap();
        serde_json::from_slice(&json).unwrap()
    }
}

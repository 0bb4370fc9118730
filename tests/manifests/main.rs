//! The manifests say what the code says: rights and webhook rules follow from the table of kinds; and the chart says what the
//! manifests do.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by a panic")]

mod chart;
#[path = "../support/programs.rs"]
mod programs;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lanekeeper::resource::Kind;
use lanekeeper::server::Config;
use serde_json::{Value, json};

fn base(file: &str) -> String {
    manifest(&format!("base/{file}"))
}

fn manifest(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn documents(file: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&base(file)).unwrap()
}

fn webhooks(file: &str) -> Vec<Value> {
    documents(file)[0]["webhooks"].as_array().unwrap().clone()
}

fn strings(list: &Value) -> Vec<&str> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|item| item.as_str().unwrap())
        .collect()
}

/// `group/resource` of each of the rules, each named once.
fn resources(rules: &Value) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    for rule in rules.as_array().unwrap() {
        for group in strings(&rule["apiGroups"]) {
            for resource in strings(&rule["resources"]) {
                assert!(
                    seen.insert(format!("{group}/{resource}")),
                    "{group}/{resource} is named twice"
                );
            }
        }
    }
    seen
}

fn names(kinds: impl Iterator<Item = Kind>) -> BTreeSet<String> {
    kinds
        .map(|kind| format!("{}/{}", kind.group(), kind.plural()))
        .collect()
}

/// Whether a rule is one to read.
fn is_to_read(rule: &Value) -> bool {
    strings(&rule["verbs"]) == ["get", "list", "watch"]
}

#[test]
fn the_rights_are_those_to_read_every_kind_and_to_write_events_and_the_status() {
    let documents = documents("rbac.yaml");
    let roles: Vec<&Value> = documents
        .iter()
        .filter(|object| !object["rules"].is_null())
        .collect();
    let [cluster, mesh, own] = roles[..] else {
        panic!("{} roles", roles.len())
    };
    assert_eq!(
        (&cluster["kind"], &mesh["kind"], &own["kind"]),
        (&"ClusterRole".into(), &"Role".into(), &"Role".into())
    );
    let of = |role: &Value| role["rules"].as_array().unwrap().clone();
    let (reading, writing): (Vec<Value>, Vec<Value>) = of(cluster).into_iter().partition(is_to_read);
    let all = || Kind::ALL.iter().copied();
    assert_eq!(
        resources(&reading.into()),
        names(all().filter(|kind| *kind != Kind::ConfigMap))
    );
    assert_eq!(
        Value::from(writing),
        json!([
            {"apiGroups": ["admissionregistration.k8s.io"],
                "resources": ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"],
                "resourceNames": ["lanekeeper"], "verbs": ["get", "list", "patch", "watch"]},
            {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "list"]},
            {"apiGroups": ["lanekeeper.dev"], "resources": ["lanegroups/status"], "verbs": ["patch"]},
        ])
    );
    assert!(of(mesh).iter().all(is_to_read));
    assert_eq!(
        resources(&mesh["rules"]),
        names(all().filter(|kind| *kind == Kind::ConfigMap))
    );
    assert_eq!(mesh["metadata"]["namespace"], "istio-system");
    assert_eq!(
        own["rules"],
        json!([
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
            {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["lanekeeper-ca"],
                "verbs": ["get", "list", "update", "watch"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
            {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["lanekeeper"],
                "verbs": ["get", "update"]},
        ])
    );
    assert_eq!(own["metadata"]["namespace"], "lanekeeper-system");
}

#[test]
fn the_validating_webhooks_ask_about_every_kind_that_is_judged_and_about_scaling() {
    let mut judged = names(Kind::ALL.iter().copied().filter(|kind| kind.is_admitted()));
    judged.extend(["apps/deployments/scale", "apps/statefulsets/scale"].map(str::to_owned));
    for webhook in webhooks("validating-webhook.yaml") {
        assert_eq!(resources(&webhook["rules"]), judged, "{}", webhook["name"]);
    }
}

#[test]
fn the_rules_list_the_versions_that_can_be_read() {
    for webhook in [
        webhooks("validating-webhook.yaml"),
        webhooks("mutating-webhook.yaml"),
    ]
    .concat()
    {
        for rule in webhook["rules"].as_array().unwrap() {
            for resource in strings(&rule["resources"]) {
                let plural = resource.split('/').next().unwrap();
                let kind = Kind::of_resource(rule["apiGroups"][0].as_str().unwrap(), plural).unwrap();
                assert_eq!(strings(&rule["apiVersions"]), kind.versions(), "{kind}");
            }
        }
    }
}

/// Of each webhook: mode, path, operations, failure policy.
fn table(webhooks: &[Value]) -> Vec<(String, String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |webhook: &Value| {
        let operations: BTreeSet<String> = webhook["rules"]
            .as_array()
            .unwrap()
            .iter()
            .map(|rule| strings(&rule["operations"]).join(" "))
            .collect();
        assert_eq!(operations.len(), 1, "{webhook}");
        let selector = &webhook["namespaceSelector"]["matchExpressions"];
        assert_eq!(selector[0]["key"], "lanekeeper.dev/enforcement");
        assert_eq!(
            strings(&selector[1]["values"]),
            ["kube-system", "lanekeeper-system"]
        );
        (
            strings(&selector[0]["values"]).join(" "),
            text(&webhook["clientConfig"]["service"]["path"]),
            operations.into_iter().collect(),
            text(&webhook["failurePolicy"]),
        )
    };
    webhooks.iter().map(row).collect()
}

#[test]
fn each_mode_has_its_path_and_its_failure_policy() {
    let row = |mode: &str, path: &str, operations: &str, policy: &str| {
        (
            mode.to_owned(),
            path.to_owned(),
            operations.to_owned(),
            policy.to_owned(),
        )
    };
    assert_eq!(
        table(&webhooks("validating-webhook.yaml")),
        [
            row("warn", "/validate/warn", "CREATE UPDATE DELETE", "Ignore"),
            row("enforce", "/validate/enforce", "CREATE UPDATE", "Fail"),
            row("enforce", "/validate/enforce", "DELETE", "Ignore"),
            row("protect", "/validate/protect", "CREATE UPDATE DELETE", "Fail"),
        ]
    );
    assert_eq!(
        table(&webhooks("mutating-webhook.yaml")),
        [
            row("warn", "/mutate/warn", "CREATE UPDATE", "Ignore"),
            row("enforce", "/mutate/enforce", "CREATE UPDATE", "Fail"),
            row("protect", "/mutate/protect", "CREATE UPDATE", "Fail"),
        ]
    );
}

#[test]
fn webhooks_of_one_kind_differ_in_nothing_else() {
    for file in ["validating-webhook.yaml", "mutating-webhook.yaml"] {
        let rest = webhooks(file).into_iter().map(|webhook| {
            let mut fields: BTreeMap<String, Value> = serde_json::from_value(webhook).unwrap();
            for differs in [
                "name",
                "clientConfig",
                "namespaceSelector",
                "failurePolicy",
                "rules",
            ] {
                assert!(fields.remove(differs).is_some(), "{differs}");
            }
            fields
        });
        let rest: BTreeSet<String> = rest.map(|fields| format!("{fields:?}")).collect();
        assert_eq!(rest.len(), 1, "{rest:#?}");
    }
}

/// The object of this kind in a file of the base.
fn object(file: &str, kind: &str) -> Value {
    let mut objects = documents(file).into_iter();
    objects.find(|object| object["kind"] == kind).unwrap()
}

#[test]
fn a_pod_is_given_the_time_that_the_server_takes_to_end_in_order() {
    let deployment = object("deployment.yaml", "Deployment");
    let grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap();
    let config = Config::default();
    // The listeners' last answers, the log and the Lease: five seconds, and as many to spare.
    let needed = (config.shutdown_delay + config.drain_timeout).as_secs() + 10;
    assert!(grace >= needed, "{grace} s, and it takes {needed}");
}

#[test]
fn the_network_policy_lets_in_the_ports_that_are_served_and_no_other() {
    let deployment = object("deployment.yaml", "Deployment");
    let template = &deployment["spec"]["template"];
    let served: BTreeSet<u64> = template["spec"]["containers"][0]["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["containerPort"].as_u64().unwrap())
        .collect();
    let config = Config::default();
    let of_code = [config.listen, config.admin_listen].map(|address| u64::from(address.port()));
    assert_eq!(served, of_code.into());

    let policy = object("network-policy.yaml", "NetworkPolicy");
    let spec = &policy["spec"];
    assert_eq!(spec["podSelector"], deployment["spec"]["selector"]);
    assert_eq!(spec["policyTypes"], json!(["Ingress"]), "egress is not cut off");
    let rules = spec["ingress"].as_array().unwrap();
    let ports = |rule: &Value| -> Vec<u64> {
        let ports = rule["ports"].as_array().unwrap().iter();
        ports.map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let let_in: Vec<u64> = rules.iter().flat_map(ports).collect();
    assert_eq!(let_in, of_code);
    // The API server's address is not known.
    assert_eq!((&rules[0]["from"], rules.len()), (&Value::Null, 2));
}

#[test]
fn the_namespace_has_a_quota_for_the_priority_that_the_pods_ask_for() {
    let deployment = object("deployment.yaml", "Deployment");
    let class = &deployment["spec"]["template"]["spec"]["priorityClassName"];
    let quota = object("deployment.yaml", "ResourceQuota");
    let selector = &quota["spec"]["scopeSelector"]["matchExpressions"];
    assert_eq!(
        selector,
        &json!([{"scopeName": "PriorityClass", "operator": "In", "values": [class]}])
    );
    assert_eq!(
        quota["metadata"]["namespace"],
        deployment["metadata"]["namespace"]
    );
}

#[test]
fn the_certificate_of_cert_manager_is_for_the_service_and_in_the_secret_that_is_mounted() {
    let issued: Vec<Value> =
        serde_saphyr::from_multiple(&manifest("cert-manager/certificates.yaml")).unwrap();
    let named = |kind: &str, name: &str| {
        let mut of_kind = issued.iter().filter(|object| object["kind"] == kind);
        of_kind
            .find(|object| object["metadata"]["name"] == name)
            .unwrap()
            .clone()
    };
    let service = object("service.yaml", "Service");
    let metadata = &service["metadata"];
    let host = format!(
        "{}.{}.svc",
        metadata["name"].as_str().unwrap(),
        metadata["namespace"].as_str().unwrap()
    );
    let certificate = named("Certificate", "lanekeeper");
    assert_eq!(certificate["spec"]["dnsNames"], json!([host]));
    // Each is issued by one that is there, from the one that signs itself.
    let mut at = certificate.clone();
    let mut steps = 0;
    while at["spec"]["selfSigned"].is_null() {
        at = if at["kind"] == "Certificate" {
            named("Issuer", at["spec"]["issuerRef"]["name"].as_str().unwrap())
        } else {
            let secret = &at["spec"]["ca"]["secretName"];
            let mut certificates = issued.iter().filter(|object| object["kind"] == "Certificate");
            let found = certificates.find(|object| object["spec"]["secretName"] == *secret);
            found.unwrap().clone()
        };
        steps += 1;
        assert!(steps < 5, "they go round");
    }

    let patch: Value = serde_saphyr::from_str(&manifest("certificate-files/deployment.yaml")).unwrap();
    let pod = &patch["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"][0]["secret"]["secretName"],
        certificate["spec"]["secretName"]
    );
    let container = &pod["containers"][0];
    assert_eq!(pod["volumes"][0]["name"], container["volumeMounts"][0]["name"]);
    let directory = container["volumeMounts"][0]["mountPath"].as_str().unwrap();
    assert_eq!(
        strings(&container["args"]),
        ["serve".to_owned(), format!("--tls-cert-dir={directory}")]
    );
    let base = object("deployment.yaml", "Deployment");
    let name = &base["spec"]["template"]["spec"]["containers"][0]["name"];
    assert_eq!(&container["name"], name);
}

#[test]
fn the_definition_is_the_one_that_the_code_prints() {
    assert!(
        base("crd.yaml") == lanekeeper::cluster::crd_yaml().unwrap(),
        "manifests/base/crd.yaml is out of date: lanekeeper crd > manifests/base/crd.yaml"
    );
}

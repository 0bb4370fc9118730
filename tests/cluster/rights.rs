//! Whether each right of the manifests is needed: without it, a real replica says what it cannot do.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::control_plane::{ControlPlane, eventually};
use crate::serving::base;
use crate::{apply, run};

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(base(file)).unwrap();
    serde_saphyr::from_multiple(&text).unwrap()
}

/// A verb on a resource, taken out of the rule at this place.
#[derive(Debug, Clone)]
struct Missing {
    role: usize,
    rule: usize,
    resource: String,
    verb: String,
}

/// Rules that only let read need each verb together: a list, a watch, and reads of one object before a denial.
fn is_to_read(rule: &Value) -> bool {
    rule["verbs"] == json!(["get", "list", "watch"])
}

/// Every right that can be taken away, in the roles as they are written.
fn all_missing(roles: &[Value]) -> Vec<Missing> {
    let mut all = Vec::new();
    for (at, role) in roles.iter().enumerate() {
        for (rule_at, rule) in role["rules"].as_array().unwrap().iter().enumerate() {
            let texts = |key: &str| -> Vec<String> {
                let texts = rule[key].as_array().unwrap().iter();
                texts.map(|text| text.as_str().unwrap().to_owned()).collect()
            };
            for resource in texts("resources") {
                let verbs = if is_to_read(rule) {
                    vec!["list".to_owned()]
                } else {
                    texts("verbs")
                };
                all.extend(verbs.into_iter().map(|verb| Missing {
                    role: at,
                    rule: rule_at,
                    resource: resource.clone(),
                    verb,
                }));
            }
        }
    }
    all
}

/// The rules of a role without a right.
fn without(role: &Value, at: usize, missing: Option<&Missing>) -> Value {
    let mut rules = role["rules"].as_array().unwrap().clone();
    if let Some(missing) = missing.filter(|missing| missing.role == at) {
        let removed = rules.remove(missing.rule);
        let others = |key: &str, one: &str| -> Vec<Value> {
            let all = removed[key].as_array().unwrap().iter();
            all.filter(|text| *text != one).cloned().collect()
        };
        let mut same_verbs = removed.clone();
        same_verbs["resources"] = others("resources", &missing.resource).into();
        let mut other_verbs = removed.clone();
        other_verbs["resources"] = json!([missing.resource]);
        other_verbs["verbs"] = others("verbs", &missing.verb).into();
        let is_empty = |rule: &Value| {
            ["resources", "verbs"]
                .iter()
                .any(|key| rule[*key].as_array().unwrap().is_empty())
        };
        rules.extend(
            [same_verbs, other_verbs]
                .into_iter()
                .filter(|rule| !is_empty(rule)),
        );
    }
    rules.into()
}

/// A replica by itself, with a user, a namespace and webhook configurations of its own.
struct Replica {
    missing: Option<Missing>,
    process: Child,
    log: std::path::PathBuf,
}

impl Replica {
    fn start(
        plane: &ControlPlane,
        roles: &[Value],
        name: &str,
        missing: Option<Missing>,
        dir: &Path,
    ) -> Self {
        let mut objects = vec![json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})];
        for (at, role) in roles.iter().enumerate() {
            let mut granted = without(role, at, missing.as_ref());
            for rule in granted.as_array_mut().unwrap() {
                if rule["apiGroups"] == json!(["admissionregistration.k8s.io"]) {
                    rule["resourceNames"] = json!([name]);
                }
            }
            let mut metadata = json!({"name": format!("{name}-{at}")});
            match role["metadata"]["namespace"].as_str() {
                Some("lanekeeper-system") => metadata["namespace"] = name.into(),
                Some(other) => metadata["namespace"] = other.into(),
                None => {}
            }
            let kind = role["kind"].as_str().unwrap();
            objects.push(
                json!({"apiVersion": role["apiVersion"], "kind": kind, "metadata": metadata, "rules": granted}),
            );
            objects.push(
                json!({"apiVersion": role["apiVersion"], "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": metadata["name"]},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name}]}),
            );
        }
        for file in ["validating-webhook.yaml", "mutating-webhook.yaml"] {
            let mut configuration = documents(file).remove(0);
            configuration["metadata"]["name"] = name.into();
            for webhook in configuration["webhooks"].as_array_mut().unwrap() {
                // Nobody is to be asked: this is about who writes here.
                webhook["failurePolicy"] = "Ignore".into();
                webhook["rules"] = json!([{"apiGroups": ["none.example"], "apiVersions": ["v1"],
                    "operations": ["CREATE"], "resources": ["nones"]}]);
            }
            objects.push(configuration);
        }
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        apply(plane, &list.to_string());
        // What another one has written need not be written again.
        let writes = [("lanegroups/status", "--no-status"), ("events", "--no-audit")];
        let silent = writes.iter().filter(|(resource, _)| {
            let missing = missing.as_ref();
            missing.is_some_and(|missing| missing.resource != *resource)
        });
        let silent = silent.map(|(_, flag)| flag);
        let log = dir.join(format!("{name}.log"));
        let process = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args([
                "serve",
                "--listen=127.0.0.1:0",
                "--admin-listen=127.0.0.1:0",
                "--shutdown-delay=0",
            ])
            .args(["--ca-secret=lanekeeper-ca", "--ca-life=24s", "--leaf-life=6s"])
            .args([format!("--own-namespace={name}"), format!("--webhooks={name}")])
            .args(silent)
            .arg("--kubeconfig")
            .arg(plane.user(name, &["system:authenticated"]))
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self {
            missing,
            process,
            log,
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it says that it may not do.
    fn complaint(&self) -> Option<String> {
        let log = self.log();
        let complaint = log
            .lines()
            .find(|line| line.contains("cannot ") && line.contains("orbidden"));
        complaint.map(str::to_owned)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn without_any_one_of_the_rights_a_replica_says_what_it_cannot_do() {
    let plane = ControlPlane::start();
    plane.install_istio_crds();
    plane.install_crds(&base("crd.yaml"));
    run(&plane, "create namespace istio-system");
    let group = json!({"apiVersion": "lanekeeper.dev/v1alpha1", "kind": "LaneGroup",
        "metadata": {"namespace": "default", "name": "shop"},
        "spec": {"header": "lane", "workloads": {"matchLabels": {"app": "shop"}}, "lanes": ["blue"],
            "defaultLane": "blue"}});
    apply(&plane, &group.to_string());

    // What the audit tells of, in Events.
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {"lanekeeper.dev/enforcement": "warn"}}});
    apply(&plane, &namespace.to_string());
    let rule = json!({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
        "metadata": {"namespace": "shop", "name": "cart"},
        "spec": {"host": "cart", "subsets": [{"name": "blue"}, {"name": "green"}]}});
    apply(&plane, &rule.to_string());
    let route = json!([{"destination": {"host": "cart", "subset": "bleu"}}]);
    let broken = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"namespace": "shop", "name": "cart"}, "spec": {"hosts": ["cart"], "http": [{"route": route}]}});
    apply(&plane, &broken.to_string());

    let roles: Vec<Value> = documents("rbac.yaml")
        .into_iter()
        .filter(|object| !object["rules"].is_null())
        .collect();
    let all = all_missing(&roles);
    assert!(all.len() > 25, "{}", all.len());
    let dir = tempfile::tempdir().unwrap();
    let lacking: Vec<Replica> = all
        .into_iter()
        .enumerate()
        .map(|(at, missing)| {
            Replica::start(&plane, &roles, &format!("lacks-{at}"), Some(missing), dir.path())
        })
        .collect();
    for replica in &lacking {
        let Missing { resource, verb, .. } = replica.missing.as_ref().unwrap();
        let told = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("a complaint", || replica.complaint())
        }));
        let told = told.unwrap_or_else(|_| panic!("nobody misses {verb} {resource}:\n{}", replica.log()));
        // It is about that right, and the log says which, and what it was for.
        let (plain, _) = resource.split_once('/').unwrap_or((resource.as_str(), ""));
        assert!(
            told.contains(&format!("cannot {verb} resource")) && told.contains(plain),
            "{verb} {resource}: {told}"
        );
    }
    drop(lacking);
    let whole = Replica::start(&plane, &roles, "whole", None, dir.path());
    eventually("it does all that the rights are for", || {
        let followed = whole.log().matches("has an authority").count() > 2;
        let status = "get lanegroup shop --namespace=default --output=jsonpath={.status.conditions[0].type}";
        (followed && run(&plane, status) == "Ready").then_some(())
    });
    assert_eq!(whole.complaint(), None);
}

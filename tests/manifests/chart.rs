//! The chart makes what the Kustomize manifests are, and nothing that it is not told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::programs;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs a program at the top of the checkout: what it printed, or what it said of why it failed.
fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .env("PATH", programs::path())
        .env("HOME", home.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr) + &text(&output.stdout))
    }
}

/// Renders the chart as a release, with more arguments.
fn template_as(release: &str, namespace: &str, more: &[&str]) -> Result<String, String> {
    let arguments = ["template", release, "manifests/chart", "--namespace", namespace];
    run("helm", &[&arguments, more].concat())
}

/// Renders the chart as the release that the manifests are like.
fn template(more: &[&str]) -> Objects {
    objects(&template_as("lanekeeper", "lanekeeper-system", more).unwrap())
}

type Objects = BTreeMap<String, Value>;

/// Objects by kind, namespace and name.
fn objects(text: &str) -> Objects {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).unwrap();
    let mut objects = Objects::new();
    for object in documents {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = &object["metadata"];
        let key = [&object["kind"], &metadata["namespace"], &metadata["name"]].map(text);
        let other = objects.insert(key.join(" "), object);
        assert!(other.is_none(), "{key:?} is there twice");
    }
    objects
}

/// The chart's objects without what tells Helm that they are its own.
fn without_helm(mut objects: Objects) -> Objects {
    for (key, object) in &mut objects {
        let labels = object["metadata"]["labels"].as_object_mut().unwrap();
        for (label, value) in [
            ("app.kubernetes.io/instance", "lanekeeper"),
            ("app.kubernetes.io/managed-by", "Helm"),
            ("app.kubernetes.io/version", env!("CARGO_PKG_VERSION")),
            ("helm.sh/chart", concat!("lanekeeper-", env!("CARGO_PKG_VERSION"))),
        ] {
            assert_eq!(labels.remove(label), Some(value.into()), "{key}: {label}");
        }
        // The definition has no labels of its own.
        if object["kind"] == "CustomResourceDefinition" {
            let metadata = object["metadata"].as_object_mut().unwrap();
            let kept = metadata.remove("annotations");
            assert_eq!(kept, Some(json!({"helm.sh/resource-policy": "keep"})));
            assert_eq!(
                metadata.remove("labels"),
                Some(json!({"app.kubernetes.io/name": "lanekeeper"}))
            );
        }
    }
    objects
}

/// What kustomize makes of the base with components, without the namespace, which is no part of a release.
fn kustomized(components: &[&str]) -> Objects {
    let target = root().join("target");
    std::fs::create_dir_all(&target).unwrap();
    // Kustomize takes relative paths only.
    let folder = tempfile::tempdir_in(target).unwrap();
    let components: Vec<String> = components
        .iter()
        .map(|name| format!("../../manifests/{name}"))
        .collect();
    let text = json!({"resources": ["../../manifests/base"], "components": components}).to_string();
    std::fs::write(folder.path().join("kustomization.yaml"), text).unwrap();
    let text = run("kubectl", &["kustomize", &folder.path().display().to_string()]).unwrap();
    let mut objects = objects(&text);
    assert!(objects.remove("Namespace  lanekeeper-system").is_some());
    objects
}

fn assert_same(chart: Objects, components: &[&str]) {
    let (chart, base) = (without_helm(chart), kustomized(components));
    let keys = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&chart), keys(&base), "{components:?}");
    for (key, object) in chart {
        assert_eq!(object, base[&key], "{components:?}: {key}");
    }
}

#[test]
fn it_makes_what_the_base_and_each_component_are() {
    assert_same(template(&[]), &[]);
    assert_same(
        template(&["--set=certificates.mode=certManager"]),
        &["cert-manager"],
    );
    assert_same(
        template(&["--set=certificates.mode=secret"]),
        &["certificate-files"],
    );
    let values = "--values=manifests/chart/values-high-availability.yaml";
    assert_same(template(&[values]), &["high-availability"]);
    assert_same(
        template(&[values, "--set=certificates.mode=certManager"]),
        &["cert-manager", "high-availability"],
    );
}

#[test]
fn its_copies_of_the_base_are_up_to_date() {
    for file in ["crd.yaml", "mutating-webhook.yaml", "validating-webhook.yaml"] {
        let read = |folder: &str| std::fs::read(root().join("manifests").join(folder).join(file)).unwrap();
        assert!(
            read("chart/files") == read("base"),
            "manifests/chart/files/{file} is out of date: make generate"
        );
    }
}

/// As it is handed out, every file is in it.
#[test]
fn a_package_of_it_makes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display().to_string();
    run("helm", &["package", "manifests/chart", "--destination", &path]).unwrap();
    let package = format!("{path}/lanekeeper-{}.tgz", env!("CARGO_PKG_VERSION"));
    let arguments = [
        "template",
        "lanekeeper",
        &package,
        "--namespace",
        "lanekeeper-system",
    ];
    let text = run("helm", &arguments).unwrap();
    assert!(objects(&text) == template(&[]), "{text}");
}

#[test]
fn it_is_of_the_version_of_the_program() {
    let text = std::fs::read_to_string(root().join("manifests/chart/Chart.yaml")).unwrap();
    let chart: Value = serde_saphyr::from_str(&text).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
}

/// Everything that can be told, at once.
const ALL: [&str; 28] = [
    "replicas=1",
    "image.repository=registry.example/lanekeeper",
    "image.tag=next",
    "image.pullSecrets={registry}",
    "certificates.selfMade.authorityLife=4w2d",
    "certificates.selfMade.certificateLife=12h30m",
    "clientCA.secretName=of-the-api-server",
    "webhooks.failurePolicy.protect=Ignore",
    "webhooks.timeoutSeconds=9",
    "webhooks.matchExpressions[0].key=shard",
    "webhooks.matchExpressions[0].operator=In",
    "webhooks.matchExpressions[0].values={a}",
    "istio.rootNamespace=mesh",
    "configuration.rules.LK104=deny",
    "auditLog.file=decisions.jsonl",
    "auditLog.maxSize=1GiB",
    "auditLog.keep=9",
    "auditLog.required=true",
    "setAppliers={alice,helm}",
    "scalers={bob}",
    "multiCluster=true",
    "clusterDomain=cars.example",
    "auditInterval=60",
    "shutdownDelay=15",
    "log=debug",
    "nodeSelector.pool=system",
    "tolerations[0].operator=Exists",
    "crd.install=false",
];

#[test]
fn every_mode_passes_lint() {
    let all = ALL.map(|value| format!("--set={value}"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    for values in [
        &[][..],
        &["--set=certificates.mode=certManager"],
        &["--set=certificates.mode=secret"],
        &["--values=manifests/chart/values-high-availability.yaml"],
        &all,
    ] {
        let lint = [
            "lint",
            "--strict",
            "manifests/chart",
            "--namespace=lanekeeper-system",
        ];
        let said =
            run("helm", &[&lint[..], values].concat()).unwrap_or_else(|error| panic!("{values:?}: {error}"));
        assert!(said.contains("0 chart(s) failed"), "{said}");
    }
}

#[test]
fn what_it_is_told_arrives() {
    let all = ALL.map(|value| format!("--set={value}"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let text = template_as("guard", "own", &all).unwrap();
    let objects = objects(&text);
    let name = "guard-lanekeeper";
    let deployment = &objects[&format!("Deployment own {name}")];
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    let arguments: Vec<&str> = crate::strings(&container["args"]);
    assert_eq!(
        arguments,
        [
            "serve",
            "--ca-secret=guard-lanekeeper-ca",
            "--ca-life=4w2d",
            "--leaf-life=12h30m",
            "--service=guard-lanekeeper",
            "--webhooks=guard-lanekeeper",
            "--client-ca=/etc/lanekeeper/client-ca/ca.crt",
            "--root-namespace=mesh",
            "--cluster-domain=cars.example",
            "--config=/etc/lanekeeper/config/lanekeeper.yaml",
            "--audit-log=/var/log/lanekeeper/decisions.jsonl",
            "--audit-log-max-size=1GiB",
            "--audit-log-keep=9",
            "--audit-log-required",
            "--set-appliers=alice,helm",
            "--scalers=bob",
            "--multi-cluster",
            "--audit-interval=60",
            "--shutdown-delay=15",
        ]
    );
    // The program takes them: what it misses is the file that is not mounted here.
    let served = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
        .args(&arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&served.stderr).into_owned();
    assert!(said.contains("/etc/lanekeeper/config/lanekeeper.yaml"), "{said}");

    assert_eq!(container["image"], "registry.example/lanekeeper:next");
    assert_eq!(
        container["env"],
        json!([{"name": "LANEKEEPER_LOG", "value": "debug"}])
    );
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}]));
    assert_eq!(pod["terminationGracePeriodSeconds"], 40);
    assert_eq!(pod["nodeSelector"], json!({"pool": "system"}));
    assert_eq!(pod["tolerations"], json!([{"operator": "Exists"}]));
    assert_mounts(pod);
    let configuration = &objects[&format!("ConfigMap own {name}")]["data"]["lanekeeper.yaml"];
    assert_eq!(configuration, "rules:\n  LK104: deny\n");

    let kinds: BTreeSet<&str> = objects
        .values()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert!(
        !kinds.contains("PodDisruptionBudget") && !kinds.contains("CustomResourceDefinition"),
        "{kinds:?}"
    );
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        for webhook in objects[&format!("{kind}  {name}")]["webhooks"]
            .as_array()
            .unwrap()
        {
            let service = &webhook["clientConfig"]["service"];
            assert_eq!(
                (&service["name"], &service["namespace"]),
                (&name.into(), &"own".into())
            );
            let selector = &webhook["namespaceSelector"]["matchExpressions"];
            let own = json!({"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", "own"]});
            assert_eq!(selector[1], own);
            assert_eq!(
                selector[2],
                json!({"key": "shard", "operator": "In", "values": ["a"]})
            );
            let is_strict = ["enforce.lanekeeper.dev", "enforce.rewrite.lanekeeper.dev"]
                .map(Value::from)
                .contains(&webhook["name"]);
            assert_eq!(
                webhook["failurePolicy"],
                if is_strict { "Fail" } else { "Ignore" },
                "{webhook}"
            );
            assert_eq!(webhook["timeoutSeconds"], 9);
        }
    }
    // One name is fixed in the program: the Lease's.
    let of_base = |text: &str| text.matches("lanekeeper-system").count();
    assert_eq!(of_base(&text), 0, "{text}");
    assert_eq!(objects[&format!("Role mesh {name}-mesh-config")]["kind"], "Role");
    let rules = &objects[&format!("Role own {name}")]["rules"];
    assert_eq!(rules[1]["resourceNames"], json!(["guard-lanekeeper-ca"]));
    assert_eq!(rules[3]["resourceNames"], json!(["lanekeeper"]));
    let rules = &objects[&format!("ClusterRole  {name}")]["rules"];
    assert_eq!(rules[1]["resourceNames"], json!([name]));
}

/// What `ALL` says is mounted.
fn assert_mounts(pod: &Value) {
    assert_eq!(
        pod["volumes"],
        json!([
            {"name": "client-ca", "secret": {"secretName": "of-the-api-server", "defaultMode": 0o440}},
            {"name": "configuration", "configMap": {"name": "guard-lanekeeper"}},
            {"name": "audit-log", "emptyDir": {}},
        ])
    );
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap().iter();
    let mounted: Vec<&str> = mounts.map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert_eq!(
        mounted,
        [
            "/etc/lanekeeper/client-ca",
            "/etc/lanekeeper/config",
            "/var/log/lanekeeper"
        ]
    );
}

#[test]
fn certificates_of_others_are_taken() {
    let issued = template(&[
        "--set=certificates.mode=certManager",
        "--set=certificates.certManager.issuerRef.kind=ClusterIssuer",
        "--set=certificates.certManager.issuerRef.name=internal",
    ]);
    let issuers = issued
        .keys()
        .filter(|key| key.starts_with("Issuer") || key.ends_with("-issuer"));
    assert_eq!(issuers.count(), 0);
    let certificate = &issued["Certificate lanekeeper-system lanekeeper"];
    assert_eq!(
        certificate["spec"]["issuerRef"],
        json!({"kind": "ClusterIssuer", "name": "internal"})
    );

    let given = template(&[
        "--set=certificates.mode=secret",
        "--set=certificates.secret.name=from-vault",
        "--set=onlyReviews=true",
        "--set=auditInterval=60",
        "--set=certificates.secret.caBundle=-----BEGIN CERTIFICATE-----",
    ]);
    let pod = &given["Deployment lanekeeper-system lanekeeper"]["spec"]["template"]["spec"];
    let arguments = crate::strings(&pod["containers"][0]["args"]);
    assert!(
        arguments.ends_with(&["--no-audit", "--no-status"]),
        "{arguments:?}"
    );
    let volumes = &pod["volumes"];
    assert_eq!(volumes[0]["secret"]["secretName"], "from-vault");
    for webhook in given["ValidatingWebhookConfiguration  lanekeeper"]["webhooks"]
        .as_array()
        .unwrap()
    {
        assert_eq!(
            webhook["clientConfig"]["caBundle"],
            "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0t"
        );
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    for (value, named) in [
        ("replica=3", "replica"),
        ("replicas=0", "replicas"),
        ("image.name=lanekeeper", "name"),
        ("image.digest=sha256:12", "digest"),
        ("certificates.mode=vault", "mode"),
        (
            "certificates.certManager.issuerRef.kind=ClusterIssuer",
            "issuerRef",
        ),
        ("certificates.secret.caBundle=LS0t", "caBundle"),
        ("webhooks.failurePolicy.enforce=Retry", "enforce"),
        ("webhooks.failurePolicy.warn=Fail", "warn"),
        ("webhooks.timeoutSeconds=60", "timeoutSeconds"),
        ("webhooks.matchExpressions[0].key=shard", "operator"),
        ("auditLog.file=/tmp/decisions", "file"),
        ("auditLog.keep=3", "auditLog"),
        ("multiCluster=sometimes", "multiCluster"),
        ("setAppliers=alice", "setAppliers"),
        ("configuration.rules.LK104=fatal", "LK104"),
        ("configuration.rulez.LK104=deny", "rulez"),
        ("configuration.mesh.clusterDomian=cars.example", "clusterDomian"),
        ("certificates.selfMade.authorityLife=1x", "authorityLife"),
        ("certificates.selfMade.authorityLife=5m1h", "authorityLife"),
        ("certificates.selfMade.certificateLife=0h", "certificateLife"),
        ("auditLog.file=..", "file"),
        (
            "auditLog.volume.hostPath.path=/log,auditLog.volume.emptyDir.medium=Memory",
            "volume",
        ),
        ("fullnameOverride=2nd", "fullnameOverride"),
        ("podLabels.team=1", "team"),
        ("podLabels.app\\.kubernetes\\.io/name=other", "podLabels"),
        (
            "topologySpreadConstraints[0].labelSelector.matchLabels.app=other",
            "labelSelector",
        ),
        ("podDisruptionBudget=null", "podDisruptionBudget"),
        ("networkPolicy=null", "networkPolicy"),
        ("certificates.selfMade=null", "selfMade"),
        ("webhooks.failurePolicy.enforce=null", "enforce"),
    ] {
        let set = format!("--set={value}");
        let said = template_as("lanekeeper", "lanekeeper-system", &[&set]).expect_err(value);
        assert!(said.contains(named) && said.contains("schema"), "{value}: {said}");
    }
}

/// Helm merges a volume of one's own with that of the chart.
#[test]
fn the_volume_of_the_decision_log_can_be_another_one() {
    let claimed = template(&[
        "--set=auditLog.file=decisions.jsonl",
        "--set=auditLog.volume.persistentVolumeClaim.claimName=decisions",
    ]);
    let pod = &claimed["Deployment lanekeeper-system lanekeeper"]["spec"]["template"]["spec"];
    assert_eq!(
        pod["volumes"],
        json!([{"name": "audit-log", "persistentVolumeClaim": {"claimName": "decisions"}}])
    );
}

#[test]
fn names_that_yaml_takes_for_something_else_stay_names() {
    let strange = [
        "--set-string=fullnameOverride=true",
        "--set-string=priorityClassName=true",
        "--set-string=image.pullSecrets={1}",
        "--set-string=clientCA.secretName=2",
        "--set-string=istio.rootNamespace=0",
    ];
    let mut shown = objects(&template_as("no", "123", &strange).unwrap());
    let mut plain = objects(
        &template_as(
            "no",
            "own",
            &[
                "--set=fullnameOverride=guard",
                "--set=priorityClassName=high",
                "--set=image.pullSecrets={registry}",
                "--set=clientCA.secretName=api-server",
                "--set=istio.rootNamespace=mesh",
            ],
        )
        .unwrap(),
    );
    let deployment = shown.remove("Deployment 123 true").unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["priorityClassName"], "true");
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "1"}]));
    assert_eq!(pod["serviceAccountName"], "true");
    assert_eq!(pod["volumes"][0]["secret"]["secretName"], "2");
    plain.remove("Deployment own guard").unwrap();
    // Whatever is a text under ordinary names is one under these.
    let texts = |objects: &Objects| -> usize {
        fn count(value: &Value) -> usize {
            match value {
                Value::String(_) => 1,
                Value::Array(items) => items.iter().map(count).sum(),
                Value::Object(fields) => fields.values().map(count).sum(),
                _ => 0,
            }
        }
        objects.values().map(count).sum()
    };
    assert_eq!(texts(&shown), texts(&plain));
}

#[test]
fn a_name_that_no_service_can_have_is_refused() {
    for release in ["2nd", "lk.v2"] {
        let said = template_as(release, "lanekeeper-system", &[]).expect_err(release);
        assert!(said.contains("fullnameOverride"), "{release}: {said}");
        template_as(release, "lanekeeper-system", &["--set=fullnameOverride=lk-v2"]).unwrap();
    }
    let long = format!("--set=fullnameOverride={}", "x".repeat(49));
    template_as("lanekeeper", "lanekeeper-system", &[&long]).expect_err("it is too long");
    let said = template_as(
        "lanekeeper",
        "lanekeeper-system",
        &[&long, "--skip-schema-validation"],
    )
    .expect_err("it is too long");
    assert!(said.contains("at most 48"), "{said}");
}

#[test]
fn a_disruption_budget_that_lets_no_node_be_drained_is_refused() {
    for (replicas, least, is_taken) in [
        (1, "1", true),
        (2, "1", true),
        (2, "2", false),
        (3, "4", false),
        (2, "50%", true),
        (2, "51%", false),
        (3, "66%", true),
        (3, "67%", false),
        (4, "100%", false),
    ] {
        let set = format!("--set=replicas={replicas},podDisruptionBudget.minAvailable={least}");
        let made = template_as("lanekeeper", "lanekeeper-system", &[&set]);
        assert_eq!(made.is_ok(), is_taken, "{set}: {made:?}");
        if let Err(said) = made {
            assert!(said.contains("lets no node be drained"), "{set}: {said}");
        }
    }
}

/// What is open in it is Kubernetes' own. The configuration's part is made from the code, as docs/schema/lanekeeper.json is.
#[test]
fn the_schema_names_every_value() {
    let chart = root().join("manifests/chart");
    let text = |file: &str| std::fs::read_to_string(chart.join(file)).unwrap();
    let values: Value = serde_saphyr::from_str(&text("values.yaml")).unwrap();
    let mut schema: Value = serde_json::from_str(&text("values.schema.json")).unwrap();
    let keys = |object: &Value| {
        object
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<BTreeSet<_>>()
    };
    let mut named = keys(&schema["properties"]);
    assert!(named.remove("global"), "what a parent chart gives to all");
    assert_eq!(keys(&values), named);

    let written = schema.clone();
    let mut configuration: Value = serde_json::to_value(lanekeeper::config::Config::schema()).unwrap();
    let outer = configuration.as_object_mut().unwrap();
    outer.remove("$schema");
    schema["$defs"] = outer.remove("$defs").unwrap();
    schema["properties"]["configuration"] = configuration;
    if std::env::var_os("LANEKEEPER_WRITE").is_some() {
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        std::fs::write(chart.join("values.schema.json"), text).unwrap();
        return;
    }
    assert!(
        written == schema,
        "manifests/chart/values.schema.json is out of date: make generate"
    );
}

//! The shared authority: real replicas, a real API server, and who trusts whom meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lanekeeper::authority::Authority;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::control_plane::{ControlPlane, eventually, free_port};
use crate::serving::{base, page, with_rights};
use crate::{apply, kubectl, run};

const SECRET: &str = "get secret lanekeeper-ca --namespace=lanekeeper-system --output=json";
const KINDS: [(&str, &str); 2] = [
    ("validatingwebhookconfiguration", "validating-webhook.yaml"),
    ("mutatingwebhookconfiguration", "mutating-webhook.yaml"),
];

/// Registers the webhooks of the manifests at an address, without a caBundle.
fn register(plane: &ControlPlane, address: SocketAddr) {
    for (_, file) in KINDS {
        let text = fs::read_to_string(base(file)).unwrap();
        let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
        for webhook in configuration["webhooks"].as_array_mut().unwrap() {
            let path = webhook["clientConfig"]["service"]["path"].as_str().unwrap();
            webhook["clientConfig"] = json!({"url": format!("https://{address}{path}")});
        }
        apply(plane, &configuration.to_string());
    }
}

/// A replica; killed when dropped.
struct Replica {
    process: Child,
    webhook: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
}

fn free() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

impl Replica {
    fn start(plane: &ControlPlane, more: &[&str]) -> Self {
        let token = run(plane, "create token lanekeeper --namespace=lanekeeper-system");
        let dir = tempfile::tempdir().unwrap();
        let (webhook, admin) = (free(), free());
        let process = Command::new(env!("CARGO_BIN_EXE_lanekeeper"))
            .args(["serve", "--shutdown-delay=0", "--ca-secret=lanekeeper-ca"])
            .args([format!("--listen={webhook}"), format!("--admin-listen={admin}")])
            .args(more)
            .args(["--audit-log=decisions.jsonl", "--kubeconfig"])
            .arg(plane.kubeconfig_for_token(token.trim()))
            .current_dir(dir.path())
            .stdout(Stdio::null())
            .stderr(fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self {
            process,
            webhook,
            admin,
            dir,
        }
    }

    /// What it says of its readiness; empty while nobody answers.
    fn readiness(&self) -> String {
        page(&self.admin.to_string(), "/readyz")
    }

    #[track_caller]
    fn until_ready(&self) {
        let ready = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("it is ready", || {
                self.readiness().contains("200 OK").then_some(())
            });
        }));
        assert!(ready.is_ok(), "{}\n{}", self.readiness(), self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Whether who trusts these authorities takes the certificate that it shows.
    async fn is_trusted_by(&self, bundle: &str) -> bool {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(self.webhook).await.unwrap();
        let name = ServerName::try_from("lanekeeper.lanekeeper-system.svc").unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
            .is_ok()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// A text of the Secret.
fn kept(plane: &ControlPlane, key: &str) -> Option<String> {
    let secret: Value = serde_json::from_str(&kubectl(plane, SECRET).stdout).ok()?;
    let text = STANDARD.decode(secret["data"][key].as_str()?).unwrap();
    Some(String::from_utf8(text).unwrap())
}

/// The caBundles of all webhooks, each once.
fn bundles(plane: &ControlPlane) -> Vec<String> {
    let mut all: Vec<String> = KINDS
        .iter()
        .flat_map(|(kind, _)| bundles_of(plane, kind))
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Those of the webhooks of one kind.
fn bundles_of(plane: &ControlPlane, kind: &str) -> Vec<String> {
    let object = run(plane, &format!("get {kind} lanekeeper --output=json"));
    let object: Value = serde_json::from_str(&object).unwrap();
    let webhooks = object["webhooks"].as_array().unwrap().iter();
    let bundles = webhooks.map(|webhook| webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default());
    let bundles: BTreeSet<String> = bundles
        .map(|bundle| String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap())
        .collect();
    bundles.into_iter().collect()
}

fn authorities(bundle: &str) -> usize {
    bundle.matches("BEGIN CERTIFICATE").count()
}

/// Sets the caBundle of all webhooks, as somebody else does.
fn set_bundles(plane: &ControlPlane, bundle: &str) {
    for (kind, _) in KINDS {
        let object = run(plane, &format!("get {kind} lanekeeper --output=json"));
        let mut object: Value = serde_json::from_str(&object).unwrap();
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(bundle));
        }
        plane
            .kubectl_stdin(&["replace", "-f", "-"], &object.to_string())
            .expect_success();
    }
}

/// The Secret with this authority, as Lanekeeper makes it.
fn secret_of(authority: &Authority) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": "lanekeeper-system", "name": "lanekeeper-ca",
            "labels": {"app.kubernetes.io/managed-by": "lanekeeper"}},
        "data": {"tls.crt": STANDARD.encode(authority.pem()), "tls.key": STANDARD.encode(authority.key_pem())}})
    .to_string()
}

fn authority_for(life: Duration) -> Authority {
    Authority::new(SystemTime::now(), life).unwrap()
}

/// Whether the API server can ask a webhook about an object, which a webhook that cannot be called would keep out.
fn is_admitted(plane: &ControlPlane) -> bool {
    let object = json!({"apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "probe", "namespace": "probe"}, "spec": {"http": []}});
    let applied = plane.kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &object.to_string());
    applied.status.success()
}

/// Registers the webhooks at an address, and returns when the API server can call them.
fn until_called(plane: &ControlPlane, address: SocketAddr) {
    register(plane, address);
    apply(
        plane,
        &json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "probe", "labels": {"lanekeeper.dev/enforcement": "enforce"}}})
        .to_string(),
    );
    eventually("the API server calls a webhook", || {
        is_admitted(plane).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_at_once_share_one_authority_that_the_api_server_is_told_of() {
    let plane = with_rights();
    let one = Replica::start(&plane, &[]);
    let two = Replica::start(&plane, &[]);
    one.until_ready();
    until_called(&plane, one.webhook);
    two.until_ready();

    let authority = kept(&plane, "tls.crt").unwrap();
    assert_eq!(bundles(&plane), [authority.as_str()]);
    assert_eq!(kept(&plane, "ca.crt").unwrap(), authority);
    for replica in [&one, &two] {
        assert!(replica.is_trusted_by(&authority).await, "{}", replica.log());
    }

    // The manifests, applied again, do not undo it, and what somebody breaks is mended.
    register(&plane, two.webhook);
    assert_eq!(bundles(&plane), [authority.as_str()]);
    let broken = r#"[{"op":"replace","path":"/webhooks/0/clientConfig/caBundle","value":""}]"#;
    let patch = format!("patch {} lanekeeper --type=json --patch={broken}", KINDS[0].0);
    run(&plane, &patch);
    eventually("the bundle is mended", || {
        (bundles(&plane) == [authority.as_str()]).then_some(())
    });

    // A replica that comes later shares it, too, and nothing is written anew.
    drop(one);
    let three = Replica::start(&plane, &[]);
    three.until_ready();
    assert!(three.is_trusted_by(&authority).await);
    assert_eq!(kept(&plane, "tls.crt").unwrap(), authority);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_one_authority_follows_another_everybody_is_trusted_all_the_time() {
    let plane = with_rights();
    let short = ["--ca-life=30s", "--leaf-life=6s"];
    let (one, two) = (Replica::start(&plane, &short), Replica::start(&plane, &short));
    one.until_ready();
    until_called(&plane, one.webhook);
    two.until_ready();

    let first = kept(&plane, "tls.crt").unwrap();
    let mut most = 0;
    let started = Instant::now();
    loop {
        let all = bundles(&plane);
        for bundle in &all {
            most = most.max(authorities(bundle));
            for (name, replica) in [("one", &one), ("two", &two)] {
                assert!(
                    replica.is_trusted_by(bundle).await,
                    "{name} is not trusted after {:?}\n{}",
                    started.elapsed(),
                    replica.log()
                );
            }
        }
        assert!(is_admitted(&plane), "after {:?}", started.elapsed());
        let second = kept(&plane, "tls.crt").unwrap();
        if second != first && !all.iter().any(|bundle| bundle.contains(&first)) {
            assert_eq!(all, [second]);
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(120),
            "the first stays\n{}",
            one.log()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(most, 2);
}

/// Somebody else leads, and does nothing.
fn somebody_leads(plane: &ControlPlane) {
    let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "lanekeeper-system", "name": "lanekeeper"},
        "spec": {"holderIdentity": "somebody", "leaseDurationSeconds": 3600}});
    apply(plane, &lease.to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_starts_beside_those_of_another_authority_is_trusted_beside_them() {
    let plane = with_rights();
    somebody_leads(&plane);
    register(&plane, free());
    let theirs = authority_for(Duration::from_secs(3600));
    set_bundles(&plane, theirs.pem());
    let replica = Replica::start(&plane, &[]);
    replica.until_ready();
    let own = kept(&plane, "tls.crt").unwrap();
    let [bundle] = &bundles(&plane)[..] else {
        panic!("{:?}", bundles(&plane))
    };
    assert!(bundle.contains(theirs.pem()) && bundle.contains(&own), "{bundle}");
    assert!(replica.is_trusted_by(bundle).await);
    assert!(
        kept(&plane, "ca.crt").unwrap().contains(theirs.pem()),
        "for who leads next"
    );
}

#[test]
fn a_replica_that_may_not_read_the_secret_serves_and_says_why_it_is_not_ready() {
    let plane = with_rights();
    run(&plane, "delete role lanekeeper --namespace=lanekeeper-system");
    let replica = Replica::start(&plane, &[]);
    eventually("it says why", || {
        let readiness = replica.readiness();
        (readiness.contains("503") && readiness.contains("lanekeeper-ca cannot be read")).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_waits_with_the_next_authority_until_the_webhooks_have_trusted_it_for_a_while() {
    let plane = with_rights();
    somebody_leads(&plane);
    let [first, second] = [(); 2].map(|()| authority_for(Duration::from_secs(3600)));
    apply(&plane, &secret_of(&first));
    let replica = Replica::start(&plane, &["--ca-life=40s"]);
    eventually("it serves", || {
        replica.readiness().contains("200 OK").then_some(())
    });
    register(&plane, replica.webhook);
    eventually("it says what it waits for", || {
        replica.readiness().contains("in its caBundle").then_some(())
    });
    set_bundles(&plane, first.pem());
    replica.until_ready();

    apply(&plane, &secret_of(&second));
    std::thread::sleep(Duration::from_secs(4));
    assert!(
        replica.is_trusted_by(first.pem()).await,
        "nobody trusts the second yet"
    );
    set_bundles(&plane, &format!("{}{}", first.pem(), second.pem()));
    let told = Instant::now();
    while !replica.is_trusted_by(second.pem()).await {
        assert!(told.elapsed() < Duration::from_secs(30), "{}", replica.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // A twentieth of the 40 s.
    assert!(
        told.elapsed() >= Duration::from_millis(1500),
        "{:?}",
        told.elapsed()
    );
    assert!(replica.readiness().contains("200 OK"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_is_deleted_or_spoilt_is_made_anew_and_one_of_others_is_left_alone() {
    let plane = with_rights();
    let replica = Replica::start(&plane, &["--ca-life=60s"]);
    replica.until_ready();
    until_called(&plane, replica.webhook);
    let first = kept(&plane, "tls.crt").unwrap();

    run(
        &plane,
        "delete secret lanekeeper-ca --namespace=lanekeeper-system",
    );
    let second = eventually("another authority is made", || {
        kept(&plane, "tls.crt").filter(|other| *other != first)
    });
    eventually("its certificates are shown", || {
        assert!(is_admitted(&plane));
        let taken_up = replica
            .log()
            .matches("certificates are made by the authority")
            .count();
        (taken_up > 1).then_some(())
    });
    assert!(replica.is_trusted_by(&second).await);

    let spoil = r#"{"data":{"tls.key":"bm9uZQ=="}}"#;
    run(
        &plane,
        &format!("patch secret lanekeeper-ca --namespace=lanekeeper-system --type=merge --patch={spoil}"),
    );
    eventually("it is made anew", || {
        assert!(is_admitted(&plane));
        kept(&plane, "tls.crt").filter(|other| *other != second)
    });
    assert!(replica.log().contains("made anew"), "{}", replica.log());
    drop(replica);

    // An authority that an administrator has put there signs, and stays although its time to be followed has come.
    let own = Authority::new(
        SystemTime::now() - Duration::from_secs(50 * 60),
        Duration::from_secs(60 * 60),
    )
    .unwrap();
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls",
        "metadata": {"namespace": "lanekeeper-system", "name": "lanekeeper-ca"},
        "data": {"tls.crt": STANDARD.encode(own.pem()), "tls.key": STANDARD.encode(own.key_pem())}});
    run(
        &plane,
        "delete secret lanekeeper-ca --namespace=lanekeeper-system",
    );
    apply(&plane, &secret.to_string());
    let replica = Replica::start(&plane, &[]);
    replica.until_ready();
    assert!(replica.is_trusted_by(own.pem()).await, "{}", replica.log());
    assert_eq!(kept(&plane, "tls.crt").unwrap(), own.pem());
    assert_eq!(kept(&plane, "ca.crt"), None);
}

#[test]
fn where_cert_manager_sets_the_bundle_it_is_left_to_it_and_readiness_says_so() {
    let plane = with_rights();
    let replica = Replica::start(&plane, &[]);
    replica.until_ready();
    let text = fs::read_to_string(base(KINDS[0].1)).unwrap();
    let mut configuration: Value = serde_saphyr::from_str(&text).unwrap();
    configuration["metadata"]["annotations"] = json!({"cert-manager.io/inject-ca-from": "a/b"});
    let other = authority_for(Duration::from_secs(60));
    let theirs = other.pem().to_owned();
    for webhook in configuration["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(&theirs));
    }
    apply(&plane, &configuration.to_string());
    eventually("it says so", || {
        replica.readiness().contains("cert-manager").then_some(())
    });
    assert_eq!(bundles_of(&plane, KINDS[0].0), [theirs]);
}

//! A cluster with Lanekeeper in it.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::asking::ask;
use crate::balancer::{Balancer, service_port};
use crate::certificates::{Certificates, Mounted};
use crate::control_plane::{ControlPlane, eventually};
use crate::crowd::{connect, trusting};
use crate::objects::{GUARDED, OPEN};
use crate::replica::Replica;

/// How the API server is told where the webhook is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By an address of this machine: it speaks HTTP/2.
    Address,
    /// By the Service of the manifests: it speaks HTTP/1.1.
    Service,
}

/// Who is asked about a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whom {
    /// Whoever is ready.
    Any,
    /// One replica alone.
    Only(usize),
}

/// Has the API server ask a socket for each connection to a Service, which nothing else leads anywhere here.
pub(crate) fn egress(socket: &Path) -> String {
    let connection = json!({"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": socket}}});
    json!({"apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
        "egressSelections": [{"name": "cluster", "connection": connection}]})
    .to_string()
}

/// A control plane, two replicas under the rights of the manifests, and a balancer before them.
pub(crate) struct Site {
    // Fields are dropped in this order: callers before the called.
    pub(crate) plane: ControlPlane,
    pub(crate) balancer: Balancer,
    pub(crate) replicas: [Replica; 2],
    pub(crate) certificates: Certificates,
    pub(crate) runtime: Runtime,
    by: By,
    _folder: TempDir,
}

impl Site {
    /// Installs the manifests, starts the replicas, and registers them.
    pub(crate) fn start(by: By) -> Self {
        Self::with(by, false, |_, _, own| [own.to_owned(), own.to_owned()])
    }

    /// The same, where the replicas keep an authority themselves.
    pub(crate) fn sharing_an_authority(by: By) -> Self {
        Self::with(by, true, |_, _, own| [own.to_owned(), own.to_owned()])
    }

    /// The same, where the replicas reach the API server by kubeconfigs that are made of their own one.
    pub(crate) fn with_kubeconfigs(
        by: By,
        kubeconfigs: impl FnOnce(&Runtime, &ControlPlane, &Path) -> [PathBuf; 2],
    ) -> Self {
        Self::with(by, false, kubeconfigs)
    }

    fn with(
        by: By,
        is_shared: bool,
        kubeconfigs: impl FnOnce(&Runtime, &ControlPlane, &Path) -> [PathBuf; 2],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (socket, configuration) = (folder.path().join("balancer"), folder.path().join("egress.yaml"));
        fs::write(&configuration, egress(&socket)).unwrap();
        let flag = format!("--egress-selector-config-file={}", configuration.display());
        let plane = ControlPlane::with_flags(vec![flag]);
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/base");
        plane.install_istio_crds();
        plane.install_crds(&base.join("crd.yaml"));
        let apply = |text: &str| {
            plane.kubectl_stdin(&["apply", "-f", "-"], text).expect_success();
        };
        apply(r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "istio-system"}}"#);
        for file in ["namespace.yaml", "rbac.yaml", "service.yaml"] {
            apply(&fs::read_to_string(base.join(file)).unwrap());
        }
        let ports =
            [0, 1].map(|replica| json!({"name": format!("only-{replica}"), "port": service_port(replica)}));
        let ports = json!({"spec": {"ports": ports}}).to_string();
        plane
            .kubectl(&[
                "patch",
                "service",
                "lanekeeper",
                "--namespace=lanekeeper-system",
                "-p",
                &ports,
            ])
            .expect_success();
        for (name, mode) in [(OPEN, "enforce"), (GUARDED, "protect")] {
            let labels = json!({"lanekeeper.dev/enforcement": mode});
            let metadata = json!({"name": name, "labels": labels});
            apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}).to_string());
        }
        let token = plane
            .kubectl(&["create", "token", "lanekeeper", "--namespace=lanekeeper-system"])
            .expect_success()
            .stdout;
        let kubeconfig = plane.kubeconfig_for_token(token.trim());

        let runtime = Runtime::new().unwrap();
        let certificates = if is_shared {
            Certificates::Shared
        } else {
            Certificates::Mounted(Box::new(Mounted::in_folder(&folder.path().join("tls"))))
        };
        let kubeconfigs = kubeconfigs(&runtime, &plane, &kubeconfig);
        let mut names = ["one", "two"].into_iter();
        let replicas = kubeconfigs.map(|kubeconfig| {
            let mut arguments = certificates.arguments();
            arguments.push(format!("--kubeconfig={}", kubeconfig.display()));
            arguments.push(format!("--shutdown-delay={}", crate::long_or(5, 1)));
            // It rotates a few times.
            let size = crate::long_or("1MiB", "64KiB");
            arguments.extend([
                format!("--audit-log-max-size={size}"),
                "--audit-log-keep=50".to_owned(),
            ]);
            Replica::start(names.next().unwrap(), folder.path(), arguments)
        });
        let endpoints: Vec<_> = replicas.iter().map(Replica::endpoint).collect();
        let balancer = runtime.block_on(Balancer::before(&endpoints, &socket));
        let site = Self {
            plane,
            balancer,
            replicas,
            certificates,
            runtime,
            by,
            _folder: folder,
        };
        // Who keeps the authority is ready when the webhooks have it.
        site.apply_webhooks(|_| Whom::Any);
        site.until_ready();
        site.until_called(|_| Whom::Any);
        site
    }

    /// Returns when both replicas are ready and the balancer knows.
    pub(crate) fn until_ready(&self) {
        eventually("both replicas are ready", || {
            self.balancer.ready().iter().all(|ready| *ready).then_some(())
        });
    }

    /// Restarts a replica, and returns when it is ready again.
    pub(crate) fn restart_replica(&self, at: usize) {
        self.until_ready();
        self.replicas[at].restart();
        self.until_ready();
    }

    /// What clients of the replicas have to trust, as PEM.
    fn authority(&self) -> String {
        self.certificates.authority().unwrap_or_else(|| {
            let bundle = ["get", "validatingwebhookconfiguration", "lanekeeper"];
            let path = "--output=jsonpath={.webhooks[0].clientConfig.caBundle}";
            let bundle = self
                .plane
                .kubectl(&[&bundle[..], &[path]].concat())
                .expect_success();
            String::from_utf8(STANDARD.decode(bundle.stdout).unwrap()).unwrap()
        })
    }

    /// The certificates that the replicas serve.
    pub(crate) fn served(&self) -> [CertificateDer<'static>; 2] {
        let tls = trusting(&self.authority());
        self.replicas.each_ref().map(|replica| {
            self.runtime.block_on(async {
                let stream = connect(replica.endpoint().webhook, &tls).await.unwrap();
                let (_, session) = stream.get_ref();
                session.peer_certificates().unwrap()[0].clone().into_owned()
            })
        })
    }

    /// Returns when each replica serves another certificate.
    pub(crate) fn until_others_are_served(&self, before: &[CertificateDer<'static>; 2]) {
        eventually("new certificates are served", || {
            let now = self.served();
            (now[0] != before[0] && now[1] != before[1]).then_some(())
        });
    }

    /// Registers the webhooks of the manifests, each resource at who `whom` gives for it, and returns when the API
    /// server calls them.
    pub(crate) fn register(&self, whom: impl Fn(&str) -> Whom) {
        self.apply_webhooks(&whom);
        self.until_called(whom);
    }

    fn apply_webhooks(&self, whom: impl Fn(&str) -> Whom) {
        let authority = self.certificates.authority();
        for file in ["validating-webhook.yaml", "mutating-webhook.yaml"] {
            let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("manifests/base")
                .join(file);
            let text = fs::read_to_string(manifest).unwrap();
            let configuration: Value = serde_saphyr::from_str(&text).unwrap();
            for who in [Whom::Any, Whom::Only(0), Whom::Only(1)] {
                let mut part = configuration.clone();
                if let Whom::Only(replica) = who {
                    part["metadata"]["name"] = json!(format!("lanekeeper-{replica}"));
                }
                let webhooks = part["webhooks"].as_array_mut().unwrap();
                for webhook in &mut *webhooks {
                    self.lead(webhook, who);
                    if let Some(authority) = &authority {
                        webhook["clientConfig"]["caBundle"] = json!(STANDARD.encode(authority));
                    }
                    keep(webhook, |resource| whom(resource) == who);
                }
                webhooks.retain(|webhook| !webhook["rules"].as_array().unwrap().is_empty());
                self.apply(&part);
            }
        }
    }

    /// Leads a webhook to a port of this machine, where it is not to stay with its Service.
    fn lead(&self, webhook: &mut Value, who: Whom) {
        let config = &mut webhook["clientConfig"];
        match (self.by, who) {
            (By::Address, who) => {
                let port = match who {
                    Whom::Any => self.balancer.port(),
                    Whom::Only(replica) => self.replicas[replica].endpoint().webhook.port(),
                };
                let path = config["service"]["path"].as_str().unwrap();
                *config = json!({"url": format!("https://127.0.0.1:{port}{path}")});
            }
            (By::Service, Whom::Any) => {}
            (By::Service, Whom::Only(replica)) => config["service"]["port"] = json!(service_port(replica)),
        }
    }

    /// Returns when changes are judged, each by who is registered for its kind.
    fn until_called(&self, whom: impl Fn(&str) -> Whom) {
        for (kind, resource, spec, webhooks) in [
            (
                "VirtualService",
                "virtualservices",
                // It has no hosts: a delegate, which may be a gateway's.
                json!({"http": []}),
                &["mutate", "validate"][..],
            ),
            (
                "DestinationRule",
                "destinationrules",
                json!({"host": "probe"}),
                &["validate"][..],
            ),
        ] {
            let mut number = 0;
            eventually(&format!("the API server calls the webhooks for a {kind}"), || {
                // A name for each try: what the API server did before it knew of the webhooks is none of it.
                number += 1;
                let name = format!("probe-{}-{number}", self.decisions().len());
                let probe = json!({"apiVersion": "networking.istio.io/v1", "kind": kind, "spec": spec,
                        "metadata": {"name": name, "namespace": OPEN}});
                self.plane
                    .kubectl_stdin(&["apply", "--dry-run=server", "-f", "-"], &probe.to_string())
                    .expect_success();
                let made = self.replicas.each_ref().map(Replica::decisions);
                let is_as_told = |webhook: &&str| {
                    let by = made.each_ref().map(|made| {
                        let is_it =
                            |decision: &&Value| decision["webhook"] == **webhook && decision["name"] == *name;
                        made.iter().filter(is_it).count()
                    });
                    match whom(resource) {
                        Whom::Any => by.iter().sum::<usize>() == 1,
                        Whom::Only(replica) => by[replica] == 1 && by[1 - replica] == 0,
                    }
                };
                webhooks.iter().all(is_as_told).then_some(())
            });
        }
    }

    /// What both replicas have decided.
    pub(crate) fn decisions(&self) -> Vec<Value> {
        self.replicas.iter().flat_map(Replica::decisions).collect()
    }

    /// Proves which protocol was spoken: all connections have offered it, and HTTP/2 is chosen where it is offered.
    pub(crate) fn assert_protocol(&self) {
        let (http2, http1) = self.balancer.offers();
        match self.by {
            By::Address => assert!(
                http2 > 0 && http1 == 0,
                "{http2} offers of HTTP/2, {http1} of HTTP/1.1 only"
            ),
            By::Service => assert!(
                http1 > 0 && http2 == 0,
                "{http2} offers of HTTP/2, {http1} of HTTP/1.1 only"
            ),
        }
    }

    /// What a replica says of an object that is created, asked past the API server.
    pub(crate) fn ask(&self, replica: usize, object: &Value) -> Value {
        let tls = trusting(&self.authority());
        let address = self.replicas[replica].endpoint().webhook;
        self.runtime.block_on(ask(address, &tls, object))
    }

    /// A client of the API server for the administrator.
    pub(crate) fn client(&self) -> kube::Client {
        let kubeconfig = self.plane.kubeconfig_path();
        self.runtime.block_on(self.plane.client(&kubeconfig))
    }

    /// Applies an object as the administrator, which has to succeed.
    pub(crate) fn apply(&self, object: &Value) {
        self.plane
            .kubectl_stdin(&["apply", "-f", "-"], &object.to_string())
            .expect_success();
    }
}

/// Keeps of a webhook's rules what is about certain resources.
fn keep(webhook: &mut Value, is_kept: impl Fn(&str) -> bool) {
    let rules = webhook["rules"].as_array_mut().unwrap();
    for rule in &mut *rules {
        let resources = rule["resources"].as_array_mut().unwrap();
        resources.retain(|resource| is_kept(resource.as_str().unwrap()));
    }
    rules.retain(|rule| !rule["resources"].as_array().unwrap().is_empty());
}

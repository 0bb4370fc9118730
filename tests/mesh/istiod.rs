//! istiod, as it runs in a cluster but for certificates: its proxies ask in plain text, and no mutual TLS is made.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::control_plane::{Component, ControlPlane};
use crate::webhook::{page, root};

/// The port of plain xDS.
pub const XDS_PORT: u16 = 15010;

/// Where istiod tells whether it is ready.
const HTTP: &str = "127.0.0.1:8080";

/// No mutual TLS, no tracer, no metrics made by other filters.
const MESH: &str =
    "accessLogFile: ''\nenableAutoMtls: false\nenableTracing: false\ndefaultProviders: {metrics: []}\n";

/// A program that tests/mesh/build.sh made.
pub fn built(name: &str) -> PathBuf {
    let path = root().join(".cache/mesh/bin").join(name);
    assert!(
        path.exists(),
        "{} is missing: run tests/mesh/build.sh",
        path.display()
    );
    path
}

/// Starts istiod in the folder `dir` against a control plane that has Istio's CRDs and its namespace.
pub fn start(plane: &ControlPlane, dir: &Path) -> Component {
    // Else listeners wait for a certificate that nobody gives them.
    let plain = json!({"apiVersion": "security.istio.io/v1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "istio-system"}, "spec": {"mtls": {"mode": "DISABLE"}}});
    plane
        .kubectl_stdin(&["apply", "-f", "-"], &plain.to_string())
        .expect_success();
    fs::write(dir.join("mesh.yaml"), MESH).expect("the mesh's configuration");
    fs::write(dir.join("networks.yaml"), "{}\n").expect("the mesh's networks");

    let mut command = Command::new(built("pilot-discovery"));
    command
        .args([
            "discovery",
            "--meshConfig=mesh.yaml",
            "--networksConfig=networks.yaml",
        ])
        .args([
            "--registries=Kubernetes",
            "--domain=cluster.local",
            "--httpAddr=:8080",
            "--monitoringAddr=:15014",
        ])
        .args(["--httpsAddr=", "--secureGRPCAddr="])
        .arg(format!("--grpcAddr=:{XDS_PORT}"))
        .arg(format!("--kubeconfig={}", plane.kubeconfig_path().display()))
        .envs([
            ("POD_NAME", "istiod"),
            ("POD_NAMESPACE", "istio-system"),
            ("CLUSTER_ID", "Kubernetes"),
            ("INJECTION_WEBHOOK_CONFIG_NAME", ""),
            ("VALIDATION_WEBHOOK_CONFIG_NAME", ""),
            ("ENABLE_CA_SERVER", "false"),
            ("PILOT_CERT_PROVIDER", "none"),
            // Filters that a stock Envoy does not have.
            ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
            ("PILOT_ENABLE_ALPN_FILTER", "false"),
        ]);
    let istiod = Component::run("istiod", dir, command);
    istiod.until("ready", || page(HTTP, "/ready").contains("200 OK"));
    istiod
}

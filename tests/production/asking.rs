//! A review sent past the API server.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use crate::crowd::connect;

/// The uid of all such reviews.
pub(crate) const ASKED: &str = "asked";

/// Asks a replica whether an object may be created, as the API server does, and gives the `response` of its answer.
pub(crate) async fn ask(address: SocketAddr, tls: &TlsConnector, object: &Value) -> Value {
    let (group, version) = match object["apiVersion"].as_str().unwrap().split_once('/') {
        Some((group, version)) => (group, version),
        None => ("", object["apiVersion"].as_str().unwrap()),
    };
    let kind = object["kind"].as_str().unwrap();
    let metadata = &object["metadata"];
    let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": ASKED, "kind": {"group": group, "version": version, "kind": kind},
        "resource": {"group": group, "version": version, "resource": format!("{}s", kind.to_lowercase())},
        "name": metadata["name"], "namespace": metadata["namespace"], "operation": "CREATE",
        "userInfo": {"username": "test"}, "object": object, "oldObject": null, "dryRun": false}});
    let body = review.to_string();
    let request = format!(
        "POST /validate/enforce?timeout=5s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = connect(address, tls).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let review: Value = serde_json::from_str(body).unwrap();
    review["response"].clone()
}

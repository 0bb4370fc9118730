//! `lanekeeper submit`: what `kubectl apply` would say, without a cluster.

use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};

use super::{complain, exit_code};
use crate::files::{self, FileObject, Files};
use crate::resource::Kind;
use crate::text::{one_line, plain};
use crate::verdict::Mode;

/// Arguments of `submit`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each object goes to /mutate and, as that leaves it, to /validate, as the API server does it. Nothing is
stored: each one is judged against the server's own world. The exit code is 1 if any is refused.

Examples:
  lanekeeper submit examples/cars-broken
  lanekeeper submit --mode warn vs.yaml")]
pub(super) struct Args {
    /// Files, directories, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The server
    #[arg(long, default_value = "https://127.0.0.1:9443", value_name = "URL")]
    server: String,
    /// The authority of the server's certificate [default: the one that `serve` writes]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The mode of the objects' namespaces: warn, enforce or protect
    #[arg(long, default_value_t = Mode::Enforce)]
    mode: Mode,
    /// The namespace of objects that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// As a dry run: what is only missing warns
    #[arg(long)]
    dry_run: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let files = files::read(&args.paths, Some(&args.namespace));
    for problem in files.errors() {
        complain(&problem.to_string());
    }
    let denied = super::runtime()?.block_on(submit(args, &files))?;
    Ok(exit_code(files.errors().next().is_some(), denied))
}

/// Sends every object; whether any was refused.
async fn submit(args: &Args, files: &Files) -> anyhow::Result<bool> {
    let server = Server::new(args)?;
    let mut denied = false;
    for object in &files.objects {
        let kind = object.resource.kind();
        let name = printed_name(kind, &one_line(&object.resource.meta().name));
        if !kind.is_admitted() {
            writeln!(io::stdout(), "{name} accepted (not judged)")?;
            continue;
        }
        let mut body = files
            .json(object)
            .context("the object cannot be written as JSON")?;
        complete(&mut body, object);
        let mut verb = "accepted";
        if kind == Kind::VirtualService {
            let answer = server.ask("mutate", kind, object, &body).await?;
            warn(&answer)?;
            if let Some(patch) = answer["patch"].as_str() {
                let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
                json_patch::patch(&mut body, &patch).context("the server's patch does not apply")?;
                verb = "accepted (patched)";
            }
        }
        let answer = server.ask("validate", kind, object, &body).await?;
        warn(&answer)?;
        if answer["allowed"] == true {
            writeln!(io::stdout(), "{name} {verb}")?;
        } else {
            denied = true;
            let status = &answer["status"];
            writeln!(
                io::stderr(),
                "Error from server ({}): error when applying {:?}: {}",
                one_line(status["reason"].as_str().unwrap_or("Forbidden")),
                files.place(object, "").file,
                plain(status["message"].as_str().unwrap_or_default())
            )?;
        }
    }
    Ok(denied)
}

fn warn(answer: &Value) -> io::Result<()> {
    for warning in answer["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        writeln!(io::stderr(), "Warning: {}", one_line(warning))?;
    }
    Ok(())
}

/// The object's name as kubectl prints it: `virtualservice.networking.istio.io/portal`.
fn printed_name(kind: Kind, name: &str) -> String {
    let group = if kind.group().is_empty() {
        String::new()
    } else {
        format!(".{}", kind.group())
    };
    format!("{}{group}/{name}", kind.name().to_ascii_lowercase())
}

/// Writes the namespace into the object, as the API server does before it asks.
fn complete(body: &mut Value, object: &FileObject) {
    if object.resource.kind().is_namespaced() {
        body["metadata"]["namespace"] = json!(object.resource.meta().namespace);
    }
}

struct Server<'a> {
    args: &'a Args,
    client: Client<hyper_rustls::HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl<'a> Server<'a> {
    fn new(args: &'a Args) -> anyhow::Result<Self> {
        let file = match &args.ca_file {
            Some(file) => file.clone(),
            None => super::ca_file()?,
        };
        let pem = fs::read(&file).with_context(|| {
            format!(
                "cannot read the server's authority from {}; is `lanekeeper serve --manifests` running?",
                file.display()
            )
        })?;
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.with_context(|| format!("{} holds no certificate", file.display()))?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            args,
            client: Client::builder(TokioExecutor::new()).build(connector),
        })
    }

    /// The `response` of one review.
    async fn ask(
        &self,
        webhook: &str,
        kind: Kind,
        object: &FileObject,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let meta = object.resource.meta();
        let version = object.api_version.rsplit('/').next().unwrap_or_default();
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": format!("submit-{}-{}", std::process::id(), meta.name),
                "kind": {"group": kind.group(), "version": version, "kind": kind.name()},
                "resource": {"group": kind.group(), "version": version, "resource": kind.plural()},
                "name": body["metadata"]["name"].as_str().unwrap_or_default(),
                "namespace": meta.namespace,
                "operation": "CREATE",
                "userInfo": {"username": "lanekeeper-submit", "groups": []},
                "object": body,
                "dryRun": self.args.dry_run,
                "options": {"kind": "CreateOptions", "fieldManager": "lanekeeper-submit"},
            },
        });
        let url = format!(
            "{}/{webhook}/{}",
            self.args.server.trim_end_matches('/'),
            self.args.mode
        );
        let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
        let request = Request::post(uri)
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(&review)?)))?;
        let response = self
            .client
            .request(request)
            .await
            .with_context(|| format!("cannot reach {url}"))?;
        let status = response.status();
        let answer = response.into_body().collect().await?.to_bytes();
        if status != StatusCode::OK {
            anyhow::bail!("{url} answered {status}: {}", String::from_utf8_lossy(&answer));
        }
        let mut answer: Value = serde_json::from_slice(&answer).context("the server's answer is no JSON")?;
        Ok(answer["response"].take())
    }
}

//! Requests, and what came of them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::http::response::Parts;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};

/// How long a whole request may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(15);

/// A request to be sent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Call {
    /// The whole URL; its host is looked up among the mesh's Services.
    pub url: String,
    /// The method; `GET` at first.
    pub method: String,
    /// The headers beside `host`, in order.
    pub headers: Vec<(String, String)>,
    /// Whether HTTP/2 is spoken, with prior knowledge.
    pub http2: bool,
}

impl Call {
    /// A GET of a URL by HTTP/1.1.
    pub fn get(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            method: "GET".to_owned(),
            headers: Vec::new(),
            http2: false,
        }
    }

    /// The same with one header more.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same by HTTP/2.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }
}

/// What a caller gets.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The pods reached, in order; none when a proxy answered by itself.
    pub hops: Vec<Hop>,
    /// What a proxy said that answered by itself.
    pub text: String,
    /// Where it sends the caller.
    pub location: Option<String>,
    /// The status of gRPC, where it comes with the headers: a proxy that answers a call by gRPC itself puts it there.
    pub grpc_status: Option<String>,
}

impl Answer {
    /// The workloads reached, in order.
    pub fn workloads(&self) -> Vec<&str> {
        self.hops.iter().map(|hop| hop.workload.as_str()).collect()
    }

    /// The value of a header at each hop, `-` where it is absent.
    pub fn seen(&self, header: &str) -> Vec<String> {
        let value = |hop: &Hop| hop.header(header).unwrap_or_else(|| "-".to_owned());
        self.hops.iter().map(value).collect()
    }
}

/// A pod that a request reached.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hop {
    /// The name of the pod's Deployment.
    pub workload: String,
    /// The port that it came to.
    pub port: u16,
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// The host that was asked for.
    pub authority: String,
    /// The headers as the application saw them.
    pub headers: Vec<(String, String)>,
    /// What the application's own request to the next hop came to, a status or why there was none; `None`: it sent none.
    pub next: Option<Result<u16, String>>,
}

impl Hop {
    /// The values of a header, joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.headers.iter().filter(|(known, _)| known == name);
        let values: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
}

/// What names are looked up in.
#[derive(Debug, Clone)]
pub struct Hosts {
    /// Names and their addresses.
    pub known: Arc<BTreeMap<String, IpAddr>>,
    /// The address of any other name.
    pub otherwise: IpAddr,
}

impl tower::Service<Name> for Hosts {
    type Response = std::option::IntoIter<SocketAddr>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let address = self.known.get(name.as_str()).copied().unwrap_or(self.otherwise);
        // The connector puts the URL's port in.
        ready(Ok(Some(SocketAddr::new(address, 0)).into_iter()))
    }
}

/// A client that keeps its connections.
#[derive(Clone)]
pub struct Client {
    http1: legacy::Client<HttpConnector<Hosts>, Full<Bytes>>,
    http2: legacy::Client<HttpConnector<Hosts>, Full<Bytes>>,
}

impl Client {
    /// A client that looks names up in `hosts`.
    pub fn new(hosts: Hosts) -> Self {
        let mut connector = HttpConnector::new_with_resolver(hosts);
        connector.set_nodelay(true);
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        Self {
            http1: builder.build(connector.clone()),
            http2: builder.http2_only(true).build(connector),
        }
    }

    /// Sends a request, and reads the whole answer.
    ///
    /// # Errors
    ///
    /// Why there was no answer: no connection, one that broke, or none in time.
    pub async fn send(&self, call: &Call) -> Result<Answer, String> {
        let mut request = Request::builder().method(call.method.as_str()).uri(&call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        let request = request
            .body(Full::default())
            .map_err(|error| format!("{call:?} is no request: {error}"))?;
        let client = if call.http2 { &self.http2 } else { &self.http1 };
        let (head, body) = exchange(client, request)
            .await
            .map_err(|error| format!("{}: {error}", call.url))?;
        // A proxy that answers by itself answers with text.
        let (hops, text) = match serde_json::from_slice(&body) {
            Ok(hops) => (hops, String::new()),
            Err(_) => (Vec::new(), String::from_utf8_lossy(&body).into_owned()),
        };
        let header = |name| {
            let value = head.headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        Ok(Answer {
            status: head.status.as_u16(),
            hops,
            text,
            location: header("location"),
            grpc_status: header("grpc-status"),
        })
    }

    /// The page at a URL, whatever its status.
    ///
    /// # Errors
    ///
    /// Why there was no answer.
    pub async fn page(&self, url: &str) -> Result<String, String> {
        let request = Request::get(url)
            .body(Full::default())
            .map_err(|error| error.to_string())?;
        let (_, body) = exchange(&self.http1, request).await?;
        Ok(String::from_utf8_lossy(&body).into_owned())
    }

    /// Lets a pod's application send a request, and gives what came of it.
    ///
    /// # Errors
    ///
    /// As [`Self::send`] has them.
    pub async fn order(&self, application: SocketAddr, call: &Call) -> Result<Answer, String> {
        let body = serde_json::to_vec(call).map_err(|error| error.to_string())?;
        let request = Request::post(format!("http://{application}/send"))
            .header("content-type", "application/json")
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        let (_, body) = exchange(&self.http1, request).await?;
        serde_json::from_slice(&body).map_err(|error| error.to_string())?
    }
}

/// The status with the headers, and the whole body.
async fn exchange(
    client: &legacy::Client<HttpConnector<Hosts>, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Bytes), String> {
    let exchange = async {
        let response = client
            .request(request)
            .await
            .map_err(|error| format!("{error:?}"))?;
        let (head, body) = response.into_parts();
        let body = body.collect().await;
        Ok((head, body.map_err(|error| error.to_string())?.to_bytes()))
    };
    tokio::time::timeout(PATIENCE, exchange)
        .await
        .unwrap_or_else(|_| Err(format!("no answer within {} s", PATIENCE.as_secs())))
}

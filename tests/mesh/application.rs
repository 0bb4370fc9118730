//! The application in a pod: a small HTTP server that knows nothing of lanes. It asks the next hop, to which it passes
//! trace headers and nothing else, and answers with the hops so far. This program runs as one when it is told so.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Json, Request, State};
use axum::http::{HeaderMap, header};
use axum::routing::post;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::client::{Answer, Call, Client, Hop, Hosts};
use crate::network::ORDER_PORT;

/// The argument that makes this program an application; the next one is an [`Application`] in JSON.
pub const ARGUMENT: &str = "application";

/// What is looked up and is no Service's name is at this address of no use, as with Istio's own answers for hosts of
/// `ServiceEntry` objects: the proxy goes by the `host` header.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(240, 240, 0, 1));

/// The header of a request for which the next hop is not asked: routes may lead in circles.
pub const ALONE: &str = "x-alone";

/// The headers that carry a trace, as tracing libraries pass them on.
const TRACE: [&str; 11] = [
    "traceparent",
    "tracestate",
    "baggage",
    "x-request-id",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "uber-trace-id",
    "sw8",
    "x-datadog-trace-id",
    "x-amzn-trace-id",
];

/// What an application is told at its start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Application {
    /// The name of the pod's Deployment.
    pub workload: String,
    /// The ports that it listens on, HTTP/1.1 and HTTP/2 on each.
    pub ports: Vec<u16>,
    /// What it asks for each request that it gets.
    pub next: Option<Call>,
    /// The addresses of Services by every name that they have.
    pub hosts: BTreeMap<String, IpAddr>,
}

impl Application {
    /// Serves until it is killed.
    pub fn serve(self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let client = Client::new(Hosts {
                known: Arc::new(self.hosts.clone()),
                otherwise: NOWHERE,
            });
            let orders = Router::new()
                .route("/send", post(send))
                .with_state(client.clone());
            let mut servers = vec![tokio::spawn(listen(ORDER_PORT, orders))];
            for port in &self.ports {
                let at = Arc::new(Port {
                    number: *port,
                    workload: self.workload.clone(),
                    next: self.next.clone(),
                    client: client.clone(),
                });
                let router = Router::new().fallback(answer).with_state(at);
                servers.push(tokio::spawn(listen(*port, router)));
            }
            for server in servers {
                server.await.expect("a server that goes on");
            }
        });
    }
}

/// A port of an application.
struct Port {
    number: u16,
    workload: String,
    next: Option<Call>,
    client: Client,
}

async fn listen(port: u16, router: Router) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await;
    let listener = listener.unwrap_or_else(|error| panic!("port {port}: {error}"));
    axum::serve(listener, router)
        .await
        .expect("a server that goes on");
}

/// Sends a request as the application would, and answers with what came of it.
async fn send(State(client): State<Client>, Json(call): Json<Call>) -> Json<Result<Answer, String>> {
    Json(client.send(&call).await)
}

async fn answer(State(port): State<Arc<Port>>, request: Request) -> Json<Vec<Hop>> {
    let headers = request.headers();
    let authority = request.uri().authority().map(ToString::to_string);
    let mut hops = vec![Hop {
        workload: port.workload.clone(),
        port: port.number,
        method: request.method().to_string(),
        path: request
            .uri()
            .path_and_query()
            .map(ToString::to_string)
            .unwrap_or_default(),
        authority: authority.unwrap_or_else(|| text(headers.get(header::HOST))),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), text(Some(value))))
            .collect(),
        next: None,
    }];
    if let Some(next) = port.next.as_ref().filter(|_| !headers.contains_key(ALONE)) {
        let mut call = next.clone();
        call.headers.extend(trace_of(headers));
        match port.client.send(&call).await {
            Ok(answer) => {
                hops[0].next = Some(Ok(answer.status));
                hops.extend(answer.hops);
            }
            Err(error) => hops[0].next = Some(Err(error)),
        }
    }
    Json(hops)
}

fn trace_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let found = TRACE.iter().filter_map(|name| Some((*name, headers.get(*name)?)));
    found
        .map(|(name, value)| (name.to_owned(), text(Some(value))))
        .collect()
}

fn text(value: Option<&axum::http::HeaderValue>) -> String {
    value
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .unwrap_or_default()
}

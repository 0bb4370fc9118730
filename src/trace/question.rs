//! A trace as people ask for it, by the command or on the dashboard: text in each field.

use std::fmt;

use super::{Call, Start};
use crate::resource::{Kind, Labels, ObjectRef, Resource};
use crate::routing::{Client, Request};
use crate::symbol::Symbol;
use crate::world::{View, World};

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// The URL that is called.
    pub url: String,
    /// The method of the first request; empty: `GET`.
    pub method: String,
    /// Its headers, each as `name: value`.
    pub headers: Vec<String>,
    /// Whether it is a call by gRPC.
    pub is_grpc: bool,
    /// The gateway that it is sent to, as `namespace/name`; `None`: the only one there is, unless a workload sends it.
    pub gateway: Option<String>,
    /// The workload that sends it, as `namespace/key=value,key=value`.
    pub from: Option<String>,
    /// What the applications call, one after the other; `None`: what the lane group says.
    pub via: Option<Vec<Call>>,
}

/// Why a question has no answer: `header`, `` `x` `` and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unclear {
    /// The field of the question.
    pub field: &'static str,
    /// What was given, where that helps; else empty.
    pub given: String,
    /// What is wrong.
    pub why: String,
}

impl Unclear {
    fn new(field: &'static str, given: &str, why: impl Into<String>) -> Self {
        Self {
            field,
            given: given.to_owned(),
            why: why.into(),
        }
    }
}

/// As in ``header `x`: it is written as 'name: value'``.
impl fmt::Display for Unclear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.given.as_str() {
            "" => write!(f, "{}: {}", self.field, self.why),
            given => write!(f, "{} `{given}`: {}", self.field, self.why),
        }
    }
}

impl std::error::Error for Unclear {}

impl Question {
    /// The question that begins with this request; `None`: none does, as where a gateway is not there, or a path or a label
    /// is none that can be written.
    pub fn of(client: &Client, request: &Request, port: u32) -> Option<Self> {
        let host = request.host();
        let is_grpc = request.http2 && request.is_grpc();
        let is_added = |name: &str, value: &str| {
            is_grpc && name.eq_ignore_ascii_case("content-type") && value == "application/grpc"
        };
        let mut headers: Vec<String> = request
            .headers
            .iter()
            .filter(|(name, value)| !is_added(name, value))
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        let url = format!("{}://{host}:{port}{}", request.scheme, request.path);
        if request.authority != format!("{host}:{port}") {
            headers.push(format!("host: {}", request.authority));
        }
        let labels = client.labels.pairs().iter();
        let labels: Vec<String> = labels.map(|(key, value)| format!("{key}={value}")).collect();
        let question = Self {
            url,
            method: request.method.clone(),
            headers,
            is_grpc,
            gateway: client.caller.gateway.as_ref().map(ToString::to_string),
            from: (client.caller.gateway.is_none())
                .then(|| format!("{}/{}", client.caller.namespace, labels.join(","))),
            via: None,
        };
        // What cannot be written is known by what is read of it.
        let (read, to) = question.request().ok()?;
        let sorted = |request: &Request| {
            let mut headers = request.headers.clone();
            headers.sort();
            headers
        };
        let is_same = Request {
            headers: sorted(&read),
            ..read
        } == Request {
            headers: sorted(request),
            ..request.clone()
        };
        (is_same && to == port).then_some(question)
    }

    /// Where the trace begins.
    pub fn start(&self, view: &View<'_>, world: &World) -> Result<Start, Unclear> {
        let (request, port) = self.request()?;
        Ok(Start {
            client: self.client(view, world)?,
            request,
            port,
            has_proxy: true,
        })
    }

    /// The first request, and the port that it is sent to: what can be told without a world.
    pub fn request(&self) -> Result<(Request, u32), Unclear> {
        let (mut request, port) =
            Request::get(&self.url).map_err(|error| Unclear::new("url", "", error.to_string()))?;
        if !self.method.is_empty() {
            self.method.clone_into(&mut request.method);
        }
        if self.is_grpc {
            "POST".clone_into(&mut request.method);
            request.http2 = true;
            request = request.with("content-type", "application/grpc");
        }
        for header in &self.headers {
            let Some((name, value)) = header.split_once(':') else {
                return Err(Unclear::new(
                    "header",
                    header,
                    "a header is written as 'name: value'",
                ));
            };
            let is_name = !name.is_empty() && name.bytes().all(lanekeeper_filter_core::lane::is_token);
            if !is_name {
                return Err(Unclear::new(
                    "header",
                    header,
                    format!("`{name}` is no name of a header"),
                ));
            }
            if name.eq_ignore_ascii_case("host") {
                value.trim().clone_into(&mut request.authority);
            } else {
                request = request.with(name, value.trim());
            }
        }
        Ok((request, port))
    }

    /// Who sends it.
    fn client(&self, view: &View<'_>, world: &World) -> Result<Client, Unclear> {
        if let Some(from) = &self.from {
            if self.gateway.is_some() {
                let why = "a workload sends the request, or it is sent to a gateway: not both";
                return Err(Unclear::new("from", "", why));
            }
            let (namespace, labels) = from.split_once('/').unwrap_or((from, ""));
            let pairs = labels.split(',').filter(|pair| !pair.is_empty()).map(|pair| {
                let parts = pair.split_once('=');
                let (key, value) = parts.ok_or_else(|| {
                    Unclear::new(
                        "from",
                        "",
                        format!("`{pair}` is no label; one is written KEY=VALUE"),
                    )
                })?;
                Ok((Symbol::new(key), Symbol::new(value)))
            });
            let labels = Labels::new(pairs.collect::<Result<Vec<_>, _>>()?);
            return Ok(Client::in_mesh(namespace.into(), labels));
        }
        let gateways = gateways(world);
        let named = match (&self.gateway, gateways.as_slice()) {
            (Some(named), _) => named.clone(),
            (None, [only]) => only.clone(),
            (None, []) => {
                let why = "there is no Gateway here: say which workload sends the request";
                return Err(Unclear::new("from", "", why));
            }
            (None, several) => {
                let why = format!(
                    "there are several, of which one has to be named: {}",
                    several.join(", ")
                );
                return Err(Unclear::new("gateway", "", why));
            }
        };
        let Some((namespace, name)) = named.split_once('/') else {
            let mut fitting = gateways
                .iter()
                .filter(|full| full.ends_with(&format!("/{named}")));
            let meant = fitting.next();
            let meant = meant
                .map(|full| format!("; did you mean {full}?"))
                .unwrap_or_default();
            let why = format!("it is written NAMESPACE/NAME{meant}");
            return Err(Unclear::new("gateway", &named, why));
        };
        if view
            .get(&ObjectRef::new(Kind::Gateway, namespace, name))
            .is_none()
        {
            let why = match gateways.join(", ") {
                none if none.is_empty() => "there is no Gateway here".to_owned(),
                some => format!("there is no such Gateway; there are: {some}"),
            };
            return Err(Unclear::new("gateway", &named, why));
        }
        Ok(Client::at_gateway(
            view,
            &named.as_str().into(),
            &namespace.into(),
        ))
    }
}

/// The gateways of a world, as `namespace/name`, in order.
pub fn gateways(world: &World) -> Vec<String> {
    let gateways = world.objects().filter_map(|object| match object {
        Resource::Gateway(gateway) => Some(format!("{}/{}", gateway.meta.namespace, gateway.meta.name)),
        _ => None,
    });
    let mut gateways: Vec<String> = gateways.collect();
    gateways.sort();
    gateways
}

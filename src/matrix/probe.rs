//! What requests have to be like, so that they are the ones that lane routes are for.

use std::fmt;

use crate::resource::{HttpMatch, StringMatch};
use crate::routing::{Condition, Request, Route};
use crate::symbol::Symbol;

/// What a request is like, apart from the lane that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The method.
    pub method: String,
    /// The path with the query.
    pub path: String,
    /// Headers.
    pub headers: Vec<(String, String)>,
    /// Whether it is a call by gRPC.
    pub is_grpc: bool,
    /// Whether some route for such requests asks for the lane, or there is no route at all.
    pub tells_lanes: bool,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            method: "GET".to_owned(),
            path: "/".to_owned(),
            headers: Vec::new(),
            is_grpc: false,
            tells_lanes: true,
        }
    }
}

/// What is not as in any request: ` POST /orders with x-user: a`; empty for `GET /`.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.method != "GET" && !self.is_grpc {
            write!(f, " {}", self.method)?;
        }
        if self.path != "/" {
            write!(f, " {}", self.path)?;
        }
        for (at, (name, value)) in self.headers.iter().enumerate() {
            write!(f, "{} {name}: {value}", if at == 0 { " with" } else { "," })?;
        }
        Ok(())
    }
}

impl Probe {
    /// Whether both are requests of one kind.
    fn is_alike(&self, other: &Self) -> bool {
        (&self.method, &self.path, &self.headers) == (&other.method, &other.path, &other.headers)
    }

    /// The same as a call by gRPC.
    pub(super) fn by_grpc(self) -> Self {
        Self {
            is_grpc: true,
            method: "POST".to_owned(),
            ..self
        }
    }

    /// The request to a host.
    pub(super) fn request(&self, scheme: &str, authority: &str) -> Request {
        let mut request = Request {
            method: self.method.clone(),
            scheme: scheme.to_owned(),
            authority: authority.to_owned(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            http2: self.is_grpc,
        };
        if self.is_grpc && request.header("content-type").is_none() {
            request.set("content-type", Some("application/grpc"));
        }
        request
    }

    /// A request that meets a condition, whatever it asks of `lane_headers`; `None`: it asks for something like a pattern.
    fn meeting(condition: Condition<'_>, lane_headers: &[&Symbol]) -> Option<Self> {
        let mut probe = Self::default();
        let mut query = Vec::new();
        // A delegate's part is within its root's, and comes first.
        let parts: Vec<&HttpMatch> = condition.parts().collect();
        if let Some(uri) = condition.uri() {
            probe.path = text_of(uri, "/")?;
        }
        if let Some(method) = parts.iter().find_map(|part| part.method.as_ref()) {
            probe.method = text_of(method, "GET")?;
        }
        for part in parts {
            for (name, value) in part.headers.iter() {
                let is_lane = lane_headers
                    .iter()
                    .any(|header| header.eq_ignore_ascii_case(name));
                let is_known = probe
                    .headers
                    .iter()
                    .any(|(known, _)| known.eq_ignore_ascii_case(name));
                if !is_lane && !is_known {
                    probe
                        .headers
                        .push((name.to_ascii_lowercase(), text_of(value, "x")?));
                }
            }
            for (name, value) in part.query_params.iter() {
                if query.iter().all(|(known, _)| known != name) {
                    query.push((name.clone(), text_of(value, "x")?));
                }
            }
        }
        if !query.is_empty() {
            let pairs: Vec<String> = query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            probe.path = format!("{}?{}", probe.path, pairs.join("&"));
        }
        Some(probe)
    }
}

/// A text that satisfies a match; `None`: it is a pattern that not just anything satisfies.
fn text_of(asked: &StringMatch, any: &str) -> Option<String> {
    match asked {
        StringMatch::Exact(text) | StringMatch::Prefix(text) => Some(text.to_string()),
        StringMatch::Regex(regex) if matches!(&**regex, ".*" | ".+" | "*") => Some(any.to_owned()),
        StringMatch::Regex(_) => None,
        StringMatch::Present => Some(any.to_owned()),
    }
}

/// The most kinds of request that one list of routes is asked with.
const MOST: usize = 32;

/// The kinds of request that `routes` tell apart, those of lane routes first; without any of these, a plain one.
pub(super) fn probes<'h>(routes: &[Route<'_>], lane_headers: impl Iterator<Item = &'h Symbol>) -> Vec<Probe> {
    let lane_headers: Vec<&Symbol> = lane_headers.collect();
    let conditions = routes.iter().flat_map(|route| &route.conditions);
    let (of_lanes, others): (Vec<Condition<'_>>, Vec<_>) = conditions.partition(|condition| {
        let mut headers = lane_headers.iter();
        headers.any(|header| condition.header(header).is_some())
    });
    let mut found: Vec<Probe> = Vec::new();
    let mut add = |conditions: Vec<Condition<'_>>, tells_lanes: bool| {
        for condition in conditions {
            let Some(probe) = Probe::meeting(condition, &lane_headers) else {
                continue;
            };
            let is_known = found.iter().any(|known| known.is_alike(&probe));
            if !is_known && found.len() < MOST {
                found.push(Probe { tells_lanes, ..probe });
            }
        }
        if tells_lanes && found.is_empty() {
            found.push(Probe::default());
        }
    };
    add(of_lanes, true);
    add(others, false);
    found
}

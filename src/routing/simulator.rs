//! What becomes of one request: which route takes it, why the earlier ones do not, what it is made into, and who answers.
//!
//! ```text
//!   Client, Request, port ──mesh, gateway──▶ VirtualHost ──condition──▶ Route ──rewritten, header──▶ Request ──branch──▶ Branch
//! ```
//!
//! It follows the same lists of routes, steps and rules as everything else here, with one request at a time.

mod branch;
mod condition;
mod gateway;
mod mesh;
mod rewritten;

use std::fmt;

pub use branch::{Branch, Carrier, Ending, Readiness, Severed};
pub use condition::Unmet;
pub use gateway::routes_at_gateway;
pub use mesh::{routes_for, simulate_without_proxy};

use self::branch::Leading;
use self::condition::unmet;
use super::delegate::expanded;
use super::route::Route;
use super::{Caller, Condition, Request, VirtualHost};
use crate::resource::{Abort, Labels, VirtualService};
use crate::symbol::Symbol;
use crate::world::{View, qualified};

/// Who sends a request: the pods of a gateway, or a workload with a sidecar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Whose proxy it is.
    pub caller: Caller,
    /// The labels of its pods.
    pub labels: Labels,
}

impl Client {
    /// A workload of `namespace` with these pod labels.
    pub fn in_mesh(namespace: Symbol, labels: Labels) -> Self {
        Self {
            caller: Caller {
                namespace,
                gateway: None,
            },
            labels,
        }
    }

    /// The pods of the gateway that an object of `home` writes as `name` (`name` or `namespace/name`), in the first of
    /// the namespaces where they run.
    pub fn at_gateway(view: &View<'_>, name: &Symbol, home: &Symbol) -> Self {
        let full = qualified(name, home);
        let gateway = view.gateway(name, home);
        let namespaces = gateway.map(|gateway| view.namespaces_with(&gateway.selector));
        let own = full.split_once('/').map(|(namespace, _)| namespace.into());
        let namespace = namespaces.and_then(|namespaces| namespaces.into_iter().next());
        let namespace = namespace.or(own).unwrap_or_default();
        let labels = gateway.map(|gateway| {
            let pods = view.carriers(&namespace, &gateway.selector);
            let mut labels = pods.iter().filter_map(|pod| pod.carrier_labels());
            labels.next().unwrap_or(&gateway.selector).clone()
        });
        Self {
            caller: Caller {
                namespace,
                gateway: Some(full),
            },
            labels: labels.unwrap_or_default(),
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone)]
pub struct Simulation<'w> {
    /// The list of routes that it is tried against; `None`: no `VirtualService` has a say.
    pub virtual_host: Option<VirtualHost<'w>>,
    /// The routes that do not take it, up to the one that does, in the order in which they are tried.
    pub passed: Vec<Passed<'w>>,
    /// The outcome.
    pub outcome: Outcome<'w>,
}

/// A route that does not take a request.
#[derive(Debug, Clone)]
pub struct Passed<'w> {
    /// The route.
    pub route: Route<'w>,
    /// Why it does not, for each of its conditions; empty: none of them is for this gateway, port or caller at all.
    pub unmet: Vec<(Condition<'w>, Unmet<'w>)>,
}

/// What comes of a request in the end.
#[derive(Debug, Clone)]
pub enum Outcome<'w> {
    /// The proxy answers it 404: it knows the host, and no route takes the request; or it is a gateway without the host.
    NotFound(NotFound),
    /// There is no connection.
    Refused(Refusal),
    /// The proxy answers by itself.
    Answered {
        /// The route that says so; `None`: the gateway's server does, for every request.
        by: Option<Taken<'w>>,
        /// The status.
        status: u16,
        /// Where it sends the caller.
        location: Option<String>,
    },
    /// It is sent on.
    Forwarded(Forwarded<'w>),
}

/// What is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotFound {
    /// A route for the request.
    Route,
    /// The host, at a gateway.
    Host,
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such gateway.
    NoGateway,
    /// The gateway has no server for HTTP at this port and, with TLS, this host.
    NoServer,
    /// The service has no such port.
    NoPort,
    /// There is no service of this name, and names of others are not known here.
    NoService,
    /// The mesh lets nothing out to hosts that it does not know (502).
    RegistryOnly,
}

/// A route that takes a request.
#[derive(Debug, Clone)]
pub struct Taken<'w> {
    /// The route.
    pub route: Route<'w>,
    /// The condition that is met; `None`: it has none.
    pub by: Option<Condition<'w>>,
}

/// A request that is sent on.
#[derive(Debug, Clone)]
pub struct Forwarded<'w> {
    /// By what.
    pub way: Way<'w>,
    /// The share of requests, in percent, that the proxy answers with an error instead, and its status.
    pub abort: Option<(f64, u16)>,
    /// Where it goes: one of these, by their weights.
    pub branches: Vec<Branch<'w>>,
    /// Where copies of it go.
    pub copies: Vec<Branch<'w>>,
}

/// By what a request is sent on.
#[derive(Debug, Clone)]
pub enum Way<'w> {
    /// A route of a `VirtualService`.
    Route(Taken<'w>),
    /// Istio's own route, to all pods of the service: no `VirtualService` has one for the port.
    Default,
    /// The port is not for HTTP: the connection is passed on.
    Tcp,
    /// The caller has no proxy: the connection goes to the address that it looked up.
    NoProxy,
    /// The proxy knows no such host, or may not: the connection goes to the address that the caller looked up.
    Unrouted,
}

impl Passed<'_> {
    /// Why it does not, in words.
    pub fn reasons(&self) -> String {
        if self.unmet.is_empty() {
            return "it is for another gateway, port or sender".to_owned();
        }
        let reasons: Vec<String> = self.unmet.iter().map(|(_, unmet)| unmet.to_string()).collect();
        reasons.join("; or ")
    }
}

impl<'w> Outcome<'w> {
    /// The route that takes the request, if one does.
    pub fn taken(&self) -> Option<&Taken<'w>> {
        match self {
            Self::Answered { by, .. } => by.as_ref(),
            Self::Forwarded(forwarded) => match &forwarded.way {
                Way::Route(taken) => Some(taken),
                Way::Default | Way::Tcp | Way::NoProxy | Way::Unrouted => None,
            },
            Self::NotFound(_) | Self::Refused(_) => None,
        }
    }

    /// What comes of the request, in words, where neither a route nor a destination tells it.
    pub fn told(&self) -> Option<String> {
        Some(match self {
            Self::NotFound(NotFound::Host) => "404: the gateway does not serve the host".to_owned(),
            Self::NotFound(NotFound::Route) => "404: no route takes the request".to_owned(),
            Self::Refused(why @ Refusal::RegistryOnly) => format!("502: {why}"),
            Self::Refused(why) => format!("no connection: {why}"),
            Self::Answered { status, location, .. } => {
                let to = location
                    .as_ref()
                    .map(|to| format!(", to {to}"))
                    .unwrap_or_default();
                format!("{status}: the proxy answers by itself{to}")
            }
            Self::Forwarded(forwarded) => {
                let told = match forwarded.way {
                    Way::Route(_) => return None,
                    Way::Default => {
                        "no VirtualService has a route for the port: Istio's own leads to every pod"
                    }
                    Way::Tcp => "the port is not for HTTP: no route applies, and every pod may answer",
                    Way::NoProxy => "the sender has no sidecar: no route applies, and every pod may answer",
                    Way::Unrouted => "the sender's proxy does not know the host: no route applies",
                };
                told.to_owned()
            }
        })
    }

    /// The status that a proxy answers with; `None`: an application answers, or it is a matter of chance, or there is no
    /// connection.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::NotFound(_) => Some(404),
            Self::Refused(Refusal::RegistryOnly) => Some(502),
            Self::Refused(_) => None,
            Self::Answered { status, .. } => Some(*status),
            Self::Forwarded(forwarded) => {
                let mut statuses = forwarded.branches.iter().map(|branch| branch.ending.status());
                let first = statuses.next()??;
                statuses.all(|status| status == Some(first)).then_some(first)
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoGateway => "there is no such Gateway",
            Self::NoServer => "the gateway has no server for HTTP at this port and host",
            Self::NoPort => "the service has no such port",
            Self::NoService => "there is no such service",
            Self::RegistryOnly => "the mesh lets nothing out to hosts that it does not know",
        })
    }
}

/// What becomes of `request` that `client` sends to `port` of the host that it names.
pub fn simulate<'w>(view: &View<'w>, client: &Client, request: &Request, port: u32) -> Simulation<'w> {
    match &client.caller.gateway {
        Some(name) => gateway::simulate(view, client, name, request, port),
        None => mesh::simulate(view, client, request, port),
    }
}

/// What becomes of `request` in a list of routes that is for it.
pub fn simulate_among<'w>(
    view: &View<'w>,
    client: &Client,
    host: VirtualHost<'w>,
    request: &Request,
    port: u32,
) -> Simulation<'w> {
    let mut passed = Vec::new();
    let mut outcome = None;
    for route in &host.routes {
        match taken(route, request) {
            Ok(taken) => {
                passed.splice(..0, elsewhere(view, &host, Some(&taken.route)));
                outcome = Some(follow(view, client, &host, taken, request, port));
                break;
            }
            Err(unmet) => passed.push(Passed {
                route: route.clone(),
                unmet,
            }),
        }
    }
    let outcome = outcome.unwrap_or_else(|| {
        passed.splice(..0, elsewhere(view, &host, None));
        Outcome::NotFound(NotFound::Route)
    });
    Simulation {
        virtual_host: Some(host),
        passed,
        outcome,
    }
}

/// The routes of the same `VirtualServices` that are not in the list, because none of their conditions is for the list's
/// gateway, port or caller: those that stand before the one that takes the request.
fn elsewhere<'w>(view: &View<'w>, host: &VirtualHost<'w>, taking: Option<&Route<'w>>) -> Vec<Passed<'w>> {
    let listed = || host.routes.iter().chain(&host.dropped);
    let mut seen: Vec<&VirtualService> = Vec::new();
    let mut found = Vec::new();
    for bound in listed().map(Route::bound) {
        if seen.iter().any(|known| std::ptr::eq(*known, bound)) {
            continue;
        }
        seen.push(bound);
        let all = expanded(view, bound).into_iter();
        let before = all.take_while(|route| taking.is_none_or(|taking| !taking.is_same(route)));
        let missing = before.filter(|route| !listed().any(|known| known.is_same(route)));
        found.extend(missing.map(|route| Passed {
            route,
            unmet: Vec::new(),
        }));
        if taking.is_some_and(|taking| std::ptr::eq(taking.bound(), bound)) {
            break;
        }
    }
    found
}

/// The route with the condition that `request` meets, or what it lacks for each of them.
fn taken<'w>(route: &Route<'w>, request: &Request) -> Result<Taken<'w>, Vec<(Condition<'w>, Unmet<'w>)>> {
    let mut lacking = Vec::new();
    for condition in &route.conditions {
        match unmet(*condition, request) {
            Some(unmet) => lacking.push((*condition, unmet)),
            None => {
                return Ok(Taken {
                    route: route.clone(),
                    by: Some(*condition),
                });
            }
        }
    }
    if route.conditions.is_empty() {
        return Ok(Taken {
            route: route.clone(),
            by: None,
        });
    }
    Err(lacking)
}

/// What the route that takes a request does with it.
fn follow<'w>(
    view: &View<'w>,
    client: &Client,
    host: &VirtualHost<'w>,
    taken: Taken<'w>,
    request: &Request,
    port: u32,
) -> Outcome<'w> {
    let route = taken.route.route;
    let abort = route
        .fault
        .as_ref()
        .and_then(|fault| aborted(fault.abort.as_ref()?));
    if let Some((_, status)) = abort.filter(|(share, _)| *share >= 100.0) {
        return Outcome::Answered {
            by: Some(taken),
            status,
            location: None,
        };
    }
    if let Some(redirect) = &route.redirect {
        let (status, location) = rewritten::redirected(redirect, request, port);
        return Outcome::Answered {
            by: Some(taken),
            status,
            location: Some(location),
        };
    }
    if let Some(response) = &route.direct_response {
        return Outcome::Answered {
            status: response.status,
            by: Some(taken),
            location: None,
        };
    }
    let leading = Leading {
        view,
        client,
        host,
        taken: &taken,
        request,
    };
    let (branches, copies) = (leading.branches(), leading.copies());
    Outcome::Forwarded(Forwarded {
        way: Way::Route(taken),
        abort,
        branches,
        copies,
    })
}

/// The share and the status of what a fault aborts.
fn aborted(abort: &Abort) -> Option<(f64, u16)> {
    let share = abort.percentage.as_ref()?.value;
    // A status of gRPC comes with HTTP's 200.
    (share > 0.0).then(|| (share, abort.http_status.unwrap_or(200)))
}

#[cfg(test)]
mod tests;

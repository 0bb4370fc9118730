//! Who gets a request that is sent on to a destination.

use std::fmt;
use std::rc::Rc;

use super::super::header::apply;
use super::{Client, Taken, rewritten};
use crate::resource::{Destination, DestinationPath, Labels, Resource, Service, Subset};
use crate::routing::{
    EffectiveRule, EffectiveSubset, End, Endpoints, Hop, Lanes, Place, Port, Protocol, Request, Target,
    Upstream, VirtualHost, carriers_of_subset, has_target_port, home_of, look_up, reached, workload_labels,
};
use crate::symbol::Symbol;
use crate::world::View;

/// One of the destinations that a request may go to.
#[derive(Debug, Clone)]
pub struct Branch<'w> {
    /// The destination's path in the object that has the route; `None`: it is no route's.
    pub path: Option<String>,
    /// Its part of the requests: this many of [`Branch::of`]. Of copies, percents.
    pub weight: f64,
    /// What all weights come to.
    pub of: f64,
    /// The request as it is sent there.
    pub request: Request,
    /// The full host.
    pub host: Symbol,
    /// The port; `None`: it is not known.
    pub port: Option<Port>,
    /// The subset that is named.
    pub subset: Option<Symbol>,
    /// Where the subset is defined, for this caller.
    pub defined: Option<EffectiveSubset<'w>>,
    /// What is spoken to it; `None`: nothing is sent, or the proxy only passes bytes on.
    pub upstream: Option<Upstream>,
    /// What it comes to.
    pub ending: Ending<'w>,
}

impl Branch<'_> {
    /// Where it leads, in words: ``cart.shop.svc.cluster.local:8080 (http), subset `blue` ``.
    pub fn destination(&self) -> String {
        let port = self.port.as_ref().map(|port| format!(":{port}"));
        let subset = self.subset.as_ref();
        let subset = subset.map(|subset| format!(", subset `{subset}`"));
        format!(
            "{}{}{}",
            self.host,
            port.unwrap_or_default(),
            subset.unwrap_or_default()
        )
    }

    /// The headers that it is sent with and that the request `before` did not have so.
    pub fn changed<'b>(&'b self, before: &'b Request) -> impl Iterator<Item = &'b (String, String)> {
        let headers = self.request.headers.iter();
        headers.filter(|header| !before.headers.contains(header))
    }

    /// The names of the headers that the request `before` had, and that it is sent without.
    pub fn removed<'b>(&'b self, before: &'b Request) -> impl Iterator<Item = &'b str> {
        let names = before.headers.iter().map(|(name, _)| name.as_str());
        names.filter(|name| self.request.header(name).is_none())
    }

    /// Whether it is sent on with another host or path.
    pub fn is_rewritten(&self, before: &Request) -> bool {
        (&before.authority, &before.path) != (&self.request.authority, &self.request.path)
    }

    /// The lanes of all that may answer; what is in none counts for none.
    pub fn lanes(&self, lanes: &Lanes<'_, '_>) -> Vec<Symbol> {
        let carriers = self.ending.carriers().iter();
        let mut found: Vec<Symbol> = carriers
            .flat_map(|carrier| lanes.lanes_of_workload(carrier.labels))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    /// Whether a call by gRPC, or in plain HTTP/1.1, gets to a port that speaks the other: the port is one for gRPC
    /// and the request is none, or a call by gRPC arrives in HTTP/1.1.
    pub fn is_other_protocol(&self) -> bool {
        let for_grpc = self
            .port
            .as_ref()
            .is_some_and(|port| port.protocol == Protocol::Grpc);
        if self.request.is_grpc() {
            self.upstream == Some(Upstream::Http1)
        } else {
            for_grpc && self.upstream.is_some()
        }
    }
}

/// Something that may answer.
#[derive(Debug, Clone, Copy)]
pub struct Carrier<'w> {
    /// The labels of its pods.
    pub labels: &'w Labels,
    /// The workload, pod or `WorkloadEntry`; `None`: an endpoint that is written into a `ServiceEntry`.
    pub object: Option<&'w Resource>,
    /// Whether it can answer now.
    pub readiness: Readiness,
}

/// Whether a carrier can answer now, by its pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Some pod is ready.
    Ready,
    /// There are pods, and none is ready.
    NotReady,
    /// No pod is known, as in files.
    Unknown,
}

/// What sending a request to a destination comes to.
#[derive(Debug, Clone)]
pub enum Ending<'w> {
    /// One of these answers.
    Reaches(Vec<Carrier<'w>>),
    /// The one of these answers whose address the caller looked up: no subset chooses.
    ByAddress(Vec<Carrier<'w>>),
    /// It leaves what is known here.
    Outside,
    /// 503: the proxy has no such cluster.
    NoCluster(Severed),
    /// 503 "no healthy upstream": nothing carries it.
    NoCarrier,
    /// The same: these would carry it, and none of them is ready.
    NotReady(Vec<Carrier<'w>>),
}

impl<'w> Ending<'w> {
    /// What may answer; none: nothing that is known here does.
    pub fn carriers(&self) -> &[Carrier<'w>] {
        match self {
            Self::Reaches(carriers) | Self::ByAddress(carriers) => carriers,
            Self::Outside | Self::NoCluster(_) | Self::NoCarrier | Self::NotReady(_) => &[],
        }
    }

    /// The status that the proxy answers with; `None`: it is not the proxy that answers.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Reaches(_) | Self::ByAddress(_) | Self::Outside => None,
            Self::NoCluster(_) | Self::NoCarrier | Self::NotReady(_) => Some(503),
        }
    }
}

/// Who answers, the first few by name, or what the proxy answers and why.
impl fmt::Display for Ending<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// How many are named.
        const MOST: usize = 3;
        match self {
            Self::Reaches(carriers) | Self::ByAddress(carriers) => {
                for (at, carrier) in carriers.iter().take(MOST).enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    match carrier.object {
                        Some(object) => write!(f, "{}", object.reference())?,
                        None => f.write_str("an endpoint of a ServiceEntry")?,
                    }
                }
                match carriers.len().checked_sub(MOST) {
                    None | Some(0) => Ok(()),
                    Some(more) => write!(f, " and {more} more"),
                }
            }
            Self::Outside => f.write_str("what is not known here"),
            Self::NoCluster(why) => write!(f, "503: {why}"),
            Self::NoCarrier => f.write_str("503 no healthy upstream: nothing carries it"),
            Self::NotReady(_) => f.write_str("503 no healthy upstream: no pod of what carries it is ready"),
        }
    }
}

/// Why a proxy has no cluster for a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severed {
    /// The host is not known.
    Host,
    /// The host is not exported to the caller.
    NotExported,
    /// It is an alias that the caller's sidecar does not know as one at this port.
    Alias,
    /// The host has no such port.
    Port,
    /// No rule that counts for the caller defines the subset.
    Subset,
}

impl fmt::Display for Severed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "the host is not known",
            Self::NotExported => "the host is not exported to the caller's namespace",
            Self::Alias => "the host is an alias without the port",
            Self::Port => "the host has no such port",
            Self::Subset => "no DestinationRule that counts for the caller defines the subset",
        })
    }
}

/// A request on its way over a route.
pub(super) struct Leading<'a, 'w> {
    pub(super) view: &'a View<'w>,
    pub(super) client: &'a Client,
    pub(super) host: &'a VirtualHost<'w>,
    pub(super) taken: &'a Taken<'w>,
    pub(super) request: &'a Request,
}

impl<'w> Leading<'_, 'w> {
    /// The destinations, by weight.
    pub(super) fn branches(&self) -> Vec<Branch<'w>> {
        let route = self.taken.route.route;
        let weight = |weight: Option<i32>| f64::from(weight.unwrap_or(0).max(0));
        let all: f64 = reached(route).map(|(_, to)| weight(to.weight)).sum();
        let is_shared = route.route.len() > 1 && all > 0.0;
        let branches = reached(route).map(|(at, to)| {
            let mut request = self.request.clone();
            rewritten::rewrite(&self.taken.route, self.taken.by, at, &mut request);
            apply(&self.taken.route, at, &mut request);
            let (weight, of) = if is_shared {
                (weight(to.weight), all)
            } else {
                (1.0, 1.0)
            };
            self.branch(DestinationPath::Route(at), &to.destination, request, (weight, of))
        });
        branches.collect()
    }

    /// The destinations of copies. Envoy changes the request before it is copied as for the route alone, and marks the
    /// copies' host.
    pub(super) fn copies(&self) -> Vec<Branch<'w>> {
        let copies = self.taken.route.route.copies();
        let branches = copies.map(|(path, destination)| {
            let mut request = self.request.clone();
            rewritten::rewrite(&self.taken.route, self.taken.by, 0, &mut request);
            apply(&self.taken.route, 0, &mut request);
            self.branch(path, destination, request, (100.0, 100.0))
        });
        branches.collect()
    }

    fn branch(
        &self,
        at: DestinationPath,
        destination: &'w Destination,
        request: Request,
        (weight, of): (f64, f64),
    ) -> Branch<'w> {
        let hop = Hop {
            from: self.host,
            route: &self.taken.route,
            place: Place {
                index: self.taken.route.index,
                at,
            },
            destination,
        };
        let end = hop.end(self.view);
        let port = end.known_port();
        let chosen = choose(self.view, self.client, &end, destination.subset.as_ref());
        let (defined, upstream) = match &port {
            Some(port) => (
                chosen.defined,
                Some(chosen.upstream(self.view, self.client, port)),
            ),
            None => (chosen.defined, None),
        };
        Branch {
            path: Some(hop.place.to_string()),
            weight,
            of,
            request,
            host: end.host,
            subset: destination.subset.clone(),
            port,
            defined,
            upstream: upstream.filter(|_| chosen.ending.status().is_none()),
            ending: chosen.ending,
        }
    }
}

/// A port of a host that nothing is known of.
pub(super) fn registered(number: u32) -> Port {
    Port {
        number,
        name: Symbol::default(),
        protocol: Protocol::Undeclared,
    }
}

/// The request goes to all pods behind a host, over Istio's own route or, where it is not `routed`, as the caller looked
/// the address up.
pub(super) fn all_pods<'w>(
    view: &View<'w>,
    client: &Client,
    request: &Request,
    (host, target): (&Symbol, &Target<'w>),
    (port, is_routed): (&Port, bool),
) -> Branch<'w> {
    let end = End {
        host: host.clone(),
        target: target.clone(),
        port: Some(port.number),
        alias: None,
    };
    let chosen = match target {
        // The address that the caller looked up is that of all pods.
        Target::Service(service) if !is_routed => {
            Chosen::ending(of_service(view, service, port.number, None, false))
        }
        Target::Service(_) | Target::Entries(_) if is_routed => choose(view, client, &end, None),
        _ => Chosen::ending(Ending::Outside),
    };
    let upstream = (is_routed && port.protocol.is_http()).then(|| chosen.upstream(view, client, port));
    Branch {
        path: None,
        weight: 1.0,
        of: 1.0,
        request: request.clone(),
        host: host.clone(),
        port: Some(port.clone()),
        subset: None,
        defined: None,
        upstream: upstream.filter(|_| chosen.ending.status().is_none()),
        ending: chosen.ending,
    }
}

/// What a proxy makes of a destination.
struct Chosen<'w> {
    rule: Option<Rc<EffectiveRule<'w>>>,
    defined: Option<EffectiveSubset<'w>>,
    ending: Ending<'w>,
}

impl<'w> Chosen<'w> {
    fn ending(ending: Ending<'w>) -> Self {
        Self {
            rule: None,
            defined: None,
            ending,
        }
    }

    fn upstream(&self, view: &View<'w>, client: &Client, port: &Port) -> Upstream {
        let subset = self.defined.map(|defined| defined.subset.name.as_str());
        Upstream::of(view, &client.caller, self.rule.as_deref(), subset, port)
    }
}

/// Which rule counts for `client` at the end of a step, and what it chooses.
fn choose<'w>(view: &View<'w>, client: &Client, end: &End<'w>, subset: Option<&Symbol>) -> Chosen<'w> {
    let severed = |why| Chosen::ending(Ending::NoCluster(why));
    let caller = &client.caller;
    if matches!(end.target, Target::Unknown) {
        return severed(Severed::Host);
    }
    if end.is_lost_alias() {
        return severed(Severed::Alias);
    }
    if !end.target.is_visible_to(view, &caller.namespace) {
        return severed(Severed::NotExported);
    }
    let Some(number) = end.port.filter(|_| !end.is_nowhere()) else {
        return severed(Severed::Port);
    };
    let home = home_of(view, &end.host);
    let looked_up = look_up(view, &caller.namespace, &end.host, home);
    let mut selected = looked_up.selected.iter();
    let of_labels = selected.find(|(selector, _)| selector.select(&client.labels));
    let rule = of_labels
        .map(|(_, rule)| rule)
        .or(looked_up.rule.as_ref())
        .cloned();
    let defined = match subset {
        None => None,
        Some(name) => match rule.as_ref().and_then(|rule| rule.subset(name)) {
            Some(defined) => Some(*defined),
            None => {
                return Chosen {
                    rule,
                    ..severed(Severed::Subset)
                };
            }
        },
    };
    let name = subset.map(Symbol::as_str);
    let by_rule = rule.as_ref().is_some_and(|rule| rule.keeps_address(name, number));
    let labels = defined.map(|defined| defined.subset);
    let ending = match &end.target {
        Target::Service(service) => {
            let by_address = by_rule || (service.headless && caller.gateway.is_none());
            of_service(view, service, number, labels, by_address)
        }
        Target::Entries(entries) => {
            let by_address = by_rule || entries.iter().all(|entry| entry.keeps_address);
            of_entries(&Endpoints::of(view, entries), labels, by_address)
        }
        Target::Unknown => Ending::Outside,
    };
    Chosen {
        rule,
        defined,
        ending,
    }
}

/// What answers of a service.
fn of_service<'w>(
    view: &View<'w>,
    service: &'w Service,
    port: u32,
    subset: Option<&Subset>,
    by_address: bool,
) -> Ending<'w> {
    if service.selector.is_empty() {
        // Its endpoints are made by hand, and not known here.
        return Ending::Outside;
    }
    let everything = Subset::default();
    let subset = subset.filter(|_| !by_address).unwrap_or(&everything);
    let mut chosen = carriers_of_subset(view, service, subset).of_subset;
    if let Some(port) = service.port(port) {
        chosen.retain(|carrier| has_target_port(carrier, port));
    }
    let carriers = chosen.into_iter().filter_map(|object| {
        Some(Carrier {
            labels: object.carrier_labels()?,
            object: Some(object),
            readiness: readiness(view, object),
        })
    });
    ended(carriers.collect(), by_address)
}

/// What answers of a host that `ServiceEntries` add.
fn of_entries<'w>(endpoints: &Endpoints<'w>, subset: Option<&Subset>, by_address: bool) -> Ending<'w> {
    if by_address || endpoints.is_by_host_alone() {
        return Ending::Outside;
    }
    let wanted = subset.map(workload_labels).unwrap_or_default();
    let chosen = endpoints
        .each()
        .into_iter()
        .filter(|(labels, _)| wanted.select(labels));
    let carriers = chosen.map(|(labels, object)| Carrier {
        labels,
        object,
        readiness: Readiness::Unknown,
    });
    ended(carriers.collect(), false)
}

fn ended(mut carriers: Vec<Carrier<'_>>, by_address: bool) -> Ending<'_> {
    if carriers.is_empty() {
        return Ending::NoCarrier;
    }
    let is_out = |carrier: &Carrier<'_>| carrier.readiness == Readiness::NotReady;
    if carriers.iter().all(is_out) {
        return Ending::NotReady(carriers);
    }
    carriers.retain(|carrier| !is_out(carrier));
    if by_address {
        Ending::ByAddress(carriers)
    } else {
        Ending::Reaches(carriers)
    }
}

/// Whether any pod of a carrier is ready.
fn readiness(view: &View<'_>, carrier: &Resource) -> Readiness {
    let of_pods = |ready: &[Option<bool>]| {
        if ready.contains(&Some(true)) {
            Readiness::Ready
        } else if ready.is_empty() || ready.contains(&None) {
            Readiness::Unknown
        } else {
            Readiness::NotReady
        }
    };
    match carrier {
        Resource::Pod(pod) => of_pods(&[pod.ready]),
        Resource::Workload(workload) => {
            let pods = view.pods_of(workload);
            of_pods(&pods.iter().map(|pod| pod.ready).collect::<Vec<_>>())
        }
        _ => Readiness::Unknown,
    }
}

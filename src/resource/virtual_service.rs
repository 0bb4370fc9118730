//! `VirtualService` (`networking.istio.io`).

use std::fmt;
use std::ops::Deref;
use std::sync::LazyLock;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use super::seldom::{Seldom, Unwritten};
use super::{Labels, Meta, pattern};
use crate::symbol::Symbol;

/// Istio's routes for some hosts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VirtualService {
    /// Its metadata.
    pub meta: Meta,
    /// The hosts it routes; a short name is one of its own namespace.
    pub hosts: Box<[Symbol]>,
    /// The gateways it is bound to, `mesh` for the sidecars; empty means `mesh`.
    pub gateways: Box<[Symbol]>,
    /// The namespaces that see it: `.`, `*` or names; empty means the mesh's default.
    pub export_to: Box<[Symbol]>,
    /// Its HTTP routes, tried in order.
    pub http: Box<[HttpRoute]>,
    /// Whether it has `tls` or `tcp` routes too.
    pub has_other_routes: bool,
}

impl VirtualService {
    /// The gateways it is bound to, as written, without `mesh`.
    pub fn bound_gateways(&self) -> impl Iterator<Item = &Symbol> {
        self.gateways.iter().filter(|name| **name != "mesh")
    }
}

/// One entry of `spec.http`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(from = "WireRoute")]
pub struct HttpRoute {
    /// Its name, for people.
    pub name: Option<Box<str>>,
    /// The conditions, of which one must hold; none: it takes every request.
    pub matches: Box<[HttpMatch]>,
    /// Where requests go, by weight.
    pub route: Box<[HttpRouteDestination]>,
    /// What it does to the headers, whatever the destination.
    pub headers: Option<Headers>,
    /// What few routes have; it reads as fields of the route.
    pub more: Seldom<MoreOfRoute>,
}

/// The fields of a route that few have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoreOfRoute {
    /// The redirect that it answers with instead.
    pub redirect: Option<Box<Redirect>>,
    /// What it answers by itself instead.
    pub direct_response: Option<DirectResponse>,
    /// What it makes of path and host on the way.
    pub rewrite: Option<Rewrite>,
    /// The faults that it answers some requests with, or delays them by.
    pub fault: Option<Fault>,
    /// The `VirtualService` that has the routes instead.
    pub delegate: Option<Delegate>,
    /// Where a copy of each request goes.
    pub mirror: Option<Destination>,
    /// How many of the requests are copied there; not written: all.
    pub mirror_percentage: Option<Percentage>,
    /// The same in a field of old, which counts where the other is not written.
    pub mirror_percent: Option<f64>,
    /// Where copies go, by percentage.
    pub mirrors: Box<[Mirror]>,
}

impl Unwritten for MoreOfRoute {
    fn unwritten() -> &'static Self {
        static UNWRITTEN: LazyLock<MoreOfRoute> = LazyLock::new(MoreOfRoute::default);
        &UNWRITTEN
    }
}

impl Deref for HttpRoute {
    type Target = MoreOfRoute;

    fn deref(&self) -> &Self::Target {
        &self.more
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "struct HttpRoute")]
struct WireRoute {
    name: Option<Box<str>>,
    #[serde(rename = "match")]
    matches: Box<[HttpMatch]>,
    route: Box<[HttpRouteDestination]>,
    redirect: Option<Box<Redirect>>,
    direct_response: Option<DirectResponse>,
    rewrite: Option<Rewrite>,
    fault: Option<Fault>,
    delegate: Option<Delegate>,
    headers: Option<Headers>,
    mirror: Option<Destination>,
    mirror_percentage: Option<Percentage>,
    mirror_percent: Option<f64>,
    mirrors: Box<[Mirror]>,
}

impl From<WireRoute> for HttpRoute {
    fn from(wire: WireRoute) -> Self {
        let more = MoreOfRoute {
            redirect: wire.redirect,
            direct_response: wire.direct_response,
            rewrite: wire.rewrite,
            fault: wire.fault,
            delegate: wire.delegate,
            mirror: wire.mirror,
            mirror_percentage: wire.mirror_percentage,
            mirror_percent: wire.mirror_percent,
            mirrors: wire.mirrors,
        };
        Self {
            name: wire.name,
            matches: wire.matches,
            route: wire.route,
            headers: wire.headers,
            more: more.into(),
        }
    }
}

impl HttpRoute {
    /// Whether the route answers itself and sends the request nowhere.
    pub fn answers_itself(&self) -> bool {
        self.redirect.is_some() || self.direct_response.is_some()
    }

    /// Where copies of the requests go, with the path of the destination below `spec.http[…]`: a mirror whose
    /// percentage is 0 gets none (`MirrorPercent` in `pilot/pkg/networking/core/route/route.go`) [s25].
    pub fn copies(&self) -> impl Iterator<Item = (DestinationPath, &Destination)> {
        let old = self.mirror_percent.unwrap_or(100.0);
        let share = self
            .mirror_percentage
            .as_ref()
            .map_or(old, |percentage| percentage.value);
        let first = self.mirror.iter().filter(move |_| share > 0.0);
        let first = first.map(|destination| (DestinationPath::Mirror, destination));
        let gets_any = |mirror: &Mirror| mirror.percentage.as_ref().is_none_or(|share| share.value > 0.0);
        let others = self.mirrors.iter().enumerate();
        let others = others.filter(move |(_, mirror)| gets_any(mirror));
        first.chain(others.map(|(at, mirror)| (DestinationPath::Mirrors(at), &mirror.destination)))
    }
}

/// Where a destination stands below `spec.http[…]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DestinationPath {
    /// `mirror`.
    Mirror,
    /// `mirrors[…].destination`.
    Mirrors(usize),
    /// `route[…].destination`.
    Route(usize),
}

impl DestinationPath {
    /// Whether copies go there.
    pub fn is_copy(self) -> bool {
        !matches!(self, Self::Route(_))
    }
}

impl fmt::Display for DestinationPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mirror => f.write_str("mirror"),
            Self::Mirrors(at) => write!(f, "mirrors[{at}].destination"),
            Self::Route(at) => write!(f, "route[{at}].destination"),
        }
    }
}

/// A route's `redirect`; what is empty stays as the request has it.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// The new path.
    pub uri: Box<str>,
    /// The new host.
    pub authority: Box<str>,
    /// The new port.
    pub port: Option<u32>,
    /// Where the port comes from if none is written: `FROM_REQUEST_PORT`, else the scheme's own.
    pub derive_port: Box<str>,
    /// The new scheme.
    pub scheme: Box<str>,
    /// The status; 301 where none is written.
    pub redirect_code: u16,
}

/// A route's `directResponse`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct DirectResponse {
    /// The status.
    pub status: u16,
}

/// A route's `rewrite`; what is empty stays.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rewrite {
    /// What stands for the part of the path that was matched.
    pub uri: Box<str>,
    /// The new host.
    pub authority: Box<str>,
    /// What a pattern in the path becomes; it comes before `uri`.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// A rewrite's `uriRegexRewrite`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct RegexRewrite {
    /// The pattern (RE2).
    #[serde(rename = "match")]
    pub pattern: Box<str>,
    /// What stands for it; `\1` is the first group.
    pub rewrite: Box<str>,
}

/// A route's `fault`, as far as it answers requests.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Fault {
    /// The requests that get an error at once.
    pub abort: Option<Abort>,
}

/// A fault's `abort`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Abort {
    /// The status; `None`: one of gRPC.
    pub http_status: Option<u16>,
    /// How many of the requests; not written: none (`TranslateFault` in `pilot/pkg/networking/core/route/route.go`).
    pub percentage: Option<Percentage>,
}

/// A share in percent.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Percentage {
    /// From 0 to 100.
    pub value: f64,
}

/// One entry of a route's `mirrors`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Mirror {
    /// Where the copy goes.
    pub destination: Destination,
    /// How many of the requests are copied; not written: all.
    pub percentage: Option<Percentage>,
}

/// A route's `delegate`: another `VirtualService` by name.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct Delegate {
    /// Its name.
    pub name: Symbol,
    /// Its namespace; empty: that of the root.
    pub namespace: Symbol,
}

impl Delegate {
    /// The namespace that is meant by a root of the namespace `home`.
    pub fn namespace_in<'a>(&'a self, home: &'a Symbol) -> &'a Symbol {
        if self.namespace.is_empty() {
            home
        } else {
            &self.namespace
        }
    }
}

/// One entry of a route's `match`: all its fields must hold.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(from = "WireMatch")]
pub struct HttpMatch {
    /// The path.
    pub uri: Option<StringMatch>,
    /// Headers that must match, by name as written.
    pub headers: Pairs<StringMatch>,
    /// What few matches have; it reads as fields of the match.
    pub more: Seldom<MoreOfMatch>,
}

/// The fields of a match that few have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MoreOfMatch {
    /// Whether the case of the path does not matter.
    pub ignore_uri_case: bool,
    /// The scheme.
    pub scheme: Option<StringMatch>,
    /// The method.
    pub method: Option<StringMatch>,
    /// The host with its port.
    pub authority: Option<StringMatch>,
    /// Headers that must not match.
    pub without_headers: Pairs<StringMatch>,
    /// Query parameters that must match.
    pub query_params: Pairs<StringMatch>,
    /// The port that the caller called.
    pub port: Option<u32>,
    /// Labels of the caller.
    pub source_labels: Labels,
    /// The caller's namespace.
    pub source_namespace: Option<Symbol>,
    /// The gateways (of those the `VirtualService` is bound to) where it can hold.
    pub gateways: Box<[Symbol]>,
}

impl Unwritten for MoreOfMatch {
    fn unwritten() -> &'static Self {
        static UNWRITTEN: LazyLock<MoreOfMatch> = LazyLock::new(MoreOfMatch::default);
        &UNWRITTEN
    }
}

impl Deref for HttpMatch {
    type Target = MoreOfMatch;

    fn deref(&self) -> &Self::Target {
        &self.more
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default, expecting = "struct HttpMatch")]
struct WireMatch {
    uri: Option<StringMatch>,
    ignore_uri_case: bool,
    scheme: Option<StringMatch>,
    method: Option<StringMatch>,
    authority: Option<StringMatch>,
    headers: Pairs<StringMatch>,
    without_headers: Pairs<StringMatch>,
    query_params: Pairs<StringMatch>,
    port: Option<u32>,
    source_labels: Labels,
    source_namespace: Option<Symbol>,
    gateways: Box<[Symbol]>,
}

impl From<WireMatch> for HttpMatch {
    fn from(wire: WireMatch) -> Self {
        let more = MoreOfMatch {
            ignore_uri_case: wire.ignore_uri_case,
            scheme: wire.scheme,
            method: wire.method,
            authority: wire.authority,
            without_headers: wire.without_headers,
            query_params: wire.query_params,
            port: wire.port,
            source_labels: wire.source_labels,
            source_namespace: wire.source_namespace,
            gateways: wire.gateways,
        };
        Self {
            uri: wire.uri,
            headers: wire.headers,
            more: more.into(),
        }
    }
}

impl HttpMatch {
    /// The condition on the header `name`, whose case does not matter.
    pub fn header(&self, name: &str) -> Option<&StringMatch> {
        self.headers.named(name).next()
    }
}

/// A condition on a string.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StringMatch {
    /// The whole string.
    Exact(Box<str>),
    /// Its beginning.
    Prefix(Box<str>),
    /// A regular expression (RE2) for the whole string.
    Regex(Box<str>),
    /// `{}`: the header exists.
    Present,
}

impl StringMatch {
    /// The value of an exact match.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(value) => Some(value),
            _ => None,
        }
    }

    /// Whether as a condition on the path it leaves out none.
    pub fn is_any_path(&self) -> bool {
        match self {
            Self::Present => true,
            Self::Prefix(prefix) => &**prefix == "/",
            Self::Regex(regex) => &**regex == ".*",
            Self::Exact(_) => false,
        }
    }

    /// Whether `text` satisfies it; a regular expression is for the whole text. `None`: it is not sure, because the
    /// expression cannot be read here. Who asks takes the side on which nothing is told.
    pub fn matches(&self, text: &str) -> Option<bool> {
        match self {
            Self::Exact(exact) => Some(**exact == *text),
            Self::Prefix(prefix) => Some(text.starts_with(&**prefix)),
            Self::Regex(regex) => pattern::fits(regex, text),
            Self::Present => Some(true),
        }
    }
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Wire {
            exact: Option<Box<str>>,
            prefix: Option<Box<str>>,
            regex: Option<Box<str>>,
        }

        let wire = Wire::deserialize(deserializer)?;
        Ok(match (wire.exact, wire.prefix, wire.regex) {
            (Some(exact), _, _) => Self::Exact(exact),
            (None, Some(prefix), _) => Self::Prefix(prefix),
            (None, None, Some(regex)) => Self::Regex(regex),
            (None, None, None) => Self::Present,
        })
    }
}

/// Where a request goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Destination {
    /// The host; a name without a dot is a service of the `VirtualService`'s namespace.
    pub host: Symbol,
    /// The port's number.
    pub port: Option<u32>,
    /// The subset of the host's `DestinationRule`.
    pub subset: Option<Symbol>,
}

impl<'de> Deserialize<'de> for Destination {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Wire {
            #[serde(default)]
            host: Symbol,
            port: Option<Port>,
            subset: Option<Symbol>,
        }

        #[derive(serde::Deserialize)]
        struct Port {
            number: Option<u32>,
        }

        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            host: wire.host,
            port: wire
                .port
                .and_then(|port| port.number)
                .filter(|number| *number != 0),
            subset: wire.subset.filter(|subset| !subset.is_empty()),
        })
    }
}

/// One entry of a route's `route`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct HttpRouteDestination {
    /// Where it sends requests.
    pub destination: Destination,
    /// Its share; with one destination it is usually not written.
    pub weight: Option<i32>,
    /// What it does to the headers of the requests that it sends.
    pub headers: Option<Headers>,
}

/// Header operations on the way there and back. In a box, for few have any.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub struct Headers(Box<BothWays>);

/// The operations of [`Headers`].
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default, expecting = "struct Headers")]
pub struct BothWays {
    /// On requests.
    pub request: HeaderOperations,
    /// On responses.
    pub response: HeaderOperations,
}

impl Deref for Headers {
    type Target = BothWays;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// What is done to headers: removals first, then `set`, then `add`.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(default)]
pub struct HeaderOperations {
    /// Headers that get one value.
    pub set: Pairs<Box<str>>,
    /// Headers that get one more value.
    pub add: Pairs<Box<str>>,
    /// Headers that go.
    pub remove: Box<[Box<str>]>,
}

impl HeaderOperations {
    /// The value that the header `name` is set to.
    pub fn set_value(&self, name: &str) -> Option<&str> {
        self.set.named(name).next().map(|value| &**value)
    }

    /// The value that the header `name` gets in addition.
    pub fn added_value(&self, name: &str) -> Option<&str> {
        self.add.named(name).next().map(|value| &**value)
    }

    /// Whether the header `name` is removed.
    pub fn removes(&self, name: &str) -> bool {
        self.remove.iter().any(|header| header.eq_ignore_ascii_case(name))
    }

    /// Whether any operation names the header `name`.
    pub fn name(&self, name: &str) -> bool {
        self.set_value(name).is_some() || self.added_value(name).is_some() || self.removes(name)
    }
}

/// A map in the order of the text.
#[derive(Debug, Clone, PartialEq)]
pub struct Pairs<V>(Box<[(Box<str>, V)]>);

impl<V> Pairs<V> {
    /// The values of the header `name`, whose case does not matter.
    pub fn named<'p>(&'p self, name: &str) -> impl Iterator<Item = &'p V> {
        let of_name = self
            .0
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        of_name.map(|(_, value)| value)
    }
}

impl<V> Default for Pairs<V> {
    fn default() -> Self {
        Self(Box::default())
    }
}

impl<V> FromIterator<(Box<str>, V)> for Pairs<V> {
    fn from_iter<I: IntoIterator<Item = (Box<str>, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl<V> Deref for Pairs<V> {
    type Target = [(Box<str>, V)];

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Pairs<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<V>(std::marker::PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Map<V> {
            type Value = Pairs<V>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<V>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Pairs(pairs.into()))
            }
        }

        deserializer.deserialize_map(Map(std::marker::PhantomData))
    }
}

impl<'de> Deserialize<'de> for VirtualService {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Wire {
            metadata: Meta,
            #[serde(default)]
            spec: Spec,
        }

        #[derive(serde::Deserialize, Default)]
        #[serde(rename_all = "camelCase", default)]
        struct Spec {
            hosts: Box<[Symbol]>,
            gateways: Box<[Symbol]>,
            export_to: Box<[Symbol]>,
            http: Box<[HttpRoute]>,
            tls: Vec<serde::de::IgnoredAny>,
            tcp: Vec<serde::de::IgnoredAny>,
        }

        let Wire { metadata, spec } = Wire::deserialize(deserializer)?;
        Ok(Self {
            meta: metadata,
            hosts: spec.hosts,
            gateways: spec.gateways,
            export_to: spec.export_to,
            http: spec.http,
            has_other_routes: !spec.tls.is_empty() || !spec.tcp.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_route_is_read_with_all_that_decides_where_it_leads() {
        let vs: VirtualService = serde_json::from_value(json!({"metadata": {"name": "portal"}, "spec": {
            "hosts": ["*"], "gateways": ["cars/cars"], "http": [{
                "name": "ph",
                "match": [{"headers": {"BUID": {"exact": "wicph"}, "x": {}}, "port": 80}],
                "headers": {"request": {"set": {"Bu": "wicph"}, "remove": ["x-old"]}},
                "route": [{"destination": {"host": "portal", "port": {"number": 8181}, "subset": "wicph"}, "weight": 100}],
                "mirror": {"host": "shadow"}}, {"redirect": {"uri": "/"}}, {"delegate": {"name": "d"}}]}}))
        .unwrap();
        let route = &vs.http[0];
        assert_eq!(route.matches[0].header("buid").unwrap().exact(), Some("wicph"));
        assert_eq!(route.matches[0].header("X"), Some(&StringMatch::Present));
        let operations = &route.headers.as_ref().unwrap().request;
        assert_eq!(operations.set_value("bu"), Some("wicph"));
        assert!(operations.removes("X-Old"));
        assert_eq!(route.route[0].destination.port, Some(8181));
        assert_eq!(route.mirror.as_ref().unwrap().host, "shadow");
        assert!(vs.http[1].answers_itself());
        assert_eq!(vs.http[2].delegate.as_ref().unwrap().name, "d");
    }

    #[test]
    fn a_mirror_with_a_percentage_of_0_gets_no_copy() {
        let copies = |route: serde_json::Value| {
            let route: HttpRoute = serde_json::from_value(route).unwrap();
            route
                .copies()
                .map(|(path, _)| path.to_string())
                .collect::<Vec<_>>()
        };
        let to = json!({"host": "a"});
        assert_eq!(copies(json!({"mirror": to})), ["mirror"]);
        assert_eq!(
            copies(json!({"mirror": to, "mirrorPercentage": {"value": 0.1}, "mirrorPercent": 0})),
            ["mirror"]
        );
        for none in [
            json!({"mirror": to, "mirrorPercentage": {"value": 0}}),
            json!({"mirror": to, "mirrorPercentage": {}}),
            json!({"mirror": to, "mirrorPercent": 0}),
        ] {
            assert!(copies(none).is_empty());
        }
        let mirrors = json!([{"destination": to, "percentage": {"value": 0}}, {"destination": to}]);
        assert_eq!(copies(json!({"mirrors": mirrors})), ["mirrors[1].destination"]);
    }

    #[test]
    fn an_empty_subset_is_none() {
        let destination: Destination =
            serde_json::from_value(json!({"host": "a", "subset": "", "port": {}})).unwrap();
        assert_eq!((destination.subset, destination.port), (None, None));
    }
}

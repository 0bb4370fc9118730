//! A list of routes in which each lane has its own, made from the list that is there.
//!
//! Routes to one member that differ in nothing but the lane are one *way*: what else they ask for (a path, say), their
//! rewrites, timeouts and the like stay. A way gets a route for each lane where its first one is, and one for requests
//! that name no lane where that is now. Every other route stays where it is.

use serde_json::{Map, Value, json};

use super::{Generated, Maker, Member};
use crate::resource::Service;
use crate::routing::Protocol;
use crate::symbol::Symbol;

/// What routes are in.
pub(super) struct List<'a> {
    /// The object, for notes.
    pub(super) title: String,
    /// Its namespace.
    pub(super) home: &'a Symbol,
    /// The header by which requests tell their lane there.
    pub(super) tells: &'a str,
    /// A header that must not be matched there.
    pub(super) never: Option<&'a str>,
    /// Whether it is for a gateway: there a destination names its port. On the mesh it names none, so that the port stays
    /// the one that the caller called, whatever is spoken on it [s18].
    pub(super) at_gateway: bool,
}

/// Routes to one member that differ in the lane only.
struct Way<'a, 'w> {
    member: &'a Member<'w>,
    /// What else they ask for, one of these; empty: nothing.
    rest: Vec<Value>,
    routes: Vec<&'a Value>,
    /// The place of the first.
    first: usize,
    /// The place of the one for requests that name no lane, or of the last.
    last: usize,
    /// Whether there is one for requests that name no lane, or what refuses them.
    is_open: bool,
}

impl<'a, 'w> Way<'a, 'w> {
    fn new(member: &'a Member<'w>, rest: Vec<Value>, at: usize) -> Self {
        Self {
            member,
            rest,
            routes: Vec::new(),
            first: at,
            last: at,
            is_open: false,
        }
    }

    fn add(&mut self, list: &List<'_>, at: usize, route: &'a Value, made: &mut Generated) {
        if !self.is_open {
            self.last = at;
        }
        self.is_open |= !asks_for(route, list.tells);
        let field = format!("{}: spec.http[{at}]", list.title);
        if route["route"].as_array().is_some_and(|to| to.len() > 1) {
            made.note(format!(
                "{field} shares its requests among several destinations, and what is made does not"
            ));
        }
        let differs = |other: &&Value| {
            lane_of(other, list.tells) == lane_of(route, list.tells) && settings(other) != settings(route)
        };
        if self.routes.iter().any(differs) {
            made.note(format!(
                "{field} and a route before it that takes the same requests, of whatever port, differ in more than that; the first counts"
            ));
        }
        self.routes.push(route);
    }

    /// The place of the lane's route among those of the way.
    fn place_of(&self, list: &List<'_>, lane: &str) -> Option<usize> {
        let mut routes = self.routes.iter();
        routes.position(|route| lane_of(route, list.tells) == Some(lane))
    }

    /// The route whose timeouts and so on are those of the lane's.
    fn model(&self, list: &List<'_>, lane: Option<&Symbol>) -> Option<&Value> {
        let routes = || self.routes.iter().copied();
        let own = |lane: &Symbol| routes().find(|route| lane_of(route, list.tells) == Some(lane));
        let open = || routes().find(|route| !asks_for(route, list.tells));
        lane.and_then(own).or_else(open).or_else(|| routes().next())
    }
}

impl<'w> Maker<'_, '_, 'w> {
    /// The routes that are to stand where `routes` do. `Some` of `member`: only those to it are of the lanes, and there
    /// has to be a way for every request.
    pub(super) fn routes(
        &self,
        list: &List<'_>,
        routes: &[Value],
        member: Option<&Member<'w>>,
        made: &mut Generated,
    ) -> Vec<Value> {
        let (ways, found) = self.ways(list, routes, member, made);
        let is_alone = ways.len() < 2 && found.iter().all(Option::is_some);
        let mut all = Vec::new();
        // What takes every request and was not there must not come before a route that was.
        let mut late = Vec::new();
        for (at, (route, way)) in routes.iter().zip(found).enumerate() {
            match way.and_then(|index| ways.get(index)) {
                Some(way) => {
                    if way.first == at {
                        self.push_lanes(list, way, &mut all);
                    }
                    if way.last == at {
                        let is_late = way.rest.is_empty() && !way.is_open;
                        let to = if is_late { &mut late } else { &mut all };
                        self.push_default(list, way, is_alone, to);
                    }
                }
                None => all.push(route.clone()),
            }
        }
        all.append(&mut late);
        if let Some(member) = member.filter(|_| ways.iter().all(|way| !way.rest.is_empty())) {
            let way = Way::new(member, Vec::new(), 0);
            self.push_lanes(list, &way, &mut all);
            self.push_default(list, &way, routes.is_empty(), &mut all);
        }
        all
    }

    /// The ways in `routes`, and for each route the place of the way that it is of.
    fn ways<'a>(
        &'a self,
        list: &List<'_>,
        routes: &'a [Value],
        member: Option<&Member<'w>>,
        made: &mut Generated,
    ) -> (Vec<Way<'a, 'w>>, Vec<Option<usize>>) {
        let mut ways: Vec<Way<'a, 'w>> = Vec::new();
        let mut found = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            let rest = rest_of(list, route);
            if is_refusal(route) {
                let way = ways.iter().rposition(|way| way.rest == rest);
                if let Some(way) = way.and_then(|index| ways.get_mut(index)) {
                    way.last = at;
                    way.is_open = true;
                }
                found.push(way);
                continue;
            }
            let of = self.member_of(list, route);
            let of = of.filter(|of| member.is_none_or(|member| member.host == of.host));
            let index = of.map(|of| {
                let is_same = |way: &Way<'_, '_>| way.member.host == of.host && way.rest == rest;
                ways.iter().position(is_same).unwrap_or_else(|| {
                    ways.push(Way::new(of, rest, at));
                    ways.len() - 1
                })
            });
            if let Some(way) = index.and_then(|index| ways.get_mut(index)) {
                way.add(list, at, route, made);
            }
            found.push(index);
        }
        (ways, found)
    }

    /// The member that all requests of the route go to, if what tells the lane there is the list's header.
    fn member_of(&self, list: &List<'_>, route: &Value) -> Option<&Member<'w>> {
        let by_lane_header = list.at_gateway && list.tells != self.lanes.group.header.as_str();
        if by_lane_header && asks_for(route, &self.lanes.group.header) {
            // Someone in front is trusted to send it.
            return None;
        }
        let mut asking = conditions_of(route).map(|condition| value_of(condition, list.tells).is_some());
        let first = asking.next();
        if asking.any(|asks| Some(asks) != first) {
            // It takes a lane's requests and others too: no way is both.
            return None;
        }
        if ["delegate", "redirect", "directResponse"]
            .iter()
            .any(|field| route[field].is_object())
        {
            return None;
        }
        let host = |to: &Value| {
            let host = to["destination"]["host"].as_str()?;
            Some(self.view.resolve(&host.into(), list.home))
        };
        let mut hosts = route["route"].as_array()?.iter().map(host);
        let first = hosts.next()??;
        hosts.all(|other| other.as_ref() == Some(&first)).then_some(())?;
        self.members.iter().find(|member| member.host == first)
    }

    fn push_lanes(&self, list: &List<'_>, way: &Way<'_, 'w>, all: &mut Vec<Value>) {
        // Those that are there keep their order; the others follow in that of the group.
        let mut lanes: Vec<&Symbol> = self.all.iter().collect();
        lanes.sort_by_key(|lane| {
            let place = way.place_of(list, lane);
            place.unwrap_or(usize::MAX)
        });
        let routed = lanes
            .into_iter()
            .filter_map(|lane| Some((lane, self.subset_for(way.member, lane)?)));
        all.extend(routed.map(|(lane, subset)| self.route(list, way, Some(lane), subset)));
    }

    /// The route for requests that name no lane. Where there is to be none, they must not go on to a route that is for
    /// others.
    fn push_default(&self, list: &List<'_>, way: &Way<'_, 'w>, is_alone: bool, all: &mut Vec<Value>) {
        let subset = way.member.subset(&self.default);
        if let Some(subset) = subset.filter(|_| self.has_default_route()) {
            all.push(self.route(list, way, None, subset));
        } else if !(is_alone && way.rest.is_empty()) {
            all.push(refusal(&way.rest));
        }
    }

    /// The route of a way for a lane, or for requests that name none.
    fn route(&self, list: &List<'_>, way: &Way<'_, 'w>, lane: Option<&Symbol>, subset: &str) -> Value {
        let model = way.model(list, lane);
        let mut route = model.and_then(Value::as_object).cloned().unwrap_or_default();
        if model.is_some_and(|model| {
            asks_for(model, list.tells) && lane_of(model, list.tells) != lane.map(Symbol::as_str)
        }) {
            // What is tried on one lane is not for the others.
            for field in ["fault", "mirror", "mirrors", "mirrorPercent", "mirrorPercentage"] {
                route.remove(field);
            }
        }
        // The name of one that was for a single port would not be true.
        let is_own = model.is_some_and(|model| {
            let is_for_port = conditions_of(model).any(|condition| !condition["port"].is_null());
            lane_of(model, list.tells) == lane.map(Symbol::as_str) && (list.at_gateway || !is_for_port)
        });
        if !is_own || !route.contains_key("name") {
            let name = lane.map_or("default", Symbol::as_str);
            route.insert("name".to_owned(), json!(name));
        }
        route.remove("match");
        let conditions = conditions(list.tells, &way.rest, lane);
        if !conditions.is_empty() {
            route.insert("match".to_owned(), Value::Array(conditions));
        }
        let header = &self.lanes.group.header;
        leave_alone(&mut route, header);
        let known = route.remove("route");
        let known = known.as_ref().and_then(|to| to.get(0)).and_then(Value::as_object);
        let mut to = known.cloned().unwrap_or_default();
        to.remove("weight");
        leave_alone(&mut to, header);
        let known = to.get("destination").and_then(Value::as_object).cloned();
        let mut destination = known.unwrap_or_default();
        if !destination.contains_key("host") {
            destination.insert("host".to_owned(), json!(way.member.service.meta.name));
        }
        destination.insert("subset".to_owned(), json!(subset));
        let port = destination.remove("port");
        if list.at_gateway {
            let known = port.and_then(|port| u32::try_from(port["number"].as_u64()?).ok());
            let port = known.filter(|port| is_http_port(way.member.service, *port));
            if let Some(number) = port.or_else(|| entry_port(way.member.service)) {
                destination.insert("port".to_owned(), json!({ "number": number }));
            }
        }
        to.insert("destination".to_owned(), Value::Object(destination));
        route.insert("route".to_owned(), json!([to]));
        Value::Object(route)
    }
}

/// What a route says besides what it asks for and where it leads.
fn settings(route: &Value) -> Option<Map<String, Value>> {
    let mut settings = route.as_object()?.clone();
    settings.retain(|field, _| !["name", "match", "route"].contains(&field.as_str()));
    Some(settings)
}

/// What a route asks for besides the lane, as one of these; empty: nothing.
fn rest_of(list: &List<'_>, route: &Value) -> Vec<Value> {
    let mut rest: Vec<Value> = Vec::new();
    for condition in conditions_of(route) {
        let mut condition = condition.as_object().cloned().unwrap_or_default();
        condition.remove("name");
        if !list.at_gateway {
            condition.remove("port");
        }
        for field in ["headers", "withoutHeaders"] {
            let Some(Value::Object(named)) = condition.get_mut(field) else {
                condition.remove(field);
                continue;
            };
            let is_ours = |name: &str| {
                let mut ours = [Some(list.tells), list.never].into_iter().flatten();
                ours.any(|header| header.eq_ignore_ascii_case(name))
            };
            named.retain(|name, _| !is_ours(name));
            if named.is_empty() {
                condition.remove(field);
            }
        }
        if condition.is_empty() {
            return Vec::new();
        }
        let condition = Value::Object(condition);
        if !rest.contains(&condition) {
            rest.push(condition);
        }
    }
    rest
}

/// The conditions of a route for a lane.
fn conditions(header: &str, rest: &[Value], lane: Option<&Symbol>) -> Vec<Value> {
    let Some(lane) = lane else {
        return rest.to_vec();
    };
    let anything = [json!({})];
    let rest = if rest.is_empty() { &anything } else { rest };
    let with_lane = rest.iter().cloned().map(|mut condition| {
        condition["headers"][header] = json!({ "exact": lane });
        condition
    });
    with_lane.collect()
}

fn conditions_of(route: &Value) -> impl Iterator<Item = &Value> {
    route["match"].as_array().into_iter().flatten()
}

/// The name of a route that answers 404.
const REFUSED: &str = "no-lane";

/// The route that refuses what a way's other routes do not take.
fn refusal(rest: &[Value]) -> Value {
    let mut route = json!({"name": REFUSED, "directResponse": {"status": 404}});
    if !rest.is_empty() {
        route["match"] = json!(rest);
    }
    route
}

fn is_refusal(route: &Value) -> bool {
    route["name"] == REFUSED && route["directResponse"] == json!({"status": 404})
}

/// What a condition asks of the header's value.
fn value_of<'v>(condition: &'v Value, header: &str) -> Option<&'v Value> {
    let mut named = condition["headers"].as_object()?.iter();
    named
        .find(|(name, _)| name.eq_ignore_ascii_case(header))
        .map(|(_, value)| value)
}

fn asks_for(route: &Value, header: &str) -> bool {
    conditions_of(route).any(|condition| value_of(condition, header).is_some())
}

/// The one value of the header that the route is for.
fn lane_of<'v>(route: &'v Value, header: &str) -> Option<&'v str> {
    let value = |condition| value_of(condition, header)?["exact"].as_str();
    let mut values = conditions_of(route).map(value);
    let first = values.next()?;
    if values.all(|other| other == first) {
        first
    } else {
        None
    }
}

/// Takes what a route or destination does to a request's header out.
fn leave_alone(part: &mut Map<String, Value>, header: &str) {
    let Some(Value::Object(headers)) = part.get_mut("headers") else {
        return;
    };
    if let Some(Value::Object(request)) = headers.get_mut("request") {
        for field in ["set", "add"] {
            if let Some(Value::Object(named)) = request.get_mut(field) {
                named.retain(|name, _| !name.eq_ignore_ascii_case(header));
            }
        }
        if let Some(Value::Array(removed)) = request.get_mut("remove") {
            removed.retain(|name| {
                let name = name.as_str();
                name.is_none_or(|name| !name.eq_ignore_ascii_case(header))
            });
        }
        request.retain(|_, operations| !is_empty(operations));
    }
    headers.retain(|_, operations| !is_empty(operations));
    if headers.is_empty() {
        part.remove("headers");
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// Whether the service has the port, and HTTP routes apply to it.
pub(super) fn is_http_port(service: &Service, number: u32) -> bool {
    let port = service.port(number);
    port.is_some_and(|port| Protocol::of(port).is_http())
}

/// The port that a gateway leads to: the first for plain HTTP, or else the first to which routes apply.
fn entry_port(service: &Service) -> Option<u32> {
    let ports = || service.ports.iter().map(|port| (port, Protocol::of(port)));
    let plain = ports().find(|(_, protocol)| *protocol == Protocol::Http);
    let any = plain.or_else(|| ports().find(|(_, protocol)| protocol.is_http()));
    any.map(|(port, _)| u32::from(port.number))
}

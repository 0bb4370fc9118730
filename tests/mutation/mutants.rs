//! The mutations: each breaks one thing of one object.

use std::collections::BTreeSet;

use lanekeeper::resource::{Kind, ObjectRef, Resource};
use serde_json::{Value, json};

use crate::worlds::kind_of;

/// A world with one thing broken.
pub(crate) struct Mutant {
    /// The mutation's name.
    pub(crate) mutation: &'static str,
    /// The object and the field.
    pub(crate) place: String,
    /// The object.
    pub(crate) reference: ObjectRef,
    /// The object as it is now; `None`: it is gone.
    pub(crate) resource: Option<Resource>,
}

/// Every mutation with the kind of object that it breaks and how, in the order of the page.
pub(crate) const MUTATIONS: &[(&str, &str, &str)] = &[
    (
        "subset-label-slip",
        "DestinationRule",
        "a subset's label value with two letters swapped",
    ),
    (
        "subset-label-unknown",
        "DestinationRule",
        "a subset's label value that nothing has",
    ),
    (
        "subset-label-sibling",
        "DestinationRule",
        "a subset's label value is that of another subset",
    ),
    (
        "subset-label-key-slip",
        "DestinationRule",
        "a subset's label key with two letters swapped",
    ),
    (
        "subset-label-dropped",
        "DestinationRule",
        "a subset without its labels",
    ),
    (
        "subset-renamed",
        "DestinationRule",
        "a subset's name with two letters swapped",
    ),
    ("subset-dropped", "DestinationRule", "a subset is gone"),
    ("rule-deleted", "DestinationRule", "the rule is gone"),
    (
        "rule-host-slip",
        "DestinationRule",
        "the host with two letters swapped",
    ),
    (
        "rule-hidden",
        "DestinationRule",
        "the rule is exported to another namespace only",
    ),
    (
        "rule-passthrough",
        "DestinationRule",
        "the load balancer is PASSTHROUGH",
    ),
    (
        "rule-beside",
        "DestinationRule",
        "a rule without subsets is private beside it",
    ),
    (
        "route-subset-slip",
        "VirtualService",
        "a destination's subset with two letters swapped",
    ),
    (
        "route-subset-sibling",
        "VirtualService",
        "a destination's subset is another one of its host",
    ),
    (
        "route-subset-dropped",
        "VirtualService",
        "a destination without its subset",
    ),
    (
        "route-host-slip",
        "VirtualService",
        "a destination's host with two letters swapped",
    ),
    (
        "route-host-two-parts",
        "VirtualService",
        "a destination's host is `service.namespace`",
    ),
    (
        "route-port-unknown",
        "VirtualService",
        "a destination's port is one that no service has",
    ),
    (
        "route-port-dropped",
        "VirtualService",
        "a destination without its port, of a service with several",
    ),
    (
        "route-port-other",
        "VirtualService",
        "a destination's port is another one of its service",
    ),
    (
        "match-lane-slip",
        "VirtualService",
        "a lane in a match, with two letters swapped",
    ),
    (
        "match-lane-case",
        "VirtualService",
        "a lane in a match, in upper case",
    ),
    (
        "match-lane-other",
        "VirtualService",
        "a lane in a match is another one of the group",
    ),
    (
        "match-header-slip",
        "VirtualService",
        "the lane header in a match, with two letters swapped",
    ),
    (
        "match-header-entry",
        "VirtualService",
        "a match inside the mesh is on the entry header",
    ),
    (
        "match-dropped",
        "VirtualService",
        "a route that is not the last loses its matches",
    ),
    (
        "match-prefix-all",
        "VirtualService",
        "a route that is not the last matches `prefix: /` alone",
    ),
    (
        "set-lane-slip",
        "VirtualService",
        "the set lane with two letters swapped",
    ),
    (
        "set-lane-other",
        "VirtualService",
        "the set lane is another one of the group",
    ),
    (
        "set-lane-template",
        "VirtualService",
        "the set lane is a template of another program",
    ),
    (
        "set-header-slip",
        "VirtualService",
        "the lane header that is set, with two letters swapped",
    ),
    ("set-dropped", "VirtualService", "the lane header is not set"),
    ("set-added", "VirtualService", "the lane header is added, not set"),
    (
        "set-removed-after",
        "VirtualService",
        "the route removes the lane header that its several destinations set",
    ),
    (
        "copy-without-remove",
        "VirtualService",
        "the caller's own lane header is not removed before the entry header is copied",
    ),
    (
        "copy-of-what-is-removed",
        "VirtualService",
        "the route removes the entry header that it copies",
    ),
    (
        "default-route-first",
        "VirtualService",
        "the last route, which takes every request, comes first",
    ),
    (
        "default-route-deleted",
        "VirtualService",
        "the last route, which takes every request, is gone",
    ),
    (
        "lane-route-deleted",
        "VirtualService",
        "a route by the lane header or the entry header is gone",
    ),
    (
        "mesh-dropped",
        "VirtualService",
        "the routes are bound to a gateway, and no longer to `mesh`",
    ),
    (
        "gateway-slip",
        "VirtualService",
        "the gateway's name with two letters swapped",
    ),
    ("host-slip", "VirtualService", "the host with two letters swapped"),
    (
        "routes-hidden",
        "VirtualService",
        "the routes are exported to another namespace only",
    ),
    ("routes-deleted", "VirtualService", "the routes are gone"),
    (
        "routes-beside",
        "VirtualService",
        "a second VirtualService has other routes for the host",
    ),
    (
        "delegate-slip",
        "VirtualService",
        "the delegate's name with two letters swapped",
    ),
    (
        "mirror-subset-slip",
        "VirtualService",
        "a mirror's subset with two letters swapped",
    ),
    ("service-deleted", "Service", "the service is gone"),
    (
        "selector-slip",
        "Service",
        "a selector's value with two letters swapped",
    ),
    (
        "selector-key-slip",
        "Service",
        "a selector's key with two letters swapped",
    ),
    (
        "selector-narrowed",
        "Service",
        "the selector chooses the workloads of one lane",
    ),
    ("port-renumbered", "Service", "a port has another number"),
    ("port-dropped", "Service", "one of several ports is gone"),
    ("port-http-to-grpc", "Service", "an HTTP port is called gRPC"),
    ("port-grpc-to-http", "Service", "a gRPC port is called HTTP"),
    ("port-to-tcp", "Service", "an HTTP or gRPC port is called TCP"),
    (
        "port-undeclared",
        "Service",
        "an HTTP or gRPC port says no protocol",
    ),
    (
        "target-port-slip",
        "Service",
        "a named target port with two letters swapped",
    ),
    ("service-headless", "Service", "the service is headless"),
    ("workload-deleted", "workload", "the workload is gone"),
    ("workload-at-zero", "workload", "the workload is scaled to zero"),
    (
        "lane-label-slip",
        "workload",
        "the lane label's value with two letters swapped",
    ),
    (
        "lane-label-sibling",
        "workload",
        "the lane label's value is that of another workload of the service",
    ),
    ("lane-label-dropped", "workload", "the lane label is gone"),
    (
        "lane-label-key-slip",
        "workload",
        "the lane label's key with two letters swapped",
    ),
    (
        "service-label-slip",
        "workload",
        "the value that the service selects by, with two letters swapped",
    ),
    (
        "container-port-slip",
        "workload",
        "a container port's name with two letters swapped",
    ),
    ("sidecar-off", "workload", "the sidecar is switched off"),
    ("pod-deleted", "Pod, WorkloadEntry", "the pod or entry is gone"),
    (
        "pod-label-slip",
        "Pod, WorkloadEntry",
        "a label's value with two letters swapped",
    ),
    (
        "entry-host-slip",
        "ServiceEntry",
        "the host with two letters swapped",
    ),
    (
        "entry-port-renumbered",
        "ServiceEntry",
        "a port has another number",
    ),
    (
        "entry-endpoint-slip",
        "ServiceEntry",
        "an endpoint's label value with two letters swapped",
    ),
    ("gateway-deleted", "Gateway", "the gateway is gone"),
    (
        "gateway-other-hosts",
        "Gateway",
        "the servers are for another host",
    ),
    (
        "gateway-passthrough",
        "Gateway",
        "the servers pass TLS on as it is",
    ),
    (
        "gateway-renumbered",
        "Gateway",
        "the servers listen on another port",
    ),
    ("plugin-deleted", "lane plugin", "the plugin is gone"),
    (
        "plugin-header-slip",
        "lane plugin",
        "the lane header with two letters swapped",
    ),
    (
        "plugin-default-slip",
        "lane plugin",
        "the default lane with two letters swapped",
    ),
    (
        "plugin-selector-slip",
        "lane plugin",
        "a selector's value with two letters swapped",
    ),
    ("group-lane-dropped", "LaneGroup", "a lane is gone"),
    ("group-lane-slip", "LaneGroup", "a lane with two letters swapped"),
    (
        "group-header-slip",
        "LaneGroup",
        "the lane header with two letters swapped",
    ),
    (
        "group-entry-slip",
        "LaneGroup",
        "the entry header with two letters swapped",
    ),
    (
        "group-label-slip",
        "LaneGroup",
        "the lane label's key with two letters swapped",
    ),
    (
        "injection-off",
        "mesh",
        "the namespace no longer asks for sidecars",
    ),
    (
        "tracing-off",
        "mesh",
        "a Telemetry of the namespace switches tracing off",
    ),
    (
        "tracing-off-everywhere",
        "mesh",
        "a Telemetry of the root namespace switches tracing off",
    ),
    (
        "nothing-imported",
        "mesh",
        "a Sidecar of the namespace imports nothing of it",
    ),
];

/// The mutants of a world, each of them once.
pub(crate) fn mutants(objects: &[Value]) -> Vec<Mutant> {
    let world = Facts::of(objects);
    let mut made = Vec::new();
    for object in objects {
        let mut maker = Maker {
            object,
            world: &world,
            made: &mut made,
        };
        match kind_of(object) {
            Kind::DestinationRule => maker.destination_rule(),
            Kind::VirtualService => maker.virtual_service(),
            Kind::Service => maker.service(),
            Kind::Deployment | Kind::StatefulSet | Kind::DaemonSet => maker.workload(),
            Kind::Pod => maker.carrier("/metadata/labels"),
            Kind::WorkloadEntry => maker.carrier("/spec/labels"),
            Kind::ServiceEntry => maker.service_entry(),
            Kind::Gateway => maker.gateway(),
            Kind::WasmPlugin => maker.plugin("/spec/pluginConfig"),
            Kind::TrafficExtension => maker.plugin("/spec/wasm/pluginConfig"),
            Kind::LaneGroup => maker.lane_group(),
            Kind::Namespace => maker.namespace(),
            _ => {}
        }
    }
    made
}

/// What of a world the mutations go by.
struct Facts<'a> {
    objects: &'a [Value],
    /// The headers that carry a lane, lower case.
    lane_headers: BTreeSet<String>,
    /// The headers that are matched at a gateway by an exact value and are none of these.
    entry_headers: BTreeSet<String>,
    /// The names of lanes.
    lanes: BTreeSet<String>,
    /// The keys by which subsets choose.
    label_keys: BTreeSet<String>,
}

impl<'a> Facts<'a> {
    fn of(objects: &'a [Value]) -> Self {
        let mut facts = Self {
            objects,
            lane_headers: BTreeSet::new(),
            entry_headers: BTreeSet::new(),
            lanes: BTreeSet::new(),
            label_keys: BTreeSet::new(),
        };
        let text = |value: &Value| value.as_str().map(ToOwned::to_owned);
        for object in objects {
            let spec = &object["spec"];
            let configs = [&spec["pluginConfig"], &spec["wasm"]["pluginConfig"]];
            let headers = configs.into_iter().map(|config| &config["lane_header"]);
            let headers = headers.chain([&spec["header"]]);
            facts
                .lane_headers
                .extend(headers.filter_map(text).map(|header| header.to_lowercase()));
            facts.lanes.extend(
                configs
                    .into_iter()
                    .filter_map(|config| text(&config["traffic_lane"])),
            );
            facts.lanes.extend(items(&spec["lanes"]).iter().filter_map(text));
            facts.entry_headers.extend(text(&spec["entry"]["header"]));
            for subset in items(&spec["subsets"]) {
                facts.label_keys.extend(fields(&subset["labels"]));
            }
        }
        for object in objects
            .iter()
            .filter(|object| kind_of(object) == Kind::VirtualService)
        {
            let at_gateway = items(&object["spec"]["gateways"])
                .iter()
                .any(|name| name != "mesh");
            for condition in items(&object["spec"]["http"])
                .iter()
                .flat_map(|route| items(&route["match"]))
            {
                for header in fields(&condition["headers"]) {
                    let exact = condition["headers"][&header]["exact"].as_str();
                    if facts.is_lane_header(&header) {
                        facts.lanes.extend(exact.map(ToOwned::to_owned));
                    } else if at_gateway && exact.is_some() {
                        facts.entry_headers.insert(header);
                    }
                }
            }
        }
        facts
    }

    fn is_lane_header(&self, name: &str) -> bool {
        self.lane_headers.contains(&name.to_lowercase())
    }

    /// A lane that is not `name`.
    fn other_lane(&self, name: &str) -> Option<&String> {
        let is_lane = self.lanes.contains(name);
        self.lanes.iter().find(|lane| is_lane && *lane != name)
    }

    /// The objects of `kind` whose `field` of `spec` names the host `host` as `namespace` would.
    fn of_host(&self, kind: Kind, host: &str, namespace: &str) -> Vec<&'a Value> {
        let full = |host: &str, namespace: &str| {
            if host.contains('.') {
                host.to_owned()
            } else {
                format!("{host}.{namespace}.svc.cluster.local")
            }
        };
        let of_kind = self.objects.iter().filter(|object| kind_of(object) == kind);
        let is_for = |object: &&Value| {
            let home = object["metadata"]["namespace"].as_str().unwrap_or_default();
            let name = if kind == Kind::Service {
                &object["metadata"]["name"]
            } else {
                &object["spec"]["host"]
            };
            full(name.as_str().unwrap_or_default(), home) == full(host, namespace)
        };
        of_kind.filter(is_for).collect()
    }

    /// The subsets that are defined for a host.
    fn subsets(&self, host: &str, namespace: &str) -> Vec<&'a Value> {
        let rules = self.of_host(Kind::DestinationRule, host, namespace);
        rules
            .into_iter()
            .flat_map(|rule| items(&rule["spec"]["subsets"]))
            .collect()
    }
}

/// Makes the mutants of one object.
struct Maker<'a, 'm> {
    object: &'a Value,
    world: &'a Facts<'a>,
    made: &'m mut Vec<Mutant>,
}

impl<'a> Maker<'a, '_> {
    fn namespace_of(&self) -> &'a str {
        self.object["metadata"]["namespace"].as_str().unwrap_or_default()
    }

    /// One more mutant: this object as `changed`.
    fn becomes(&mut self, mutation: &'static str, at: &str, changed: Option<&Value>) {
        assert!(
            MUTATIONS.iter().any(|(name, ..)| *name == mutation),
            "{mutation} is not on the list of mutations"
        );
        if changed == Some(self.object) {
            return;
        }
        let object = changed.unwrap_or(self.object);
        let kind = kind_of(object);
        let resource = changed.map(|object| {
            Resource::parse(kind, object)
                .unwrap_or_else(|error| panic!("{mutation} at {at}: {error}: {object:#}"))
        });
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
        let reference = ObjectRef::new(kind, text("namespace"), text("name"));
        self.made.push(Mutant {
            mutation,
            place: format!("{reference} {at}"),
            reference,
            resource,
        });
    }

    fn deleted(&mut self, mutation: &'static str) {
        self.becomes(mutation, "", None);
    }

    /// The object with `change` made to what is at the pointer, which exists.
    fn with(&mut self, mutation: &'static str, pointer: &str, change: impl FnOnce(&mut Value)) {
        let mut changed = self.object.clone();
        let found = changed.pointer_mut(pointer);
        change(found.unwrap_or_else(|| panic!("{mutation}: there is no {pointer}")));
        self.becomes(mutation, pointer, Some(&changed));
    }

    /// The object with a string of it written with a slip.
    fn slip_at(&mut self, mutation: &'static str, pointer: &str) {
        if self.object.pointer(pointer).is_some_and(Value::is_string) {
            self.with(mutation, pointer, |value| *value = slip(value).into());
        }
    }

    /// The object with a field of the map at the pointer under another name.
    fn renamed(&mut self, mutation: &'static str, pointer: &str, field: &str, name: &str) {
        self.with(mutation, pointer, |map| {
            let map = map.as_object_mut().expect("a map");
            let value = map.remove(field).expect("the field is there");
            map.insert(name.to_owned(), value);
        });
    }

    fn without(&mut self, mutation: &'static str, pointer: &str, field: &str) {
        self.with(mutation, pointer, |map| {
            map.as_object_mut().expect("a map").remove(field);
        });
    }

    fn without_item(&mut self, mutation: &'static str, pointer: &str, at: usize) {
        self.with(mutation, pointer, |list| {
            list.as_array_mut().expect("a list").remove(at);
        });
    }

    fn at(&self, pointer: &str) -> &'a Value {
        static NULL: Value = Value::Null;
        self.object.pointer(pointer).unwrap_or(&NULL)
    }

    fn destination_rule(&mut self) {
        let subsets = items(self.at("/spec/subsets"));
        for (at, subset) in subsets.iter().enumerate() {
            let labels = format!("/spec/subsets/{at}/labels");
            for key in fields(&subset["labels"]) {
                let pointer = format!("{labels}/{}", escaped(&key));
                self.slip_at("subset-label-slip", &pointer);
                self.with("subset-label-unknown", &pointer, |value| {
                    *value = json!("nowhere");
                });
                self.renamed("subset-label-key-slip", &labels, &key, &slip_of(&key));
                let siblings = subsets.iter().map(|sibling| &sibling["labels"][&key]);
                if let Some(other) = siblings
                    .into_iter()
                    .find(|other| other.is_string() && **other != subset["labels"][&key])
                {
                    self.with("subset-label-sibling", &pointer, |value| *value = other.clone());
                }
            }
            if subset["labels"].is_object() {
                self.without("subset-label-dropped", &format!("/spec/subsets/{at}"), "labels");
            }
            self.slip_at("subset-renamed", &format!("/spec/subsets/{at}/name"));
            self.without_item("subset-dropped", "/spec/subsets", at);
        }
        if subsets.is_empty() {
            return;
        }
        self.deleted("rule-deleted");
        self.slip_at("rule-host-slip", "/spec/host");
        self.with("rule-hidden", "/spec", |spec| {
            spec["exportTo"] = json!(["nowhere"]);
        });
        self.with("rule-passthrough", "/spec", |spec| {
            spec["trafficPolicy"] = json!({"loadBalancer": {"simple": "PASSTHROUGH"}});
        });
        let mut beside = self.object.clone();
        beside["metadata"] = json!({"namespace": self.namespace_of(), "name": "beside"});
        beside["spec"] = json!({"host": beside["spec"]["host"], "exportTo": ["."], "trafficPolicy": {"tls": {"mode": "ISTIO_MUTUAL"}}});
        self.becomes("rule-beside", "", Some(&beside));
    }

    fn virtual_service(&mut self) {
        let routes = items(self.at("/spec/http"));
        for (at, route) in routes.iter().enumerate() {
            let path = format!("/spec/http/{at}");
            for to in 0..items(&route["route"]).len() {
                self.destination(&format!("{path}/route/{to}/destination"));
            }
            self.slip_at("mirror-subset-slip", &format!("{path}/mirror/subset"));
            for mirror in 0..items(&route["mirrors"]).len() {
                self.slip_at(
                    "mirror-subset-slip",
                    &format!("{path}/mirrors/{mirror}/destination/subset"),
                );
            }
            self.slip_at("delegate-slip", &format!("{path}/delegate/name"));
            for condition in 0..items(&route["match"]).len() {
                self.condition(&format!("{path}/match/{condition}"));
            }
            self.operations(&format!("{path}/headers/request"));
            for to in 0..items(&route["route"]).len() {
                self.operations(&format!("{path}/route/{to}/headers/request"));
            }
            self.removal(&path);
        }
        self.order(routes);
        self.binding();
    }

    fn destination(&mut self, path: &str) {
        let destination = self.at(path);
        let namespace = self.namespace_of();
        let host = destination["host"].as_str().unwrap_or_default();
        self.slip_at("route-host-slip", &format!("{path}/host"));
        if let [service] = self.world.of_host(Kind::Service, host, namespace)[..] {
            let meta = &service["metadata"];
            let text = |field: &str| meta[field].as_str().unwrap_or_default();
            let two_parts = format!("{}.{}", text("name"), text("namespace"));
            self.with("route-host-two-parts", path, |to| to["host"] = two_parts.into());
            let ports: Vec<&Value> = items(&service["spec"]["ports"])
                .iter()
                .map(|port| &port["port"])
                .collect();
            self.with("route-port-unknown", path, |to| to["port"] = json!({"number": 9}));
            if destination["port"].is_object() && ports.len() > 1 {
                self.without("route-port-dropped", path, "port");
            }
            for other in ports
                .iter()
                .filter(|other| ***other != destination["port"]["number"])
            {
                if ports.len() > 1 {
                    self.with("route-port-other", path, |to| {
                        to["port"] = json!({"number": other});
                    });
                }
            }
        }
        if let Some(subset) = destination["subset"].as_str() {
            self.slip_at("route-subset-slip", &format!("{path}/subset"));
            self.without("route-subset-dropped", path, "subset");
            let defined = self.world.subsets(host, namespace);
            let mut others = defined.iter().map(|defined| &defined["name"]);
            if let Some(other) = others.find(|other| **other != subset) {
                self.with("route-subset-sibling", path, |to| to["subset"] = other.clone());
            }
        }
    }

    fn condition(&mut self, path: &str) {
        let headers = format!("{path}/headers");
        for header in fields(self.at(&headers)) {
            if !self.world.is_lane_header(&header) {
                continue;
            }
            let exact = format!("{headers}/{}/exact", escaped(&header));
            if let Some(lane) = self.at(&exact).as_str() {
                self.slip_at("match-lane-slip", &exact);
                self.with("match-lane-case", &exact, |value| {
                    *value = lane.to_uppercase().into();
                });
                if let Some(other) = self.world.other_lane(lane) {
                    self.with("match-lane-other", &exact, |value| *value = other.clone().into());
                }
            }
            self.renamed("match-header-slip", &headers, &header, &slip_of(&header));
            let on_mesh = self.at("/spec/gateways").is_null();
            if let Some(entry) = self.world.entry_headers.first().filter(|_| on_mesh) {
                self.renamed("match-header-entry", &headers, &header, entry);
            }
        }
    }

    /// What a route or a destination does to the headers.
    fn operations(&mut self, path: &str) {
        let set = format!("{path}/set");
        let lane_headers: Vec<String> = fields(self.at(&set))
            .into_iter()
            .filter(|header| self.world.is_lane_header(header))
            .collect();
        for header in lane_headers {
            let pointer = format!("{set}/{}", escaped(&header));
            let Some(value) = self.at(&pointer).as_str() else {
                continue;
            };
            self.without("set-dropped", &set, &header);
            self.renamed("set-header-slip", &set, &header, &slip_of(&header));
            let entry = self
                .world
                .entry_headers
                .first()
                .cloned()
                .unwrap_or_else(|| "env".to_owned());
            let template = format!("{{{{ request.headers['{entry}'] }}}}");
            self.with("set-lane-template", &pointer, |value| *value = template.into());
            self.with("set-added", path, |operations| {
                let set = operations["set"].as_object_mut().expect("a map");
                let value = set.remove(&header).expect("the header is set");
                operations["add"] = json!({header.as_str(): value});
            });
            if let Some(copied) = value
                .strip_prefix("%REQ(")
                .and_then(|rest| rest.strip_suffix(")%"))
            {
                if !self.at(&format!("{path}/remove")).is_null() {
                    self.without("copy-without-remove", path, "remove");
                }
                let copied = copied.to_owned();
                self.with("copy-of-what-is-removed", path, |operations| {
                    let mut removed = items(&operations["remove"]).to_vec();
                    removed.push(copied.into());
                    operations["remove"] = removed.into();
                });
                continue;
            }
            self.slip_at("set-lane-slip", &pointer);
            if let Some(other) = self.world.other_lane(value) {
                self.with("set-lane-other", &pointer, |value| *value = other.clone().into());
            }
        }
    }

    /// Of several destinations the route's removal comes after what they set.
    fn removal(&mut self, path: &str) {
        let destinations = items(&self.at(path)["route"]);
        let set = destinations
            .iter()
            .flat_map(|to| fields(&to["headers"]["request"]["set"]));
        let mut lane_headers = set.filter(|header| self.world.is_lane_header(header));
        if let Some(header) = lane_headers.next().filter(|_| destinations.len() > 1) {
            self.with("set-removed-after", path, |route| {
                route["headers"] = json!({"request": {"remove": [header]}});
            });
        }
    }

    /// The order of the routes, and whether they are there.
    fn order(&mut self, routes: &[Value]) {
        let takes_all = |route: &Value| {
            items(&route["match"]).is_empty()
                || items(&route["match"]).iter().any(|condition| {
                    fields(condition) == ["uri"]
                        && (condition["uri"]["prefix"] == "/" || condition["uri"]["regex"] == ".*")
                })
        };
        let Some((last, others)) = routes.split_last() else {
            return;
        };
        if takes_all(last) && !others.is_empty() {
            self.with("default-route-first", "/spec/http", |routes| {
                routes.as_array_mut().expect("a list").rotate_right(1);
            });
            self.without_item("default-route-deleted", "/spec/http", others.len());
        }
        for (at, route) in others.iter().enumerate() {
            let path = format!("/spec/http/{at}");
            if route["match"].is_array() {
                self.without("match-dropped", &path, "match");
                self.with("match-prefix-all", &path, |route| {
                    route["match"] = json!([{"uri": {"prefix": "/"}}]);
                });
            }
            let by_lane = items(&route["match"]).iter().any(|condition| {
                let headers = fields(&condition["headers"]);
                headers.iter().any(|header| {
                    self.world.is_lane_header(header) || self.world.entry_headers.contains(header)
                })
            });
            if by_lane {
                self.without_item("lane-route-deleted", "/spec/http", at);
            }
        }
    }

    /// The hosts, gateways and callers.
    fn binding(&mut self) {
        let gateways = items(self.at("/spec/gateways"));
        let on_mesh = gateways.is_empty() || gateways.iter().any(|name| name == "mesh");
        if on_mesh && items(self.at("/spec/hosts")).len() == 1 {
            self.with("mesh-dropped", "/spec", |spec| spec["gateways"] = json!(["edge"]));
        } else if on_mesh && !gateways.is_empty() {
            let rest: Vec<Value> = gateways.iter().filter(|name| **name != "mesh").cloned().collect();
            self.with("mesh-dropped", "/spec/gateways", |gateways| {
                *gateways = rest.into();
            });
        }
        for (at, name) in gateways.iter().enumerate() {
            if name != "mesh" {
                self.slip_at("gateway-slip", &format!("/spec/gateways/{at}"));
            }
        }
        for (at, host) in items(self.at("/spec/hosts")).iter().enumerate() {
            if host != "*" {
                self.slip_at("host-slip", &format!("/spec/hosts/{at}"));
            }
        }
        if self.at("/spec/hosts").is_null() || self.at("/spec/http").is_null() {
            return;
        }
        self.with("routes-hidden", "/spec", |spec| {
            spec["exportTo"] = json!(["nowhere"]);
        });
        self.deleted("routes-deleted");
        let mut beside = self.object.clone();
        beside["metadata"] = json!({"namespace": self.namespace_of(), "name": "beside"});
        let last = items(&beside["spec"]["http"]).last().cloned();
        beside["spec"]["http"] = json!([last, {"directResponse": {"status": 404}}]);
        beside["spec"]["http"][0]["match"] = json!([{"uri": {"prefix": "/beside"}}]);
        self.becomes("routes-beside", "", Some(&beside));
    }

    fn service(&mut self) {
        self.deleted("service-deleted");
        let selector = self.at("/spec/selector");
        for key in fields(selector) {
            self.slip_at("selector-slip", &format!("/spec/selector/{}", escaped(&key)));
            self.renamed("selector-key-slip", "/spec/selector", &key, &slip_of(&key));
        }
        let name = self.object["metadata"]["name"].as_str().unwrap_or_default();
        if selector.is_object()
            && let [first, _, ..] = self.world.subsets(name, self.namespace_of())[..]
            && let Some(labels) = first["labels"].as_object()
        {
            self.with("selector-narrowed", "/spec/selector", |selector| {
                selector.as_object_mut().expect("a map").extend(labels.clone());
            });
        }
        let ports = items(self.at("/spec/ports"));
        for (at, port) in ports.iter().enumerate() {
            let path = format!("/spec/ports/{at}");
            self.with("port-renumbered", &path, |port| port["port"] = json!(9));
            if ports.len() > 1 {
                self.without_item("port-dropped", "/spec/ports", at);
            }
            let protocol = port["appProtocol"]
                .as_str()
                .or(port["name"].as_str())
                .unwrap_or_default();
            let named = |port: &mut Value, name: &str| {
                port["name"] = name.into();
                port.as_object_mut().expect("a map").remove("appProtocol");
            };
            let (is_http, is_grpc) = (protocol.starts_with("http"), protocol.starts_with("grpc"));
            if is_http {
                self.with("port-http-to-grpc", &path, |port| {
                    named(port, &format!("grpc-{at}"));
                });
            }
            if is_grpc {
                self.with("port-grpc-to-http", &path, |port| {
                    named(port, &format!("http-{at}"));
                });
            }
            if is_http || is_grpc {
                self.with("port-to-tcp", &path, |port| named(port, &format!("tcp-{at}")));
                self.with("port-undeclared", &path, |port| {
                    named(port, &format!("main-{at}"));
                });
            }
            self.slip_at("target-port-slip", &format!("{path}/targetPort"));
        }
        if self.at("/spec/clusterIP").is_null() && selector.is_object() {
            self.with("service-headless", "/spec", |spec| {
                spec["clusterIP"] = json!("None");
            });
        }
    }

    fn workload(&mut self) {
        self.deleted("workload-deleted");
        if self.object["kind"] != "DaemonSet" && self.at("/spec/replicas") != 0 {
            self.with("workload-at-zero", "/spec", |spec| spec["replicas"] = json!(0));
        }
        let labels = "/spec/template/metadata/labels";
        for key in fields(self.at(labels)) {
            let pointer = format!("{labels}/{}", escaped(&key));
            let value = self.at(&pointer);
            if self.world.label_keys.contains(&key) {
                self.slip_at("lane-label-slip", &pointer);
                self.without("lane-label-dropped", labels, &key);
                self.renamed("lane-label-key-slip", labels, &key, &slip_of(&key));
                let others = self.world.objects.iter();
                let mut others = others.map(|other| &other["spec"]["template"]["metadata"]["labels"][&key]);
                if let Some(other) = others.find(|other| other.is_string() && *other != value) {
                    self.with("lane-label-sibling", &pointer, |value| *value = other.clone());
                }
            } else if self.selects(&key, value) {
                self.slip_at("service-label-slip", &pointer);
            }
        }
        for list in ["containers", "initContainers"] {
            for (at, container) in items(self.at(&format!("/spec/template/spec/{list}")))
                .iter()
                .enumerate()
            {
                for port in 0..items(&container["ports"]).len() {
                    self.slip_at(
                        "container-port-slip",
                        &format!("/spec/template/spec/{list}/{at}/ports/{port}/name"),
                    );
                }
            }
        }
        self.with("sidecar-off", "/spec/template/metadata", |meta| {
            meta["labels"]["sidecar.istio.io/inject"] = json!("false");
        });
    }

    /// Whether a service chooses by this label.
    fn selects(&self, key: &str, value: &Value) -> bool {
        let services = self
            .world
            .objects
            .iter()
            .filter(|object| kind_of(object) == Kind::Service);
        services
            .into_iter()
            .any(|service| service["spec"]["selector"][key] == *value)
    }

    /// A pod or a `WorkloadEntry`.
    fn carrier(&mut self, labels: &str) {
        self.deleted("pod-deleted");
        for key in fields(self.at(labels)) {
            let pointer = format!("{labels}/{}", escaped(&key));
            if self.world.label_keys.contains(&key) || self.selects(&key, self.at(&pointer)) {
                self.slip_at("pod-label-slip", &pointer);
            }
        }
    }

    fn service_entry(&mut self) {
        for at in 0..items(self.at("/spec/hosts")).len() {
            self.slip_at("entry-host-slip", &format!("/spec/hosts/{at}"));
        }
        for at in 0..items(self.at("/spec/ports")).len() {
            self.with("entry-port-renumbered", &format!("/spec/ports/{at}"), |port| {
                port["number"] = json!(9);
            });
        }
        for (at, endpoint) in items(self.at("/spec/endpoints")).iter().enumerate() {
            for key in fields(&endpoint["labels"]) {
                self.slip_at(
                    "entry-endpoint-slip",
                    &format!("/spec/endpoints/{at}/labels/{}", escaped(&key)),
                );
            }
        }
    }

    fn gateway(&mut self) {
        self.deleted("gateway-deleted");
        let servers = |change: fn(&mut Value)| {
            move |spec: &mut Value| {
                spec["servers"]
                    .as_array_mut()
                    .into_iter()
                    .flatten()
                    .for_each(change);
            }
        };
        self.with(
            "gateway-other-hosts",
            "/spec",
            servers(|server| server["hosts"] = json!(["elsewhere.example.org"])),
        );
        self.with(
            "gateway-passthrough",
            "/spec",
            servers(|server| {
                server["port"]["protocol"] = json!("TLS");
                server["tls"] = json!({"mode": "PASSTHROUGH"});
            }),
        );
        self.with(
            "gateway-renumbered",
            "/spec",
            servers(|server| server["port"]["number"] = json!(9)),
        );
    }

    fn plugin(&mut self, config: &str) {
        if self.at(config)["lane_header"].is_null() {
            return;
        }
        self.deleted("plugin-deleted");
        self.slip_at("plugin-header-slip", &format!("{config}/lane_header"));
        self.slip_at("plugin-default-slip", &format!("{config}/traffic_lane"));
        for key in fields(self.at("/spec/selector/matchLabels")) {
            self.slip_at(
                "plugin-selector-slip",
                &format!("/spec/selector/matchLabels/{}", escaped(&key)),
            );
        }
    }

    fn lane_group(&mut self) {
        let default = self.at("/spec/defaultLane");
        for (at, lane) in items(self.at("/spec/lanes")).iter().enumerate() {
            if lane != default {
                self.without_item("group-lane-dropped", "/spec/lanes", at);
                self.slip_at("group-lane-slip", &format!("/spec/lanes/{at}"));
            }
        }
        self.slip_at("group-header-slip", "/spec/header");
        self.slip_at("group-entry-slip", "/spec/entry/header");
        self.slip_at("group-label-slip", "/spec/laneLabel");
    }

    fn namespace(&mut self) {
        if self.at("/metadata/labels/istio-injection") == "enabled" {
            self.without("injection-off", "/metadata/labels", "istio-injection");
        } else {
            return;
        }
        let namespace = &self.object["metadata"]["name"];
        self.becomes("tracing-off", "", Some(&json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
            "metadata": {"namespace": namespace, "name": "no-tracing"}, "spec": {"tracing": [{"disableSpanReporting": true}]}})));
        self.becomes("tracing-off-everywhere", "", Some(&json!({"apiVersion": "telemetry.istio.io/v1", "kind": "Telemetry",
            "metadata": {"namespace": "istio-system", "name": "no-tracing"}, "spec": {"tracing": [{"disableSpanReporting": true}]}})));
        self.becomes("nothing-imported", "", Some(&json!({"apiVersion": "networking.istio.io/v1", "kind": "Sidecar",
            "metadata": {"namespace": namespace, "name": "default"}, "spec": {"egress": [{"hosts": ["istio-system/*"]}]}})));
    }
}

/// A slip of the keyboard: the second and third letter swapped, or the next pair that differs; of a short or even word,
/// one letter more.
fn slip_of(word: &str) -> String {
    let mut letters: Vec<char> = word.chars().collect();
    let pair = (1..letters.len().saturating_sub(1)).find(|at| {
        letters[*at].is_alphabetic() && letters[at + 1].is_alphabetic() && letters[*at] != letters[at + 1]
    });
    match pair {
        Some(at) if letters.len() >= 4 => letters.swap(at, at + 1),
        _ => letters.push('x'),
    }
    letters.into_iter().collect()
}

fn slip(value: &Value) -> String {
    slip_of(value.as_str().unwrap_or_default())
}

/// A field's name as part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn items(list: &Value) -> &[Value] {
    list.as_array().map_or(&[], Vec::as_slice)
}

fn fields(map: &Value) -> Vec<String> {
    map.as_object()
        .into_iter()
        .flatten()
        .map(|(key, _)| key.clone())
        .collect()
}

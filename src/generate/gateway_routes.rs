//! The routes by which requests enter the group at its gateways.

use serde_json::{Value, json};

use super::object::{object, spec_of};
use super::routes::{List, is_http_port};
use super::{EntryPoint, GenerateError, Generated, Maker};
use crate::lane::Entry;
use crate::resource::{Kind, VirtualService};
use crate::routing::reached;
use crate::symbol::Symbol;
use crate::world::qualified;

impl<'w> Maker<'_, '_, 'w> {
    /// Makes the routes of those objects at the group's gateways that lead to a member, each anew; and those of `point`,
    /// if none leads to it. What sets the lane header comes later, for it depends on all routes of a gateway.
    pub(super) fn gateway_routes(
        &self,
        point: Option<&EntryPoint>,
        made: &mut Generated,
    ) -> Result<(), GenerateError> {
        let entry = self.lanes.entry();
        let Some(entry) = entry else {
            return match point {
                Some(_) => Err(GenerateError::NoEntry(self.title())),
                None => Ok(()),
            };
        };
        let bound = self.at_gateways(entry);
        for vs in &bound {
            self.made_anew(vs, entry, made);
        }
        if let Some(point) = point {
            return self.enter(point, entry, &bound, made);
        }
        if bound.is_empty() {
            made.note(format!(
                "{}: no VirtualService leads from {} to a service of it; --entry-service and --entry-host make one",
                self.title(),
                gateways(entry)
            ));
        }
        Ok(())
    }

    /// Whether the routes of the object are made anew as those of a gateway.
    pub(super) fn is_made_at_gateway(&self, vs: &VirtualService) -> bool {
        let entry = self.lanes.entry();
        entry.is_some_and(|entry| self.at_gateways(entry).iter().any(|bound| bound.meta == vs.meta))
    }

    /// The objects with routes to members that are bound to a gateway of the group, by namespace and name.
    fn at_gateways(&self, entry: &Entry) -> Vec<&'w VirtualService> {
        let mut all: Vec<&'w VirtualService> = Vec::new();
        for member in &self.members {
            all.extend(self.view.virtual_services_to(&member.host));
        }
        all.retain(|vs| {
            let mut gateways = vs.bound_gateways();
            let home = &vs.meta.namespace;
            !vs.hosts.is_empty() && gateways.any(|gateway| entry.is_at(&qualified(gateway, home)))
        });
        all.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
        all.dedup_by(|a, b| a.meta == b.meta);
        all
    }

    /// A delegate may have several roots, each with conditions of its own.
    pub(super) fn tell_of_delegates(&self, made: &mut Generated) {
        for member in &self.members {
            let leading = self.view.virtual_services_to(&member.host).into_iter();
            for vs in leading.filter(|vs| vs.hosts.is_empty()) {
                made.note(format!(
                    "{} has routes to {} for others that delegate to it, and is left as it is",
                    vs.meta.reference(Kind::VirtualService),
                    member.host
                ));
            }
        }
    }

    fn made_anew(&self, vs: &VirtualService, entry: &Entry, made: &mut Generated) {
        let reference = vs.meta.reference(Kind::VirtualService);
        let known = self.known(&reference, made);
        let mut spec = spec_of(known.as_ref());
        let bound: Vec<&Symbol> = vs.bound_gateways().collect();
        let is_on_mesh = bound.len() < vs.gateways.len();
        let routes = spec.get("http").and_then(Value::as_array);
        let mut routes = routes.cloned().unwrap_or_default();
        if is_on_mesh {
            made.note(format!(
                "{reference} is taken off the mesh, where each service has routes of its own now"
            ));
            routes.retain_mut(leave_mesh);
            spec.insert("gateways".to_owned(), json!(bound));
        }
        let list = List {
            title: reference.to_string(),
            home: &vs.meta.namespace,
            tells: &entry.header,
            never: None,
            at_gateway: true,
        };
        let routes = self.routes(&list, &routes, None, made);
        spec.insert("http".to_owned(), Value::Array(routes));
        let vs = object(&reference, known.as_ref(), spec);
        made.objects.insert(reference, vs);
    }

    /// Makes the routes to a service that no gateway leads to yet.
    fn enter(
        &self,
        point: &EntryPoint,
        entry: &Entry,
        bound: &[&VirtualService],
        made: &mut Generated,
    ) -> Result<(), GenerateError> {
        let names = self.members.iter().map(|member| &member.service.meta.name);
        let mut members = self.members.iter();
        let member = members.find(|member| member.service.meta.name == point.service.as_str());
        let member = member.ok_or_else(|| GenerateError::NoMember {
            group: self.title(),
            service: point.service.clone(),
            members: names.map(ToString::to_string).collect(),
        })?;
        let leads_there = |vs: &&&VirtualService| {
            vs.http.iter().any(|route| {
                reached(route)
                    .any(|(_, to)| self.view.resolve(&to.destination.host, &vs.meta.namespace) == member.host)
            })
        };
        if let Some(vs) = bound.iter().find(leads_there) {
            made.note(format!(
                "{} leads to {} already and is made anew; --entry-service and --entry-host are not needed",
                vs.meta.reference(Kind::VirtualService),
                point.service
            ));
            return Ok(());
        }
        if entry.gateways.is_empty() {
            return Err(GenerateError::NoEntry(self.title()));
        }
        let mut to = json!({"host": point.service});
        if let Some(port) = point.port {
            if !is_http_port(member.service, port) {
                return Err(GenerateError::NoPort {
                    service: point.service.clone(),
                    port,
                });
            }
            to["port"] = json!({ "number": port });
        }
        let name = format!("{}-entry", point.service);
        let reference = self.new_name(Kind::VirtualService, self.namespace(), &[name], made);
        let list = List {
            title: reference.to_string(),
            home: self.namespace(),
            tells: &entry.header,
            never: None,
            at_gateway: true,
        };
        let model = json!({"route": [{"destination": to}]});
        let routes = self.routes(&list, &[model], None, made);
        let own = format!("{}/", self.namespace());
        let gateways = entry.gateways.iter();
        let gateways: Vec<&str> = gateways
            .map(|name| name.strip_prefix(&own).unwrap_or(name))
            .collect();
        let spec = json!({"hosts": point.hosts, "gateways": gateways, "http": routes});
        let vs = object(&reference, None, spec.as_object().cloned().unwrap_or_default());
        made.objects.insert(reference, vs);
        Ok(())
    }
}

/// Whether anything is left of a route when no sidecar has it: its matches for the mesh alone are taken out.
fn leave_mesh(route: &mut Value) -> bool {
    let Some(Value::Array(conditions)) = route.get_mut("match") else {
        return true;
    };
    let had_any = !conditions.is_empty();
    conditions.retain(|condition| {
        let gateways = condition["gateways"].as_array();
        gateways.is_none_or(|names| names.is_empty() || names.iter().any(|name| name != "mesh"))
    });
    !had_any || !conditions.is_empty()
}

fn gateways(entry: &Entry) -> String {
    if entry.gateways.is_empty() {
        return "a gateway".to_owned();
    }
    let names: Vec<&str> = entry.gateways.iter().map(Symbol::as_str).collect();
    format!("gateway {}", names.join(" or "))
}

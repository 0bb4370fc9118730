//! The `VirtualService` that callers in the mesh have for a service.

use serde_json::{Value, json};

use super::object::{object, spec_of};
use super::routes::List;
use super::{Generated, Maker, Member, is_at_gateway};
use crate::resource::{Kind, VirtualService};
use crate::routing::is_on_mesh;

impl<'w> Maker<'_, '_, 'w> {
    /// Makes the routes of the mesh to a service: one for each lane, and then, if the group takes requests that name no
    /// lane, one for them.
    pub(super) fn virtual_service(&self, member: &Member<'w>, made: &mut Generated) {
        let service = &member.service.meta;
        let claiming = self.view.virtual_services_of(&member.host).into_iter();
        let (mut own, others): (Vec<_>, Vec<_>) = claiming
            .filter(|vs| is_on_mesh(vs))
            .partition(|vs| self.is_only_for(vs, member));
        own.sort_by_key(|vs| (vs.meta.name != service.name, &vs.meta.name));
        let known = own.first().copied();
        for other in own.iter().skip(1).chain(&others) {
            // What is bound to a gateway too is taken off the mesh where it is made anew.
            if !(is_at_gateway(other) && self.is_made_at_gateway(other)) {
                made.note(format!(
                    "{} is for {} too: with what is made there are two; take the host out of it, or delete it",
                    other.meta.reference(Kind::VirtualService),
                    member.host
                ));
            }
        }
        let reference = match known {
            Some(vs) => vs.meta.reference(Kind::VirtualService),
            None => self.new_name(
                Kind::VirtualService,
                &service.namespace,
                &[service.name.to_string(), format!("{}-mesh", service.name)],
                made,
            ),
        };
        let known = self.known(&reference, made);
        let mut spec = spec_of(known.as_ref());
        let routes = spec.get("http").and_then(Value::as_array);
        let entry = self.lanes.entry().map(|entry| entry.header.as_str());
        let list = List {
            title: reference.to_string(),
            home: &service.namespace,
            tells: &self.lanes.group.header,
            never: entry,
            at_gateway: false,
        };
        let routes = self.routes(&list, routes.map_or(&[], Vec::as_slice), Some(member), made);
        if !spec.contains_key("hosts") {
            spec.insert("hosts".to_owned(), json!([service.name]));
        }
        spec.insert("gateways".to_owned(), json!(["mesh"]));
        spec.insert("http".to_owned(), Value::Array(routes));
        let vs = object(&reference, known.as_ref(), spec);
        made.objects.insert(reference, vs);
    }

    /// Whether the object is one for the mesh and the service alone.
    fn is_only_for(&self, vs: &VirtualService, member: &Member<'_>) -> bool {
        let home = &vs.meta.namespace;
        !is_at_gateway(vs)
            && *home == member.service.meta.namespace
            && vs
                .hosts
                .iter()
                .all(|host| self.view.resolve(host, home) == member.host)
    }
}

//! The `DestinationRule` of a service: a subset for each lane that something carries.

use serde_json::{Value, json};

use super::member::lane_labels;
use super::object::{free_name, object, spec_of};
use super::{Generated, Maker, Member};
use crate::resource::{Kind, ObjectRef};
use crate::routing::carriers_of_subset;

impl Maker<'_, '_, '_> {
    /// Makes the rule of a service. Of the one that is there its policies stay, and its other subsets that choose
    /// something.
    pub(super) fn destination_rule(&self, member: &Member<'_>, made: &mut Generated) {
        let service = &member.service.meta;
        let reference = match member.rule {
            Some(rule) => rule.meta.reference(Kind::DestinationRule),
            None => self.new_name(
                Kind::DestinationRule,
                &service.namespace,
                &[service.name.to_string(), format!("{}-lanes", service.name)],
                made,
            ),
        };
        let known = self.known(&reference, made);
        let mut spec = spec_of(known.as_ref());
        let written = spec.get("subsets").and_then(Value::as_array);
        let written = written.cloned().unwrap_or_default();
        let typed = member.rule.map_or(&[][..], |rule| &rule.subsets);
        let model = |labels, name: &str| {
            let by_labels = typed.iter().position(|subset| subset.labels == labels);
            let found = by_labels.or_else(|| typed.iter().position(|subset| subset.name == name));
            (found, found.and_then(|at| written.get(at)).cloned())
        };
        let mut of_lanes = Vec::new();
        let mut used = Vec::new();
        for (lane, name) in &member.subsets {
            let (at, known) = model(lane_labels(&member.label, lane), name);
            used.extend(at);
            let place = at.unwrap_or(typed.len());
            let mut subset = known.filter(Value::is_object).unwrap_or_else(|| json!({}));
            subset["name"] = json!(name);
            subset["labels"] = json!({ member.label.as_str(): lane });
            of_lanes.push((place, subset));
        }
        // Those that are there keep their order.
        of_lanes.sort_by_key(|(place, _)| *place);
        let mut subsets: Vec<Value> = of_lanes.into_iter().map(|(_, subset)| subset).collect();
        for (at, other) in typed.iter().enumerate().filter(|(at, _)| !used.contains(at)) {
            let is_named = |subset: &Value| subset["name"] == json!(other.name);
            if subsets.iter().any(is_named) {
                continue;
            }
            if carriers_of_subset(self.view, member.service, other)
                .of_subset
                .is_empty()
            {
                made.note(format!(
                    "{reference}: subset `{}` chooses nothing and is left out",
                    other.name
                ));
                continue;
            }
            subsets.extend(written.get(at).cloned());
        }
        let host = match member.rule {
            Some(rule) => &rule.host,
            None => &service.name,
        };
        spec.insert("host".to_owned(), json!(host));
        spec.insert("subsets".to_owned(), Value::Array(subsets));
        let rule = object(&reference, known.as_ref(), spec);
        made.objects.insert(reference, rule);
    }

    /// A name for a new object.
    pub(super) fn new_name(
        &self,
        kind: Kind,
        namespace: &str,
        wanted: &[String],
        made: &Generated,
    ) -> ObjectRef {
        free_name(
            kind,
            namespace,
            wanted,
            |reference| self.view.get(reference).is_some(),
            made,
        )
    }
}

//! Which label of the workloads tells their lane.

use std::collections::BTreeMap;

use super::{GenerateError, Maker};
use crate::resource::Service;
use crate::routing::is_lane_key;
use crate::symbol::Symbol;

impl Maker<'_, '_, '_> {
    /// The label that is written down; else the one by which routes tell it already; else the one whose values are the
    /// lanes. Of several such labels that one counts which tells every lane that the others tell, and more.
    pub(super) fn lane_label(&self, services: &[&Service]) -> Result<Symbol, GenerateError> {
        if let Some(label) = self.lanes.lane_label() {
            return Ok(label.clone());
        }
        let told = self.told_by_workloads(services);
        let tells_all = |told_by: &Told| told.values().all(|other| is_part(other, told_by));
        let mut best = told.iter().filter(|(_, told)| tells_all(told));
        match (best.next(), best.next()) {
            (Some((label, _)), None) => Ok(label.clone()),
            _ if told.is_empty() => Err(GenerateError::NoLabel(self.title())),
            _ => Err(GenerateError::SeveralLabels {
                group: self.title(),
                keys: told.keys().map(|label| format!("`{label}`")).collect(),
            }),
        }
    }

    /// By label, the lanes that it tells of the workloads behind the services.
    fn told_by_workloads(&self, services: &[&Service]) -> BTreeMap<Symbol, Told> {
        let of_group = self.lanes.selector();
        let mut told: BTreeMap<Symbol, Told> = BTreeMap::new();
        for service in services {
            let carriers = self.view.carriers(&service.meta.namespace, &service.selector);
            for carrier in carriers.iter() {
                let Some(labels) = carrier.carrier_labels().filter(|labels| of_group.select(labels)) else {
                    continue;
                };
                let pairs = labels.pairs().iter();
                let lanes = pairs.filter(|(key, value)| is_lane_key(key) && self.all.contains(value));
                for (key, lane) in lanes {
                    let of_label = told.entry(key.clone()).or_default();
                    of_label.insert(labels.to_string(), lane.clone());
                }
            }
        }
        told
    }
}

/// Lanes, by the labels of the pods.
type Told = BTreeMap<String, Symbol>;

/// Whether `whole` has all that `part` has.
fn is_part(part: &Told, whole: &Told) -> bool {
    part.iter().all(|(pods, lane)| whole.get(pods) == Some(lane))
}

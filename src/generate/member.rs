//! The services of a group, and which of their lanes something carries.

use std::rc::Rc;

use super::{GenerateError, Generated, Maker};
use crate::resource::{DestinationRule, Labels, Service, Subset};
use crate::routing::{Groups, carriers_of_subset, has_http_port};
use crate::symbol::Symbol;

/// A service of the group, with the subsets that it gets.
pub(super) struct Member<'w> {
    pub(super) service: &'w Service,
    /// Its full host.
    pub(super) host: Symbol,
    /// The rule for it that is there.
    pub(super) rule: Option<&'w DestinationRule>,
    /// The label that tells the lane.
    pub(super) label: Symbol,
    /// The lanes that something carries, each with its subset.
    pub(super) subsets: Vec<(Symbol, String)>,
}

impl Member<'_> {
    /// The subset of a lane.
    pub(super) fn subset(&self, lane: &Symbol) -> Option<&str> {
        let mut subsets = self.subsets.iter();
        subsets
            .find(|(of, _)| of == lane)
            .map(|(_, subset)| subset.as_str())
    }

    /// `Service cars/portal`.
    fn title(&self) -> String {
        format!(
            "Service {}/{}",
            self.service.meta.namespace, self.service.meta.name
        )
    }
}

impl<'w> Maker<'_, '_, 'w> {
    /// The services of the group to whose pods a route can lead, by name. One without any workload in a lane is none:
    /// a database is not, though the group's labels are on it.
    pub(super) fn find_members(
        &self,
        groups: &Groups<'_, 'w>,
        made: &mut Generated,
    ) -> Result<Vec<Member<'w>>, GenerateError> {
        let services = self.view.services_in(self.namespace()).into_iter();
        let services = services.filter(|service| {
            let group = groups.of_service(service);
            !service.selector.is_empty()
                && has_http_port(service)
                && group.is_some_and(|group| Rc::ptr_eq(&group, &self.lanes))
        });
        let (headless, services): (Vec<_>, Vec<_>) = services.partition(|service| service.headless);
        if services.is_empty() {
            return Err(GenerateError::NoService(self.title()));
        }
        let label = self.lane_label(&services)?;
        for service in headless {
            made.note(format!(
                "Service {}/{} is headless: its callers choose the pod, and no route can; nothing is made for it",
                service.meta.namespace, service.meta.name
            ));
        }
        let members = services
            .into_iter()
            .map(|service| self.member(service, label.clone()));
        let members: Vec<Member<'w>> = members.collect();
        for member in &members {
            self.tell_what_lacks(member, made);
        }
        Ok(members
            .into_iter()
            .filter(|member| !member.subsets.is_empty())
            .collect())
    }

    fn member(&self, service: &'w Service, label: Symbol) -> Member<'w> {
        let host = self.view.host_of(service);
        let rules = self.view.destination_rules_for(&host).into_iter();
        let rule = rules
            .filter(|rule| rule.meta.namespace == service.meta.namespace && rule.workload_selector.is_none())
            .min_by_key(|rule| (rule.meta.name != service.meta.name, &rule.meta.name));
        let mut subsets: Vec<(Symbol, String)> = Vec::new();
        let carried = self.all.iter().filter(|lane| {
            let subset = Subset {
                labels: lane_labels(&label, lane),
                ..Subset::default()
            };
            !carriers_of_subset(self.view, service, &subset)
                .of_subset
                .is_empty()
        });
        for lane in carried {
            let name = self.subset_name(rule, &lane_labels(&label, lane), lane);
            let is_free = |name: &str| subsets.iter().all(|(_, other)| other != name);
            let mut names = std::iter::once(name.clone()).chain((2..).map(|more| format!("{name}-{more}")));
            let name = names.find(|name| is_free(name)).unwrap_or(name);
            subsets.push((lane.clone(), name));
        }
        Member {
            service,
            host,
            rule,
            label,
            subsets,
        }
    }

    /// The name that the rule which is there has for the subset; else the lane's, as far as Istio takes it for a name
    /// (`validateSubsetName` in `pkg/config/validation/validation.go`: a DNS label).
    fn subset_name(&self, rule: Option<&DestinationRule>, labels: &Labels, lane: &Symbol) -> String {
        let own = dns_label(lane);
        let of_another = |name: &str| {
            self.all
                .iter()
                .any(|other| other != lane && dns_label(other) == name)
        };
        let mut known = rule.into_iter().flat_map(|rule| &rule.subsets);
        let known = known.find(|subset| subset.labels == *labels && !of_another(&subset.name));
        known.map_or(own, |subset| subset.name.to_string())
    }

    fn tell_what_lacks(&self, member: &Member<'_>, made: &mut Generated) {
        let title = member.title();
        if member.subsets.is_empty() {
            let text = format!(
                "{title} has no workload whose label {} is a lane of {}: nothing is made for it",
                member.label,
                self.title()
            );
            made.tell(text, self.lanes.group.is_strict());
            return;
        }
        let lacking = self.all.iter().filter(|lane| member.subset(lane).is_none());
        let lacking: Vec<String> = lacking.map(|lane| format!("`{lane}`")).collect();
        let lacks_default = member.subset(&self.default).is_none();
        if lacking.is_empty() || (self.is_fallback() && !lacks_default) {
            return;
        }
        let lanes = if self.is_fallback() {
            format!(
                "the default lane `{}`, which is to stand in for others",
                self.default
            )
        } else if lacking.len() == 1 {
            format!("lane {}", lacking.join(", "))
        } else {
            format!("lanes {}", lacking.join(", "))
        };
        let then = if self.has_default_route() && !lacks_default {
            "their requests take its default route, out of their lane"
        } else {
            "requests that need it are answered 404"
        };
        let help = if self.lanes.group.is_strict() {
            format!(
                "; add the workload, or write `completeness: Fallback` in {}",
                self.title()
            )
        } else {
            String::new()
        };
        made.tell(format!("{title} has no workload in {lanes}: {then}{help}"), true);
    }
}

/// The labels of a lane's subset.
pub(super) fn lane_labels(label: &Symbol, lane: &Symbol) -> Labels {
    Labels::new([(label.clone(), lane.clone())])
}

/// A lane's name as a DNS label.
fn dns_label(lane: &str) -> String {
    let letters = lane.chars().map(|c| match c.to_ascii_lowercase() {
        c if c.is_ascii_alphanumeric() => c,
        _ => '-',
    });
    let label: String = letters.collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "lane" } else { label }.to_owned()
}

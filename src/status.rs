//! What runs of a lane group, in few words: what `kubectl get lanegroups` shows.
//!
//! ```text
//!   View ──matrix──▶ RoutesComplete ─┐
//!     ├──members' pods ─▶ WorkloadsReady ├──▶ Ready
//!     ├──LK501──▶ FilterInstalled ───┤
//!   Report of the audit ──▶ RulesHold ───┘
//! ```
//!
//! It follows from the view and the audit's report alone. When it is written, and by whom, is the cluster's business.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::audit::Report;
use crate::matrix::{self, Matrix, Reached};
use crate::report::number;
use crate::resource::{Condition, ConditionStatus, Kind, LaneGroup, LaneGroupStatus, ObjectRef, Resource};
use crate::routing::Lanes;
use crate::rule::{Check, Rule, find};
use crate::symbol::Symbol;
use crate::verdict::{ENFORCEMENT, mode_of};
use crate::world::{View, World};

/// The condition that is the sum of the others.
pub const READY: &str = "Ready";

/// How many problems a message names; the others are counted.
const NAMED: usize = 3;

/// A condition as it is now, without its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub about: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

impl Finding {
    fn new(about: &'static str, status: ConditionStatus, reason: &'static str, message: String) -> Self {
        Self {
            about,
            status,
            reason,
            message,
        }
    }
}

/// What runs of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The group.
    pub group: ObjectRef,
    /// The generation of its spec.
    pub generation: i64,
    /// `Ready` and the others.
    pub findings: Vec<Finding>,
    /// How many services have lanes.
    pub services: i32,
    /// How many lanes there are.
    pub lanes: i32,
    /// How many of them reach all that the group promises.
    pub ready_lanes: i32,
    /// How many workloads are behind the services.
    pub workloads: i32,
}

/// What runs of a group that is written down, and what the audit has `audited` in its namespace, if there is one; `None` if the view
/// does not have the group, or it is being deleted.
pub fn of(view: &View<'_>, group: &ObjectRef, audited: Option<&Report>) -> Option<Status> {
    let written = match view.get(group)? {
        Resource::LaneGroup(written) if !written.meta.deleting => written,
        _ => return None,
    };
    let check = Check::new(view, None);
    let lanes = lanes_of(&check, written)?;
    let matrix = matrix::of_group(view, &check.groups, &lanes, matrix::Detail::Cells);
    let (services, members) = members(&check, &lanes);
    let parts = vec![
        routes(&matrix),
        workloads(view, &members),
        filter(&check, &lanes, &members),
        rules(view, &group.namespace, audited),
    ];
    let is_whole = |at: usize| {
        matrix
            .rows
            .iter()
            .all(|row| row.cells.get(at).is_none_or(|cell| cell.is_whole))
    };
    let ready_lanes = (0..matrix.lanes.len()).filter(|at| !matrix.rows.is_empty() && is_whole(*at));
    Some(Status {
        group: group.clone(),
        generation: written.meta.generation.into(),
        services: count(services.len()),
        lanes: count(matrix.lanes.len()),
        ready_lanes: count(ready_lanes.count()),
        workloads: count(members.len()),
        findings: [vec![sum(&parts)], parts].concat(),
    })
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn lanes_of<'v, 'w>(check: &Check<'v, 'w>, written: &LaneGroup) -> Option<Rc<Lanes<'v, 'w>>> {
    let groups = check.groups.of_namespace(&written.meta.namespace).into_iter();
    let mut same =
        groups.filter(|lanes| !lanes.group.is_implicit() && lanes.group.source == *written.meta.name);
    same.next()
}

/// The services of the group, by name, and the carriers behind them.
fn members<'w>(
    check: &Check<'_, 'w>,
    lanes: &Rc<Lanes<'_, 'w>>,
) -> (BTreeSet<&'w Symbol>, Vec<&'w Resource>) {
    let namespace = &lanes.group.namespace;
    let mut services = BTreeSet::new();
    let mut carriers = check.view.carriers(namespace, &lanes.selector()).to_vec();
    carriers.retain(|carrier| {
        let groups = carrier
            .carrier_labels()
            .map(|labels| check.groups.of_workload(namespace, labels));
        let mut of_lanes = groups
            .into_iter()
            .flatten()
            .filter(|(of, _)| Rc::ptr_eq(of, lanes));
        let found = of_lanes.next().map(|(_, found)| found);
        let names = found.iter().flatten().map(|service| &service.meta.name);
        services.extend(names);
        found.is_some()
    });
    (services, carriers)
}

/// Whether each lane reaches each service, as far as routes make it so.
fn routes(matrix: &Matrix) -> Finding {
    let about = "RoutesComplete";
    if matrix.rows.is_empty() {
        let message = "no service is a member of the group".to_owned();
        return Finding::new(about, ConditionStatus::False, "NoServices", message);
    }
    // Pods that are not ready are no fault of a route.
    let faults = matrix
        .faults()
        .filter(|(_, cell)| cell.reached != Reached::NotReady);
    let faults: Vec<String> = faults
        .map(|(row, cell)| {
            let lane = cell.lane.as_ref().map_or("without a lane", |lane| lane.as_str());
            format!("{row}, {lane}: {}, {}", cell.reached, cell.why)
        })
        .collect();
    if faults.is_empty() {
        let places = number(matrix.rows.len(), "place");
        let message = format!("each lane is answered as the group promises, in {places}");
        return Finding::new(about, ConditionStatus::True, "AsPromised", message);
    }
    Finding::new(
        about,
        ConditionStatus::False,
        "LaneNotReached",
        first_few(&faults),
    )
}

/// Whether something is ready of each workload.
fn workloads(view: &View<'_>, members: &[&Resource]) -> Finding {
    let about = "WorkloadsReady";
    if members.is_empty() {
        let message = "no workload is behind the services".to_owned();
        return Finding::new(about, ConditionStatus::False, "NoWorkloads", message);
    }
    let is_ready = |member: &Resource| match member {
        Resource::Workload(workload) => view.pods_of(workload).iter().any(|pod| pod.ready == Some(true)),
        Resource::Pod(pod) => pod.ready == Some(true),
        // Nobody tells of what is outside the cluster.
        _ => true,
    };
    let waiting = members.iter().filter(|member| !is_ready(member));
    let waiting: Vec<String> = waiting
        .map(|member| format!("{} {} has no ready pod", member.kind(), member.meta().name))
        .collect();
    if waiting.is_empty() {
        let message = format!("each of {} has a ready pod", number(members.len(), "workload"));
        return Finding::new(about, ConditionStatus::True, "PodsReady", message);
    }
    Finding::new(about, ConditionStatus::False, "PodsNotReady", first_few(&waiting))
}

/// Whether the lane filter is in each sidecar, as LK501 sees it.
fn filter<'w>(check: &Check<'_, 'w>, lanes: &Lanes<'_, 'w>, members: &[&'w Resource]) -> Finding {
    let about = "FilterInstalled";
    let rule: Vec<Rule> = find("LK501").copied().into_iter().collect();
    let found = members.iter().flat_map(|member| check.object(&rule, member));
    let header = &lanes.group.header;
    let without: Vec<String> = found
        .filter(|finding| finding.subject.header.as_ref() == Some(header))
        .map(|finding| {
            format!(
                "{} {}: {}",
                finding.object.kind, finding.object.name, finding.message
            )
        })
        .collect();
    if !without.is_empty() {
        let message = first_few(&without);
        return Finding::new(about, ConditionStatus::False, "FilterMissing", message);
    }
    let plugins = check.view.lane_plugins_for(&lanes.group.namespace);
    let carries = plugins
        .iter()
        .any(|plugin| plugin.lane_header.as_ref() == Some(header));
    if !carries {
        let message = format!("no plugin carries `{header}`: the applications have to");
        return Finding::new(about, ConditionStatus::Unknown, "NoFilter", message);
    }
    let message = format!("a plugin carries `{header}` for each workload");
    Finding::new(about, ConditionStatus::True, "FilterSelected", message)
}

/// Whether the audit reports nothing in the namespace that would refuse a change. Of a namespace that has not opted in it reports nothing.
fn rules(view: &View<'_>, namespace: &Symbol, audited: Option<&Report>) -> Finding {
    let about = "RulesHold";
    let unknown =
        |reason, message: &str| Finding::new(about, ConditionStatus::Unknown, reason, message.to_owned());
    if mode_of(view, namespace).is_none() {
        let message = format!("the namespace has no label {ENFORCEMENT}: nothing is reported of it");
        return unknown("NotOptedIn", &message);
    }
    let Some(report) = audited else {
        return unknown("NotAudited", "no audit has run");
    };
    let broken: Vec<String> = report
        .denied_in(namespace)
        .map(|finding| {
            let (object, message) = (&finding.object, &finding.message);
            format!("{} {} {}: {message}", finding.code, object.kind, object.name)
        })
        .collect();
    if broken.is_empty() {
        let message = "no rule that refuses changes is broken in the namespace".to_owned();
        return Finding::new(about, ConditionStatus::True, "NothingFound", message);
    }
    Finding::new(about, ConditionStatus::False, "RuleBroken", first_few(&broken))
}

/// What the conditions come to: the first that does not hold says why. What is not known is held against nobody.
fn sum(parts: &[Finding]) -> Finding {
    let about = READY;
    match parts.iter().find(|part| part.status == ConditionStatus::False) {
        Some(part) => Finding {
            about,
            ..part.clone()
        },
        None => Finding::new(
            about,
            ConditionStatus::True,
            "LanesReady",
            "every lane reaches all that the group promises".to_owned(),
        ),
    }
}

/// The first problems, and how many there are more.
fn first_few(problems: &[String]) -> String {
    let named = problems
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join("; ");
    match problems.len().checked_sub(NAMED) {
        None | Some(0) => named,
        Some(more) => format!("{named}; and {more} more"),
    }
}

impl Status {
    /// The status as it is to be written at `now` over the one that is there: a condition that is what it was
    /// keeps the time since when it is so.
    pub fn over(&self, known: Option<&LaneGroupStatus>, now: jiff::Timestamp) -> LaneGroupStatus {
        let known = |about: &str| {
            known?
                .conditions
                .iter()
                .find(|condition| condition.r#type == about)
        };
        let conditions = self.findings.iter().map(|finding| {
            let since = known(finding.about).filter(|condition| condition.status == finding.status);
            Condition {
                r#type: finding.about.to_owned(),
                status: finding.status,
                reason: finding.reason.to_owned(),
                message: finding.message.clone(),
                observed_generation: self.generation,
                last_transition_time: since.map_or(now, |condition| condition.last_transition_time),
            }
        });
        LaneGroupStatus {
            observed_generation: self.generation,
            conditions: conditions.collect(),
            services: self.services,
            lanes: self.lanes,
            ready_lanes: self.ready_lanes,
            workloads: self.workloads,
        }
    }
}

/// The groups of a world that are written down.
pub fn groups(world: &World) -> Vec<ObjectRef> {
    let objects = world.objects().filter(|object| object.kind() == Kind::LaneGroup);
    let mut groups: Vec<ObjectRef> = objects.map(Resource::reference).collect();
    groups.sort();
    groups
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::audit::Reported;
    use crate::rule::Level;
    use crate::world::Settings;

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name, "generation": 7});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn shop(others: Vec<Resource>) -> World {
        let group = json!({"header": "lane", "workloads": {"matchLabels": {"app": "cart"}}, "lanes": ["blue"],
            "defaultLane": "blue", "laneLabel": "version"});
        let group = object(Kind::LaneGroup, "shop", &group);
        World::of(Settings::default(), [vec![group], others].concat())
    }

    fn told(world: &World) -> (Status, Vec<(ConditionStatus, &'static str)>) {
        let status = of(
            &View::new(world),
            &ObjectRef::new(Kind::LaneGroup, "shop", "shop"),
            None,
        )
        .unwrap();
        let told = status
            .findings
            .iter()
            .map(|finding| (finding.status, finding.reason));
        let told = told.collect();
        (status, told)
    }

    #[test]
    fn a_group_of_nothing_is_not_ready() {
        use ConditionStatus::{False, Unknown};
        let (status, told) = told(&shop(Vec::new()));
        assert_eq!(
            told,
            [
                (False, "NoServices"),
                (False, "NoServices"),
                (False, "NoWorkloads"),
                (Unknown, "NoFilter"),
                (Unknown, "NotOptedIn")
            ]
        );
        assert_eq!((status.generation, status.lanes, status.ready_lanes), (7, 1, 0));
        assert_eq!(status.findings[0].about, READY);
    }

    #[test]
    fn what_refuses_changes_in_the_groups_namespace_is_held_against_it() {
        let labels = json!({"lanekeeper.dev/enforcement": "warn"});
        let namespace = json!({"metadata": {"name": "shop", "labels": labels}});
        let world = shop(vec![Resource::parse(Kind::Namespace, namespace).unwrap()]);
        let one = |namespace: &str, level| Reported {
            finding: crate::rule::Finding::new(
                find("LK101").unwrap(),
                ObjectRef::new(Kind::DestinationRule, namespace, "cart"),
                "spec",
            )
            .says("nothing is behind it", ""),
            level,
        };
        let rules = |audited: Option<&Report>| {
            let group = ObjectRef::new(Kind::LaneGroup, "shop", "shop");
            let status = of(&View::new(&world), &group, audited).unwrap();
            status
                .findings
                .into_iter()
                .find(|one| one.about == "RulesHold")
                .unwrap()
        };
        let told = |audited| {
            let rules = rules(audited);
            (rules.status, rules.reason)
        };
        assert_eq!(told(None), (ConditionStatus::Unknown, "NotAudited"));
        let harmless = Report::new(vec![one("shop", Level::Warn), one("pay", Level::Deny)], [].into());
        assert_eq!(told(Some(&harmless)), (ConditionStatus::True, "NothingFound"));
        let broken = Report::new(vec![one("shop", Level::Deny)], [].into());
        assert_eq!(told(Some(&broken)), (ConditionStatus::False, "RuleBroken"));
        assert_eq!(
            rules(Some(&broken)).message,
            "LK101 DestinationRule cart: nothing is behind it"
        );
    }

    #[test]
    fn a_condition_keeps_the_time_since_when_it_is_so() {
        let (status, _) = told(&shop(Vec::new()));
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        let first = status.over(None, at(1));
        let second = status.over(Some(&first), at(2));
        assert_eq!(first, second);
        let mut changed = status.clone();
        changed.findings[2].status = ConditionStatus::True;
        let third = changed.over(Some(&second), at(3));
        let times: Vec<_> = third
            .conditions
            .iter()
            .map(|one| one.last_transition_time)
            .collect();
        assert_eq!(times, [at(1), at(1), at(3), at(1), at(1)]);
    }

    #[test]
    fn a_message_names_the_first_problems_and_counts_the_others() {
        let problems: Vec<String> = (1..=5).map(|number| format!("p{number}")).collect();
        assert_eq!(first_few(&problems), "p1; p2; p3; and 2 more");
        assert_eq!(first_few(&problems[..3]), "p1; p2; p3");
        assert_eq!(first_few(&problems[..1]), "p1");
    }
}

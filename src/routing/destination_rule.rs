//! Which `DestinationRule` counts for a caller, and what is left of several for one host.
//!
//! The lookup is `PushContext.destinationRule` (`pilot/pkg/model/push_context.go`), the merge
//! `mergeDestinationRule` (`pilot/pkg/model/destination_rule.go`), the choice among what did not merge
//! `SidecarScope.DestinationRule` (`pilot/pkg/model/sidecar.go`) [s13, s14].

use std::collections::BTreeSet;

use super::is_visible;
use crate::resource::{ConnectionPool, DestinationRule, Kind, Labels, ObjectRef, Subset, TrafficPolicy};
use crate::symbol::Symbol;
use crate::world::View;

/// The rule that Istio makes, for one caller, of all `DestinationRules` for a host.
#[derive(Debug, Clone)]
pub struct EffectiveRule<'w> {
    /// The objects it is made of, the first one first.
    pub sources: Vec<&'w DestinationRule>,
    /// Its subsets; of one name, the first definition counts.
    pub subsets: Vec<EffectiveSubset<'w>>,
}

/// A subset and where it is defined.
#[derive(Debug, Clone, Copy)]
pub struct EffectiveSubset<'w> {
    /// The subset.
    pub subset: &'w Subset,
    /// The object that defines it.
    pub rule: &'w DestinationRule,
}

impl<'w> EffectiveRule<'w> {
    /// The subset of this name.
    pub fn subset(&self, name: &str) -> Option<&EffectiveSubset<'w>> {
        self.subsets.iter().find(|defined| defined.subset.name == name)
    }

    /// The names of the objects it is made of.
    pub fn references(&self) -> Vec<ObjectRef> {
        self.sources
            .iter()
            .map(|rule| rule.meta.reference(Kind::DestinationRule))
            .collect()
    }

    /// The `connectionPool` that counts for `port` of the subset, or of the service where none is named: the one
    /// nearest to the port that is written. A port's own policy inherits nothing from the one around it, nor a
    /// subset's port from the rule's; where nothing is written, `default`, the mesh's, counts
    /// (`MergeSubsetTrafficPolicy` in `pilot/pkg/networking/util/util.go`, `applyDefaultTrafficPolicy` in
    /// `pilot/pkg/networking/core/cluster_traffic_policy.go`).
    pub fn connection_pool(
        &self,
        subset: Option<&str>,
        port: u32,
        default: Option<ConnectionPool>,
    ) -> Option<ConnectionPool> {
        let of_rule = || {
            let policy = self.traffic_policy()?;
            by_port(policy, port).unwrap_or(policy).pool
        };
        let of_subset = subset.and_then(|name| self.subset(name));
        let of_subset = of_subset.map(|defined| &defined.subset.traffic_policy);
        if let Some(own) = of_subset.and_then(|policy| by_port(policy, port)) {
            return own.pool;
        }
        of_subset
            .and_then(|policy| policy.pool)
            .or_else(of_rule)
            .or(default)
    }

    /// Whether requests to `port` of the subset go to the address that the caller chose
    /// (`loadBalancer.simple: PASSTHROUGH`): where the rule says so for the port, no subset takes it back
    /// (`buildSubsetCluster` in `pilot/pkg/networking/core/cluster_builder.go`) [s16].
    pub fn keeps_address(&self, subset: Option<&str>, port: u32) -> bool {
        let of_rule = self.traffic_policy().is_some_and(|policy| {
            by_port(policy, port).map_or(policy.passthrough, |of_port| of_port.passthrough)
        });
        let of_subset = subset.and_then(|name| self.subset(name));
        let of_subset = of_subset.map(|defined| &defined.subset.traffic_policy);
        of_rule
            || of_subset.is_some_and(|policy| {
                policy.passthrough || by_port(policy, port).is_some_and(|of_port| of_port.passthrough)
            })
    }

    /// The policy for all subsets: of several rules, that of the first which has one.
    fn traffic_policy(&self) -> Option<&'w TrafficPolicy> {
        self.sources.iter().find_map(|rule| rule.traffic_policy.as_ref())
    }
}

/// A policy's own settings for a port.
fn by_port(policy: &TrafficPolicy, port: u32) -> Option<&TrafficPolicy> {
    let own = policy.ports.iter().find(|(number, _)| *number == port);
    own.map(|(_, policy)| policy)
}

/// The rule that counts when a proxy of namespace `caller` (empty: one that has no rules of its own) calls the
/// full host `host`, a service of `home`; `None` when there is none.
pub fn rule_for<'w>(
    view: &View<'w>,
    caller: &str,
    host: &Symbol,
    home: Option<&str>,
) -> Option<EffectiveRule<'w>> {
    let root = view.root_namespace();
    let default = view
        .mesh_config()
        .map_or(&[][..], |config| &config.default_destination_rule_export_to);
    let candidates = view.destination_rules_including(host, &[caller, home.unwrap_or_default(), root]);

    // The most specific host for which `keep` leaves any rule.
    let most_specific = |keep: &dyn Fn(&DestinationRule) -> bool| {
        candidates
            .iter()
            .map(|rules| {
                rules
                    .iter()
                    .copied()
                    .filter(|rule| keep(rule))
                    .collect::<Vec<_>>()
            })
            .find(|rules| !rules.is_empty())
    };
    let local = |rule: &DestinationRule| {
        rule.meta.namespace == caller && (rule.export_to.is_empty() || is_exported(rule, &[], caller))
    };
    let own = if caller == root.as_str() {
        most_specific(&|rule| local(rule) && is_private(rule, default))
    } else {
        most_specific(&local)
    };
    if let Some(rules) = own {
        return choose(consolidate(rules));
    }
    let exported = |namespace: &str| {
        let rules = most_specific(&|rule| rule.meta.namespace == namespace && !is_private(rule, default))?;
        let visible = consolidate(rules);
        choose(
            visible
                .into_iter()
                .filter(|merged| {
                    merged.export_to.is_empty()
                        || merged.export_to.contains("*")
                        || merged.export_to.contains(caller)
                })
                .collect(),
        )
    };
    home.and_then(exported).or_else(|| exported(root))
}

fn is_exported(rule: &DestinationRule, default: &[Symbol], namespace: &str) -> bool {
    is_visible(&rule.export_to, default, &rule.meta.namespace, namespace)
}

/// Whether only its own namespace sees the rule.
fn is_private(rule: &DestinationRule, default: &[Symbol]) -> bool {
    if rule.workload_selector.is_some() {
        return true;
    }
    match rule.export_to.as_slice() {
        [] => default.iter().any(|entry| *entry == "."),
        [only] => *only == "." || *only == rule.meta.namespace,
        _ => false,
    }
}

/// Rules for one host of one namespace that became one.
struct Merged<'w> {
    export_to: BTreeSet<&'w str>,
    selector: Option<&'w Labels>,
    rule: EffectiveRule<'w>,
}

fn consolidate(mut rules: Vec<&DestinationRule>) -> Vec<Merged<'_>> {
    // Those with a selector come first; age and name have been sorted by before.
    rules.sort_by_key(|rule| rule.workload_selector.is_none());
    let mut merged: Vec<Merged<'_>> = Vec::new();
    for rule in rules {
        let selector = rule.workload_selector.as_ref();
        let export_to: BTreeSet<&str> = match selector {
            None => rule.export_to.iter().map(Symbol::as_str).collect(),
            Some(_) => BTreeSet::from(["."]),
        };
        let mut separately = true;
        for earlier in &mut merged {
            if export_to == earlier.export_to {
                separately = false;
            } else if !earlier.export_to.is_empty() && export_to.is_superset(&earlier.export_to) {
                separately = true;
            } else {
                separately = true;
                continue;
            }
            if selector.is_some() && earlier.selector.is_some() && selector != earlier.selector {
                separately = true;
                continue;
            }
            if selector == earlier.selector {
                separately = false;
            }
            earlier.rule.sources.push(rule);
            for subset in &rule.subsets {
                if earlier.rule.subset(&subset.name).is_none() {
                    earlier.rule.subsets.push(EffectiveSubset { subset, rule });
                }
            }
        }
        if separately {
            let subsets = rule.subsets.iter().map(|subset| EffectiveSubset { subset, rule });
            let own = EffectiveRule {
                sources: vec![rule],
                subsets: subsets.collect(),
            };
            merged.push(Merged {
                export_to,
                selector,
                rule: own,
            });
        }
    }
    merged
}

/// Among what did not merge, the last without a selector counts for a caller of unknown labels.
fn choose(merged: Vec<Merged<'_>>) -> Option<EffectiveRule<'_>> {
    merged
        .into_iter()
        .rfind(|merged| merged.selector.is_none())
        .map(|merged| merged.rule)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{H2Upgrade, Resource};
    use crate::world::{Read, Settings, World};

    fn rule(namespace: &str, name: &str, created: u8, spec: &Value) -> Resource {
        let created = format!("2026-11-01T00:00:{created:02}Z");
        let object = json!({"metadata": {"namespace": namespace, "name": name, "creationTimestamp": created}, "spec": spec});
        Resource::parse(Kind::DestinationRule, object).unwrap()
    }

    fn spec(host: &str, export_to: &[&str], subsets: &[&str]) -> Value {
        let subsets: Vec<_> = subsets.iter().map(|name| json!({"name": name})).collect();
        json!({"host": host, "exportTo": export_to, "subsets": subsets})
    }

    fn subsets(rules: Vec<Resource>, caller: &str) -> Option<Vec<String>> {
        let world = World::of(Settings::default(), rules);
        let host = "portal.cars.svc.cluster.local".into();
        let found = rule_for(&View::new(&world), caller, &host, Some("cars"));
        found.map(|rule| {
            rule.subsets
                .iter()
                .map(|defined| defined.subset.name.to_string())
                .collect()
        })
    }

    #[test]
    fn the_callers_namespace_comes_first_and_hides_the_services_own_even_by_a_wildcard() {
        let own = rule("cars", "own", 0, &spec("portal", &[], &["v1"]));
        let wild = rule("shop", "wild", 1, &spec("*.local", &[], &[]));
        assert_eq!(subsets(vec![own.clone(), wild.clone()], "shop"), Some(vec![]));
        assert_eq!(
            subsets(vec![own.clone(), wild.clone()], ""),
            Some(vec!["v1".into()])
        );
        assert_eq!(subsets(vec![own, wild], "cars"), Some(vec!["v1".into()]));
    }

    #[test]
    fn in_one_namespace_the_specific_host_hides_the_wildcard() {
        let own = rule("cars", "own", 1, &spec("portal", &[], &["v1"]));
        let wild = rule("cars", "wild", 0, &spec("*.cars.svc.cluster.local", &[], &["w"]));
        assert_eq!(subsets(vec![own, wild.clone()], ""), Some(vec!["v1".into()]));
        assert_eq!(subsets(vec![wild], ""), Some(vec!["w".into()]));
    }

    #[test]
    fn the_root_namespace_comes_last_and_its_private_rules_are_for_its_own_proxies() {
        let root = rule(
            "istio-system",
            "root",
            0,
            &spec("portal.cars.svc.cluster.local", &[], &["r"]),
        );
        let private = rule("istio-system", "private", 1, &spec("*.local", &["."], &["p"]));
        assert_eq!(subsets(vec![root.clone()], ""), Some(vec!["r".into()]));
        assert_eq!(
            subsets(vec![root.clone(), private.clone()], ""),
            Some(vec!["r".into()])
        );
        assert_eq!(
            subsets(vec![root, private], "istio-system"),
            Some(vec!["p".into()])
        );
    }

    #[test]
    fn rules_of_one_host_merge_when_their_exports_are_equal_and_else_the_youngest_replaces() {
        let a = rule("cars", "a", 0, &spec("portal", &[], &["v1", "v2"]));
        let b = rule("cars", "b", 1, &spec("portal", &[], &["v2", "v3"]));
        let c = rule("cars", "c", 2, &spec("portal", &["*"], &["v4"]));
        assert_eq!(
            subsets(vec![b.clone(), a.clone()], ""),
            Some(vec!["v1".into(), "v2".into(), "v3".into()])
        );
        assert_eq!(subsets(vec![a, b, c], ""), Some(vec!["v4".into()]));
    }

    #[test]
    fn a_private_rule_is_seen_by_its_own_namespace_only() {
        let private = rule("cars", "a", 0, &spec("portal", &["."], &["v1"]));
        assert_eq!(subsets(vec![private.clone()], ""), None);
        assert_eq!(subsets(vec![private], "cars"), Some(vec!["v1".into()]));
    }

    #[test]
    fn a_rule_for_some_workloads_does_not_count_for_the_others() {
        let mut selected = spec("portal", &[], &["s"]);
        selected["workloadSelector"] = json!({"matchLabels": {"app": "x"}});
        let a = rule("cars", "a", 0, &selected);
        let b = rule("cars", "b", 1, &spec("portal", &[], &["v1"]));
        assert_eq!(subsets(vec![a, b], "cars"), Some(vec!["v1".into()]));
    }

    /// What `says` of the rule for `portal` that callers without rules of their own get.
    fn asked<T>(rules: &[Value], says: impl Fn(&EffectiveRule<'_>) -> T) -> T {
        let names = ["a", "b"];
        let rules = rules
            .iter()
            .zip(names)
            .map(|(spec, name)| rule("cars", name, 0, spec));
        let world = World::of(Settings::default(), rules);
        let host = "portal.cars.svc.cluster.local".into();
        says(&rule_for(&View::new(&world), "", &host, Some("cars")).unwrap())
    }

    fn upgrade(subset: Option<&str>, port: u32) -> impl Fn(&EffectiveRule<'_>) -> Option<H2Upgrade> {
        move |rule| rule.connection_pool(subset, port, None).map(|pool| pool.h2)
    }

    #[test]
    fn the_connection_pool_nearest_to_the_port_counts_and_replaces_the_others_whole() {
        let policy = |h2: &str| json!({"connectionPool": {"http": {"h2UpgradePolicy": h2}}});
        let mut by_port = policy("DO_NOT_UPGRADE");
        by_port["port"] = json!({"number": 80});
        let mut own = policy("UPGRADE");
        own["portLevelSettings"] = json!([by_port]);
        let spec = json!({"host": "portal", "trafficPolicy": own, "subsets": [
            {"name": "v1", "trafficPolicy": policy("DO_NOT_UPGRADE")},
            {"name": "v2", "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 1}}}},
            {"name": "v3", "trafficPolicy": {"loadBalancer": {"simple": "RANDOM"}}}]});
        for (subset, port, expected) in [
            (None, 8080, H2Upgrade::Upgrade),
            (None, 80, H2Upgrade::DoNotUpgrade),
            (Some("v1"), 8080, H2Upgrade::DoNotUpgrade),
            (Some("v2"), 8080, H2Upgrade::Default),
            (Some("v3"), 8080, H2Upgrade::Upgrade),
        ] {
            let found = asked(std::slice::from_ref(&spec), upgrade(subset, port));
            assert_eq!(found, Some(expected), "{subset:?} {port}");
        }
    }

    #[test]
    fn a_ports_own_policy_inherits_nothing_from_the_one_around_it() {
        let upgrading = json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}},
            "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]});
        let spec = json!({"host": "portal", "trafficPolicy": upgrading});
        let found = asked(std::slice::from_ref(&spec), upgrade(None, 8080));
        assert_eq!(found, Some(H2Upgrade::Upgrade));
        assert_eq!(asked(&[spec], upgrade(None, 80)), None);
    }

    #[test]
    fn of_rules_that_merge_the_first_policy_counts() {
        let upgrading = json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}});
        let without = json!({"host": "portal"});
        let with = json!({"host": "portal", "trafficPolicy": upgrading});
        let found = asked(&[without, with.clone()], upgrade(None, 80));
        assert_eq!(found, Some(H2Upgrade::Upgrade));
        let empty = json!({"host": "portal", "trafficPolicy": {}});
        assert_eq!(asked(&[empty, with], upgrade(None, 80)), None);
    }

    #[test]
    fn a_subset_cannot_take_back_that_the_rule_keeps_the_callers_address() {
        let balancer = |simple: &str| json!({"loadBalancer": {"simple": simple}});
        let keeps = |spec: &Value, subset: Option<&str>, port| {
            asked(std::slice::from_ref(spec), |rule| {
                rule.keeps_address(subset, port)
            })
        };
        let spec = json!({"host": "portal", "trafficPolicy": balancer("PASSTHROUGH"),
            "subsets": [{"name": "v1", "trafficPolicy": balancer("RANDOM")}]});
        assert!(keeps(&spec, None, 80) && keeps(&spec, Some("v1"), 80));
        let by_port = json!({"portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "PASSTHROUGH"}}]});
        let spec = json!({"host": "portal", "subsets": [
            {"name": "v1", "trafficPolicy": balancer("PASSTHROUGH")}, {"name": "v2", "trafficPolicy": by_port}]});
        assert!(!keeps(&spec, None, 80) && keeps(&spec, Some("v1"), 80));
        assert!(keeps(&spec, Some("v2"), 80) && !keeps(&spec, Some("v2"), 81));
    }

    #[test]
    fn only_the_rules_of_namespaces_that_count_for_the_caller_are_read_again() {
        let world = World::new(Settings::default());
        let view = View::new(&world);
        let host = "portal.cars.svc.cluster.local".into();
        rule_for(&view, "", &host, Some("cars"));
        rule_for(&view, "shop", &host, Some("cars"));
        let list = |namespace: &str| Read::List(Kind::DestinationRule, namespace.into());
        let mut reads = view.reads();
        reads.retain(|read| read.kind() == Kind::DestinationRule);
        reads.sort_by_key(|read| format!("{read:?}"));
        assert_eq!(reads, [list("cars"), list("istio-system"), list("shop")]);
    }
}

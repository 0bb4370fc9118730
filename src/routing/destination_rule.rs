//! Which `DestinationRule` counts for a caller, and what is left of several for one host.
//!
//! The lookup is `PushContext.destinationRule` (`pilot/pkg/model/push_context.go`), the merge
//! `mergeDestinationRule` (`pilot/pkg/model/destination_rule.go`), the choice among what did not merge
//! `SidecarScope.DestinationRule` (`pilot/pkg/model/sidecar.go`) [s13, s14]. What there surprises:
//!
//! - `exportTo` is compared as written: `[]` and `["*"]` do not merge, though both are for all.
//! - A rule that is exported to more namespaces than an older one of the same host is merged into the older one and
//!   left there: the namespaces that only the younger one names see neither.
//! - A rule with a `workloadSelector` is private whatever its `exportTo`, and comes before the others whatever its
//!   age. A rule without one whose `exportTo` is exactly `["."]` is merged into it and nowhere else: callers that
//!   the selector does not choose are then without any rule.
//! - A rule of the caller's namespace hides the service's own even where nothing of it is left for the caller.
//! - Of the root namespace's rules its own proxies see first those only that are private.
//! - Of several `trafficPolicy` of one merge the first counts whole.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::is_visible;
use crate::resource::{ConnectionPool, DestinationRule, Kind, Labels, ObjectRef, TrafficPolicy};
use crate::symbol::Symbol;
use crate::world::{EffectiveRule, EffectiveSubset, Lookup, View, age, is_age_known};

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

    /// The `connectionPool` that counts for `port` of the subset, or of the host where none is named; `None`: none is
    /// written for it. The subset's counts where it has one, or a policy for the port, which inherits nothing; else the
    /// rule's, for the port or at large (`MergeSubsetTrafficPolicy` in `pilot/pkg/networking/util/util.go`).
    pub fn connection_pool(&self, subset: Option<&str>, port: u32) -> Option<ConnectionPool> {
        let of_subset = subset.and_then(|name| self.subset(name));
        let of_subset = of_subset.map(|defined| &defined.subset.traffic_policy);
        if let Some(own) = of_subset.and_then(|policy| by_port(policy, port)) {
            return own.connection_pool;
        }
        let of_rule = self.traffic_policy();
        let of_rule = of_rule.map(|policy| by_port(policy, port).unwrap_or(policy));
        let pool = |policy: &TrafficPolicy| policy.connection_pool;
        of_subset.and_then(pool).or_else(|| of_rule.and_then(pool))
    }

    /// Whether requests to `port` of the subset go to the address that the caller chose
    /// (`loadBalancer.simple: PASSTHROUGH`): where the rule says so for the port, no subset takes it back
    /// (`buildSubsetCluster` in `pilot/pkg/networking/core/cluster_builder.go`) [s16].
    pub fn keeps_address(&self, subset: Option<&str>, port: u32) -> bool {
        let keeps =
            |policy: &TrafficPolicy| policy.load_balancer.is_some_and(|balancer| balancer.passthrough);
        let of_rule = self.traffic_policy();
        let by_rule = of_rule.is_some_and(|policy| keeps(by_port(policy, port).unwrap_or(policy)));
        let of_subset = subset.and_then(|name| self.subset(name));
        let of_subset = of_subset.map(|defined| &defined.subset.traffic_policy);
        let by_subset = |policy: &TrafficPolicy| keeps(policy) || by_port(policy, port).is_some_and(keeps);
        by_rule || of_subset.is_some_and(by_subset)
    }

    /// The policy for all subsets: of several rules, that of the first which has one.
    fn traffic_policy(&self) -> Option<&'w TrafficPolicy> {
        self.sources.iter().find_map(|rule| rule.traffic_policy.as_ref())
    }
}

/// A policy's own settings for a port.
fn by_port(policy: &TrafficPolicy, port: u32) -> Option<&TrafficPolicy> {
    let mut own = policy.ports.iter();
    own.find(|(number, _)| *number == port).map(|(_, policy)| policy)
}

/// The rule that counts when a proxy of namespace `caller` (empty: one that has no rules of its own) calls the
/// full host `host`, a service of `home`; `None` when there is none. No `workloadSelector` chooses the proxy.
pub fn rule_for<'w>(
    view: &View<'w>,
    caller: &str,
    host: &Symbol,
    home: Option<&str>,
) -> Option<Rc<EffectiveRule<'w>>> {
    if !view.keeps() {
        // What else there may be is worked out for nothing.
        return choose(Pool::find(view, caller, host, home)?.merged()).map(Rc::new);
    }
    look_up(view, caller, host, home).rule.clone()
}

/// All that [`rule_for`] may say.
pub fn look_up<'w>(view: &View<'w>, caller: &str, host: &Symbol, home: Option<&str>) -> Rc<Lookup<'w>> {
    view.lookup((caller, host, home), || work_out(view, caller, host, home))
}

fn work_out<'w>(view: &View<'w>, caller: &str, host: &Symbol, home: Option<&str>) -> Lookup<'w> {
    let Some(pool) = Pool::find(view, caller, host, home) else {
        return Lookup::default();
    };
    let merged = pool.merged();
    let selected = merged
        .iter()
        .filter_map(|merged| Some((merged.selector?, Rc::new(merged.rule.clone()))));
    let selected = selected.collect();
    let rule = choose(merged).map(Rc::new);
    let mut otherwise: Vec<Option<Rc<EffectiveRule<'w>>>> = Vec::new();
    for rules in pool.other_orders() {
        let other = choose(Pool { rules, ..pool }.merged()).map(Rc::new);
        if other != rule && !otherwise.contains(&other) {
            otherwise.push(other);
        }
    }
    Lookup {
        rule,
        otherwise,
        selected,
    }
}

/// Whether `rule` would count for proxies of namespace `caller` that call a host of `home`, which it is for, if it
/// were the only one. One with a `workloadSelector` counts for none but those it chooses.
pub fn would_count(view: &View<'_>, rule: &DestinationRule, caller: &str, home: Option<&str>) -> bool {
    let root = view.root_namespace();
    let default = view
        .mesh_config_of(caller)
        .map_or(&[][..], |config| &config.default_destination_rule_export_to);
    if rule.workload_selector.is_some() || !view.is_discovered(&rule.meta.namespace) {
        return false;
    }
    let is_private = is_private(rule, default);
    if rule.meta.namespace == caller {
        let counts = if caller == root.as_str() {
            is_private
        } else {
            is_seen_at_home(rule)
        };
        if counts {
            return true;
        }
    }
    let is_looked_at = home.is_some_and(|home| rule.meta.namespace == home) || rule.meta.namespace == *root;
    let mut to = rule.export_to.iter();
    is_looked_at
        && !is_private
        && (rule.export_to.is_empty() || to.any(|entry| *entry == "*" || *entry == caller))
}

/// The rules of one namespace for one host, among which it is decided.
#[derive(Debug)]
struct Pool<'w, 'c> {
    /// Sorted by age and name.
    rules: Vec<&'w DestinationRule>,
    /// The namespace that what is left must be exported to; `None`: they are of the caller's own.
    exported_to: Option<&'c str>,
}

impl<'w, 'c> Pool<'w, 'c> {
    fn find(view: &View<'w>, caller: &'c str, host: &Symbol, home: Option<&str>) -> Option<Self> {
        let root = view.root_namespace();
        let default = view
            .mesh_config_of(caller)
            .map_or(&[][..], |config| &config.default_destination_rule_export_to);
        let mut candidates =
            view.destination_rules_including(host, &[caller, home.unwrap_or_default(), root]);
        for rules in &mut candidates {
            rules.retain(|rule| view.is_discovered(&rule.meta.namespace));
        }

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
        let own = |rules| Self {
            rules,
            exported_to: None,
        };
        let local = |rule: &DestinationRule| rule.meta.namespace == caller && is_seen_at_home(rule);
        let at_home = if caller == root.as_str() {
            most_specific(&|rule| local(rule) && is_private(rule, default))
        } else {
            most_specific(&local)
        };
        if let Some(rules) = at_home {
            return Some(own(rules));
        }
        let exported = |namespace: &str| {
            let rules =
                most_specific(&|rule| rule.meta.namespace == namespace && !is_private(rule, default))?;
            let pool = Self {
                rules,
                exported_to: Some(caller),
            };
            (!pool.merged().is_empty()).then_some(pool)
        };
        home.and_then(exported).or_else(|| exported(root))
    }

    /// What is left of the rules for the caller.
    fn merged(&self) -> Vec<Merged<'w>> {
        let mut merged = consolidate(self.rules.clone());
        if let Some(caller) = self.exported_to {
            merged.retain(|merged| {
                let to = &merged.export_to;
                to.is_empty() || to.contains("*") || to.contains(caller)
            });
        }
        merged
    }

    /// The other orders that the rules may have, as far as their ages do not say.
    fn other_orders(&self) -> Vec<Vec<&'w DestinationRule>> {
        /// More rules for one host are tried with each of them as the youngest only.
        const MOST: usize = 4;
        if self.rules.len() < 2 {
            return Vec::new();
        }
        let may_precede = |a: &DestinationRule, b: &DestinationRule| {
            !is_age_known(&a.meta, &b.meta) || age(&a.meta) < age(&b.meta)
        };
        let is_possible = |rules: &[&DestinationRule]| {
            rules.iter().enumerate().all(|(at, a)| {
                let mut later = rules.iter().skip(at + 1);
                later.all(|b| may_precede(a, b))
            })
        };
        let mut orders = if self.rules.len() > MOST {
            let last = |at: usize| {
                let mut rules = self.rules.clone();
                let rule = rules.remove(at);
                rules.push(rule);
                rules
            };
            (0..self.rules.len()).map(last).collect()
        } else {
            orders_of(&self.rules)
        };
        orders.retain(|rules| is_possible(rules));
        orders
    }
}

/// Every order of the items.
fn orders_of<T: Copy>(items: &[T]) -> Vec<Vec<T>> {
    let Some((first, rest)) = items.split_first() else {
        return vec![Vec::new()];
    };
    let of_rest = orders_of(rest);
    let with_first = |order: &Vec<T>| {
        (0..=order.len())
            .map(|at| {
                let mut order = order.clone();
                order.insert(at, *first);
                order
            })
            .collect::<Vec<_>>()
    };
    of_rest.iter().flat_map(with_first).collect()
}

/// Whether the proxies of the rule's own namespace see it.
fn is_seen_at_home(rule: &DestinationRule) -> bool {
    rule.workload_selector.is_some()
        || is_visible(&rule.export_to, &[], &rule.meta.namespace, &rule.meta.namespace)
}

/// Whether only its own namespace sees the rule.
fn is_private(rule: &DestinationRule, default: &[Symbol]) -> bool {
    if rule.workload_selector.is_some() {
        return true;
    }
    match &*rule.export_to {
        [] => default.iter().any(|entry| *entry == "."),
        [first, others @ ..] => {
            others.iter().all(|other| other == first) && (*first == "." || *first == rule.meta.namespace)
        }
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
        assert_eq!(
            subsets(vec![a.clone(), b.clone()], "cars"),
            Some(vec!["v1".into()])
        );
        let world = World::of(Settings::default(), [a, b]);
        let host = "portal.cars.svc.cluster.local".into();
        let found = look_up(&View::new(&world), "cars", &host, Some("cars"));
        let (selector, rule) = &found.selected[0];
        assert_eq!(selector.to_string(), "app=x");
        assert!(rule.subset("s").is_some() && rule.subset("v1").is_none());
    }

    #[test]
    fn a_private_rule_beside_one_for_some_workloads_is_merged_into_it_and_nowhere_else() {
        let mut selected = spec("portal", &["shop"], &["s"]);
        selected["workloadSelector"] = json!({"matchLabels": {"app": "x"}});
        let a = rule("cars", "a", 1, &selected);
        let b = rule("cars", "b", 0, &spec("portal", &["."], &["v1"]));
        assert_eq!(subsets(vec![a.clone(), b.clone()], "cars"), None);
        let world = World::of(Settings::default(), [a, b]);
        let host = "portal.cars.svc.cluster.local".into();
        let found = look_up(&View::new(&world), "cars", &host, Some("cars"));
        assert!(found.selected[0].1.subset("v1").is_some());
    }

    #[test]
    fn a_younger_rule_for_more_namespaces_is_left_in_the_older_one() {
        let a = rule("cars", "a", 0, &spec("portal", &["shop"], &["v1"]));
        let b = rule("cars", "b", 1, &spec("portal", &["shop", "web"], &["v2"]));
        let both = Some(vec!["v1".into(), "v2".into()]);
        assert_eq!(subsets(vec![a.clone(), b.clone()], "shop"), both);
        assert_eq!(subsets(vec![a, b], "web"), None);
    }

    #[test]
    fn where_ages_are_not_known_either_rule_may_be_the_younger_one() {
        let names = |rule: &Option<Rc<EffectiveRule<'_>>>| {
            let subsets = rule.iter().flat_map(|rule| &rule.subsets);
            let names: Vec<_> = subsets.map(|defined| defined.subset.name.to_string()).collect();
            names.join(",")
        };
        let found = |rules: Vec<Resource>| {
            let world = World::of(Settings::default(), rules);
            let host = "portal.cars.svc.cluster.local".into();
            let found = look_up(&View::new(&world), "", &host, Some("cars"));
            let otherwise: Vec<String> = found.otherwise.iter().map(names).collect();
            (names(&found.rule), otherwise)
        };
        let ages = |a: u8, b: u8| {
            vec![
                rule("cars", "a", a, &spec("portal", &[], &["v1"])),
                rule("cars", "b", b, &spec("portal", &["*"], &["v2"])),
            ]
        };
        assert_eq!(found(ages(0, 1)), ("v2".into(), vec![]));
        assert_eq!(found(ages(1, 0)), ("v1".into(), vec![]));
        assert_eq!(found(ages(1, 1)), ("v2".into(), vec!["v1".into()]));
        let mut ageless = ages(0, 1);
        for rule in &mut ageless {
            rule.meta_mut().created = None;
        }
        assert_eq!(found(ageless), ("v2".into(), vec!["v1".into()]));
        // Those that merge come out the same.
        let merging = vec![
            rule("cars", "a", 0, &spec("portal", &[], &["v1"])),
            rule("cars", "b", 0, &spec("portal", &[], &["v1"])),
        ];
        assert_eq!(found(merging).0, "v1");
    }

    #[test]
    fn what_istio_does_not_look_at_has_no_say() {
        let mesh = json!({"metadata": {"namespace": "istio-system", "name": "istio"},
            "data": {"mesh": "discoverySelectors: [{matchLabels: {kubernetes.io/metadata.name: shop}}]"}});
        let mesh = Resource::parse(Kind::ConfigMap, mesh).unwrap();
        let namespace =
            |name: &str| Resource::parse(Kind::Namespace, json!({"metadata": {"name": name}})).unwrap();
        let own = rule("cars", "own", 0, &spec("portal", &[], &["v1"]));
        assert_eq!(
            subsets(vec![mesh.clone(), own.clone()], "shop"),
            Some(vec!["v1".into()])
        );
        let all = vec![mesh, namespace("cars"), namespace("shop"), own];
        assert_eq!(subsets(all, "shop"), None);
    }

    #[test]
    fn the_default_of_the_callers_revision_decides_whether_a_rule_is_for_others() {
        let mesh = |name: &str, export: &str| {
            let metadata = json!({"namespace": "istio-system", "name": name});
            let data = json!({"mesh": format!("defaultDestinationRuleExportTo: [\"{export}\"]")});
            Resource::parse(Kind::ConfigMap, json!({"metadata": metadata, "data": data})).unwrap()
        };
        let namespace = |name: &str, labels: Value| {
            Resource::parse(
                Kind::Namespace,
                json!({"metadata": {"name": name, "labels": labels}}),
            )
            .unwrap()
        };
        let all = vec![
            mesh("istio", "*"),
            mesh("istio-canary", "."),
            namespace("shop", json!({"istio.io/rev": "canary"})),
            namespace(
                "web",
                json!({"istio.io/rev": "canary", "istio-injection": "enabled"}),
            ),
            rule("cars", "own", 0, &spec("portal", &[], &["v1"])),
        ];
        assert_eq!(subsets(all.clone(), "shop"), None);
        assert_eq!(subsets(all.clone(), "web"), Some(vec!["v1".into()]));
        assert_eq!(subsets(all, "other"), Some(vec!["v1".into()]));
    }

    #[test]
    fn the_root_namespace_is_the_given_one_else_that_of_the_mesh_configuration() {
        let mesh = json!({"metadata": {"namespace": "istio-system", "name": "istio"}, "data": {"mesh": "rootNamespace: config"}});
        let mesh = Resource::parse(Kind::ConfigMap, mesh).unwrap();
        let root = |is_root_given| {
            let settings = Settings {
                is_root_given,
                ..Settings::default()
            };
            let world = World::of(settings, [mesh.clone()]);
            View::new(&world).root_namespace().to_string()
        };
        assert_eq!(root(false), "config");
        assert_eq!(root(true), "istio-system");
    }

    /// Whether the `connectionPool` that counts brings HTTP/2: `None` where it leaves that to the mesh.
    fn upgrades(rule: &EffectiveRule<'_>, subset: Option<&str>, port: u32) -> Option<bool> {
        let pool = rule.connection_pool(subset, port)?;
        match (pool.use_client_protocol, pool.h2) {
            (true, _) | (false, H2Upgrade::Upgrade) => Some(true),
            (false, H2Upgrade::DoNotUpgrade) => Some(false),
            (false, H2Upgrade::Default) => None,
        }
    }

    #[test]
    fn a_subset_cannot_take_back_that_the_rule_keeps_the_callers_address() {
        let balancer = |simple: &str| json!({"loadBalancer": {"simple": simple}});
        let spec = json!({"host": "portal", "trafficPolicy": balancer("PASSTHROUGH"),
            "subsets": [{"name": "v1", "trafficPolicy": balancer("RANDOM")}]});
        let world = World::of(Settings::default(), [rule("cars", "a", 0, &spec)]);
        let host = "portal.cars.svc.cluster.local".into();
        let found = rule_for(&View::new(&world), "", &host, Some("cars")).unwrap();
        assert!(found.keeps_address(None, 80) && found.keeps_address(Some("v1"), 80));
    }

    #[test]
    fn a_part_of_a_policy_stands_in_whole_for_the_same_part_of_the_wider_one() {
        let upgrade = json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}}});
        let limits = json!({"connectionPool": {"tcp": {"maxConnections": 1}}});
        let keeps = json!({"connectionPool": {"http": {"h2UpgradePolicy": "DO_NOT_UPGRADE", "useClientProtocol": true}}});
        let passthrough = json!({"loadBalancer": {"simple": "PASSTHROUGH"}});
        let subset = |name: &str, policy: &Value| json!({"name": name, "trafficPolicy": policy});
        let subsets = json!([
            subset("limits", &limits),
            subset("keeps", &keeps),
            subset("passes", &passthrough)
        ]);
        let first = rule("cars", "a", 0, &json!({"host": "portal", "subsets": subsets}));
        let second = rule(
            "cars",
            "b",
            1,
            &json!({"host": "portal", "trafficPolicy": upgrade}),
        );
        let world = World::of(Settings::default(), [first, second]);
        let host = "portal.cars.svc.cluster.local".into();
        let found = rule_for(&View::new(&world), "", &host, Some("cars")).unwrap();
        assert_eq!(upgrades(&found, None, 80), Some(true));
        assert_eq!(upgrades(&found, Some("limits"), 80), None);
        assert_eq!(upgrades(&found, Some("keeps"), 80), Some(true));
        assert_eq!(upgrades(&found, Some("passes"), 80), Some(true));
        assert!(found.keeps_address(Some("passes"), 80) && !found.keeps_address(Some("keeps"), 80));
    }

    #[test]
    fn the_policy_nearest_to_the_port_decides_the_upgrade() {
        let policy = |h2: &str| json!({"connectionPool": {"http": {"h2UpgradePolicy": h2}}});
        let mut by_port = policy("DO_NOT_UPGRADE");
        by_port["port"] = json!({"number": 80});
        let mut own = policy("UPGRADE");
        own["portLevelSettings"] = json!([by_port]);
        let spec = json!({"host": "portal", "trafficPolicy": own, "subsets": [{"name": "v1", "trafficPolicy": policy("DO_NOT_UPGRADE")}]});
        let world = World::of(Settings::default(), [rule("cars", "a", 0, &spec)]);
        let found = rule_for(
            &View::new(&world),
            "",
            &"portal.cars.svc.cluster.local".into(),
            Some("cars"),
        )
        .unwrap();
        assert_eq!(upgrades(&found, None, 8080), Some(true));
        assert_eq!(upgrades(&found, None, 80), Some(false));
        assert_eq!(upgrades(&found, Some("v1"), 8080), Some(false));
    }

    #[test]
    fn a_ports_own_policy_inherits_nothing_from_the_one_around_it() {
        let upgrade = json!({"connectionPool": {"http": {"h2UpgradePolicy": "UPGRADE"}},
            "portLevelSettings": [{"port": {"number": 80}, "loadBalancer": {"simple": "RANDOM"}}]});
        let spec = json!({"host": "portal", "trafficPolicy": upgrade});
        let world = World::of(Settings::default(), [rule("cars", "a", 0, &spec)]);
        let host = "portal.cars.svc.cluster.local".into();
        let found = rule_for(&View::new(&world), "", &host, Some("cars")).unwrap();
        assert_eq!(upgrades(&found, None, 8080), Some(true));
        assert_eq!(upgrades(&found, None, 80), None);
    }

    #[test]
    fn only_the_rules_of_namespaces_that_count_for_the_caller_are_read_again() {
        let world = World::new(Settings::default());
        let view = View::new(&world).recording();
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

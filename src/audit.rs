//! What is wrong with what runs, all the time.
//!
//! ```text
//!   watches ─▶ Changes: the facts that each change alters ──Audit::touch──▶ objects whose judgement rests on one of them
//!                                                                                        │ in slices, under the world's lock
//!                          Report: what is reported now ◀── verdict ◀── rule ◀──────────┘
//! ```
//!
//! Each judgement notes what it rests on ([`View::noting`]), and a change tells what it alters ([`World::facts_of`]): what has a fact in
//! common is judged anew, and nothing else. It is pure: who hands changes in and when, and who is told, is the cluster's business.

mod changes;
mod footing;
mod report;

pub use changes::Changes;
pub use report::{Report, Reported};

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashSet;
use parking_lot::RwLock;

use self::footing::Footing;
use self::report::{Found, Pool};
use crate::resource::{Kind, ObjectRef, Resource};
use crate::rule::{Check, Finding, Level, RULES, Rule};
use crate::verdict::{Occasion, Settings, Standing, allow_of, mode_of, verdict};
use crate::world::{Fact, SharedFacts, View, World};

/// How long something has to be missing until it is reported: objects arrive in sets [s1].
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long the world's lock is held at a time, unless one object takes longer. Who wants to write waits for it, and
/// decisions wait for who wants to write.
pub const SLICE: Duration = Duration::from_millis(2);

/// What the audit has found, and what that rests on.
#[derive(Debug)]
pub struct Audit {
    rules: Vec<Rule>,
    footing: Footing,
    /// What was found on each object that was judged; nothing for most of them.
    found: BTreeMap<ObjectRef, Vec<Found>>,
    settings: Option<Arc<Settings>>,
    report: Arc<Report>,
    slices: Slices,
}

/// What a pass took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Slices {
    /// How many objects were judged.
    pub objects: usize,
    /// How often the world's lock was held.
    pub count: usize,
    /// The longest time that it was held.
    pub longest: Duration,
}

/// What is wrong with a world that does not change any more: what is missing will not come.
pub fn at_once(world: &RwLock<World>, settings: &Arc<Settings>) -> Arc<Report> {
    let (mut audit, now) = (Audit::default(), Instant::now());
    let nothing = Changes::default();
    audit.pass(world, &nothing, settings, now);
    audit.pass(world, &nothing, settings, now + PATIENCE);
    Arc::clone(audit.report())
}

impl Default for Audit {
    fn default() -> Self {
        Self::with_rules(RULES.to_vec())
    }
}

impl Audit {
    /// An audit by these rules only.
    pub fn with_rules(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            footing: Footing::default(),
            found: BTreeMap::new(),
            settings: None,
            report: Arc::default(),
            slices: Slices::default(),
        }
    }

    /// What is reported now.
    pub fn report(&self) -> &Arc<Report> {
        &self.report
    }

    /// All that was found, also what is only missing and may still come.
    pub fn found(&self) -> impl Iterator<Item = &Reported> {
        self.found.values().flatten().map(Found::one)
    }

    /// What the last pass took.
    pub fn slices(&self) -> Slices {
        self.slices
    }

    /// Whether something has been missing for so long that it is to be reported by now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.found.values().flatten().any(|found| found.is_due(now))
    }

    /// Judges what the changes concern, all of it where they say so or other settings count now, and makes the report anew.
    pub fn pass(&mut self, world: &RwLock<World>, changes: &Changes, settings: &Arc<Settings>, now: Instant) {
        let known = self.settings.as_ref();
        let is_same = known.is_some_and(|known| Arc::ptr_eq(known, settings));
        self.settings = Some(Arc::clone(settings));
        let mut waiting: Vec<ObjectRef> = if is_same && !changes.concern_all() {
            self.footing.concerned(changes).into_iter().collect()
        } else {
            // What rests on what is learnt anew, so that nothing is kept of what is long gone.
            self.footing = Footing::default();
            let world = world.read();
            let objects = world.objects().filter(|object| self.is_judged(object.kind()));
            objects
                .map(Resource::reference)
                .chain(self.found.keys().cloned())
                .collect()
        };
        waiting.retain(|object| self.is_judged(object.kind));
        // Those of a namespace after one another: they share lane groups. Not while the lock is held.
        waiting.sort_by(|a, b| (&a.namespace, a).cmp(&(&b.namespace, b)));
        waiting.dedup();
        let mut pool = Pool::default();
        self.slices = Slices::default();
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let held = Instant::now();
            let slice = {
                let world = world.read();
                self.judge(&world, rest, settings, held)
            };
            let took = held.elapsed();
            self.slices.objects += slice.judged.len();
            self.slices.count += 1;
            self.slices.longest = self.slices.longest.max(took);
            rest = rest.get(slice.judged.len()..).unwrap_or_default();
            self.footing.share(slice.shared);
            for judged in slice.judged {
                pool.was(self.found.remove(&judged.object).unwrap_or_default());
                pool.is(&judged.object, judged.found);
                match judged.facts {
                    Some(facts) => self.footing.set(judged.object, facts),
                    None => self.footing.forget(&judged.object),
                }
            }
            if !rest.is_empty() {
                // As long as it was held it is left to others.
                std::thread::sleep(took);
            }
        }
        pool.settle(&mut self.found, now);
        self.make_report(now);
    }

    fn is_judged(&self, kind: Kind) -> bool {
        self.rules.iter().any(|rule| rule.kinds.contains(&kind))
    }

    /// Judges the first of these objects, for as long as a slice lasts.
    fn judge(&self, world: &World, objects: &[ObjectRef], settings: &Settings, began: Instant) -> Slice {
        let view = View::new(world).noting();
        let check = Check::new(&view, None);
        let mut judged = Vec::new();
        for object in objects {
            let there = view.get(object);
            let found = there.map(|there| {
                let findings = AssertUnwindSafe(|| self.findings(&check, there, settings));
                catch_unwind(findings).inspect_err(
                    |_| tracing::error!(%object, "a rule broke off on it: nothing is reported of it; this is a defect"),
                )
            });
            let is_broken = matches!(found, Some(Err(_)));
            let facts = view.take_facts();
            judged.push(Judged {
                object: object.clone(),
                found: found.and_then(Result::ok).unwrap_or_default(),
                facts: there.map(|_| facts),
            });
            // What broke off may have left behind what it shares with others half done.
            if is_broken || began.elapsed() >= SLICE {
                break;
            }
        }
        Slice {
            judged,
            shared: view.take_shared_facts(),
        }
    }

    /// What is wrong with an object and counts: of whose namespace has not asked for it nothing is told.
    fn findings<'w>(
        &self,
        check: &Check<'_, 'w>,
        object: &'w Resource,
        settings: &Settings,
    ) -> Vec<(Finding, Level)> {
        let mut found = Vec::new();
        for finding in check.object(&self.rules, object) {
            let Some(mode) = mode_of(check.view, &finding.object.namespace) else {
                continue;
            };
            let on = check.view.get(&finding.object);
            let allow = on.and_then(|on| allow_of(&on.meta().annotations));
            let standing = Standing {
                mode: Some(mode),
                allows: allow.into_iter().map(|(codes, _)| codes).collect(),
            };
            let level = verdict(&finding, &standing, &Occasion::Audit, settings);
            if level > Level::Off {
                found.push((finding, level));
            }
        }
        found
    }

    /// Makes the report of what is found, where that is another one now.
    fn make_report(&mut self, now: Instant) {
        for found in self.found.values_mut().flatten() {
            found.report_when_due(now);
        }
        let (reported, waiting): (Vec<&Found>, Vec<&Found>) = self
            .found
            .values()
            .flatten()
            .partition(|found| found.is_reported());
        let waiting = waiting.into_iter().map(|found| found.one().finding.identity());
        let reported = reported.into_iter().map(|found| found.one().clone());
        let report = Report::new(reported.collect(), waiting.collect());
        if *self.report != report {
            self.report = Arc::new(report);
        }
    }
}

/// What came of judging some objects.
struct Slice {
    judged: Vec<Judged>,
    shared: SharedFacts,
}

/// What came of judging one object.
struct Judged {
    object: ObjectRef,
    found: Vec<(Finding, Level)>,
    /// What that rests on; `None`: it is gone.
    facts: Option<HashSet<Fact>>,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::rule::find;
    use crate::verdict::Levels;
    use crate::world;

    /// A world in which a route names a subset that no rule has, and its audit by one rule.
    struct Running {
        world: RwLock<World>,
        changes: Changes,
        audit: Audit,
        settings: Arc<Settings>,
        start: Instant,
    }

    fn object(kind: Kind, name: &str, spec: &Value) -> Resource {
        let metadata = json!({"namespace": "shop", "name": name});
        Resource::parse(kind, json!({"metadata": metadata, "spec": spec})).unwrap()
    }

    fn namespace(mode: &str) -> Resource {
        let labels = json!({"lanekeeper.dev/enforcement": mode});
        Resource::parse(
            Kind::Namespace,
            json!({"metadata": {"name": "shop", "labels": labels}}),
        )
        .unwrap()
    }

    fn service() -> Resource {
        let spec = json!({"selector": {"app": "cart"}, "ports": [{"name": "http", "port": 80}]});
        object(Kind::Service, "cart", &spec)
    }

    fn rule(subsets: &[&str]) -> Resource {
        let subset = |name: &&str| json!({"name": name, "labels": {"version": name}});
        let subsets: Vec<Value> = subsets.iter().map(subset).collect();
        object(
            Kind::DestinationRule,
            "cart",
            &json!({"host": "cart", "subsets": subsets}),
        )
    }

    fn routes(to: &str) -> Resource {
        let route = json!([{"destination": {"host": "cart", "subset": to}}]);
        object(
            Kind::VirtualService,
            "cart",
            &json!({"hosts": ["cart"], "http": [{"route": route}]}),
        )
    }

    impl Running {
        fn of(objects: impl IntoIterator<Item = Resource>) -> Self {
            let start = Instant::now();
            let mut running = Self {
                world: RwLock::new(World::new(world::Settings::default())),
                changes: Changes::default(),
                audit: Audit::with_rules(vec![*find("LK103").unwrap()]),
                settings: Arc::default(),
                start,
            };
            for object in objects {
                running.put(object);
            }
            running
        }

        fn put(&mut self, object: Resource) {
            self.changes.apply(self.world.get_mut(), object, self.start);
        }

        fn remove(&mut self, kind: Kind) {
            let namespace = if kind == Kind::Namespace { "" } else { "shop" };
            let name = if kind == Kind::Namespace { "shop" } else { "cart" };
            let reference = ObjectRef::new(kind, namespace, name);
            assert!(self.changes.remove(self.world.get_mut(), &reference, self.start));
        }

        /// What is new and what is resolved after so many seconds: `new deny green`, with the subset.
        fn told(&mut self, second: u64) -> Vec<String> {
            let before = Arc::clone(self.audit.report());
            let now = self.start + Duration::from_secs(second);
            let changes = self.changes.take();
            self.audit.pass(&self.world, &changes, &self.settings, now);
            let text = |state: &str, one: &Reported| {
                let subset = one.finding.subject.subset.clone().unwrap_or_default();
                format!("{state} {} {subset}", one.level)
            };
            let less = |state: &'static str, a: &Report, b: &Report| {
                let has = |one: &Reported| {
                    b.all()
                        .iter()
                        .any(|other| other.finding.identity() == one.finding.identity())
                };
                let only = a.all().iter().filter(|one| !has(one));
                only.map(|one| text(state, one)).collect::<Vec<_>>()
            };
            let after = self.audit.report();
            [less("resolved", &before, after), less("new", after, &before)].concat()
        }
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn what_is_contradicted_is_told_at_once_and_once_and_again_when_it_is_resolved() {
        // A near miss of a subset that is there.
        let mut running = Running::of([namespace("warn"), service(), rule(&["green"]), routes("grene")]);
        assert_eq!(running.told(0), ["new deny grene"]);
        running.put(service());
        running.put(rule(&["green", "other"]));
        assert_eq!(running.told(1), NONE, "it was told");
        assert_eq!(running.audit.report().all().len(), 1);
        running.put(routes("green"));
        assert_eq!(running.told(2), ["resolved deny grene"]);
        assert_eq!(running.audit.report().all(), []);
    }

    #[test]
    fn what_is_only_missing_is_told_when_it_has_lasted() {
        let mut running = Running::of([namespace("warn"), service(), rule(&["other"]), routes("green")]);
        assert_eq!(running.told(0), NONE);
        assert_eq!(running.audit.found().count(), 1);
        let at = |second| running.start + Duration::from_secs(second);
        assert!(!running.audit.is_due(at(59)) && running.audit.is_due(at(60)));
        // A change meanwhile does not make it young again.
        running.put(rule(&["blue"]));
        assert_eq!(running.told(59), NONE);
        assert_eq!(running.told(60), ["new deny green"]);
        assert!(!running.audit.is_due(running.start + PATIENCE));
        // Who never heard of it need not hear that it is mended.
        let mut quiet = Running::of([namespace("warn"), service(), rule(&["other"]), routes("green")]);
        assert_eq!(quiet.told(0), NONE);
        quiet.put(rule(&["green"]));
        assert_eq!(quiet.told(30), NONE);
        quiet.put(rule(&["other"]));
        assert_eq!(quiet.told(61), NONE, "its time begins anew");
        assert_eq!(quiet.told(121), ["new deny green"]);
    }

    #[test]
    fn what_goes_with_its_object_is_resolved() {
        let mut running = Running::of([namespace("warn"), service(), rule(&["green"]), routes("grene")]);
        assert_eq!(running.told(0), ["new deny grene"]);
        running.remove(Kind::VirtualService);
        assert_eq!(running.told(1), ["resolved deny grene"]);
    }

    #[test]
    fn only_namespaces_that_have_opted_in_are_reported() {
        let mut running = Running::of([service(), rule(&["green"]), routes("grene")]);
        assert_eq!(running.told(0), NONE);
        running.put(namespace("no mode"));
        assert_eq!(running.told(1), NONE);
        running.put(namespace("protect"));
        assert_eq!(running.told(2), ["new deny grene"]);
        running.remove(Kind::Namespace);
        assert_eq!(running.told(3), ["resolved deny grene"]);
    }

    #[test]
    fn an_allow_annotation_and_the_configuration_count() {
        let mut running = Running::of([namespace("warn"), service(), rule(&["green"]), routes("grene")]);
        let levels = |level| {
            let levels = Levels {
                everywhere: [("LK103", level)].into(),
                ..Levels::default()
            };
            Arc::new(Settings {
                levels,
                ..Settings::default()
            })
        };
        running.settings = levels(Level::Warn);
        assert_eq!(running.told(0), ["new warn grene"]);
        // Other settings concern everything, and what is reported goes on.
        running.settings = levels(Level::Deny);
        assert_eq!(running.told(1), NONE);
        assert_eq!(running.audit.report().all()[0].level, Level::Deny);
        running.settings = levels(Level::Off);
        assert_eq!(running.told(2), ["resolved deny grene"]);
        running.settings = Arc::default();
        let Resource::VirtualService(mut allowed) = routes("grene") else {
            unreachable!()
        };
        let annotated = json!({"metadata": {"annotations": {"lanekeeper.dev/allow": "LK103"}}});
        let annotated = Resource::parse(Kind::VirtualService, annotated).unwrap();
        allowed.meta.annotations = annotated.meta().annotations.clone();
        running.put(Resource::VirtualService(allowed));
        assert_eq!(running.told(3), NONE);
        running.put(routes("grene"));
        assert_eq!(running.told(4), ["new deny grene"]);
    }

    #[test]
    fn what_a_change_does_not_concern_is_not_judged() {
        let mut running = Running::of([namespace("warn"), service(), rule(&["green"]), routes("green")]);
        running.told(0);
        assert_eq!(running.audit.slices().objects, 1);
        running.put(object(Kind::Service, "pay", &json!({"ports": [{"port": 80}]})));
        running.told(1);
        assert_eq!(running.audit.slices().objects, 0);
        running.put(rule(&["green", "blue"]));
        running.told(2);
        assert_eq!(running.audit.slices().objects, 1);
    }

    #[test]
    fn a_rule_that_panics_takes_nothing_else_with_it() {
        let mut broken = *find("LK103").unwrap();
        broken.check = |check, object| {
            // What is shared is being worked out when it breaks off.
            check.view.sharing(
                || crate::world::Shared::Groups("shop".into()),
                || assert!(object.meta().name != "breaks"),
            );
            (find("LK103").unwrap().check)(check, object)
        };
        let breaks = object(
            Kind::VirtualService,
            "breaks",
            &json!({"hosts": ["a"], "http": [{}]}),
        );
        let mut running = Running::of([
            namespace("warn"),
            service(),
            rule(&["green"]),
            breaks,
            routes("grene"),
        ]);
        running.audit = Audit::with_rules(vec![broken]);
        assert_eq!(running.told(0), ["new deny grene"]);
        // What comes after it is noted as ever.
        running.put(rule(&["grene"]));
        assert_eq!(running.told(1), ["resolved deny grene"]);
    }
}

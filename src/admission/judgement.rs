//! What a change adds to what is wrong.

use std::collections::{BTreeMap, BTreeSet};

use crate::resource::{ObjectRef, Resource};
use crate::rule::{Check, Finding, Level, Rule, Tally, affected};
use crate::verdict::{Admission, Occasion, Settings, Standing, allow_of, mode_of, verdict};
use crate::world::{self, Layer, Read, Scope, View, World};

/// A proposed change of one object.
#[derive(Debug)]
pub struct Change {
    /// The object.
    pub reference: ObjectRef,
    /// The object as it is, or nothing.
    before: World,
    /// The object as it will be, or nothing.
    after: World,
    /// Whether the pods of a workload that goes are to stay.
    frees_pods: bool,
}

impl Change {
    /// A change of one object, which is new where there is no `before`, and goes where there is no `after`.
    pub fn new(
        reference: ObjectRef,
        before: Option<Resource>,
        mut after: Option<Resource>,
        mesh: &world::Settings,
    ) -> Self {
        if let (Some(before), Some(after)) = (&before, &mut after) {
            // The API server counts up whatever changes; no rule reads it.
            after.meta_mut().generation = before.meta().generation;
        }
        Self {
            reference,
            before: World::of(mesh.clone(), before),
            after: World::of(mesh.clone(), after),
            frees_pods: false,
        }
    }

    /// The change by which the pods of a workload that goes stay, if `frees_pods`.
    #[must_use]
    pub fn freeing(mut self, frees_pods: bool) -> Self {
        self.frees_pods = frees_pods;
        self
    }

    /// The object as it is; `None`: it is new.
    pub fn before(&self) -> Option<&Resource> {
        self.before.objects().next()
    }

    /// The object as it will be; `None`: it goes.
    pub fn after(&self) -> Option<&Resource> {
        self.after.objects().next()
    }

    /// The views of `base` before the change and after it.
    pub(super) fn views<'w>(&'w self, base: &View<'w>) -> [View<'w>; 2] {
        let proposed = |world| Layer {
            world,
            scope: Scope::Object(self.reference.clone()),
        };
        let freed = self.frees_pods.then(|| self.reference.clone());
        [
            base.with(proposed(&self.before)),
            base.with(proposed(&self.after)).freeing(freed),
        ]
    }
}

/// What came of judging a change.
#[derive(Debug, Clone, Default)]
pub struct Judgement {
    /// What the change would break: it is refused for these.
    pub denied: Vec<Finding>,
    /// What else is wrong with the object, and what the change adds that only warns.
    pub warned: Vec<Finding>,
    /// The codes that an allow annotation kept quiet, with the reason it gives.
    pub allowed: BTreeMap<&'static str, Option<String>>,
    /// What the denials rest on and has not been read afresh; none where nothing is denied, or all denials have been confirmed.
    pub reads: Vec<Read>,
}

/// Judges a change against `world`, with `fresh` answers of the API server laid over it, if there are any.
pub fn judge(
    world: &World,
    fresh: Option<&(World, Vec<Read>)>,
    change: &Change,
    admission: &Admission,
    rules: &[Rule],
    settings: &Settings,
) -> Judgement {
    let base = base_view(world, fresh);
    let views = change.views(&base);
    let mut judgement = judge_by(
        &views,
        change,
        &concerned(&views, change),
        admission,
        rules,
        settings,
    );
    if judgement.denied.is_empty() {
        return judgement;
    }
    // The rules that refuse are asked once more, about what they refuse: what others ask does not matter. Of views of their own:
    // what a view has been asked before it does not ask again.
    let denied = &judgement.denied;
    let is_refusing = |rule: &&Rule| denied.iter().any(|finding| finding.code == rule.code);
    let refusing: Vec<Rule> = rules.iter().filter(is_refusing).copied().collect();
    let refused: BTreeSet<ObjectRef> = denied.iter().map(|finding| finding.object.clone()).collect();
    let recording = change.views(&base).map(View::recording);
    if refused.iter().any(|object| *object != change.reference) {
        // Others are refused because they are concerned, which rests on what was asked for that.
        concerned(&recording, change);
    }
    judge_by(&recording, change, &refused, admission, &refusing, settings);
    // A rule tells one reason at a time: with what was read afresh it may have come to one that rests on more.
    let has_been_read =
        |read: &Read| fresh.is_some_and(|(_, reads)| reads.iter().any(|other| other.includes(read)));
    let reads = recording.iter().flat_map(View::reads);
    judgement.reads = reads.filter(|read| !has_been_read(read)).collect();
    judgement
}

/// The objects that a change may break.
fn concerned<'w>(views: &[View<'w>; 2], change: &'w Change) -> BTreeSet<ObjectRef> {
    let mut concerned = BTreeSet::from([change.reference.clone()]);
    let objects = [change.before(), change.after()];
    // Where no rule sees a difference, nothing is new anywhere, and only what is wrong with the object itself is told.
    if objects[0] != objects[1] {
        for (view, object) in views.iter().zip(objects) {
            concerned.extend(object.into_iter().flat_map(|object| affected(view, object)));
        }
    }
    concerned
}

/// Judges what a change does to the objects that are `concerned`.
fn judge_by(
    [before, after]: &[View<'_>; 2],
    change: &Change,
    concerned: &BTreeSet<ObjectRef>,
    admission: &Admission,
    rules: &[Rule],
    settings: &Settings,
) -> Judgement {
    let found_after = Check::new(after, Some(before)).objects(rules, concerned);
    if found_after.is_empty() {
        // Most changes break nothing: then it does not matter what was broken before.
        return Judgement::default();
    }
    let found_before = Check::new(before, None).objects(rules, concerned);

    let requested = change.after().or(change.before());
    let allow_of_requested = requested.and_then(|object| allow_of(&object.meta().annotations));
    let occasion = Occasion::Admission(admission);
    // The level of a finding, and the annotation that keeps it quiet.
    let weigh = |view: &View<'_>, finding: &Finding| {
        let object = view.get(&finding.object);
        let of_object = object.and_then(|object| allow_of(&object.meta().annotations));
        let annotations: Vec<_> = allow_of_requested.into_iter().chain(of_object).collect();
        // The API server has chosen the request's own mode by the label of the moment; of others the world knows the label.
        let namespace = &finding.object.namespace;
        let mode = if *namespace == change.reference.namespace {
            Some(admission.mode)
        } else {
            mode_of(view, namespace)
        };
        let level = |annotations: &[(&str, Option<&str>)]| {
            let allows = annotations.iter().map(|(codes, _)| *codes).collect();
            verdict(finding, &Standing { mode, allows }, &occasion, settings)
        };
        let is_quiet = |annotation: &&(&str, Option<&str>)| level(&[**annotation]) == Level::Off;
        let allowed = if level(&[]) == Level::Off {
            None
        } else {
            let quiet = annotations.iter().find(is_quiet);
            quiet.map(|(_, reason)| reason.map(str::to_owned))
        };
        (level(&annotations), allowed)
    };
    let level = |view: &View<'_>, finding: &Finding| weigh(view, finding).0;

    let mut judgement = Judgement::default();
    let mut known = Tally::of(
        found_before
            .iter()
            .filter(|found| level(before, found) == Level::Deny),
    );
    let mut told = Tally::of(found_before.iter());
    for finding in found_after {
        let (level, allowed) = weigh(after, &finding);
        match level {
            Level::Off => judgement
                .allowed
                .extend(allowed.map(|reason| (finding.code, reason))),
            Level::Deny if !known.take(&finding) => judgement.denied.push(finding),
            // What was wrong before with another object is none of this change's business.
            Level::Deny | Level::Warn => {
                let is_old = told.take(&finding);
                if !is_old || finding.object == change.reference {
                    judgement.warned.push(finding);
                }
            }
        }
    }
    judgement
}

/// The world, with what was read afresh on top.
pub(super) fn base_view<'w>(world: &'w World, fresh: Option<&'w (World, Vec<Read>)>) -> View<'w> {
    let view = View::new(world);
    match fresh {
        Some((world, reads)) => view.with(Layer {
            world,
            scope: Scope::Reads(reads.clone()),
        }),
        None => view,
    }
}

//! What the rules find in files.

use std::collections::HashMap;

use crate::files::{FileObject, Files};
use crate::progress::Progress;
use crate::report::{Related, Report, Reported};
use crate::resource::ObjectRef;
use crate::rule::{Check, Finding, Level, Rule, Tally};
use crate::verdict::{Occasion, Settings, Standing, allow_of, verdict};
use crate::world::{View, World};

/// How many objects are judged before it is counted.
const STEPS: usize = 64;

/// How files are judged.
pub(in crate::cli) struct Judging<'j> {
    /// By these rules.
    pub(in crate::cli) rules: &'j [Rule],
    /// Whether the files are only a part of what will be there.
    pub(in crate::cli) partial: bool,
    /// With these levels.
    pub(in crate::cli) settings: &'j Settings,
    /// Where it is counted.
    pub(in crate::cli) progress: &'j Progress,
}

/// What was found: the findings with their objects and levels, and how many are kept quiet.
type Found<'f> = (Vec<(&'f FileObject, Finding, Level)>, usize);

impl Judging<'_> {
    /// All findings on the objects of the files.
    pub(in crate::cli) fn report(&self, files: &Files, world: &World) -> Report {
        let (found, suppressed) = self.found(files, world);
        let mut report = Report {
            problems: files.errors().cloned().collect(),
            files: files.count(),
            objects: files.objects.len(),
            skipped: files.skipped,
            suppressed,
            ..Report::default()
        };
        if !found.is_empty() {
            report.findings = placed(files, found);
        }
        report.sort();
        report
    }

    /// How many findings there are of each identity.
    pub(in crate::cli) fn tally(&self, files: &Files, world: &World) -> Tally {
        let (found, _) = self.found(files, world);
        Tally::of(found.iter().map(|(_, finding, _)| finding))
    }

    fn found<'f>(&self, files: &'f Files, world: &World) -> Found<'f> {
        let view = View::new(world);
        let check = Check::new(&view, None);
        let (mut found, mut suppressed) = (Vec::new(), 0);
        self.progress.begin("objects judged", files.objects.len());
        for some in files.objects.chunks(STEPS) {
            for object in some {
                let Some(resource) = world.get(&object.resource.reference()) else {
                    continue;
                };
                let allow = allow_of(&resource.meta().annotations);
                let standing = Standing {
                    mode: None,
                    allows: allow.iter().map(|(codes, _)| *codes).collect(),
                };
                let occasion = Occasion::Files {
                    partial: self.partial,
                };
                for finding in check.object(self.rules, resource) {
                    match verdict(&finding, &standing, &occasion, self.settings) {
                        Level::Off => suppressed += 1,
                        level => found.push((object, finding, level)),
                    }
                }
            }
            self.progress.add(some.len());
        }
        (found, suppressed)
    }
}

/// The findings, with the places of their fields and of what they follow from.
fn placed(files: &Files, found: Vec<(&FileObject, Finding, Level)>) -> Vec<Reported> {
    let objects: HashMap<ObjectRef, &FileObject> = files
        .objects
        .iter()
        .map(|object| (object.resource.reference(), object))
        .collect();
    let mut fields = Vec::new();
    for (object, finding, _) in &found {
        fields.push((*object, finding.path.as_str()));
        let evidence = finding.evidence.iter();
        fields.extend(evidence.filter_map(|seen| Some((*objects.get(&seen.object)?, seen.path.as_str()))));
    }
    // In the order in which they were asked for.
    let mut places = files.places(&fields).into_iter();
    let mut reported = Vec::with_capacity(found.len());
    for (object, finding, level) in found {
        let place = places.next();
        let related = finding.evidence.iter().map(|seen| {
            let object = objects.get(&seen.object);
            Related {
                evidence: seen.clone(),
                api_version: object
                    .map(|object| object.api_version.clone())
                    .unwrap_or_default(),
                place: object.and_then(|_| places.next()),
            }
        });
        let related = related.collect();
        reported.push(Reported {
            level,
            api_version: object.api_version.clone(),
            place,
            related,
            finding,
        });
    }
    reported
}

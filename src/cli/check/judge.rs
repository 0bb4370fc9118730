//! What the rules find in files and in a cluster.

use std::collections::{HashMap, HashSet};

use crate::cluster::Loaded;
use crate::files::{FileObject, Files};
use crate::progress::Progress;
use crate::report::{Related, Report, Reported};
use crate::resource::{ObjectRef, Resource};
use crate::rule::{Check, Finding, Level, Rule, Tally};
use crate::shares::in_shares;
use crate::verdict::{Occasion, Settings, Standing, allow_of, verdict};
use crate::world::{View, World};

/// How many objects are judged before it is counted.
const STEPS: usize = 64;

/// How files are judged, and what of a cluster they are laid over.
pub(in crate::cli) struct Judging<'j> {
    /// By these rules.
    pub(in crate::cli) rules: &'j [Rule],
    /// Whether the files are only a part of what will be there.
    pub(in crate::cli) partial: bool,
    /// With these levels.
    pub(in crate::cli) settings: &'j Settings,
    /// What the cluster has, which is judged too.
    pub(in crate::cli) cluster: Option<&'j Loaded>,
    /// Where it is counted.
    pub(in crate::cli) progress: &'j Progress,
}

/// An object that is judged, by where it comes from.
#[derive(Clone, Copy)]
enum Judged<'j> {
    File(&'j FileObject),
    Cluster(&'j Resource),
}

impl<'j> Judged<'j> {
    fn reference(self) -> ObjectRef {
        match self {
            Self::File(object) => object.resource.reference(),
            Self::Cluster(object) => object.reference(),
        }
    }

    fn file(self) -> Option<&'j FileObject> {
        match self {
            Self::File(object) => Some(object),
            Self::Cluster(_) => None,
        }
    }
}

/// What was found: the findings with their objects and levels, and how many are kept quiet.
type Found<'j> = (Vec<(Judged<'j>, Finding, Level)>, usize);

impl Judging<'_> {
    /// All findings on the objects of the files and of the cluster.
    pub(in crate::cli) fn report(&self, files: &Files, world: &World) -> Report {
        let judged = self.judged(files);
        let (found, suppressed) = self.found(&judged, world);
        let mut report = Report {
            problems: files.errors().cloned().collect(),
            files: files.count(),
            objects: judged.len(),
            of_cluster: self.cluster.map(|_| judged.len() - files.objects.len()),
            skipped: files.skipped,
            suppressed,
            ..Report::default()
        };
        if !found.is_empty() {
            report.findings = self.placed(files, found);
        }
        report.sort();
        report
    }

    /// How many findings there are of each identity.
    pub(in crate::cli) fn tally(&self, files: &Files, world: &World) -> Tally {
        let (found, _) = self.found(&self.judged(files), world);
        Tally::of(found.iter().map(|(_, finding, _)| finding))
    }

    /// The objects of the files, and those of the cluster that no file replaces.
    fn judged<'f>(&'f self, files: &'f Files) -> Vec<Judged<'f>> {
        let of_files = files.objects.iter().map(Judged::File);
        let Some(cluster) = self.cluster else {
            return of_files.collect();
        };
        let in_files: HashSet<ObjectRef> = files
            .objects
            .iter()
            .map(|object| object.resource.reference())
            .collect();
        let others = cluster
            .objects
            .iter()
            .filter(|object| !in_files.contains(&object.reference()));
        of_files.chain(others.map(Judged::Cluster)).collect()
    }

    fn found<'f>(&self, judged: &[Judged<'f>], world: &World) -> Found<'f> {
        self.progress.begin("objects judged", judged.len());
        let shares = in_shares(judged, |objects| self.found_on(objects, world));
        let (found, suppressed): (Vec<_>, Vec<_>) = shares.into_iter().unzip();
        (found.into_iter().flatten().collect(), suppressed.iter().sum())
    }

    fn found_on<'f>(&self, objects: &[Judged<'f>], world: &World) -> Found<'f> {
        let view = View::new(world);
        let check = Check::new(&view, None);
        let (mut found, mut suppressed) = (Vec::new(), 0);
        for some in objects.chunks(STEPS) {
            for object in some {
                let Some(resource) = world.get(&object.reference()) else {
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
                        level => found.push((*object, finding, level)),
                    }
                }
            }
            self.progress.add(some.len());
        }
        (found, suppressed)
    }

    /// The findings, with the places of their fields and of what they follow from.
    fn placed(&self, files: &Files, found: Vec<(Judged<'_>, Finding, Level)>) -> Vec<Reported> {
        let objects: HashMap<ObjectRef, &FileObject> = files
            .objects
            .iter()
            .map(|object| (object.resource.reference(), object))
            .collect();
        let mut fields = Vec::new();
        for (object, finding, _) in &found {
            fields.extend(object.file().map(|object| (object, finding.path.as_str())));
            let evidence = finding.evidence.iter();
            fields
                .extend(evidence.filter_map(|seen| Some((*objects.get(&seen.object)?, seen.path.as_str()))));
        }
        // In the order in which they were asked for.
        let mut places = files.places(&fields).into_iter();
        let mut reported = Vec::with_capacity(found.len());
        for (object, finding, level) in found {
            let file = object.file();
            let place = file.and_then(|_| places.next());
            let related = finding.evidence.iter().map(|seen| {
                let file = objects.get(&seen.object).copied();
                Related {
                    evidence: seen.clone(),
                    api_version: self.api_version(file, &seen.object).unwrap_or_default(),
                    place: file.and_then(|_| places.next()),
                }
            });
            let related = related.collect();
            reported.push(Reported {
                level,
                api_version: self.api_version(file, &finding.object).unwrap_or_default(),
                place,
                related,
                finding,
            });
        }
        reported
    }

    /// The `apiVersion` of an object: as its file has it, or as the cluster was asked for it.
    fn api_version(&self, file: Option<&FileObject>, object: &ObjectRef) -> Option<String> {
        let of_cluster = || Some(self.cluster?.api_version(object.kind));
        file.map(|file| file.api_version.clone()).or_else(of_cluster)
    }
}

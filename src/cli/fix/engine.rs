//! Mends the files in memory, and lets nothing stand that a check would find fault with.

use std::collections::{HashMap, HashSet};

use json_patch::Patch;

use super::plan::{Fix, as_json, plan};
use crate::cli::check::Judging;
use crate::cli::input::Input;
use crate::config::Config;
use crate::files::{FileObject, Files, Reader};
use crate::progress::Progress;
use crate::report::{Report, Reported};
use crate::resource::ObjectRef;
use crate::rule::{Identity, Level, RULES};
use crate::verdict::Settings;
use crate::world::World;

/// How often it is looked for more: one fix can make room for another.
const PASSES: usize = 8;

/// How it is checked, and what may be mended.
pub(super) struct Engine<'e> {
    pub(super) reader: &'e Reader<'e>,
    pub(super) input: &'e Input,
    pub(super) config: &'e Config,
    pub(super) settings: Settings,
    /// Whether what findings suggest is done too.
    pub(super) with_guesses: bool,
}

/// The files, and what is found in them.
pub(super) struct State {
    pub(super) files: Files,
    pub(super) report: Report,
    world: World,
}

/// What came of it.
pub(super) struct Outcome {
    /// The files as they are to be.
    pub(super) state: State,
    /// What was done.
    pub(super) done: Vec<Fix>,
    /// What was not, and why.
    pub(super) refused: Vec<(Fix, String)>,
}

impl Engine<'_> {
    /// Mends until there is nothing left that can be.
    pub(super) fn mend(&self, files: Files) -> Outcome {
        let mut outcome = Outcome {
            state: self.judged(files),
            done: Vec::new(),
            refused: Vec::new(),
        };
        for _ in 0..PASSES {
            let State { files, world, report } = &outcome.state;
            let planned = plan(files, world, report, self.with_guesses);
            let before = outcome.done.len();
            outcome.refused.clear();
            self.settle(&mut outcome, &planned);
            if outcome.done.len() == before {
                break;
            }
        }
        outcome
    }

    /// Does all of the fixes that can be done: together, or else each half by itself.
    fn settle(&self, outcome: &mut Outcome, fixes: &[Fix]) {
        if fixes.is_empty() {
            return;
        }
        match (self.attempt(&outcome.state, fixes), fixes) {
            (Ok((state, more)), _) => {
                outcome.state = state;
                outcome.done.extend_from_slice(fixes);
                outcome.done.extend(more);
            }
            (Err(why), [fix]) => outcome.refused.push((fix.clone(), why)),
            (Err(_), fixes) => {
                let (first, second) = fixes.split_at(fixes.len() / 2);
                self.settle(outcome, first);
                self.settle(outcome, second);
            }
        }
    }

    /// The state with the fixes made, if they can be made and bring no finding that was not there; and what was rewritten
    /// because of them: a route that leads to a lane only now.
    fn attempt(&self, state: &State, fixes: &[Fix]) -> Result<(State, Vec<Fix>), String> {
        let after = self.made(state, fixes)?;
        let Some(found) = new_finding(&state.report, &after.report) else {
            return Ok((after, Vec::new()));
        };
        let rewriting = plan(&after.files, &after.world, &after.report, false);
        let rewritten = self.made(&after, &rewriting).ok();
        let rewritten = rewritten.filter(|last| new_finding(&state.report, &last.report).is_none());
        match rewritten {
            Some(last) => Ok((last, rewriting)),
            None => Err(format!("it would bring a new finding: {found}")),
        }
    }

    /// The state with the fixes made, whatever is found then.
    fn made(&self, state: &State, fixes: &[Fix]) -> Result<State, String> {
        let wanted: HashSet<&ObjectRef> = fixes.iter().map(|fix| &fix.object).collect();
        let mut known = as_json(&state.files, &wanted);
        let mut changes: Vec<(&FileObject, Patch)> = Vec::new();
        for fix in fixes {
            let gone = || format!("{} is not in the files", fix.object);
            let (object, json) = known.get_mut(&fix.object).ok_or_else(gone)?;
            let patch = fix.patch(json)?;
            json_patch::patch(json, &patch).map_err(|error| error.to_string())?;
            changes.push((*object, patch));
        }
        let texts = state.files.edited(&changes).map_err(|error| error.to_string())?;
        Ok(self.judged(self.reader.again(&state.files, &texts)))
    }

    fn judged(&self, files: Files) -> State {
        let world = self.input.configuration.world(self.config, &files);
        let judging = Judging {
            rules: RULES,
            partial: self.input.partial,
            settings: &self.settings,
            cluster: None,
            progress: &Progress::default(),
        };
        let report = judging.report(&files, &world);
        State { files, report, world }
    }
}

/// Something that is found after and was not before, or weighs more than it did.
fn new_finding(before: &Report, after: &Report) -> Option<String> {
    if let Some(problem) = after.problems.get(before.problems.len()) {
        return Some(problem.to_string());
    }
    let mut known: HashMap<Identity, Vec<Level>> = HashMap::new();
    for reported in &before.findings {
        known
            .entry(reported.finding.identity())
            .or_default()
            .push(reported.level);
    }
    let is_new = |reported: &&Reported| {
        let levels = known.entry(reported.finding.identity()).or_default();
        let as_heavy = levels.iter().position(|level| *level >= reported.level);
        as_heavy.map(|at| levels.swap_remove(at)).is_none()
    };
    after
        .findings
        .iter()
        .find(is_new)
        .map(|reported| reported.finding.to_string())
}

//! What a finding leads to: the one place where modes, dry runs, set appliers, annotations and configuration
//! meet [s1, s6, s8, s10].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use globset::GlobSet;
use serde::{Serialize, Serializer};

use crate::resource::{Annotations, Kind, ObjectRef};
use crate::rule::{Certainty, Finding, Level};
use crate::symbol::Symbol;
use crate::world::View;

/// The annotation that lists the codes which do not count for an object.
pub const ALLOW: &str = "lanekeeper.dev/allow";

/// The annotation that says why.
pub const ALLOW_REASON: &str = "lanekeeper.dev/allow-reason";

/// The label by which a namespace opts in, with a [`Mode`] as value.
pub const ENFORCEMENT: &str = "lanekeeper.dev/enforcement";

/// Users and field managers that apply sets of objects one by one, unless configured otherwise: the order is
/// theirs, so that what is only missing may be on its way.
pub const SET_APPLIERS: &[&str] = &[
    "argocd-application-controller",
    "argocd-controller",
    "flagger",
    "helm",
    "helm-controller",
    "kustomize-controller",
    "rollouts-controller",
];

/// Users that scale workloads by themselves, unless configured otherwise.
pub const SCALERS: &[&str] = &["horizontal-pod-autoscaler", "keda-operator", "kube-downscaler"];

/// How strict Lanekeeper is in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Findings are warnings; nothing is refused and nothing is patched.
    Warn,
    /// A change that adds a deny-level finding is refused, except a DELETE.
    Enforce,
    /// As `Enforce`, and a DELETE that adds a finding is refused too.
    Protect,
}

impl Mode {
    /// Every mode, the mildest first.
    pub const ALL: [Self; 3] = [Self::Warn, Self::Enforce, Self::Protect];

    /// The mode as paths and labels write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Enforce => "enforce",
            Self::Protect => "protect",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownMode(name.to_owned()))
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A word that names no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no such mode: `{0}`; use warn, enforce or protect")]
pub struct UnknownMode(String);

/// Levels by code.
pub type ByCode = BTreeMap<&'static str, Level>;

/// The levels that the configuration gives to rules, where they differ from the rules' own.
#[derive(Debug, Clone, Default)]
pub struct Levels {
    /// Those of every namespace.
    pub everywhere: ByCode,
    /// Those of the namespaces whose names match; of several that match the last one counts.
    pub namespaces: Vec<(GlobSet, ByCode)>,
}

impl Levels {
    /// The level of the rule with this code in `namespace`, if one is configured.
    pub fn of(&self, code: &str, namespace: &str) -> Option<Level> {
        let own = self.namespaces.iter().rev();
        let own = own.filter(|(names, _)| names.is_match(namespace));
        own.map(|(_, levels)| levels)
            .chain([&self.everywhere])
            .find_map(|levels| levels.get(code).copied())
    }
}

/// The mode of a namespace by its label; `None` where it has not opted in, or is not known.
pub fn mode_of(view: &View<'_>, namespace: &Symbol) -> Option<Mode> {
    let namespace = view.get(&ObjectRef::new(Kind::Namespace, "", namespace))?;
    namespace.meta().labels.get(ENFORCEMENT)?.parse().ok()
}

/// What the configuration says of levels and of who is who.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Levels, where they differ from the rules'.
    pub levels: Levels,
    /// Users and field managers that apply sets of objects; a user also by the last part of its name.
    pub set_appliers: BTreeSet<String>,
    /// Users that scale workloads.
    pub scalers: BTreeSet<String>,
    /// Whether other clusters may have what is missing here.
    pub multi_cluster: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Self {
            levels: Levels::default(),
            set_appliers: names(SET_APPLIERS),
            scalers: names(SCALERS),
            multi_cluster: false,
        }
    }
}

/// Where the finding came up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Occasion<'a> {
    /// In files.
    Files {
        /// Whether they are only a part of what will be there.
        partial: bool,
    },
    /// At admission.
    Admission(&'a Admission),
    /// In what runs.
    Audit,
}

/// What of an admission request decides the level.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own; none follows from another"
)]
pub struct Admission {
    /// The mode of the request's namespace.
    pub mode: Mode,
    /// Whether the request takes something away: DELETE.
    pub is_delete: bool,
    /// Whether nothing will be stored.
    pub is_dry_run: bool,
    /// Whether its sender applies sets of objects one by one.
    pub by_set_applier: bool,
    /// Whether its sender scales workloads by itself, and this is a scaling to zero.
    pub is_automatic_scaling: bool,
}

/// What is known of the object that a finding is on, and of the one that the request changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing<'a> {
    /// The mode of the finding's object's namespace; `None`: it has not opted in.
    pub mode: Option<Mode>,
    /// The allow annotations that count: of the finding's object, and of the requested one.
    pub allows: Vec<&'a str>,
}

/// The level that `finding` has on this occasion.
pub fn verdict(
    finding: &Finding,
    standing: &Standing<'_>,
    occasion: &Occasion<'_>,
    settings: &Settings,
) -> Level {
    /// Rules that look for something which another cluster may have [s10].
    const OF_ONE_CLUSTER: [&str; 5] = ["LK101", "LK102", "LK104", "LK105", "LK601"];

    /// Rules that only warn, but refuse a deletion that brings them about in a protected namespace: it takes the
    /// routes away that kept the lanes apart, and nothing fails that would tell [s17].
    const REFUSE_DELETION: [&str; 1] = ["LK308"];

    let is_protected = match occasion {
        Occasion::Admission(request) => request.is_delete && request.mode == Mode::Protect,
        Occasion::Files { .. } | Occasion::Audit => false,
    };
    let own = if is_protected && REFUSE_DELETION.contains(&finding.code) {
        Level::Deny
    } else {
        finding.level
    };
    let configured = settings.levels.of(finding.code, &finding.object.namespace);
    let level = match configured {
        // A rule that is made stricter is so for all its findings; else each keeps what it is sure of.
        Some(Level::Deny) => Level::Deny,
        Some(level) => level.min(own),
        None => own,
    };
    if standing.allows.iter().any(|allow| allows(allow, finding.code)) {
        return Level::Off;
    }
    let mut most = Level::Deny;
    if settings.multi_cluster && OF_ONE_CLUSTER.contains(&finding.code) {
        most = Level::Warn;
    }
    if finding.certainty == Certainty::Unjudged {
        most = Level::Warn;
    }
    let is_missing = finding.certainty == Certainty::Missing;
    match occasion {
        Occasion::Files { partial } => {
            if *partial && is_missing {
                most = Level::Warn;
            }
        }
        // Nothing is refused here, so no mode makes it milder.
        Occasion::Audit => {}
        Occasion::Admission(request) => {
            let enforces = |mode: Option<Mode>| mode.is_some_and(|mode| mode >= Mode::Enforce);
            let in_a_set = request.is_dry_run || request.by_set_applier;
            if !enforces(Some(request.mode))
                || !enforces(standing.mode)
                || (request.is_delete && request.mode < Mode::Protect)
                || (is_missing && in_a_set)
                || request.is_automatic_scaling
            {
                most = Level::Warn;
            }
        }
    }
    level.min(most)
}

/// Whether an allow annotation lists `code`.
fn allows(annotation: &str, code: &str) -> bool {
    annotation
        .split([',', ' '])
        .any(|listed| listed.trim().eq_ignore_ascii_case(code))
}

/// The allow annotation among `annotations`, with its reason.
pub fn allow_of(annotations: &Annotations) -> Option<(&str, Option<&str>)> {
    annotations
        .get(ALLOW)
        .map(|codes| (codes, annotations.get(ALLOW_REASON)))
}

/// Whether `user` (or the field manager `manager`) is one of `names`: by its whole name, or by the last part of
/// a service account's.
pub fn is_one_of(names: &BTreeSet<String>, user: &str, manager: Option<&str>) -> bool {
    let last = user.rsplit(':').next().unwrap_or(user);
    names.contains(user) || names.contains(last) || manager.is_some_and(|manager| names.contains(manager))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Kind, ObjectRef};
    use crate::rule;

    fn finding(certainty: Certainty) -> Finding {
        let rule = rule::find("LK101").unwrap();
        let object = ObjectRef::new(Kind::DestinationRule, "cars", "portal");
        Finding::new(rule, object, "spec").missing_if(certainty == Certainty::Missing)
    }

    fn request() -> Admission {
        Admission {
            mode: Mode::Enforce,
            is_delete: false,
            is_dry_run: false,
            by_set_applier: false,
            is_automatic_scaling: false,
        }
    }

    fn level(finding: &Finding, request: &Admission) -> Level {
        let standing = Standing {
            mode: Some(Mode::Enforce),
            allows: Vec::new(),
        };
        verdict(
            finding,
            &standing,
            &Occasion::Admission(request),
            &Settings::default(),
        )
    }

    #[test]
    fn an_ordinary_change_in_an_enforcing_namespace_is_refused() {
        assert_eq!(level(&finding(Certainty::Missing), &request()), Level::Deny);
        assert_eq!(level(&finding(Certainty::Contradicted), &request()), Level::Deny);
    }

    #[test]
    fn what_is_only_missing_warns_on_dry_runs_and_for_set_appliers_and_what_is_contradicted_does_not() {
        for request in [
            Admission {
                is_dry_run: true,
                ..request()
            },
            Admission {
                by_set_applier: true,
                ..request()
            },
        ] {
            assert_eq!(level(&finding(Certainty::Missing), &request), Level::Warn);
            assert_eq!(level(&finding(Certainty::Contradicted), &request), Level::Deny);
        }
    }

    #[test]
    fn a_deletion_warns_unless_the_namespace_is_protected() {
        let delete = Admission {
            is_delete: true,
            ..request()
        };
        assert_eq!(level(&finding(Certainty::Contradicted), &delete), Level::Warn);
        let protected = Admission {
            mode: Mode::Protect,
            ..delete
        };
        assert_eq!(level(&finding(Certainty::Contradicted), &protected), Level::Deny);
    }

    #[test]
    fn lanes_that_mix_refuse_a_deletion_in_a_protected_namespace_and_only_warn_elsewhere() {
        let object = ObjectRef::new(Kind::Service, "cars", "portal");
        let mixed = Finding::new(rule::find("LK308").unwrap(), object, "spec.ports");
        let delete = |mode| Admission {
            mode,
            is_delete: true,
            ..request()
        };
        assert_eq!(level(&mixed, &delete(Mode::Protect)), Level::Deny);
        assert_eq!(level(&mixed, &delete(Mode::Enforce)), Level::Warn);
        let update = Admission {
            mode: Mode::Protect,
            ..request()
        };
        assert_eq!(level(&mixed, &update), Level::Warn);
        let of_another_rule = Finding {
            code: "LK306",
            ..mixed
        };
        assert_eq!(level(&of_another_rule, &delete(Mode::Protect)), Level::Warn);
    }

    #[test]
    fn both_namespaces_have_to_enforce() {
        let warn = Admission {
            mode: Mode::Warn,
            ..request()
        };
        assert_eq!(level(&finding(Certainty::Contradicted), &warn), Level::Warn);
        for mode in [None, Some(Mode::Warn)] {
            let standing = Standing {
                mode,
                allows: Vec::new(),
            };
            let found = finding(Certainty::Contradicted);
            let level = verdict(
                &found,
                &standing,
                &Occasion::Admission(&request()),
                &Settings::default(),
            );
            assert_eq!(level, Level::Warn);
        }
    }

    #[test]
    fn autoscalers_are_only_warned() {
        let scaling = Admission {
            is_automatic_scaling: true,
            ..request()
        };
        assert_eq!(level(&finding(Certainty::Contradicted), &scaling), Level::Warn);
    }

    #[test]
    fn an_allowed_code_does_not_count_and_others_do() {
        let at = |allow: &str| {
            let standing = Standing {
                mode: Some(Mode::Enforce),
                allows: vec![allow],
            };
            verdict(
                &finding(Certainty::Missing),
                &standing,
                &Occasion::Admission(&request()),
                &Settings::default(),
            )
        };
        assert_eq!(at("LK205, lk101"), Level::Off);
        assert_eq!(at("LK10"), Level::Deny);
    }

    #[test]
    fn the_configuration_lowers_and_raises_levels() {
        let at = |level: Level, found: &Finding| {
            let settings = Settings {
                levels: Levels {
                    everywhere: [("LK101", level)].into(),
                    ..Levels::default()
                },
                ..Settings::default()
            };
            verdict(
                found,
                &Standing::default(),
                &Occasion::Files { partial: false },
                &settings,
            )
        };
        let unsure = finding(Certainty::Missing).warning_if(true);
        assert_eq!(at(Level::Off, &finding(Certainty::Missing)), Level::Off);
        assert_eq!(at(Level::Warn, &finding(Certainty::Missing)), Level::Warn);
        assert_eq!(at(Level::Deny, &unsure), Level::Deny);
    }

    #[test]
    fn the_last_namespace_that_matches_says_the_level() {
        let names = |patterns: &[&str]| {
            let mut names = globset::GlobSetBuilder::new();
            for pattern in patterns {
                names.add(globset::Glob::new(pattern).unwrap());
            }
            names.build().unwrap()
        };
        let levels = Levels {
            everywhere: [("LK101", Level::Warn), ("LK201", Level::Off)].into(),
            namespaces: vec![
                (names(&["staging-*", "dev"]), [("LK101", Level::Off)].into()),
                (names(&["staging-hk"]), [("LK101", Level::Deny)].into()),
            ],
        };
        assert_eq!(levels.of("LK101", "cars"), Some(Level::Warn));
        assert_eq!(levels.of("LK101", "dev"), Some(Level::Off));
        assert_eq!(levels.of("LK101", "staging-ph"), Some(Level::Off));
        assert_eq!(levels.of("LK101", "staging-hk"), Some(Level::Deny));
        assert_eq!(levels.of("LK201", "staging-hk"), Some(Level::Off));
        assert_eq!(levels.of("LK301", "staging-hk"), None);
    }

    #[test]
    fn in_files_what_is_missing_counts_unless_they_are_a_part() {
        let at = |partial| {
            verdict(
                &finding(Certainty::Missing),
                &Standing::default(),
                &Occasion::Files { partial },
                &Settings::default(),
            )
        };
        assert_eq!(at(false), Level::Deny);
        assert_eq!(at(true), Level::Warn);
    }

    #[test]
    fn with_several_clusters_what_one_lacks_only_warns() {
        let settings = Settings {
            multi_cluster: true,
            ..Settings::default()
        };
        let found = finding(Certainty::Contradicted);
        assert_eq!(
            verdict(
                &found,
                &Standing::default(),
                &Occasion::Files { partial: false },
                &settings
            ),
            Level::Warn
        );
    }

    #[test]
    fn a_set_applier_is_known_by_user_account_or_field_manager() {
        let names: BTreeSet<String> = ["kustomize-controller".to_owned(), "helm".to_owned()].into();
        assert!(is_one_of(
            &names,
            "system:serviceaccount:flux-system:kustomize-controller",
            None
        ));
        assert!(is_one_of(&names, "dev", Some("helm")));
        assert!(!is_one_of(&names, "dev", Some("kubectl-client-side-apply")));
    }
}

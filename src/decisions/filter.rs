//! Which decisions are asked for.

use globset::{GlobBuilder, GlobMatcher};
use jiff::Timestamp;

use super::{Decision, Outcome};

/// Names, of which any may match; none stands for all.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<(String, GlobMatcher)>);

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no pattern: {1}; `*` stands for any text, as in `system:serviceaccount:argocd:*`")]
pub struct NamesError(String, #[source] globset::Error);

impl Names {
    /// Names in which `*` stands for any text; upper and lower case are the same.
    pub fn new(patterns: &[String]) -> Result<Self, NamesError> {
        let compile = |pattern: &String| {
            let glob = GlobBuilder::new(pattern).case_insensitive(true).build();
            let glob = glob.map_err(|error| NamesError(pattern.clone(), error))?;
            Ok((pattern.clone(), glob.compile_matcher()))
        };
        patterns.iter().map(compile).collect::<Result<_, _>>().map(Self)
    }

    fn has(&self, name: &str) -> bool {
        let is_one = |(pattern, glob): &(String, GlobMatcher)| pattern == name || glob.is_match(name);
        self.0.is_empty() || self.0.iter().any(is_one)
    }
}

/// What a decision has to be like; what is not said may be anything.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Before this time.
    pub until: Option<Timestamp>,
    /// With any of these outcomes; a decision that patches or refuses may warn too.
    pub outcomes: Vec<Outcome>,
    /// With any of these codes, whether it refused for them or warned of them.
    pub codes: Vec<String>,
    /// The object's namespace.
    pub namespaces: Names,
    /// The object's kind.
    pub kinds: Names,
    /// The object's name.
    pub names: Names,
    /// Who made the change.
    pub users: Names,
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub operations: Names,
    /// The namespace's mode.
    pub modes: Names,
    /// `validate` or `mutate`.
    pub webhooks: Names,
    /// The decision's own id, or the review's.
    pub ids: Names,
    /// Leaves out what was only tried.
    pub no_dry_run: bool,
}

impl Filter {
    /// Whether a decision is one that is asked for.
    pub fn takes(&self, decision: &Decision<'_>) -> bool {
        let has_outcome = |outcome: &Outcome| match outcome {
            Outcome::Warned => decision.allowed && !decision.warned.is_empty(),
            outcome => decision.outcome() == *outcome,
        };
        let has_code = |code: &String| decision.codes.contains(code) || decision.warned.contains(code);
        self.since.is_none_or(|since| decision.time >= since)
            && self.until.is_none_or(|until| decision.time < until)
            && (self.outcomes.is_empty() || self.outcomes.iter().any(has_outcome))
            && (self.codes.is_empty() || self.codes.iter().any(has_code))
            && !(self.no_dry_run && decision.dry_run)
            && self.namespaces.has(&decision.namespace)
            && self.kinds.has(&decision.kind)
            && self.names.has(&decision.name)
            && self.users.has(&decision.user)
            && self.operations.has(&decision.operation)
            && self.modes.has(&decision.mode)
            && self.webhooks.has(&decision.webhook)
            && (self.ids.has(&decision.decision) || self.ids.has(&decision.uid))
    }
}

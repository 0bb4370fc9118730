//! What of one `LaneGroup` cannot be meant: the API server refuses it by the definition's rules in CEL, files by the same
//! in Rust, and both say it in the same words.
//!
//! Not refused: an entry header that is the lane header (nothing is rewritten then), labels that select the whole
//! namespace, and a change of the lane header. That breaks lanes until the routes follow, but whoever moves to another
//! header has to change one of them first, and a group that is deleted and made anew promises nothing meanwhile.

use std::sync::LazyLock;

use regex::Regex;

use super::LaneGroupSpec;

/// A rule of the definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneGroupRule {
    /// The field that the API server names, below the spec.
    pub field: &'static str,
    /// What has to be, in words.
    pub message: &'static str,
    /// What has to be, in CEL, where `self` is the spec.
    pub cel: String,
}

/// One thing that is refused.
pub(super) struct Refusal {
    field: &'static str,
    message: &'static str,
    cel: fn() -> String,
    /// What is not so.
    culprit: fn(&LaneGroupSpec) -> Option<&str>,
}

/// A lane's name is a label's value of its pods.
const LANE: &str = "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";

/// The key of a label: a name, behind a domain or alone.
const LABEL_KEY: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                         [A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// A name, behind a namespace or alone.
const GATEWAY: &str = "^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?\
                       [a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A service, or its host, with port and path where it matters.
const CALL: &str =
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*(:[0-9]{1,5})?(/[^ ,]*)?$";

/// Everything that is refused.
pub(super) const REFUSALS: &[Refusal] = &[
    Refusal {
        field: ".defaultLane",
        message: "defaultLane has to be one of lanes",
        cel: || "self.lanes.exists(lane, lane == self.defaultLane)".to_owned(),
        culprit: |spec| {
            let is_lane = spec.lanes.contains(&spec.default_lane);
            (!is_lane).then_some(&*spec.default_lane)
        },
    },
    Refusal {
        field: ".lanes",
        message: "each of lanes has to be there once",
        cel: || "self.lanes.all(lane, self.lanes.exists_one(other, other == lane))".to_owned(),
        culprit: |spec| {
            let lanes = &spec.lanes;
            let mut twice = lanes.iter().enumerate();
            let twice = twice.find(|(at, lane)| lanes[..*at].contains(lane));
            twice.map(|(_, lane)| &**lane)
        },
    },
    Refusal {
        field: ".lanes",
        message: "each of lanes has to fit a label: letters, digits, `-`, `_` and `.`, a letter or digit first and last",
        cel: || format!("self.lanes.all(lane, lane.matches('{LANE}'))"),
        culprit: |spec| {
            static FITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LANE).ok());
            first_unfit(&FITS, &spec.lanes)
        },
    },
    Refusal {
        field: ".laneLabel",
        message: "laneLabel has to be the key of a label",
        cel: || format!("!has(self.laneLabel) || self.laneLabel.matches('{LABEL_KEY}')"),
        culprit: |spec| {
            static FITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(LABEL_KEY).ok());
            first_unfit(&FITS, spec.lane_label.as_slice())
        },
    },
    Refusal {
        field: ".entry.gateways",
        message: "each of entry.gateways has to be a name or namespace/name",
        cel: || {
            let all = format!("self.entry.gateways.all(name, name.matches('{GATEWAY}'))");
            format!("!has(self.entry) || !has(self.entry.gateways) || {all}")
        },
        culprit: |spec| {
            static FITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(GATEWAY).ok());
            first_unfit(&FITS, &spec.entry.as_ref()?.gateways)
        },
    },
    Refusal {
        field: ".chain",
        message: "each of chain has to be a service as in cart, cart:8080 or cart.shop:8080/path",
        cel: || format!("!has(self.chain) || self.chain.all(call, call.matches('{CALL}'))"),
        culprit: |spec| {
            static FITS: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(CALL).ok());
            first_unfit(&FITS, &spec.chain)
        },
    },
];

impl Refusal {
    /// The rule for the definition.
    pub(super) fn rule(&self) -> LaneGroupRule {
        LaneGroupRule {
            field: self.field,
            message: self.message,
            cel: (self.cel)(),
        }
    }

    /// What is to be said of `spec`, if it is refused.
    pub(super) fn of(&self, spec: &LaneGroupSpec) -> Option<String> {
        (self.culprit)(spec).map(|culprit| format!("{}: `{culprit}`", self.message))
    }
}

/// The first text that does not fit. (Each of the patterns is one.)
fn first_unfit<'s>(pattern: &LazyLock<Option<Regex>>, texts: &'s [String]) -> Option<&'s str> {
    let pattern = pattern.as_ref()?;
    let unfit = texts.iter().find(|text| !pattern.is_match(text));
    unfit.map(String::as_str)
}

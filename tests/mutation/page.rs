//! The page that tells what the rules see.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use lanekeeper::rule::Level;

use crate::Trial;
use crate::mutants::MUTATIONS;

/// Why some mutants of a mutation slip through.
const REASONS: &[(&str, &str)] = &[
    (
        "subset-label-slip",
        "No workload is there in the right world either (a canary prepared ahead, a Service that selects nothing yet), or which one there is cannot be known: no selector, a host outside, labels that Istio or a rollout writes. Missed: subsets of a wildcard host.",
    ),
    ("subset-label-unknown", "As above."),
    (
        "subset-label-sibling",
        "Without a lane group two subsets may be alike. With one it is missed where no route by the lane header leads to the subset and nothing at a gateway does (the default route does).",
    ),
    ("subset-label-key-slip", "As for a slip of the value."),
    (
        "subset-label-dropped",
        "Without a lane group, or with one lane behind the service, a subset without labels only carries a policy; nor does it matter where no route leads to it.",
    ),
    (
        "subset-renamed",
        "No route by HTTP leads to the subset, or all its weight is 0. Missed: TCP and TLS routes; two rules of two revisions, which are taken for one.",
    ),
    ("subset-dropped", "As above."),
    (
        "rule-deleted",
        "No route asks for its subsets, or another rule has them.",
    ),
    (
        "rule-host-slip",
        "The host is one outside that need not be known here.",
    ),
    (
        "rule-hidden",
        "Another rule has the subsets, no route asks for them, or the gateway's pods are not known and may be where the rule is exported to.",
    ),
    ("rule-passthrough", "No lane route leads to the subsets."),
    (
        "rule-beside",
        "The routes ask for no subset there, or their callers do not see the private rule.",
    ),
    (
        "route-subset-slip",
        "All its weight is 0, or it is an alias whose target is outside.",
    ),
    (
        "route-subset-sibling",
        "Without a lane group any subset is as good as another. Missed: a default route that leads to another lane than the default one (at a gateway LK403 tells by what it sets).",
    ),
    (
        "route-subset-dropped",
        "Without a lane group, or where the service has one lane only, no subset is needed.",
    ),
    (
        "route-host-slip",
        "All its weight is 0, or the name is one of a wildcard ServiceEntry or an address.",
    ),
    ("route-host-two-parts", "All its weight is 0."),
    (
        "route-port-unknown",
        "The host is an alias or not known, or all its weight is 0.",
    ),
    (
        "route-port-dropped",
        "A destination without a port keeps the one that was called, and the service has that.",
    ),
    (
        "route-port-other",
        "The other port speaks what the caller speaks, or nothing shows what the caller speaks.",
    ),
    (
        "match-lane-slip",
        "The route leads to no service of a lane group: none is there, or it answers by itself.",
    ),
    ("match-lane-case", "As above."),
    (
        "match-lane-other",
        "The default lane stands in for the other one, or the route answers by itself.",
    ),
    (
        "match-header-slip",
        "The value that is matched is no lane's name: a pattern, or no group knows it.",
    ),
    (
        "match-header-entry",
        "The service's group has another entry header, or the route leads to the default lane, as what does not match goes too.",
    ),
    (
        "match-dropped",
        "The route is for no lane group, or what it takes goes the same way. Missed: delegates, whose default route takes only what their root leaves them.",
    ),
    ("match-prefix-all", "As above."),
    (
        "set-lane-slip",
        "The route leads to no service of the group, or what is set is not what counts: another block is.",
    ),
    (
        "set-lane-other",
        "The route leads to a service without versions, where any lane is right, or to the default lane, which stands in for the one that is set.",
    ),
    (
        "set-lane-template",
        "The route leads to no service of the group, or another block sets the header after it.",
    ),
    (
        "set-header-slip",
        "A route to the default lane need not set the lane header: a request without it is in that lane.",
    ),
    ("set-dropped", "As above."),
    (
        "set-added",
        "The route leads to no service of the group, or the caller's own lane header is removed first, so that there is one.",
    ),
    (
        "copy-without-remove",
        "The route matches only requests that have the entry header, whose value overwrites what the caller sent.",
    ),
    (
        "copy-of-what-is-removed",
        "The value that is set does not count: the route does not lead to the group, or another block sets the header after it.",
    ),
    (
        "default-route-first",
        "The routes after it are for no lane group, or all lead to the same place. Missed: delegates of an implied group, whose entry header is not known there.",
    ),
    (
        "default-route-deleted",
        "The callers are all under a lane filter that sets the default lane, or no group promises one.",
    ),
    (
        "lane-route-deleted",
        "Only a Strict group promises each lane everywhere; elsewhere the default lane stands in.",
    ),
    (
        "mesh-dropped",
        "The VirtualService is for no service of a lane group.",
    ),
    (
        "gateway-slip",
        "The routes are for a gateway's own callers and for a host that is no service of a group.",
    ),
    (
        "host-slip",
        "Any name may be a host outside; inside, it matters for services of a lane group.",
    ),
    (
        "routes-hidden",
        "Missed: those it is exported to may be all that call the host, so that LK307 and LK308 count the routes as if they were seen.",
    ),
    (
        "routes-deleted",
        "No service of a lane group is called by the hosts, or only from outside.",
    ),
    (
        "routes-beside",
        "At a gateway two VirtualServices of one host are merged; on the mesh a private one and a public one are for different callers.",
    ),
    (
        "mirror-subset-slip",
        "The mirror gets no copies: its percentage is 0.",
    ),
    (
        "service-deleted",
        "No route leads to the service and no rule is for it, or another object stands for its host.",
    ),
    (
        "selector-slip",
        "No route leads to the service and no rule has subsets of it, or what it selects is not known in the right world either.",
    ),
    ("selector-key-slip", "As above."),
    (
        "selector-narrowed",
        "No route leads to the other subsets, or the selection is of pods whose labels are not known.",
    ),
    (
        "port-renumbered",
        "No route names the port. Who calls a port that is not there is not known to Lanekeeper.",
    ),
    ("port-dropped", "As above."),
    (
        "port-http-to-grpc",
        "Routes that name no port keep the one that is called; callers that speak HTTP/1 to it are answered by gRPC as before.",
    ),
    ("port-grpc-to-http", "As above."),
    (
        "port-to-tcp",
        "No lane routes are for the service, or it has other ports that they are for.",
    ),
    (
        "port-undeclared",
        "The service is in no lane group, or no lane routes are for the port.",
    ),
    ("target-port-slip", "No route leads to the port."),
    (
        "service-headless",
        "No lane routes are for the service, or it is a host of a gateway, which takes its endpoints from Istio.",
    ),
    (
        "workload-deleted",
        "It carries no routed subset and is not the last one of a routed service, or is at zero in the right world.",
    ),
    ("workload-at-zero", "As above."),
    (
        "lane-label-slip",
        "The workload is behind no routed subset, and its service has no lanes. Missed: subsets of a wildcard host.",
    ),
    ("lane-label-sibling", "As above."),
    ("lane-label-dropped", "As above."),
    ("lane-label-key-slip", "As above."),
    ("service-label-slip", "As for a workload that is gone."),
    (
        "container-port-slip",
        "No service names the port as its target, or no route leads there.",
    ),
    (
        "sidecar-off",
        "The workload is no member: no lane of a group is routed to its services.",
    ),
    (
        "pod-deleted",
        "A workload speaks for the pod, or the pod is of an owner that is not known here and makes another one.",
    ),
    ("pod-label-slip", "As above; or no service selects by the label."),
    (
        "entry-host-slip",
        "No route needs the host, or it is one outside that need not be known.",
    ),
    ("entry-port-renumbered", "No route names the port."),
    ("entry-endpoint-slip", "No subset chooses by the label."),
    (
        "gateway-deleted",
        "Routes by TLS or TCP alone, or of a Gateway that no VirtualService is bound to.",
    ),
    (
        "gateway-other-hosts",
        "The VirtualService is for any host, or for none of a gateway.",
    ),
    (
        "gateway-renumbered",
        "The listener's number decides nothing where routes name the port or the service has one only.",
    ),
    (
        "plugin-deleted",
        "No rule looks at whether lane workloads have the filter yet (LK501); without the plugin there is no group.",
    ),
    (
        "plugin-header-slip",
        "No rule compares the plugin with the group and the routes yet (LK502).",
    ),
    (
        "plugin-default-slip",
        "As above; the misspelt default lane counts as one of the group.",
    ),
    ("plugin-selector-slip", "As for a plugin that is gone (LK501)."),
    ("group-lane-dropped", "No route, set or workload names the lane."),
    ("group-lane-slip", "As above."),
    (
        "group-header-slip",
        "No route names the lane header by an exact value.",
    ),
    (
        "group-entry-slip",
        "Missed: at a gateway the misspelt header of the group is only one that nobody matches, and the routes set the lane whatever they match.",
    ),
    ("injection-off", "No rule looks at injection yet (LK503)."),
    (
        "tracing-off",
        "The sidecars of the namespace hand on the trace ids of the gateway or of other callers, who may trace all the same.",
    ),
    (
        "tracing-off-everywhere",
        "No plugin carries a lane header, the filter needs no trace id, or the gateway has a Telemetry of its own.",
    ),
    (
        "nothing-imported",
        "Missed: the caller's Sidecar drops the routes, so that lanes mix (LK308 does not look at it).",
    ),
];

/// What came of one mutation.
#[derive(Default)]
struct Row {
    refused: usize,
    warned: usize,
    slipped: usize,
    codes: BTreeMap<&'static str, usize>,
}

impl Row {
    fn tried(&self) -> usize {
        self.refused + self.warned + self.slipped
    }

    fn add(&mut self, trial: &Trial) {
        match trial.level() {
            Level::Deny => self.refused += 1,
            Level::Warn => self.warned += 1,
            Level::Off => self.slipped += 1,
        }
        let codes: BTreeSet<&str> = trial.found.iter().map(|(code, _)| *code).collect();
        for code in codes {
            *self.codes.entry(code).or_default() += 1;
        }
    }

    /// The codes, the one that caught most first.
    fn by(&self) -> String {
        let mut codes: Vec<(&str, usize)> = self.codes.iter().map(|(code, count)| (*code, *count)).collect();
        codes.sort_by_key(|(code, count)| (usize::MAX - count, *code));
        let codes = codes.iter().map(|(code, count)| format!("{code} ({count})"));
        codes.collect::<Vec<_>>().join(", ")
    }
}

fn rows(trials: &[Trial]) -> BTreeMap<&'static str, Row> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for trial in trials {
        rows.entry(trial.mutation).or_default().add(trial);
    }
    rows
}

/// The page.
pub(crate) fn page(trials: &[Trial], worlds: usize) -> String {
    let rows = rows(trials);
    let sum = |of: fn(&Row) -> usize| rows.values().map(of).sum::<usize>();
    let mut page = format!(
        "# What the rules see\n\nMade by `tests/mutation` (`make generate`). Each of {worlds} right worlds (`tests/worlds/` and \
         the good fixtures of `tests/rules/`) is broken in one\nfield at a time, in each way that the rules speak of, and every rule \
         runs on it. A mutant is *refused* if it has a finding at deny\nlevel that the right world has not, *warned* if \
         it has one at warn level only, and else it *slipped* through.\n\nOf {} mutants {} are refused, {} are warned of and {} \
         slip through.\n",
        sum(Row::tried),
        sum(|row| row.refused),
        sum(|row| row.warned),
        sum(|row| row.slipped),
    );
    let mut heading = "";
    for (mutation, object, what) in MUTATIONS {
        let Some(row) = rows.get(mutation) else { continue };
        if *object != heading {
            heading = object;
            write!(
                page,
                "\n## {heading}\n\n| mutation | what is broken | tried | refused | warned | slipped | caught by |\n|---|---|---|---|---|---|---|\n"
            )
            .expect("a string takes all");
        }
        let Row {
            refused,
            warned,
            slipped,
            ..
        } = row;
        writeln!(
            page,
            "| {mutation} | {what} | {} | {refused} | {warned} | {slipped} | {} |",
            row.tried(),
            row.by()
        )
        .expect("a string takes all");
    }
    page.push_str("\n## Why some slip through\n\n`LANEKEEPER_SLIPPED=<mutation> cargo test --test mutation -- --nocapture` lists where.\n\n| mutation | why |\n|---|---|\n");
    for (mutation, ..) in MUTATIONS {
        if let Some((_, why)) = REASONS.iter().find(|(name, _)| name == mutation) {
            writeln!(page, "| {mutation} | {why} |").expect("a string takes all");
        }
    }
    page
}

/// What the page lacks: reasons for what slips through, and what there are reasons for without need.
pub(crate) fn faults(trials: &[Trial]) -> Vec<String> {
    let rows = rows(trials);
    let mut faults = Vec::new();
    for (mutation, ..) in MUTATIONS {
        let has_reason = REASONS.iter().any(|(name, _)| name == mutation);
        match rows.get(mutation) {
            None => faults.push(format!("no world has anything for {mutation}")),
            Some(row) if (row.slipped > 0) != has_reason => faults.push(format!(
                "{mutation} slips through {} times, and a reason is {}",
                row.slipped,
                if has_reason { "given" } else { "not given" }
            )),
            Some(_) => {}
        }
    }
    let unknown = REASONS
        .iter()
        .filter(|(name, _)| !MUTATIONS.iter().any(|(mutation, ..)| mutation == name));
    faults.extend(unknown.map(|(name, _)| format!("{name} is no mutation")));
    faults
}

//! The last decisions.

use maud::{Markup, html};

use super::text;
use crate::decisions::{Decision, Outcome};

/// The part of the page about decisions, the newest first. New ones come from `live`, each a row as [`decision_row`] makes it.
pub fn decisions_section<'d>(newest_first: impl Iterator<Item = &'d Decision<'d>>, live: &str) -> Markup {
    html! {
        section #decisions aria-labelledby="decisions-title" {
            h2 #decisions-title { "Recent decisions" }
            p .faint { "Those of this replica. " span #live-state role="status" { "Reload the page for new ones." } }
            div .scrolls role="region" aria-labelledby="decisions-title" tabindex="0" {
                table .decisions {
                    thead {
                        tr {
                            @for name in ["Time", "Decision", "Change", "Object", "By", "Because"] { th scope="col" { (name) } }
                        }
                    }
                    tbody data-live=(live) { @for decision in newest_first { (decision_row(decision)) } }
                }
            }
        }
    }
}

/// A row of the table.
pub fn decision_row(decision: &Decision<'_>) -> Markup {
    let outcome = decision.outcome();
    let time = decision.time.to_string();
    // To the second.
    let second = time.split('.').next().unwrap_or_default().trim_end_matches('Z');
    html! {
        tr id={ "decision-" (decision.decision) } {
            td .mono { time datetime=(time) { (second.replace('T', " ")) "Z" } }
            td {
                span class={ "mark " (outcome.name()) } { (outcome.name()) }
                @if decision.dry_run { " " span .mark.plain { "dry run" } }
            }
            td { (text(&decision.operation)) span .faint { " in " (text(&decision.mode)) } }
            td { code { (text(&decision.object())) } }
            td { (text(&decision.user)) }
            td {
                @for code in decision.reasons() { code { (text(code)) } " " }
                @if let Some(message) = decision.message.as_deref().filter(|_| outcome == Outcome::Denied) {
                    details { summary { "what was said" } (text(message)) }
                }
            }
        }
    }
}

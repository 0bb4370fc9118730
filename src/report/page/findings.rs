//! What is wrong with what runs.

use maud::{Markup, html};

use super::text;
use crate::audit::Reported;
use crate::report::field_of;

/// The part of the page about findings: those that are shown, and of how many; each is at `#finding-N` by its place among all.
pub fn findings_section(shown: &[(usize, &Reported)], all: usize, filter: &Markup) -> Markup {
    html! {
        section #findings aria-labelledby="findings-title" {
            h2 #findings-title { "What is wrong" }
            (filter)
            @if all == 0 {
                p { "Nothing is wrong with what runs in the namespaces that have opted in." }
            } @else {
                p .faint { (shown.len()) " of " (all) }
            }
            @if !shown.is_empty() {
                div .scrolls role="region" aria-labelledby="findings-title" tabindex="0" {
                    table .findings {
                        thead {
                            tr {
                                th scope="col" { "Level" }
                                th scope="col" { "Rule" }
                                th scope="col" { "What is wrong, and how to mend it" }
                            }
                        }
                        tbody { @for (at, one) in shown { (finding(*at, one)) } }
                    }
                }
            }
        }
    }
}

fn finding(at: usize, one: &Reported) -> Markup {
    let finding = &one.finding;
    html! {
        tr id={ "finding-" (at) } {
            td { span class={ "mark " (one.level) } { (one.level) } }
            td { a href={ "rules/" (finding.code) } { (finding.code) } br; span .faint { (finding.rule) } }
            td {
                code { (text(&field_of(&finding.object, &finding.path))) }
                p { (text(&finding.message)) }
                @if !finding.help.is_empty() { p .faint { (text(&finding.help)) } }
                @for evidence in &finding.evidence {
                    p .faint {
                        "see " code { (text(&field_of(&evidence.object, &evidence.path))) }
                        @if !evidence.note.is_empty() { ": " (text(&evidence.note)) }
                    }
                }
            }
        }
    }
}

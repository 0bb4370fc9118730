//! What is wrong with what runs.

use maud::{Markup, html};

use super::text;
use crate::audit::Reported;
use crate::report::field_of;

/// A part of a page about findings: those that are shown, and of how many; each is at `#finding-N` by its place among all, and
/// its rule below `home`.
pub fn findings_section(
    title: &str,
    shown: &[(usize, &Reported)],
    all: usize,
    home: &str,
    filter: &Markup,
) -> Markup {
    html! {
        section #findings aria-labelledby="findings-title" {
            h2 #findings-title { (title) }
            (filter)
            @if all == 0 {
                p { "Nothing that is judged: what runs in namespaces that have opted in." }
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
                        tbody { @for (at, one) in shown { (finding(*at, one, home)) } }
                    }
                }
            }
        }
    }
}

fn finding(at: usize, one: &Reported, home: &str) -> Markup {
    let finding = &one.finding;
    html! {
        tr id={ "finding-" (at) } {
            td { span class={ "mark " (one.level) } { (one.level) } }
            td { a href={ (home) "rules/" (finding.code) } { (finding.code) } br; span .faint { (finding.rule) } }
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

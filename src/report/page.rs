//! Pages for a browser: one document each, which needs nothing else and loads nothing.
//!
//! Whatever comes from an object is text to the template, which escapes it; a policy in the page forbids everything that is
//! not its own style and script, should something get through all the same.

mod decisions;
mod findings;
mod matrix;
mod picture;
mod trace;

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::decisions::{decision_row, decisions_section};
pub use self::findings::findings_section;
pub use self::matrix::{
    FindingsOf, Links, Shown, SomeRows, ToObject, ToRows, TraceOf, cell_title, matrices_section, steps,
    write_matrices_html,
};
pub use self::trace::{Form, trace_section};

use crate::text::plain as text;

const STYLE: &str = include_str!("page/style.css");
const SCRIPT: &str = include_str!("page/script.js");

/// Two lanes, one of which is left.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16' fill='none' stroke-width='2'%3E\
    %3Cpath d='M1 5h14' stroke='%23116329'/%3E%3Cpath d='M1 11h5c3 0 3-4 8-4' stroke='%23a40e26' stroke-dasharray='2 1'/%3E%3C/svg%3E";

/// The policy that a browser follows on a page (Content Security Policy Level 3): its own style and script, and
/// nothing else. What only a header can say is left to whoever serves it.
pub static POLICY: LazyLock<String> = LazyLock::new(|| {
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data:; connect-src 'self'; \
         form-action 'self'; base-uri 'none'",
        hash(STYLE),
        hash(SCRIPT)
    )
});

/// A page with this title, whose parts `nav` leads to, and whose name to `home`.
pub fn page(title: &str, home: &str, nav: &[(&str, &str)], body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(*POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                link rel="icon" href=(ICON);
                title { (text(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                header {
                    h1 { a href=(home) { "Lanekeeper" } }
                    nav aria-label="Parts of this page" {
                        @for (target, name) in nav {
                            a href=(target) { (name) }
                        }
                    }
                }
                main #main tabindex="-1" { (body) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

//! One request from hop to hop: the form that asks for it, a picture, and each hop in words.

use maud::{Markup, html};

use super::{picture::picture, text};
use crate::report::trace::{Line, lines, verdict};
use crate::trace::{Question, Trace};

/// What the form offers, and what was typed into it.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// What was typed; nothing is asked yet where the URL is empty.
    pub question: Question,
    /// The calls, as they were typed.
    pub via: String,
    /// The gateways that there are.
    pub gateways: Vec<String>,
    /// What else the page was asked for, by name.
    pub others: Vec<(String, String)>,
    /// What is wrong with what was typed.
    pub error: Option<String>,
}

/// The part of the page about one request, with what became of it.
pub fn trace_section(form: &Form, trace: Option<&Trace<'_>>) -> Markup {
    html! {
        section #trace aria-labelledby="trace-title" {
            h2 #trace-title { "Follow a request" }
            (fields(form))
            @if let Some(error) = &form.error { p .error role="alert" { (text(error)) } }
            @if let Some(trace) = trace { (followed(trace)) }
        }
    }
}

fn fields(form: &Form) -> Markup {
    let Question {
        url,
        method,
        headers,
        is_grpc,
        gateway,
        from,
        ..
    } = &form.question;
    html! {
        form method="get" action="./#trace" {
            @for (name, value) in &form.others { input type="hidden" name=(name) value=(value); }
            label { "URL" input .wide name="url" required value=(url) placeholder="http://cars.example/" spellcheck="false"; }
            label { "Method" input name="method" size="6" value=(method) placeholder="GET"; }
            label {
                "Headers, one a line"
                textarea name="header" rows="2" cols="24" placeholder="buid: wicph" spellcheck="false" { (headers.join("\n")) }
            }
            label {
                "Sent to the gateway"
                select name="gateway" {
                    option value="" { (text(&no_gateway(&form.gateways))) }
                    @for name in &form.gateways {
                        option value=(name) selected[gateway.as_ref() == Some(name)] { (text(name)) }
                    }
                }
            }
            label {
                "or by the workload"
                input name="from" value=(from.as_deref().unwrap_or_default()) placeholder="cars/app=portal,version=wicph" spellcheck="false";
            }
            label {
                "What applications call then"
                input .wide name="via" value=(form.via) placeholder="as the lane group says, or cars-rti-adapter:20885,…" spellcheck="false";
            }
            label .row { input type="checkbox" name="grpc" value="true" checked[*is_grpc]; "gRPC" }
            button type="submit" { "Follow" }
        }
    }
}

/// What it means to name no gateway.
fn no_gateway(gateways: &[String]) -> String {
    match gateways {
        [] => "there is none".to_owned(),
        [only] => format!("the only one, {only}"),
        _ => "choose one".to_owned(),
    }
}

fn followed(trace: &Trace<'_>) -> Markup {
    let (stays, said) = verdict(trace);
    let nowhere = |_: &_, _: &_| None;
    html! {
        p { span class=(if stays { "mark good" } else { "mark bad" }) { (text(&said)) } }
        div .scrolls role="region" aria-label="The request's way, drawn" tabindex="0" { (picture(trace)) }
        @for (at, hop) in trace.hops.iter().enumerate() {
            h3 { (at + 1) ". " (text(&hop.request.to_string())) }
            dl .hop {
                @for Line { what, text: said, is_bad } in lines(hop, trace.lane.as_ref(), &nowhere) {
                    dt { (what) }
                    dd .leaves[is_bad] { (text(&said)) }
                }
            }
        }
        @for call in &trace.unmade { p .error { "not sent: " (text(&format!("{}{}", call.host, call.path))) } }
    }
}

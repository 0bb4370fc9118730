//! A lane header that is set to a template of another program, which Envoy sends as it stands.
//!
//! ## What it does
//! It looks for `{{ … }}` in what routes to services of a lane group set or add as the lane header. On
//! gateway routes the mutating webhook has turned `{{ request.headers['buid'] }}` into `%REQ(buid)%` before this
//! rule looks.
//!
//! ## Why it matters
//! Envoy's formatters are written `%REQ(name)%`. Anything in braces is plain text to it: every request carries
//! the header `bu: {{ request.headers['buid'] }}`, which is no lane, and is answered 404 or by the default lane.
//!
//! ## Example
//! ```yaml
//! headers:
//!   request:
//!     set: {bu: "{{ request.headers['buid'] }}"}
//! ```
//! Use instead:
//! ```yaml
//! headers:
//!   request:
//!     set: {bu: "%REQ(buid)%"}
//! ```
//!
//! ## References
//! Envoy, "Access logging, command operators" (the same formatters serve header values). Istio checks the
//! syntax of `%…%` only; neither `istioctl analyze` nor Kiali looks at the values.

use super::{Check, Finding, Level, Rule, Subject, field, request_operations};
use crate::resource::{Kind, Resource};
use crate::routing::reached;

/// The rule.
pub(super) const RULE: Rule = Rule {
    code: "LK402",
    name: "literal-template",
    level: Level::Deny,
    kinds: &[Kind::VirtualService],
    source: include_str!("lk402.rs"),
    check,
};

fn check<'w>(check: &Check<'_, 'w>, object: &'w Resource) -> Vec<Finding> {
    let Resource::VirtualService(vs) = object else {
        return Vec::new();
    };
    let view = check.view;
    let mut findings = Vec::new();
    for (index, route) in vs.http.iter().enumerate() {
        let operations = request_operations(route, index);
        let has_template = operations.iter().any(|(_, operations)| {
            operations
                .set
                .iter()
                .chain(operations.add.iter())
                .any(|(_, value)| is_template(value))
        });
        if !has_template {
            continue;
        }
        let hosts = reached(route).map(|(_, to)| view.resolve(&to.destination.host, &vs.meta.namespace));
        let mut headers: Vec<_> = hosts
            .filter_map(|host| check.groups.of_host(&host))
            .map(|lanes| lanes.group.header.clone())
            .collect();
        headers.sort();
        headers.dedup();
        for (path, operations) in operations {
            let set = operations.set.iter().map(|pair| ("set", pair));
            for (verb, (name, value)) in set.chain(operations.add.iter().map(|pair| ("add", pair))) {
                let Some(header) = headers.iter().find(|header| name.eq_ignore_ascii_case(header)) else {
                    continue;
                };
                if !is_template(value) {
                    continue;
                }
                let help = match template_header(value) {
                    Some(source) => format!("write `%REQ({source})%`"),
                    None => "write the lane's name, or Envoy's `%REQ(name)%` to copy a header".to_owned(),
                };
                findings.push(
                    Finding::new(&RULE, object.reference(), format!("{path}.{verb}{}", field(name)))
                        .about(Subject {
                            header: Some(header.clone()),
                            ..Subject::default()
                        })
                        .says(
                            format!("Envoy has no such template and sends `{header}: {value}` as it stands: that names no lane, and the next hop answers 404 or by the default lane"),
                            help,
                        ),
                );
            }
        }
    }
    findings
}

fn is_template(value: &str) -> bool {
    value
        .split_once("{{")
        .is_some_and(|(_, rest)| rest.contains("}}"))
}

/// The header that the template `{{ request.headers['name'] }}` means to copy.
pub(crate) fn template_header(value: &str) -> Option<&str> {
    let inside = value.trim().strip_prefix("{{")?.strip_suffix("}}")?.trim();
    let rest = inside.strip_prefix("request.headers")?.trim();
    let quoted = rest.strip_prefix('[')?.strip_suffix(']')?.trim();
    let name = ['\'', '"']
        .into_iter()
        .find_map(|quote| quoted.strip_prefix(quote)?.strip_suffix(quote))?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$&*+.^_|~-".contains(c);
    (!name.is_empty() && name.chars().all(is_token)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_of_a_template_is_read_whatever_its_quotes_and_spaces() {
        for template in [
            "{{ request.headers['buid'] }}",
            "{{request.headers[\"buid\"]}}",
            " {{ request.headers[ 'buid' ] }} ",
        ] {
            assert_eq!(template_header(template), Some("buid"), "{template}");
        }
        for other in [
            "{{ buid }}",
            "%REQ(buid)%",
            "{{ request.headers['bu id'] }}",
            "{{ request.headers[''] }}",
            "x{{ request.headers['buid'] }}",
        ] {
            assert_eq!(template_header(other), None, "{other}");
        }
    }
}

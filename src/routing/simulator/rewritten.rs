//! What a route makes of the path and the host of a request, and where a redirect leads.

use super::super::header::authority_of;
use crate::resource::{Redirect, RegexRewrite, StringMatch, read_pattern};
use crate::routing::request::split_port;
use crate::routing::{Block, Condition, Request, Route};

/// The request as it leaves the proxy for the destination at `destination`, header operations apart. `by` is the
/// condition that it met (`applyHTTPRouteDestination` in `pilot/pkg/networking/core/route/route.go`).
pub(super) fn rewrite(
    route: &Route<'_>,
    by: Option<Condition<'_>>,
    destination: usize,
    request: &mut Request,
) {
    let of_destination = authority_of(route, Block::Destination(destination));
    let mut authority = authority_of(route, Block::Route);
    if let Some(rewrite) = &route.route.rewrite {
        request.path = match &rewrite.uri_regex_rewrite {
            Some(pattern) => by_pattern(pattern, request),
            None if rewrite.uri.is_empty() => request.path.clone(),
            None => with_query(prefix_rewritten(&rewrite.uri, by, request), request),
        };
        if !rewrite.authority.is_empty() {
            authority = Some(&rewrite.authority);
        }
    }
    // Among several, the chosen destination's counts before the route's; a single one's only where the route has none.
    let authority = if route.route.route.len() > 1 {
        of_destination.or(authority)
    } else {
        authority.or(of_destination)
    };
    if let Some(authority) = authority {
        authority.clone_into(&mut request.authority);
    }
}

fn with_query(path: String, request: &Request) -> String {
    match request.query() {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Envoy puts the new text in the place of the prefix that was matched, and of the whole path where it was matched
/// otherwise; a condition without a path is on the prefix `/`.
fn prefix_rewritten(new: &str, by: Option<Condition<'_>>, request: &Request) -> String {
    let path = request.path_alone();
    let matched = match by.and_then(Condition::uri) {
        None | Some(StringMatch::Present) => 1,
        Some(StringMatch::Prefix(prefix)) => prefix.len(),
        Some(StringMatch::Exact(_) | StringMatch::Regex(_)) => path.len(),
    };
    format!("{new}{}", path.get(matched..).unwrap_or_default())
}

/// Every place that the pattern finds is replaced; `\1` is a group.
fn by_pattern(rewrite: &RegexRewrite, request: &Request) -> String {
    let Some(pattern) = read_pattern(&rewrite.pattern) else {
        return request.path.clone();
    };
    let mut replacement = String::new();
    let mut rest = rewrite.rewrite.chars();
    while let Some(letter) = rest.next() {
        match letter {
            '\\' => match rest.next() {
                Some(digit) if digit.is_ascii_digit() => {
                    replacement.push_str("${");
                    replacement.push(digit);
                    replacement.push('}');
                }
                Some(other) => replacement.push(other),
                None => {}
            },
            '$' => replacement.push_str("$$"),
            other => replacement.push(other),
        }
    }
    let path = pattern.replace_all(request.path_alone().as_bytes(), replacement.as_bytes());
    with_query(String::from_utf8_lossy(&path).into_owned(), request)
}

/// The port that goes without saying.
fn own_port(scheme: &str) -> Option<u32> {
    match scheme {
        "http" => Some(80),
        "https" => Some(443),
        _ => None,
    }
}

/// Whether the request's host comes with the port that goes without saying.
fn names_own_port(request: &Request) -> bool {
    let port = split_port(&request.authority)
        .1
        .and_then(|port| port.parse().ok());
    port.is_some() && port == own_port(&request.scheme)
}

/// The status and the place of a redirect, for a request that came to `port` (`ApplyRedirect`; Envoy's
/// `processRequestHost` keeps the port of the request's host unless another is named).
pub(super) fn redirected(redirect: &Redirect, request: &Request, port: u32) -> (u16, String) {
    let status = match redirect.redirect_code {
        0 => 301,
        code => code,
    };
    let scheme = if redirect.scheme.is_empty() {
        &*request.scheme
    } else {
        &*redirect.scheme
    };
    let written = match redirect.port {
        None if &*redirect.derive_port == "FROM_REQUEST_PORT" => Some(port),
        written => written,
    };
    // What is the scheme's own goes without saying, even where the request's host has another.
    let written = written.filter(|port| own_port(scheme) != Some(*port));
    let host = if !redirect.authority.is_empty() {
        &*redirect.authority
    } else if written.is_some() || (*scheme != *request.scheme && names_own_port(request)) {
        split_port(&request.authority).0
    } else {
        &*request.authority
    };
    let authority = match written {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    };
    let path = if redirect.uri.is_empty() {
        request.path.clone()
    } else if redirect.uri.contains('?') {
        redirect.uri.to_string()
    } else {
        with_query(redirect.uri.to_string(), request)
    };
    (status, format!("{scheme}://{authority}{path}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::VirtualService;

    fn vs(route: &Value) -> VirtualService {
        serde_json::from_value(json!({"metadata": {"name": "a"}, "spec": {"http": [route]}})).unwrap()
    }

    /// The request that a route with one condition makes of a URL.
    fn made(route: &Value, url: &str) -> String {
        let vs = vs(route);
        let of_vs = Route {
            vs: &vs,
            index: 0,
            route: &vs.http[0],
            root: None,
            conditions: Vec::new(),
        };
        let by = vs.http[0]
            .matches
            .first()
            .map(|condition| Condition::own(0, condition));
        let (mut request, _) = Request::get(url).unwrap();
        rewrite(&of_vs, by, 0, &mut request);
        format!("{}{}", request.authority, request.path)
    }

    #[test]
    fn the_matched_part_of_the_path_is_replaced() {
        let of = |condition: Value, uri: &str| json!({"match": [condition], "rewrite": {"uri": uri}, "route": [{"destination": {"host": "a"}}]});
        assert_eq!(
            made(&of(json!({"uri": {"prefix": "/a/"}}), "/b/"), "x/a/c?d"),
            "x/b/c?d"
        );
        assert_eq!(made(&of(json!({"uri": {"exact": "/a"}}), "/b"), "x/a"), "x/b");
        assert_eq!(made(&of(json!({"uri": {"regex": "/a.*"}}), "/b"), "x/abc"), "x/b");
        assert_eq!(made(&of(json!({"headers": {"bu": {}}}), "/v2/"), "x/a"), "x/v2/a");
    }

    #[test]
    fn a_pattern_in_the_path_is_replaced_by_groups() {
        let pattern = json!({"rewrite": {"uri": "/no", "uriRegexRewrite": {"match": "^/(\\w+)/(.*)$", "rewrite": "/\\2/$\\1"}},
            "route": [{"destination": {"host": "a"}}]});
        assert_eq!(made(&pattern, "x/a/b?c"), "x/b/$a?c");
    }

    #[test]
    fn the_hosts_rewrite_and_the_routes_headers_come_before_a_single_destinations() {
        let to = |authority: &str| json!({"destination": {"host": "a"}, "weight": 1, "headers": {"request": {"set": {":authority": authority}}}});
        let one = json!({"route": [to("d")]});
        assert_eq!(made(&one, "x/"), "d/");
        let of_route = json!({"headers": {"request": {"set": {"Host": "r"}}}, "route": [to("d")]});
        assert_eq!(made(&of_route, "x/"), "r/");
        let rewritten = json!({"rewrite": {"authority": "w"}, "headers": {"request": {"set": {"host": "r"}}}, "route": [to("d")]});
        assert_eq!(made(&rewritten, "x/"), "w/");
        let several = json!({"rewrite": {"authority": "w"}, "route": [to("d"), to("e")]});
        assert_eq!(made(&several, "x/"), "d/");
    }

    #[test]
    fn a_redirect_keeps_what_it_does_not_name() {
        let place = |redirect: Value, url: &str| {
            let (request, port) = Request::get(url).unwrap();
            redirected(&serde_json::from_value(redirect).unwrap(), &request, port)
        };
        assert_eq!(
            place(json!({"uri": "/b"}), "x:81/a?q"),
            (301, "http://x:81/b?q".to_owned())
        );
        assert_eq!(
            place(json!({"scheme": "https", "redirectCode": 308}), "x/a"),
            (308, "https://x/a".to_owned())
        );
        assert_eq!(
            place(json!({"scheme": "https"}), "x:8080/a"),
            (301, "https://x:8080/a".to_owned())
        );
        assert_eq!(
            place(json!({"scheme": "https"}), "x:80/a"),
            (301, "https://x/a".to_owned())
        );
        assert_eq!(
            place(json!({"port": 80}), "x:8080/a"),
            (301, "http://x:8080/a".to_owned())
        );
        assert_eq!(
            place(json!({"authority": "y", "port": 8080}), "x/a"),
            (301, "http://y:8080/a".to_owned())
        );
        assert_eq!(
            place(
                json!({"derivePort": "FROM_REQUEST_PORT", "authority": "y"}),
                "x:81/a"
            ),
            (301, "http://y:81/a".to_owned())
        );
    }
}

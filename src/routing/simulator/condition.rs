//! Whether a request meets a condition, and if not, why.

use std::fmt;

use crate::resource::{HttpMatch, StringMatch};
use crate::routing::{Condition, Request, is_presence};

/// The first thing that a request lacks for a condition.
#[derive(Debug, Clone, PartialEq)]
pub enum Unmet<'w> {
    /// The path is another one.
    Path(&'w StringMatch),
    /// The method.
    Method(&'w StringMatch),
    /// The host with its port.
    Authority(&'w StringMatch),
    /// The scheme.
    Scheme(&'w StringMatch),
    /// A header is another, or is not there.
    Header {
        /// Its name.
        name: &'w str,
        /// What is asked of it.
        asked: &'w StringMatch,
        /// What the request has.
        found: Option<String>,
    },
    /// A header that is not to be so is.
    Without {
        /// Its name.
        name: &'w str,
        /// What it must not be.
        refused: &'w StringMatch,
        /// What the request has.
        found: Option<String>,
    },
    /// A query parameter.
    Query {
        /// Its name.
        name: &'w str,
        /// What is asked of it.
        asked: &'w StringMatch,
    },
}

impl fmt::Display for Unmet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = |found: &Option<String>| match found {
            Some(value) => format!("it is `{value}`"),
            None => "there is none".to_owned(),
        };
        match self {
            Self::Path(asked) => write!(f, "the path has to be {}", Asked(asked)),
            Self::Method(asked) => write!(f, "the method has to be {}", Asked(asked)),
            Self::Authority(asked) => write!(f, "the host has to be {}", Asked(asked)),
            Self::Scheme(asked) => write!(f, "the scheme has to be {}", Asked(asked)),
            Self::Header {
                name,
                asked,
                found: value,
            } if is_presence(asked) => {
                write!(f, "header `{name}` has to be there")
            }
            Self::Header {
                name,
                asked,
                found: value,
            } => {
                write!(
                    f,
                    "header `{name}` has to be {}, and {}",
                    Asked(asked),
                    found(value)
                )
            }
            Self::Without { name, refused, .. } if is_presence(refused) => {
                write!(f, "header `{name}` must not be there")
            }
            Self::Without {
                name,
                refused,
                found: Some(value),
            } => {
                write!(
                    f,
                    "header `{name}` must not be {}, and it is `{value}`",
                    Asked(refused)
                )
            }
            Self::Without {
                name,
                refused,
                found: None,
            } => {
                write!(
                    f,
                    "header `{name}` must not be {}, and one that is not there reads as empty",
                    Asked(refused)
                )
            }
            Self::Query { name, asked } => write!(f, "query parameter `{name}` has to be {}", Asked(asked)),
        }
    }
}

/// What a match asks for, in words.
struct Asked<'a>(&'a StringMatch);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            StringMatch::Exact(text) => write!(f, "`{text}`"),
            StringMatch::Prefix(text) => write!(f, "`{text}…`"),
            StringMatch::Regex(text) if self.0.matches("").is_none() => {
                write!(f, "like /{text}/, which cannot be read here")
            }
            StringMatch::Regex(text) => write!(f, "like /{text}/"),
            StringMatch::Present => f.write_str("there"),
        }
    }
}

/// What `request` lacks for `condition`; `None`: it meets it. Port, source and gateways have been looked at before
/// (`TranslateRouteMatch` in `pilot/pkg/networking/core/route/route.go`; Envoy takes paths without their query, and
/// looks at each value of a header that is sent more than once: before Envoy 1.39 it took them for one, joined by commas).
/// A request does not meet what is asked of it by a pattern that cannot be read, in `withoutHeaders` neither: that is told.
pub(super) fn unmet<'w>(condition: Condition<'w>, request: &Request) -> Option<Unmet<'w>> {
    let own = condition.own.map(|(_, part)| part);
    condition.parts().find_map(|part| unmet_part(part, own, request))
}

fn unmet_part<'w>(part: &'w HttpMatch, own: Option<&HttpMatch>, request: &Request) -> Option<Unmet<'w>> {
    if let Some(asked) = &part.uri
        && !is_path(asked, part.ignore_uri_case, request.path_alone())
    {
        return Some(Unmet::Path(asked));
    }
    for (name, asked) in part.headers.iter() {
        let mut values = request.values(name).into_iter();
        if !values.any(|value| is_presence(asked) || asked.matches(value) == Some(true)) {
            let found = request.header(name);
            return Some(Unmet::Header { name, asked, found });
        }
    }
    for (name, refused) in part.without_headers.iter() {
        // Of one name, the delegate's replaces the root's.
        let is_replaced = own.is_some_and(|own| {
            !std::ptr::eq(own, part) && own.without_headers.iter().any(|(other, _)| other == name)
        });
        let mut values = request.values(name);
        if values.is_empty() && !is_presence(refused) {
            values.push("");
        }
        let is_so = |value: &&str| is_presence(refused) || refused.matches(value) != Some(false);
        if values.iter().any(is_so) && !is_replaced {
            let found = request.header(name);
            return Some(Unmet::Without { name, refused, found });
        }
    }
    let is_unmet =
        |asked: &&StringMatch, value: &str| !is_presence(asked) && asked.matches(value) != Some(true);
    if let Some(asked) = part
        .method
        .as_ref()
        .filter(|asked| is_unmet(asked, &request.method))
    {
        return Some(Unmet::Method(asked));
    }
    if let Some(asked) = part
        .authority
        .as_ref()
        .filter(|asked| is_unmet(asked, &request.authority))
    {
        return Some(Unmet::Authority(asked));
    }
    if let Some(asked) = part
        .scheme
        .as_ref()
        .filter(|asked| is_unmet(asked, &request.scheme))
    {
        return Some(Unmet::Scheme(asked));
    }
    part.query_params.iter().find_map(|(name, asked)| {
        let is_met = request
            .query_param(name)
            .is_some_and(|value| !is_unmet(&asked, value));
        (!is_met).then_some(Unmet::Query { name, asked })
    })
}

fn is_path(asked: &StringMatch, ignores_case: bool, path: &str) -> bool {
    match asked {
        StringMatch::Exact(exact) if ignores_case => exact.eq_ignore_ascii_case(path),
        StringMatch::Prefix(prefix) if ignores_case => path
            .get(..prefix.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix)),
        other => other.matches(path) == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What a request with these headers lacks for a match.
    fn lacks(condition: &Value, url: &str, headers: &[(&str, &str)]) -> Option<String> {
        let condition: HttpMatch = serde_json::from_value(condition.clone()).unwrap();
        let (request, _) = Request::get(url).unwrap();
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.with(name, value));
        unmet(Condition::own(0, &condition), &request).map(|unmet| unmet.to_string())
    }

    fn holds(condition: &Value, url: &str, headers: &[(&str, &str)]) -> bool {
        lacks(condition, url, headers).is_none()
    }

    #[test]
    fn paths_are_matched_without_their_query() {
        assert!(holds(&json!({"uri": {"exact": "/a"}}), "http://x/a?b=c", &[]));
        assert!(holds(&json!({"uri": {"prefix": "/a"}}), "http://x/ab", &[]));
        assert!(holds(&json!({"uri": {"regex": "/a.*c"}}), "http://x/abc", &[]));
        assert!(!holds(&json!({"uri": {"regex": "/a"}}), "http://x/abc", &[]));
        assert!(!holds(&json!({"uri": {"exact": "/A"}}), "http://x/a", &[]));
        assert!(holds(
            &json!({"uri": {"exact": "/A"}, "ignoreUriCase": true}),
            "http://x/a",
            &[]
        ));
        assert!(holds(
            &json!({"uri": {"prefix": "/A"}, "ignoreUriCase": true}),
            "http://x/ab",
            &[]
        ));
    }

    #[test]
    fn a_header_has_to_be_there_whatever_the_pattern() {
        let any = json!({"headers": {"bu": {"regex": ".*"}}});
        assert_eq!(
            lacks(&any, "x", &[]).unwrap(),
            "header `bu` has to be like /.*/, and there is none"
        );
        assert!(holds(&any, "x", &[("bu", "")]));
        let present = json!({"headers": {"bu": {}}});
        assert!(!holds(&present, "x", &[]) && holds(&present, "x", &[("BU", "y")]));
        let star = json!({"headers": {"bu": {"regex": "*"}}});
        assert!(!holds(&star, "x", &[]) && holds(&star, "x", &[("bu", "y")]));
    }

    #[test]
    fn one_of_the_values_of_a_header_is_enough() {
        let twice = [("bu", "a"), ("bu", "b")];
        assert!(holds(&json!({"headers": {"bu": {"exact": "b"}}}), "x", &twice));
        assert!(!holds(&json!({"headers": {"bu": {"exact": "a,b"}}}), "x", &twice));
        assert!(holds(
            &json!({"headers": {"bu": {"exact": "a,b"}}}),
            "x",
            &[("bu", "a,b")]
        ));
        assert!(!holds(
            &json!({"withoutHeaders": {"bu": {"exact": "b"}}}),
            "x",
            &twice
        ));
        assert!(holds(
            &json!({"withoutHeaders": {"bu": {"exact": "a,b"}}}),
            "x",
            &twice
        ));
    }

    #[test]
    fn without_headers_reads_a_missing_header_as_empty_unless_its_presence_is_asked_for() {
        let any = json!({"withoutHeaders": {"bu": {"regex": ".*"}}});
        assert!(!holds(&any, "x", &[]) && !holds(&any, "x", &[("bu", "y")]));
        let present = json!({"withoutHeaders": {"bu": {}}});
        assert!(holds(&present, "x", &[]) && !holds(&present, "x", &[("bu", "")]));
        let lane = json!({"withoutHeaders": {"bu": {"exact": "wicph"}}});
        assert!(holds(&lane, "x", &[]) && holds(&lane, "x", &[("bu", "y")]));
        assert_eq!(
            lacks(&lane, "x", &[("bu", "wicph")]).unwrap(),
            "header `bu` must not be `wicph`, and it is `wicph`"
        );
    }

    #[test]
    fn what_cannot_be_read_is_not_met_and_said() {
        let unread = json!({"regex": r"\Qx\E"});
        let told = |condition: &Value| lacks(condition, "x", &[("bu", "x")]).unwrap();
        assert_eq!(
            told(&json!({"headers": {"bu": unread}})),
            r"header `bu` has to be like /\Qx\E/, which cannot be read here, and it is `x`"
        );
        assert_eq!(
            told(&json!({"withoutHeaders": {"bu": unread}})),
            r"header `bu` must not be like /\Qx\E/, which cannot be read here, and it is `x`"
        );
    }

    #[test]
    fn method_host_scheme_and_query_count_too() {
        assert!(!holds(&json!({"method": {"exact": "POST"}}), "x", &[]));
        assert!(holds(
            &json!({"authority": {"exact": "x:81"}}),
            "http://x:81/",
            &[]
        ));
        assert!(!holds(&json!({"authority": {"exact": "x"}}), "http://x:81/", &[]));
        assert!(!holds(&json!({"scheme": {"exact": "https"}}), "x", &[]));
        let query = json!({"queryParams": {"lane": {"prefix": "wi"}}});
        assert!(
            holds(&query, "x?lane=wicph", &[])
                && !holds(&query, "x?lane=wtchk", &[])
                && !holds(&query, "x", &[])
        );
        assert!(holds(&json!({"queryParams": {"lane": {}}}), "x?lane", &[]));
    }
}

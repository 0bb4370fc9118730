//! What shows that a route is for gRPC.

use std::sync::LazyLock;

use regex::Regex;

use super::{Condition, Route};
use crate::resource::StringMatch;

/// A condition that only gRPC requests, or hardly any others, meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GrpcSign {
    /// A path like `/package.Service/`: it looks like gRPC.
    Path,
    /// The content type `application/grpc-web…`: its callers may use HTTP/1.1.
    WebContentType,
    /// The content type `application/grpc` and what may follow it (`+proto`).
    ContentType,
}

/// The surest sign among the conditions of `route`.
pub fn grpc_sign(route: &Route<'_>) -> Option<GrpcSign> {
    let signs = route
        .conditions
        .iter()
        .filter_map(|condition| sign_of(*condition));
    signs.max()
}

/// `/package.Service` and what follows (gRPC over HTTP2, "Path").
static SERVICE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^/(?:[a-z_][a-z0-9_]*\.)+[A-Z][A-Za-z0-9_]*(?:/|$)").ok());

fn sign_of(condition: Condition<'_>) -> Option<GrpcSign> {
    if let Some(StringMatch::Exact(value) | StringMatch::Prefix(value) | StringMatch::Regex(value)) =
        condition.header("content-type")
    {
        if value.starts_with("application/grpc-web") {
            return Some(GrpcSign::WebContentType);
        }
        if value.starts_with("application/grpc") {
            return Some(GrpcSign::ContentType);
        }
    }
    match condition.uri() {
        Some(StringMatch::Exact(path) | StringMatch::Prefix(path)) => SERVICE
            .as_ref()
            .is_some_and(|service| service.is_match(path))
            .then_some(GrpcSign::Path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::HttpMatch;

    fn sign(condition: Value) -> Option<GrpcSign> {
        let condition: HttpMatch = serde_json::from_value(condition).unwrap();
        sign_of(Condition::own(0, &condition))
    }

    #[test]
    fn a_grpc_path_names_a_package_and_a_service() {
        let path = |prefix: &str| sign(json!({"uri": {"prefix": prefix}})).is_some();
        assert!(path("/cars.v1.Adapter/"));
        assert!(path("/cars.Adapter"));
        assert!(!path("/cars/adapter"));
        assert!(!path("/index.html"));
        assert!(!path("/"));
    }

    #[test]
    fn a_content_type_tells_grpc_from_grpc_web() {
        let typed = |value: &str| sign(json!({"headers": {"Content-Type": {"prefix": value}}}));
        assert_eq!(typed("application/grpc"), Some(GrpcSign::ContentType));
        assert_eq!(typed("application/grpc+proto"), Some(GrpcSign::ContentType));
        assert_eq!(typed("application/grpc-web"), Some(GrpcSign::WebContentType));
        assert_eq!(typed("application/json"), None);
    }
}

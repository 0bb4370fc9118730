//! A request as a proxy gets it.

use std::fmt;

/// A request: what routes look at, and what they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host, with the port if the caller writes one.
    pub authority: String,
    /// The path with the query.
    pub path: String,
    /// The headers in order, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whether the caller speaks HTTP/2.
    pub http2: bool,
}

/// What is no URL of a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no URL of a request; it looks like http://host:8080/path")]
pub struct NotAUrl(String);

impl Request {
    /// A GET of a URL (`http://host:port/path?query`; the scheme may be missing), and the port that is called: the one
    /// that is written, else that of the scheme.
    pub fn get(url: &str) -> Result<(Self, u32), NotAUrl> {
        let wrong = || NotAUrl(url.to_owned());
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        let default = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return Err(wrong()),
        };
        let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = match path.chars().next() {
            None => "/".to_owned(),
            Some('?') => format!("/{path}"),
            Some(_) => path.to_owned(),
        };
        let (host, port) = split_port(authority);
        let port = match port {
            None => default,
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?
                .into(),
        };
        let is_host = |text: &str| {
            let is_address = text.starts_with('[') && text.ends_with(']');
            !text.is_empty()
                && !text.contains(['@', '\\', '%'])
                && !text.contains(char::is_whitespace)
                && (is_address || !text.contains(['[', ']', ':']))
        };
        if !is_host(host) || path.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let request = Self {
            method: "GET".to_owned(),
            scheme,
            authority: authority.to_owned(),
            path,
            headers: Vec::new(),
            http2: false,
        };
        Ok((request, port))
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// The host without the port, in lower case: Envoy looks at no case of it.
    pub fn host(&self) -> String {
        split_port(&self.authority).0.to_ascii_lowercase()
    }

    /// The values of a header (in any case), in order; also of the pseudo-headers `:path`, `:method`, `:authority` and
    /// `:scheme`.
    pub fn values(&self, name: &str) -> Vec<&str> {
        match name {
            ":path" => return vec![&self.path],
            ":method" => return vec![&self.method],
            ":authority" => return vec![&self.authority],
            ":scheme" => return vec![&self.scheme],
            _ if name.eq_ignore_ascii_case("host") => return vec![&self.authority],
            _ => {}
        }
        let values = self
            .headers
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name));
        values.map(|(_, value)| value.as_str()).collect()
    }

    /// The same joined by commas; `None`: there is none.
    pub fn header(&self, name: &str) -> Option<String> {
        let values = self.values(name);
        (!values.is_empty()).then(|| values.join(","))
    }

    /// Takes a header away, and puts another value in its place where there is one.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.headers
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        if let Some(value) = value {
            self.headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }

    /// The path without the query.
    pub fn path_alone(&self) -> &str {
        self.path.split_once('?').map_or(&*self.path, |(path, _)| path)
    }

    /// The query; `None`: there is no `?`.
    pub fn query(&self) -> Option<&str> {
        self.path.split_once('?').map(|(_, query)| query)
    }

    /// The first value of a query parameter, as it is written.
    pub fn query_param(&self, name: &str) -> Option<&str> {
        let mut pairs = self
            .query()?
            .split('&')
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Whether it is a call by gRPC.
    pub fn is_grpc(&self) -> bool {
        let is_grpc = |value: String| {
            let rest = value.strip_prefix("application/grpc");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
        };
        self.header("content-type").is_some_and(is_grpc)
    }
}

/// `GET http://host/path`
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}://{}{}",
            self.method, self.scheme, self.authority, self.path
        )
    }
}

/// The host and the port of an authority; an address of IPv6 stands in brackets.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_into_a_request_and_the_port_that_it_calls() {
        let read = |url: &str| {
            let (request, port) = Request::get(url).unwrap();
            (request.to_string(), port)
        };
        let get = |text: &str| format!("GET {text}");
        assert_eq!(read("http://cars.example"), (get("http://cars.example/"), 80));
        assert_eq!(read("https://x.y/a?b=c#d"), (get("https://x.y/a?b=c"), 443));
        assert_eq!(read("portal:8080?x"), (get("http://portal:8080/?x"), 8080));
        assert_eq!(read("http://[::1]:81/"), (get("http://[::1]:81/"), 81));
        for url in [
            "",
            "http://",
            "ftp://x/",
            "http://x:0/",
            "http://x:port/",
            "http://x:99999/",
            "a b",
            "http://u@x/",
        ] {
            assert_eq!(Request::get(url), Err(NotAUrl(url.to_owned())), "{url}");
        }
    }

    #[test]
    fn headers_are_found_in_any_case_and_joined() {
        let (request, _) = Request::get("http://Portal:8080/a?x=1&y&x=2").unwrap();
        let request = request.with("BU", "a").with("bu", "b");
        assert_eq!(request.header("Bu").as_deref(), Some("a,b"));
        assert_eq!(request.header("host").as_deref(), Some("Portal:8080"));
        assert_eq!(
            (request.host(), request.path_alone()),
            ("portal".to_owned(), "/a")
        );
        assert_eq!(
            (
                request.query_param("x"),
                request.query_param("y"),
                request.query_param("z")
            ),
            (Some("1"), Some(""), None)
        );
    }

    #[test]
    fn grpc_is_told_by_the_content_type() {
        let is_grpc = |value: &str| Request::get("x").unwrap().0.with("Content-Type", value).is_grpc();
        assert!(
            is_grpc("application/grpc")
                && is_grpc("application/grpc+proto")
                && is_grpc("application/grpc; x")
        );
        assert!(!is_grpc("application/grpc-web") && !is_grpc("application/json"));
    }
}

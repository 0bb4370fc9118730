//! What is asked for in the query of a URL.

use axum::http::Uri;

use crate::audit::Reported;
use crate::report::Form;
use crate::trace::{Call, Question};

/// The pairs of a query, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(uri: &Uri) -> Self {
        let text = uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(text.as_bytes()).into_owned().collect())
    }

    /// The first value of a name that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All values of a name that are not empty.
    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self
            .0
            .iter()
            .filter(move |(known, value)| known == name && !value.is_empty());
        named.map(|(_, value)| value.as_str())
    }

    /// Whether a finding is asked for: by `rule` (code or name), `namespace` and `level`.
    pub(super) fn takes(&self, one: &Reported) -> bool {
        let finding = &one.finding;
        let is = |name: &str, values: &[&str]| {
            let mut asked = self.all(name).peekable();
            asked.peek().is_none()
                || asked.any(|asked| values.iter().any(|value| value.eq_ignore_ascii_case(asked)))
        };
        is("rule", &[finding.code, finding.rule])
            && is("namespace", &[&finding.object.namespace])
            && is("level", &[&one.level.to_string()])
    }

    /// The request that is to be followed, as the form shows it; `None`: none is asked for.
    pub(super) fn question(&self, gateways: Vec<String>) -> Form {
        let text = |name: &str| self.get(name).map(|value| value.trim().to_owned());
        let via = text("via").unwrap_or_default();
        let calls = via.split(',').map(str::trim).filter(|call| !call.is_empty());
        let calls: Result<Vec<Call>, _> = calls.map(str::parse).collect();
        let (calls, error) = match calls {
            Ok(calls) => (calls, None),
            Err(error) => (Vec::new(), Some(format!("via: {error}"))),
        };
        let headers = self.all("header").flat_map(str::lines).map(str::trim);
        Form {
            question: Question {
                url: text("url").unwrap_or_default(),
                method: text("method").unwrap_or_default(),
                headers: headers
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect(),
                is_grpc: self.get("grpc").is_some_and(|grpc| grpc != "false"),
                gateway: text("gateway"),
                from: text("from"),
                via: (!calls.is_empty()).then_some(calls),
            },
            via,
            gateways,
            error,
        }
    }
}

/// A query of these pairs, as a link has it.
pub(super) fn written<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

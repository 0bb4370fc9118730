//! What is asked for in the query of a URL.

use axum::http::Uri;

use crate::audit::Reported;
use crate::report::Form;
use crate::rule;
use crate::trace::{Call, Question, Trace, follow};
use crate::world::{View, World};

/// The parameters of a trace.
pub(super) const OF_TRACE: [&str; 7] = ["url", "method", "header", "gateway", "from", "via", "grpc"];

/// The parameters that choose findings.
pub(super) const OF_FINDINGS: [&str; 3] = ["rule", "namespace", "level"];

/// How many calls are followed.
const MOST_CALLS: usize = 64;

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

    /// The pairs whose names are none of these.
    pub(super) fn without<'q>(&'q self, names: &'q [&str]) -> Vec<(&'q str, &'q str)> {
        let others = self
            .0
            .iter()
            .filter(|(name, value)| !names.contains(&name.as_str()) && !value.is_empty());
        others
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// The values of a filter; rules by their codes, however they are named.
    pub(super) fn chosen(&self, name: &str) -> Vec<String> {
        let chosen = self.all(name);
        let known = |value: &str| match name {
            "rule" => rule::find(value).map_or_else(|| value.to_uppercase(), |rule| rule.code.to_owned()),
            _ => value.to_owned(),
        };
        chosen.map(known).collect()
    }

    /// What tells whether a finding is asked for: by `rule` (code or name), `namespace` and `level`.
    pub(super) fn filter(&self) -> impl Fn(&Reported) -> bool + use<> {
        let [rules, namespaces, levels] = OF_FINDINGS.map(|name| self.chosen(name));
        let is = |chosen: &[String], value: &str| {
            chosen.is_empty() || chosen.iter().any(|chosen| chosen.eq_ignore_ascii_case(value))
        };
        move |one| {
            let finding = &one.finding;
            is(&rules, finding.code)
                && is(&namespaces, &finding.object.namespace)
                && is(&levels, &one.level.to_string())
        }
    }

    /// The request that is to be followed, as the form shows it; none is asked for where the URL is empty.
    pub(super) fn question(&self, gateways: Vec<String>) -> Form {
        let text = |name: &str| self.get(name).map(|value| value.trim().to_owned());
        let via = text("via").unwrap_or_default();
        let calls = via.split(',').map(str::trim).filter(|call| !call.is_empty());
        let calls: Result<Vec<Call>, _> = calls.map(str::parse).collect();
        let (calls, error) = match calls {
            Ok(calls) if calls.len() > MOST_CALLS => (
                Vec::new(),
                Some(format!(
                    "via: {} calls, of which {MOST_CALLS} are followed at most",
                    calls.len()
                )),
            ),
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
                is_grpc: self.get("grpc") == Some("true"),
                gateway: text("gateway"),
                from: text("from"),
                via: (!calls.is_empty()).then_some(calls),
            },
            via,
            gateways,
            others: self
                .without(&OF_TRACE)
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            error,
        }
    }
}

/// A query that asks for a trace.
pub(super) fn of_question(question: &Question) -> String {
    let optional = [("gateway", &question.gateway), ("from", &question.from)];
    let mut pairs = vec![("url", question.url.as_str()), ("method", &question.method)];
    pairs.extend(question.headers.iter().map(|header| ("header", header.as_str())));
    pairs.extend(
        optional
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?))),
    );
    pairs.extend(question.is_grpc.then_some(("grpc", "true")));
    written(pairs)
}

/// A query of these pairs, as a link has it.
pub(super) fn written<'p>(pairs: impl IntoIterator<Item = (&'p str, &'p str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}

/// The request of a form, followed; or why it cannot be.
pub(super) fn followed<'w>(form: &Form, view: &View<'w>, world: &World) -> Result<Trace<'w>, String> {
    if let Some(error) = &form.error {
        return Err(error.clone());
    }
    let start = form
        .question
        .start(view, world)
        .map_err(|unclear| unclear.to_string())?;
    Ok(follow(view, start, form.question.via.as_deref()))
}

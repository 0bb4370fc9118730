//! What of a list of routes can take the requests of a condition that comes after it.

use std::borrow::Cow;
use std::cell::{OnceCell, RefCell};
use std::collections::BTreeSet;

use hashbrown::HashMap;

use super::cover::{covers, is_every_path, is_presence};
use super::{Comparisons, Condition, Context, Patterns, Route, Weight};
use crate::resource::StringMatch;

/// The conditions of a list of routes, by what another has to ask for so that they can take its requests: those with
/// another path, or another value of a header, are not compared with it.
#[derive(Debug)]
pub struct Takers<'h, 'w> {
    all: Vec<Taker<'h, 'w>>,
    /// Numbers for what may be needed ([`needed_path`], [`needed_header`]), from 1 on; 0: nothing.
    needs: HashMap<Need<'w>, usize>,
    /// How long the prefixes of paths are.
    prefixes: BTreeSet<usize>,
    by_needs: HashMap<(usize, usize), Vec<usize>>,
    patterns: RefCell<Patterns>,
}

/// One condition of a route, or a route that has none.
#[derive(Debug)]
struct Taker<'h, 'w> {
    /// The place of its route in the list.
    at: usize,
    route: &'h Route<'w>,
    condition: Option<(Condition<'w>, Weight)>,
    /// Whether its patterns are read: it is found out when it is needed.
    is_read: OnceCell<bool>,
}

/// More would have to be compared than is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMuch;

impl<'h, 'w> Takers<'h, 'w> {
    /// The takers of a list.
    pub fn of(routes: &'h [Route<'w>]) -> Self {
        let mut takers = Self {
            all: Vec::new(),
            needs: HashMap::new(),
            prefixes: BTreeSet::new(),
            by_needs: HashMap::new(),
            patterns: RefCell::default(),
        };
        for (at, route) in routes.iter().enumerate() {
            if route.conditions.is_empty() {
                takers.add(at, route, None);
            }
            for condition in &route.conditions {
                takers.add(at, route, Some(*condition));
            }
        }
        takers
    }

    fn add(&mut self, at: usize, route: &'h Route<'w>, condition: Option<Condition<'w>>) {
        let path = condition.and_then(needed_path);
        if let Some(Need::Below(prefix)) = &path {
            self.prefixes.insert(prefix.len());
        }
        let header = condition.and_then(needed_header);
        let needs = [path, header].map(|need| {
            let next = self.needs.len() + 1;
            need.map_or(0, |need| *self.needs.entry(need).or_insert(next))
        });
        self.by_needs
            .entry(needs.into())
            .or_default()
            .push(self.all.len());
        self.all.push(Taker {
            at,
            route,
            condition: condition.map(|condition| (condition, Weight::of(condition))),
            is_read: OnceCell::new(),
        });
    }

    /// The first route, of the first `before` of the list, that takes every request of a condition of `route`; what its
    /// own route has does not count.
    ///
    /// # Errors
    ///
    /// If the comparisons end, or a pattern that counts is not read, before there is one.
    pub fn taker_of(
        &self,
        before: usize,
        (route, condition): (&Route<'_>, Condition<'_>),
        context: Context<'_>,
        comparisons: &Comparisons,
    ) -> Result<Option<&'h Route<'w>>, TooMuch> {
        let mut is_whole = true;
        let narrow = Weight::of(condition);
        for at in self.candidates(before, condition, comparisons)? {
            let Some(taker) = self.all.get(at) else { continue };
            if taker.route.is_of(route.vs) && taker.route.index == route.index {
                continue;
            }
            let Some((wide, weight)) = taker.condition else {
                return Ok(Some(taker.route));
            };
            if !comparisons.takes(weight.against(narrow)) {
                return Err(TooMuch);
            }
            if !*taker
                .is_read
                .get_or_init(|| self.patterns.borrow_mut().take(wide.texts()))
            {
                is_whole = false;
            } else if covers(wide, condition, context) {
                return Ok(Some(taker.route));
            }
        }
        if is_whole { Ok(None) } else { Err(TooMuch) }
    }

    /// The places of what asks for nothing that the condition does not ask for, in order.
    fn candidates(
        &self,
        before: usize,
        condition: Condition<'_>,
        comparisons: &Comparisons,
    ) -> Result<Vec<usize>, TooMuch> {
        let asked: usize = condition.parts().map(|part| part.headers.len()).sum();
        if !comparisons.takes(asked) {
            return Err(TooMuch);
        }
        let (paths, headers) = (self.paths_of(condition, comparisons)?, self.headers_of(condition));
        if !comparisons.takes(paths.len() * headers.len()) {
            return Err(TooMuch);
        }
        let mut found = Vec::new();
        for path in &paths {
            for header in &headers {
                let listed = self
                    .by_needs
                    .get(&(*path, *header))
                    .map_or(&[][..], Vec::as_slice);
                let earlier =
                    listed.partition_point(|at| self.all.get(*at).is_some_and(|taker| taker.at < before));
                if !comparisons.takes(earlier) {
                    return Err(TooMuch);
                }
                found.extend(listed.iter().take(earlier));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }

    /// What is needed of paths that the condition's satisfy.
    fn paths_of(&self, condition: Condition<'_>, comparisons: &Comparisons) -> Result<Vec<usize>, TooMuch> {
        let mut found = vec![0];
        for uri in condition.parts().filter_map(|part| part.uri.as_ref()) {
            if !matches!(uri, StringMatch::Prefix(_)) {
                found.extend(self.needs.get(&Need::Pattern));
            }
            let (StringMatch::Exact(text) | StringMatch::Prefix(text)) = uri else {
                continue;
            };
            let text = lowercase(text);
            found.extend(self.needs.get(&Need::Exactly(Cow::Borrowed(&text))));
            for prefix in self
                .prefixes
                .range(..=text.len())
                .filter_map(|end| text.get(..*end))
            {
                if !comparisons.takes(1 + prefix.len() / 16) {
                    return Err(TooMuch);
                }
                found.extend(self.needs.get(&Need::Below(Cow::Borrowed(prefix))));
            }
        }
        Ok(found)
    }

    /// What is needed of headers that the condition's satisfy.
    fn headers_of(&self, condition: Condition<'_>) -> Vec<usize> {
        let mut found = vec![0];
        for (name, value) in condition.parts().flat_map(|part| part.headers.iter()) {
            let exact = value.exact().map(|_| header_need(name, Some(value)));
            let needs = [Some(header_need(name, None)), exact];
            found.extend(needs.iter().flatten().filter_map(|need| self.needs.get(need)));
        }
        found
    }
}

/// What a condition has to ask for so that another can cover it.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Need<'t> {
    /// A path that a pattern may be sure of: an exact one, or the same pattern.
    Pattern,
    /// This path, whose case does not matter here.
    Exactly(Cow<'t, str>),
    /// A path that begins so.
    Below(Cow<'t, str>),
    /// This header, with this value if there is one.
    Header(Cow<'t, str>, Option<&'t str>),
}

fn lowercase(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

/// What a condition has to have as its path so that this one can cover it; `None`: it is not known, or nothing.
fn needed_path(condition: Condition<'_>) -> Option<Need<'_>> {
    let mut paths = condition.parts().filter_map(|part| part.uri.as_ref());
    match paths.find(|path| !is_every_path(path) && !is_presence(path))? {
        StringMatch::Exact(path) => Some(Need::Exactly(lowercase(path))),
        StringMatch::Prefix(path) => Some(Need::Below(lowercase(path))),
        StringMatch::Regex(_) => Some(Need::Pattern),
        StringMatch::Present => None,
    }
}

/// The header that a condition has to ask for so that this one can cover it: one with its value, if there is one; `None`:
/// none.
fn needed_header(condition: Condition<'_>) -> Option<Need<'_>> {
    let headers = || condition.parts().flat_map(|part| part.headers.iter());
    let with_value = headers().find(|(_, value)| value.exact().is_some());
    let (name, value) = with_value.or_else(|| headers().next())?;
    Some(header_need(name, Some(value)))
}

/// A header, and its value if it is an exact one.
fn header_need<'t>(name: &'t str, value: Option<&'t StringMatch>) -> Need<'t> {
    Need::Header(lowercase(name), value.and_then(StringMatch::exact))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::resource::{Kind, Resource, VirtualService};
    use crate::routing::{MOST_COMPARED, routes_at};
    use crate::world::{Settings, View, World};

    /// What takes the requests of the last condition of these routes, as a route's place.
    fn taker(http: &Value, comparisons: &Comparisons) -> Result<Option<usize>, TooMuch> {
        let object =
            json!({"metadata": {"namespace": "cars", "name": "a"}, "spec": {"hosts": ["a"], "http": http}});
        let vs = Resource::parse(Kind::VirtualService, object).unwrap();
        let world = World::of(Settings::default(), [vs]);
        let view = View::new(&world);
        let vs: &VirtualService = view.virtual_service(&"cars".into(), &"a".into()).unwrap();
        let routes = routes_at(&view, vs, Context::MESH);
        let takers = Takers::of(&routes);
        let last = routes.last().unwrap();
        let condition = *last.conditions.last().unwrap();
        let found = takers.taker_of(routes.len() - 1, (last, condition), Context::MESH, comparisons);
        found.map(|route| route.map(|route| route.index))
    }

    fn matching(condition: &Value) -> Value {
        json!({"match": [condition]})
    }

    #[test]
    fn whatever_can_cover_a_condition_is_compared_with_it() {
        let narrow = json!({
            "uri": {"exact": "/Cars/1"}, "headers": {"Bu": {"exact": "wicph"}, "x": {"prefix": "y"}}});
        for wide in [
            json!({"uri": {"exact": "/Cars/1"}}),
            json!({"uri": {"prefix": "/cars"}, "ignoreUriCase": true}),
            json!({"uri": {"regex": "/Cars/[0-9]"}}),
            json!({"uri": {"prefix": "/"}, "headers": {"bu": {"prefix": "w"}}}),
            json!({"uri": {"regex": ".*"}, "headers": {"X": {}, "bu": {"exact": "wicph"}}}),
            json!({"headers": {"bu": {"regex": "w.*"}}, "uri": {"prefix": "/C"}}),
            json!({"withoutHeaders": {"bu": {"exact": "wtchk"}}}),
            json!({"uri": {}, "headers": {"x": {"prefix": "y"}}}),
        ] {
            let found = taker(
                &json!([matching(&wide), matching(&narrow)]),
                &Comparisons::default(),
            );
            assert_eq!(found, Ok(Some(0)), "{wide}");
        }
    }

    #[test]
    fn what_cannot_take_a_condition_s_place_uses_nothing_up() {
        let others = (0..3000).map(|at| {
            [
                json!({"uri": {"exact": format!("/other{at}")}}),
                json!({"uri": {"prefix": format!("/other{at}")}}),
                json!({"uri": {"regex": format!("/other{at}.*")}}),
                json!({"headers": {"bu": {"exact": format!("other{at}")}}}),
            ]
        });
        let others: Vec<Value> = others.flatten().collect();
        let http = json!([
            {"match": others},
            matching(&json!({"headers": {"bu": {"prefix": "w"}}})),
            matching(&json!({"headers": {"bu": {"exact": "wicph"}}})),
        ]);
        let comparisons = Comparisons::default();
        assert_eq!(taker(&http, &comparisons), Ok(Some(1)));
        assert!(comparisons.takes(MOST_COMPARED - 100));
    }

    #[test]
    fn it_is_told_where_not_all_is_compared() {
        let narrow = matching(&json!({"uri": {"exact": "/a"}, "headers": {"bu": {"exact": "wicph"}}}));
        let patterns: Vec<Value> = (0..1000)
            .map(|at| json!({"uri": {"regex": format!("/x{at}.*")}}))
            .collect();
        let http = json!([{"match": patterns}, narrow]);
        assert_eq!(taker(&http, &Comparisons::default()), Err(TooMuch));
        // Only patterns are too many.
        let http = json!([{"match": patterns}, matching(&json!({"uri": {"prefix": "/a"}})), narrow]);
        assert_eq!(taker(&http, &Comparisons::default()), Ok(Some(1)));

        let headers = (0..100).map(|at| (format!("x-{at}"), json!({"exact": "y"})));
        let headers: serde_json::Map<String, Value> = headers.collect();
        let wide: Vec<Value> = (0..1000)
            .map(|at| {
                let mut headers = headers.clone();
                headers.insert("z".to_owned(), json!({"exact": at.to_string()}));
                json!({"headers": headers})
            })
            .collect();
        let http = json!([{"match": wide}, matching(&json!({"headers": headers}))]);
        assert_eq!(taker(&http, &Comparisons::default()), Err(TooMuch));
    }
}

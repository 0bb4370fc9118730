//! The plugin's configuration: read leniently, meant strictly.
//!
//! A plugin whose first configuration is refused makes a new pod answer 500 to everything. So whatever has one clear
//! meaning is taken (`1024`, `1024.0` and `"1024"`, any case of a format, keys that are not known), and only what
//! would break requests or has no meaning is an error. The webhook and `lanekeeper check` read with this same parser.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use crate::baggage::BAGGAGE;
use crate::json::{self, Value};
use crate::lane::{is_lane, is_token};
use crate::trace_id::{Format, REQUEST_ID, TRACEPARENT};

/// What the filter is told.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a key of the configuration")]
pub struct Config {
    /// `lane_header`: the header that carries the lane, lower case.
    pub lane_header: String,
    /// `traffic_lane`: the lane of requests that name none; `None`: they get none.
    pub default_lane: Option<String>,
    /// `cache_size`: how many traces are kept at most, in all workers of a proxy together.
    pub cache_size: u32,
    /// `type`: the formats of trace ids, the first found counts.
    pub formats: Vec<Format>,
    /// `trace_header`: the header of [`Format::Custom`], lower case.
    pub trace_header: Option<String>,
    /// `request_id_fallback`: whether `x-request-id` counts where no trace id is found.
    pub request_id_fallback: bool,
    /// `inbound_default`: whether the application is given the default lane's header too.
    pub inbound_default: bool,
    /// `lanes`: the only lanes that count; empty: every valid name does.
    pub lanes: Vec<String>,
    /// `direction`: which side of the proxy the plugin is on.
    pub direction: Direction,
    /// `baggage`: whether the lane is handed to the application, and taken from it, in `baggage` too.
    pub baggage: bool,
    /// `generate_trace`: whether a request with a lane and without a trace id is given a `traceparent`.
    pub generate_trace: bool,
    /// `max_lane_len`: the longest lane, in bytes.
    pub max_lane_len: usize,
    /// `pin_timeout`: after how many seconds a stream that has not ended no longer keeps its trace in a full cache.
    pub pin_timeout: u32,
    /// What is written and has no effect.
    pub notes: Vec<Note>,
}

/// A key that has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The key.
    pub key: String,
    /// Why, as the end of a sentence whose subject is the key.
    pub problem: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.problem)
    }
}

/// Which requests a plugin sees.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Asked of Envoy for each request.
    #[default]
    Auto,
    /// Those that come to the application.
    Inbound,
    /// Those that the application sends, and those at a gateway.
    Outbound,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The key, as in `lanes[2]`; empty where the whole is no configuration.
    pub key: String,
    /// What was found and what is expected, as the end of a sentence whose subject is the key.
    pub problem: String,
    /// Whether the key is written at all.
    pub is_written: bool,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let subject = if self.key.is_empty() {
            "the configuration"
        } else {
            &self.key
        };
        write!(f, "{subject} {}", self.problem)
    }
}

impl core::error::Error for ConfigError {}

/// The largest `cache_size`.
pub const MAX_CACHE_SIZE: u32 = 1_000_000;

const KEYS: [&str; 13] = [
    "lane_header",
    "traffic_lane",
    "cache_size",
    "type",
    "trace_header",
    "request_id_fallback",
    "inbound_default",
    "lanes",
    "direction",
    "baggage",
    "generate_trace",
    "max_lane_len",
    "pin_timeout",
];

/// The headers that carry no lane: Envoy or HTTP itself reads them, or a trace is in them.
const RESERVED: [&str; 20] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    REQUEST_ID,
    TRACEPARENT,
    "tracestate",
    BAGGAGE,
    "b3",
    "x-b3-traceid",
    "uber-trace-id",
    "sw8",
    "x-datadog-trace-id",
    "x-amzn-trace-id",
];

impl Config {
    /// Reads `pluginConfig` as Istio hands it to a plugin: a JSON object.
    pub fn parse(text: &[u8]) -> Result<Self, ConfigError> {
        let whole = |problem: String| ConfigError {
            key: String::new(),
            problem,
            is_written: false,
        };
        let text = core::str::from_utf8(text).map_err(|error| whole(format!("is not UTF-8: {error}")))?;
        if text.trim().is_empty() {
            return Err(whole("is empty: expected at least `lane_header`".to_owned()));
        }
        match json::parse(text).map_err(|error| whole(format!("is not JSON: {error}")))? {
            Value::Object(members) => Keys(&members).config(),
            other => Err(whole(format!("is {}: expected an object", other.kind()))),
        }
    }

    /// Whether `value` is a lane that counts.
    pub fn has_lane(&self, value: &[u8]) -> bool {
        let is_listed = || self.lanes.is_empty() || self.lanes.iter().any(|lane| lane.as_bytes() == value);
        let is_default = || {
            self.default_lane
                .as_ref()
                .is_some_and(|lane| lane.as_bytes() == value)
        };
        is_lane(value, self.max_lane_len) && (is_listed() || is_default())
    }

    /// The headers to look for trace ids in, each with its format, in order.
    pub fn trace_headers(&self) -> impl Iterator<Item = (&str, Format)> {
        self.formats.iter().flat_map(|format| {
            let custom = self.trace_header.as_deref().filter(|_| *format == Format::Custom);
            let headers = format.headers().iter().copied().chain(custom);
            headers.map(|header| (header, *format))
        })
    }
}

/// The members of the object.
struct Keys<'j>(&'j [(String, Value)]);

impl Keys<'_> {
    fn config(&self) -> Result<Config, ConfigError> {
        let lane_header = self.header("lane_header")?.ok_or_else(|| {
            missing(
                "lane_header",
                "the header that carries the lane, as in `lane_header: bu`",
            )
        })?;
        if RESERVED.contains(&lane_header.as_str()) {
            let problem = format!(
                "is `{lane_header}`, which has a meaning of its own: expected a header for lanes only"
            );
            return Err(error("lane_header", problem));
        }
        let max_lane_len = self.number("max_lane_len", 128, 1, 255)?;
        let config = Config {
            default_lane: self.lane("traffic_lane", max_lane_len)?,
            lane_header,
            cache_size: self.number("cache_size", 1024, 1, MAX_CACHE_SIZE)?,
            formats: self.formats()?,
            trace_header: self.header("trace_header")?,
            request_id_fallback: self.switch("request_id_fallback", true)?,
            inbound_default: self.switch("inbound_default", true)?,
            lanes: self.lanes(max_lane_len)?,
            direction: self.direction()?,
            baggage: self.switch("baggage", false)?,
            generate_trace: self.switch("generate_trace", false)?,
            max_lane_len: usize::try_from(max_lane_len).unwrap_or(usize::MAX),
            pin_timeout: self.number("pin_timeout", 600, 1, 86_400)?,
            notes: self.unknown(),
        };
        together(config)
    }

    /// A key's value; `null` counts as not written.
    fn get(&self, key: &str) -> Option<&Value> {
        let mut members = self.0.iter().rev();
        let (_, value) = members.find(|(name, _)| name == key)?;
        (*value != Value::Null).then_some(value)
    }

    fn text(&self, key: &str) -> Result<Option<String>, ConfigError> {
        self.get(key).map(|value| text_of(key, value)).transpose()
    }

    fn header(&self, key: &str) -> Result<Option<String>, ConfigError> {
        let Some(name) = self.text(key)? else {
            return Ok(None);
        };
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(error(key, format!("is {name:?}: expected the name of a header")));
        }
        Ok(Some(name.to_ascii_lowercase()))
    }

    fn lane(&self, key: &str, max_len: u32) -> Result<Option<String>, ConfigError> {
        let lane = self.text(key)?.filter(|lane| !lane.is_empty());
        if let Some(lane) = &lane {
            check_lane(key, lane, max_len)?;
        }
        Ok(lane)
    }

    fn lanes(&self, max_len: u32) -> Result<Vec<String>, ConfigError> {
        let lanes = match self.get("lanes") {
            None => return Ok(Vec::new()),
            Some(Value::List(lanes)) => lanes,
            Some(other) => {
                return Err(error(
                    "lanes",
                    format!("is {}: expected a list of lanes", other.kind()),
                ));
            }
        };
        let lanes = lanes.iter().enumerate().map(|(at, lane)| {
            let key = format!("lanes[{at}]");
            let lane = text_of(&key, lane)?;
            check_lane(&key, &lane, max_len)?;
            Ok(lane)
        });
        lanes.collect()
    }

    fn number(&self, key: &str, default: u32, least: u32, most: u32) -> Result<u32, ConfigError> {
        let Some(value) = self.get(key) else {
            return Ok(default);
        };
        let number = match value {
            Value::Number(number) => number.as_str(),
            // `600s` is how Kubernetes and Istio write a duration.
            Value::Text(text) => text.trim().trim_end_matches('s'),
            _ => "",
        };
        whole_number(number)
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| {
                let found = shown(value);
                error(
                    key,
                    format!("is {found}: expected a whole number from {least} to {most}"),
                )
            })
    }

    fn switch(&self, key: &str, default: bool) -> Result<bool, ConfigError> {
        match self.get(key) {
            None => Ok(default),
            Some(Value::Bool(on)) => Ok(*on),
            Some(Value::Text(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::Text(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(other) => Err(error(key, format!("is {}: expected true or false", shown(other)))),
        }
    }

    fn direction(&self) -> Result<Direction, ConfigError> {
        let Some(text) = self.text("direction")? else {
            return Ok(Direction::Auto);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "auto" => Ok(Direction::Auto),
            "inbound" => Ok(Direction::Inbound),
            "outbound" => Ok(Direction::Outbound),
            _ => Err(error(
                "direction",
                format!("is {text:?}: expected auto, inbound or outbound"),
            )),
        }
    }

    fn formats(&self) -> Result<Vec<Format>, ConfigError> {
        let mut formats = Vec::new();
        match self.get("type") {
            None => {}
            Some(Value::List(names)) => {
                for (at, name) in names.iter().enumerate() {
                    let key = format!("type[{at}]");
                    add_formats(&key, &text_of(&key, name)?, &mut formats)?;
                }
            }
            Some(name) => add_formats("type", &text_of("type", name)?, &mut formats)?,
        }
        if formats.is_empty() {
            formats.push(Format::W3c);
        }
        Ok(formats)
    }

    fn unknown(&self) -> Vec<Note> {
        let names = self.0.iter().map(|(name, _)| name);
        let unknown = names.filter(|name| !KEYS.contains(&name.as_str()));
        let note = |name: &String| Note {
            key: name.clone(),
            problem: "is no key that the lane filter knows".to_owned(),
        };
        unknown.map(note).collect()
    }
}

/// What keys say of one another.
fn together(mut config: Config) -> Result<Config, ConfigError> {
    let is_custom = config.formats.contains(&Format::Custom);
    match &config.trace_header {
        None if is_custom => {
            let expected = "the header that holds the trace id, because `type` is CUSTOM";
            return Err(missing("trace_header", expected));
        }
        Some(header) if is_custom && *header == config.lane_header => {
            return Err(error(
                "trace_header",
                format!("is `{header}`, which is the lane header"),
            ));
        }
        Some(_) if !is_custom => {
            config.notes.push(Note {
                key: "trace_header".to_owned(),
                problem: "counts only with `type: CUSTOM`".to_owned(),
            });
        }
        _ => {}
    }
    if config.generate_trace && !config.formats.contains(&Format::W3c) {
        let problem = "is true and makes a `traceparent`, which `type` does not read: expected W3C in `type`";
        return Err(error("generate_trace", problem));
    }
    Ok(config)
}

fn add_formats(key: &str, name: &str, formats: &mut Vec<Format>) -> Result<(), ConfigError> {
    let trimmed = name.trim();
    if trimmed.is_empty() {
        return Ok(());
    }
    if trimmed.eq_ignore_ascii_case("auto") {
        formats.extend(Format::AUTO);
        return Ok(());
    }
    let format = Format::named(trimmed).ok_or_else(|| {
        let problem = format!(
            "is {name:?}: expected W3C, B3, JAEGER, SKYWALKING, DATADOG, XRAY, REQUEST_ID, CUSTOM or AUTO"
        );
        error(key, problem)
    })?;
    formats.push(format);
    Ok(())
}

fn check_lane(key: &str, lane: &str, max_len: u32) -> Result<(), ConfigError> {
    let most = usize::try_from(max_len).unwrap_or(usize::MAX);
    if is_lane(lane.as_bytes(), most) {
        return Ok(());
    }
    let problem = format!(
        "is {lane:?}: expected a lane, 1 to {max_len} letters, digits or characters of !#$%&'*+-.^_`|~"
    );
    Err(error(key, problem))
}

/// A value as text. YAML makes numbers of lanes like `8001`.
fn text_of(key: &str, value: &Value) -> Result<String, ConfigError> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.clone()),
        other => Err(error(key, format!("is {}: expected a string", other.kind()))),
    }
}

/// The whole number that `text` is, as `1024` or `1024.0`.
fn whole_number(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_whole = !fraction.is_empty() && fraction.bytes().all(|digit| digit == b'0');
    let is_plain = whole.bytes().all(|digit| digit.is_ascii_digit());
    (is_whole && is_plain).then(|| whole.parse().ok())?
}

/// A value as messages show it.
fn shown(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("{text:?}"),
        Value::Number(number) => number.clone(),
        Value::Bool(on) => on.to_string(),
        other => other.kind().to_owned(),
    }
}

fn error(key: &str, problem: impl Into<String>) -> ConfigError {
    ConfigError {
        key: key.to_owned(),
        problem: problem.into(),
        is_written: true,
    }
}

/// The refusal of a configuration without `key`.
fn missing(key: &str, expected: &str) -> ConfigError {
    ConfigError {
        is_written: false,
        ..error(key, format!("is missing: expected {expected}"))
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Config {
        Config::parse(text.as_bytes()).unwrap()
    }

    fn refusal(text: &str) -> String {
        Config::parse(text.as_bytes()).unwrap_err().to_string()
    }

    /// A configuration with one more member.
    fn with(member: &str) -> String {
        format!(r#"{{"lane_header": "bu", {member}}}"#)
    }

    #[test]
    fn the_configuration_of_the_plugin_it_stands_in_for_is_taken() {
        let config =
            parse(r#"{"cache_size": 1024, "lane_header": "bu", "traffic_lane": "wtchk", "type": "W3C"}"#);
        assert_eq!(config.lane_header, "bu");
        assert_eq!(config.default_lane.as_deref(), Some("wtchk"));
        assert_eq!((config.cache_size, config.formats), (1024, vec![Format::W3c]));
        assert_eq!(config.notes, []);
    }

    #[test]
    fn only_the_lane_header_has_to_be_there() {
        let config = parse(r#"{"lane_header": "bu"}"#);
        let expected = Config {
            lane_header: "bu".to_owned(),
            default_lane: None,
            cache_size: 1024,
            formats: vec![Format::W3c],
            trace_header: None,
            request_id_fallback: true,
            inbound_default: true,
            lanes: vec![],
            direction: Direction::Auto,
            baggage: false,
            generate_trace: false,
            max_lane_len: 128,
            pin_timeout: 600,
            notes: vec![],
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn what_has_one_clear_meaning_is_taken() {
        for size in ["2048", "2048.0", "\"2048\"", "\" 2048 \""] {
            assert_eq!(
                parse(&with(&format!("\"cache_size\": {size}"))).cache_size,
                2048,
                "{size}"
            );
        }
        for seconds in ["60", "\"60s\"", "\"60\""] {
            assert_eq!(
                parse(&with(&format!("\"pin_timeout\": {seconds}"))).pin_timeout,
                60,
                "{seconds}"
            );
        }
        for off in ["false", "\"false\"", "\"False\""] {
            assert!(!parse(&with(&format!("\"request_id_fallback\": {off}"))).request_id_fallback);
        }
        assert_eq!(parse(r#"{"lane_header": " Bu "}"#).lane_header, "bu");
        assert_eq!(
            parse(&with(r#""traffic_lane": 8001"#)).default_lane.as_deref(),
            Some("8001")
        );
        assert_eq!(parse(&with(r#""traffic_lane": """#)).default_lane, None);
        assert_eq!(parse(&with(r#""traffic_lane": null"#)).default_lane, None);
        assert_eq!(
            parse(&with(r#""direction": "Outbound""#)).direction,
            Direction::Outbound
        );
        assert_eq!(parse(&with(r#""cache_size": 1, "cache_size": 2"#)).cache_size, 2);
    }

    #[test]
    fn types_are_taken_in_any_case_and_number() {
        let formats = |value: &str| parse(&with(&format!("\"type\": {value}"))).formats;
        assert_eq!(formats("\"w3c\""), [Format::W3c]);
        assert_eq!(formats("\"\""), [Format::W3c]);
        assert_eq!(formats("[]"), [Format::W3c]);
        assert_eq!(formats("\"SkyWalking\""), [Format::SkyWalking]);
        assert_eq!(
            formats(r#"["b3", "request_id"]"#),
            [Format::B3, Format::RequestId]
        );
        assert_eq!(formats("\"auto\""), Format::AUTO);
        let config = parse(&with(r#""type": ["CUSTOM", "B3"], "trace_header": "X-Trace""#));
        let headers: Vec<_> = config.trace_headers().collect();
        let expected = [
            ("x-trace", Format::Custom),
            ("b3", Format::B3),
            ("x-b3-traceid", Format::B3),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn only_lanes_that_are_listed_count_and_the_default_one() {
        let config = parse(&with(
            r#""lanes": ["wicph", 7], "traffic_lane": "wtchk", "max_lane_len": 5"#,
        ));
        assert!(config.has_lane(b"wicph") && config.has_lane(b"7") && config.has_lane(b"wtchk"));
        assert!(!config.has_lane(b"other") && !config.has_lane(b""));
        let any = parse(&with(r#""max_lane_len": 5"#));
        assert!(any.has_lane(b"other") && !any.has_lane(b"longer") && !any.has_lane(b"a b"));
    }

    #[test]
    fn what_has_no_effect_is_told() {
        let config = parse(&with(r#""cach_size": 5, "trace_header": "x""#));
        let notes: Vec<String> = config.notes.iter().map(ToString::to_string).collect();
        let expected = [
            "cach_size is no key that the lane filter knows",
            "trace_header counts only with `type: CUSTOM`",
        ];
        assert_eq!(notes, expected);
    }

    #[test]
    fn what_would_break_requests_or_has_no_meaning_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "the configuration is empty"),
            (
                "{",
                "the configuration is not JSON: expected a member's name at byte 1",
            ),
            ("[]", "the configuration is a list: expected an object"),
            ("{}", "lane_header is missing"),
            (r#"{"lane_header": null}"#, "lane_header is missing"),
            (
                r#"{"lane_header": ""}"#,
                "lane_header is \"\": expected the name of a header",
            ),
            (
                r#"{"lane_header": ":path"}"#,
                "lane_header is \":path\": expected the name of a header",
            ),
            (
                r#"{"lane_header": "Host"}"#,
                "lane_header is `host`, which has a meaning of its own",
            ),
            (
                r#"{"lane_header": "traceparent"}"#,
                "lane_header is `traceparent`, which has a meaning of its own",
            ),
            (r#"{"lane_header": "b u"}"#, "lane_header is \"b u\""),
            (
                r#"{"lane_header": ["bu"]}"#,
                "lane_header is a list: expected a string",
            ),
            (
                &with(r#""traffic_lane": "a\r\nx: y""#),
                "traffic_lane is \"a\\r\\nx: y\": expected a lane, 1 to 128",
            ),
            (
                &with(r#""traffic_lane": {}"#),
                "traffic_lane is an object: expected a string",
            ),
            (
                &with(r#""max_lane_len": 2, "traffic_lane": "abc""#),
                "traffic_lane is \"abc\": expected a lane, 1 to 2",
            ),
            (
                &with(r#""max_lane_len": 256"#),
                "max_lane_len is 256: expected a whole number from 1 to 255",
            ),
            (
                &with(r#""cache_size": 0"#),
                "cache_size is 0: expected a whole number from 1 to 1000000",
            ),
            (&with(r#""cache_size": 1000001"#), "cache_size is 1000001"),
            (&with(r#""cache_size": 1.5"#), "cache_size is 1.5"),
            (&with(r#""cache_size": -1"#), "cache_size is -1"),
            (&with(r#""cache_size": "many""#), "cache_size is \"many\""),
            (&with(r#""cache_size": 1e300"#), "cache_size is 1e300"),
            (&with(r#""type": "W3"#), "the configuration is not JSON"),
            (&with(r#""type": "W3""#), "type is \"W3\": expected W3C, B3"),
            (&with(r#""type": ["B3", "X"]"#), "type[1] is \"X\""),
            (&with(r#""type": "CUSTOM""#), "trace_header is missing"),
            (
                &with(r#""type": "CUSTOM", "trace_header": "bu""#),
                "trace_header is `bu`, which is the lane header",
            ),
            (&with(r#""lanes": "wicph""#), "lanes is a string: expected a list"),
            (
                &with(r#""lanes": ["a", "b c"]"#),
                "lanes[1] is \"b c\": expected a lane",
            ),
            (
                &with(r#""baggage": "yes""#),
                "baggage is \"yes\": expected true or false",
            ),
            (
                &with(r#""direction": "up""#),
                "direction is \"up\": expected auto, inbound or outbound",
            ),
            (
                &with(r#""generate_trace": true, "type": "B3""#),
                "generate_trace is true and makes a `traceparent`",
            ),
        ] {
            assert!(refusal(text).starts_with(reason), "{text}: {}", refusal(text));
        }
        assert!(Config::parse(b"\xff").is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Config::parse(&text);
        }

        #[test]
        fn no_values_make_it_panic_and_what_is_taken_is_safe(
            key in proptest::sample::select(KEYS.to_vec()),
            value in r#"(-?[0-9]{1,12}|"[ -~]{0,8}"|true|null|\["[a-c ]{0,3}"\]|\{\})"#,
        ) {
            if let Ok(config) = Config::parse(with(&format!("\"{key}\": {value}")).as_bytes()) {
                prop_assert!(config.lane_header.bytes().all(is_token));
                prop_assert!(config.default_lane.iter().all(|lane| config.has_lane(lane.as_bytes())));
                prop_assert!((1..=1_000_000).contains(&config.cache_size));
                prop_assert!(!config.formats.is_empty());
            }
        }
    }
}

//! `lanekeeper.yaml`: what a team settles once for `check` and `serve`.
//!
//! It is read as every other YAML file, so that a mistake in it has a line and a column. Unlike objects from a
//! cluster it may hold no key that is not known: a level that is spelt wrong would go unnoticed. Relative patterns
//! start where the file is.

mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::{JsonSchema, Schema, schema_for};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::files::{Exclude, Place, Problem};
use crate::lane::meant;
use crate::resource::{LaneGroup, LaneGroupSpec, Meta, Resource};
use crate::rule::{self, Level};
use crate::verdict::{ByCode, Levels, SCALERS, SET_APPLIERS, Settings};
use crate::world::{Settings as MeshSettings, World};
use crate::yaml::{self, Node};

/// The name under which `check` looks for the file.
pub const FILE: &str = "lanekeeper.yaml";

/// What the file says.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(title = "lanekeeper.yaml")]
pub struct Config {
    /// Levels by rule: a code (LK206), a start of codes (LK2) or a name (subset-ignored).
    rules: BTreeMap<String, RuleLevel>,
    /// Levels for some namespaces only. They count more than those above, and a later entry more than an earlier one.
    namespaces: Vec<NamespaceRules>,
    /// Lane groups for the checks of files, where the cluster's `LaneGroup` objects are not among them.
    lane_groups: Vec<Group>,
    /// Files and directories that `check` does not read: names anywhere (*.tmpl.yaml) or paths from this file (k8s/old).
    exclude: Vec<String>,
    /// Users and field managers that apply sets of objects one by one, instead of those that are known.
    set_appliers: Option<BTreeSet<String>>,
    /// Users that scale workloads by themselves, instead of those that are known.
    scalers: Option<BTreeSet<String>>,
    /// What is fixed about the mesh.
    mesh: Mesh,
    /// What `serve` logs on standard error, instead of what `LANEKEEPER_LOG` says: a level (info), and others for parts of
    /// the program (info,lanekeeper=debug).
    #[serde(deserialize_with = "log_of")]
    #[schemars(schema_with = "log_schema")]
    log: Option<String>,
}

/// Levels for some namespaces.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct NamespaceRules {
    /// The namespaces' names; `*` stands for any part of one.
    names: Vec<String>,
    /// Levels by rule, as above.
    rules: BTreeMap<String, RuleLevel>,
}

/// A lane group.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
struct Group {
    /// Its name.
    name: String,
    /// The namespace that its services are in.
    namespace: String,
    /// As the `spec` of a `LaneGroup` object.
    spec: LaneGroupSpec,
}

/// What is fixed about the mesh.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
struct Mesh {
    /// The cluster's domain: services are NAME.NAMESPACE.svc.DOMAIN [default: cluster.local].
    cluster_domain: Option<String>,
    /// Istio's root namespace [default: istio-system, or what the mesh configuration there names].
    root_namespace: Option<String>,
    /// Other clusters may have what is missing here: such findings warn at most.
    multi_cluster: bool,
}

/// A level as the file writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RuleLevel(Level);

/// YAML 1.1, which kubectl reads, takes `off` for false.
impl<'de> Deserialize<'de> for RuleLevel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Word;

        impl Visitor<'_> for Word {
            type Value = RuleLevel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one of the levels deny, warn and off")
            }

            fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<RuleLevel, E> {
                if is_on {
                    return Err(E::invalid_value(Unexpected::Bool(is_on), &self));
                }
                Ok(RuleLevel(Level::Off))
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<RuleLevel, E> {
                let levels = [Level::Deny, Level::Warn, Level::Off];
                let level = levels.into_iter().find(|level| level.to_string() == word);
                level
                    .map(RuleLevel)
                    .ok_or_else(|| E::invalid_value(Unexpected::Str(word), &self))
            }
        }

        deserializer.deserialize_any(Word)
    }
}

impl JsonSchema for RuleLevel {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Level".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> Schema {
        // A YAML 1.2 reader sees the word `off`, a YAML 1.1 reader false.
        schemars::json_schema!({ "enum": ["deny", "warn", "off", false] })
    }
}

/// What is logged; YAML 1.1 takes `off` for false here, too.
fn log_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    struct Log;

    impl Visitor<'_> for Log {
        type Value = Option<String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a level or PART=LEVEL, separated by commas")
        }

        fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E: serde::de::Error>(self, is_on: bool) -> Result<Self::Value, E> {
            if is_on {
                return Err(E::invalid_value(Unexpected::Bool(is_on), &self));
            }
            Ok(Some("off".to_owned()))
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(text.to_owned()))
        }
    }

    deserializer.deserialize_any(Log)
}

fn log_schema(_: &mut schemars::SchemaGenerator) -> Schema {
    schemars::json_schema!({ "anyOf": [{ "type": ["string", "null"] }, { "const": false }] })
}

/// A file that cannot be used; everything in it stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("{path}: {why}")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        why: String,
    },
    /// It says what it cannot say: each mistake with its place.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    lines.join("\n  ")
}

impl Config {
    /// Reads the file.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        Self::of_read(file, fs::read(file).as_deref())
    }

    /// What the file says that was read so.
    pub fn of_read(file: &Path, read: Result<&[u8], &io::Error>) -> Result<Self, ConfigError> {
        let name = file.display().to_string();
        match read {
            Ok(bytes) => Self::of(&name, bytes),
            Err(error) => Err(ConfigError::Read {
                path: name,
                why: error.to_string(),
            }),
        }
    }

    /// What `bytes`, the content of the file called `name`, say. An empty file says nothing.
    pub fn of(name: &str, bytes: &[u8]) -> Result<Self, ConfigError> {
        let invalid = |problem| ConfigError::Invalid(vec![problem]);
        let failed = |error: yaml::Error| invalid(Problem::of(name, &error));
        let text = yaml::read(bytes).map_err(failed)?;
        let documents = yaml::documents(text);
        let node = match documents.as_slice() {
            [] => return Ok(Self::default()),
            [document] => document.decode().map_err(failed)?,
            [_, second, ..] => {
                let place = second.extent().start();
                return Err(invalid(Problem {
                    place: Place::point(name, place.line, place.column),
                    message: "a second document; the configuration is one".to_owned(),
                }));
            }
        };
        if node.is_null() {
            return Ok(Self::default());
        }
        let mut unknown = Vec::new();
        let config: Self =
            serde_ignored::deserialize(&node, |path| unknown.push(key::field(&path))).map_err(failed)?;
        let schema = Self::schema();
        let unknown = unknown
            .iter()
            .map(|path| problem_at(name, &node, path, &key::unknown(path, schema.as_value())));
        let wrong = config.problems();
        let wrong = wrong
            .into_iter()
            .map(|(path, message)| problem_at(name, &node, &path, &message));
        let mut problems: Vec<Problem> = unknown.chain(wrong).collect();
        if problems.is_empty() {
            return Ok(config);
        }
        problems.sort_by(|a, b| a.place.cmp(&b.place));
        Err(ConfigError::Invalid(problems))
    }

    /// The JSON Schema of the file.
    pub fn schema() -> Schema {
        let mut schema = schema_for!(Self);
        close(&mut schema);
        schema
    }

    /// What is wrong although it has the right form, each with its field.
    fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut levels_at = |path: &str, rules: &BTreeMap<String, RuleLevel>| {
            let wrong = rules
                .keys()
                .filter_map(|name| Some((name, rule::named(name).err()?)));
            problems.extend(wrong.map(|(name, error)| (format!("{path}.{name}"), error.to_string())));
        };
        levels_at("rules", &self.rules);
        for (at, namespace) in self.namespaces.iter().enumerate() {
            levels_at(&format!("namespaces[{at}].rules"), &namespace.rules);
        }
        for (at, namespace) in self.namespaces.iter().enumerate() {
            if let Err(error) = names(&namespace.names) {
                problems.push((format!("namespaces[{at}].names"), error.to_string()));
            }
        }
        for (at, group) in self.lane_groups.iter().enumerate() {
            if let Err(error) = group.object() {
                problems.push((format!("laneGroups[{at}].spec"), error));
            }
        }
        if let Some(Err(error)) = self.log.as_deref().map(log_filter) {
            problems.push(("log".to_owned(), error));
        }
        for (at, pattern) in self.exclude.iter().enumerate() {
            if let Err(error) = Exclude::new([pattern.as_str()]) {
                problems.push((format!("exclude[{at}]"), error.to_string()));
            }
        }
        problems
    }

    /// What it says of levels and of who is who.
    pub fn settings(&self) -> Settings {
        let known = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let namespaces = self.namespaces.iter();
        Settings {
            levels: Levels {
                everywhere: by_code(&self.rules),
                namespaces: namespaces
                    .filter_map(|entry| Some((names(&entry.names).ok()?, by_code(&entry.rules))))
                    .collect(),
            },
            set_appliers: self.set_appliers.clone().unwrap_or_else(|| known(SET_APPLIERS)),
            scalers: self.scalers.clone().unwrap_or_else(|| known(SCALERS)),
            multi_cluster: self.mesh.multi_cluster,
        }
    }

    /// What it says is logged, if it says anything.
    pub fn log(&self) -> Option<&str> {
        self.log
            .as_deref()
            .filter(|text| log_parts(text).next().is_some())
    }

    /// What it says of the mesh.
    pub fn mesh(&self) -> MeshSettings {
        let default = MeshSettings::default();
        let named = |name: &Option<String>| name.as_deref().map(Into::into);
        let root = named(&self.mesh.root_namespace);
        MeshSettings {
            cluster_domain: named(&self.mesh.cluster_domain).unwrap_or(default.cluster_domain),
            is_root_given: root.is_some(),
            root_namespace: root.unwrap_or(default.root_namespace),
        }
    }

    /// Puts its lane groups into a world of files; an object of the files itself counts more.
    pub fn complete(&self, world: &mut World) {
        for group in &self.lane_groups {
            let Ok(group) = group.object() else { continue };
            let group = Resource::LaneGroup(Box::new(group));
            if world.get(&group.reference()).is_none() {
                world.apply(group);
            }
        }
    }

    /// What it excludes below the directory that it is in.
    pub fn exclude(&self) -> Exclude {
        Exclude::new(self.exclude.iter().map(String::as_str)).unwrap_or_default()
    }
}

impl Group {
    fn object(&self) -> Result<LaneGroup, String> {
        let meta = Meta {
            namespace: self.namespace.as_str().into(),
            name: self.name.as_str().into(),
            ..Meta::default()
        };
        LaneGroup::new(meta, self.spec.clone())
    }
}

/// The file that counts in `directory`: there, or in the nearest directory above, up to the root of the repository.
pub fn find(directory: &Path) -> Option<PathBuf> {
    for above in directory.ancestors() {
        let file = above.join(FILE);
        if file.is_file() {
            return Some(file);
        }
        if above.join(".git").exists() {
            break;
        }
    }
    None
}

/// What is logged where nothing says otherwise.
pub const DEFAULT_LOG: &str = "info";

/// What `text` says is logged, as in `info,lanekeeper=debug`.
pub fn log_filter(text: &str) -> Result<EnvFilter, String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    // It tells of every failure that is told here already.
    const SILENT: &str = "kube_client";
    let mut parts: Vec<&str> = log_parts(text).collect();
    for part in &parts {
        // What is no level is taken for a part of the program, so a level that is spelt wrong would go unnoticed.
        let is_level = part.parse::<LevelFilter>().is_ok();
        let near = meant(part, LEVELS.into_iter()).filter(|_| !is_level);
        if let Some(near) = near {
            return Err(format!("`{part}` is no level; did you mean `{near}`?"));
        }
    }
    if parts.is_empty() {
        parts.push(DEFAULT_LOG);
    }
    let mut text = parts.join(",");
    if !text.contains(SILENT) {
        text = format!("{text},{SILENT}=off");
    }
    EnvFilter::builder()
        .parse(text)
        .map_err(|error| error.to_string())
}

/// The parts of what is logged; between commas there may be nothing.
fn log_parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

/// Lets an object have no other keys than those that are named, as the reading does.
fn close(schema: &mut Schema) {
    schemars::transform::transform_subschemas(&mut close, schema);
    if schema.get("properties").is_some() {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
}

/// The levels by code; of two keys that mean a rule, the one that says more counts.
fn by_code(rules: &BTreeMap<String, RuleLevel>) -> ByCode {
    let named = rules
        .iter()
        .filter_map(|(name, level)| Some((rule::named(name).ok()?, level.0)));
    let mut named: Vec<_> = named.collect();
    named.sort_by_key(|(rules, _)| std::cmp::Reverse(rules.len()));
    let each = named.iter();
    each.flat_map(|(rules, level)| rules.iter().map(|rule| (rule.code, *level)))
        .collect()
}

fn names(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut names = GlobSetBuilder::new();
    for pattern in patterns {
        names.add(Glob::new(pattern)?);
    }
    names.build()
}

/// A problem with the field `path`, at its key.
fn problem_at(name: &str, node: &Node<'_>, path: &str, message: &str) -> Problem {
    let found = node.find(path);
    let place = found.key.unwrap_or_else(|| found.node.span()).start;
    Problem {
        place: Place::point(name, place.line, place.column),
        message: format!("{path}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Kind, ObjectRef};

    fn config(text: &str) -> Config {
        Config::of(FILE, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    /// What is wrong with a text, a line each.
    fn wrong(text: &str) -> Vec<String> {
        let error = Config::of(FILE, text.as_bytes()).unwrap_err().to_string();
        error.lines().map(|line| line.trim().to_owned()).collect()
    }

    #[test]
    fn levels_are_given_by_code_start_of_codes_and_name_and_what_says_more_counts() {
        let config = config(
            "rules:\n  LK2: off\n  LK201: warn\n  unknown-subset: 'off'\n  lk1: deny\nnamespaces:\n- names: ['staging-*']\n  rules: {LK101: warn}\n",
        );
        let levels = config.settings().levels;
        assert_eq!(levels.of("LK205", "cars"), Some(Level::Off));
        assert_eq!(levels.of("LK201", "cars"), Some(Level::Warn));
        assert_eq!(levels.of("LK103", "cars"), Some(Level::Off));
        assert_eq!(levels.of("LK101", "cars"), Some(Level::Deny));
        assert_eq!(levels.of("LK101", "staging-hk"), Some(Level::Warn));
        assert_eq!(levels.of("LK301", "cars"), None);
    }

    #[test]
    fn an_empty_file_says_nothing() {
        for text in ["", "# only a comment\n", "---\n", "{}", "rules: {}"] {
            let settings = config(text).settings();
            assert!(settings.levels.of("LK101", "cars").is_none());
            assert!(settings.set_appliers.contains("helm"));
        }
    }

    #[test]
    fn every_unknown_key_is_told_with_its_place_and_the_key_that_was_meant() {
        assert_eq!(
            wrong("rule: {}\nset-appliers: [a]\nmesh:\n  clusterDomian: x\n"),
            [
                "lanekeeper.yaml:1:1: rule: there is no such key; did you mean `rules`?",
                "lanekeeper.yaml:2:1: set-appliers: there is no such key; did you mean `setAppliers`?",
                "lanekeeper.yaml:4:3: mesh.clusterDomian: there is no such key; did you mean `clusterDomain`?",
            ]
        );
        assert_eq!(
            wrong("mesh: {shape: round}"),
            [
                "lanekeeper.yaml:1:8: mesh.shape: there is no such key; the keys here are clusterDomain, multiCluster, \
                 rootNamespace"
            ]
        );
        let group = "laneGroups:\n- name: cars\n  namespace: cars\n  spec:\n    header: bu\n    workloads: {}\n    lanes: [a]\n    defaultLane: a\n    entry: {header: buid, gateway: [x]}\n";
        assert_eq!(
            wrong(group),
            [
                "lanekeeper.yaml:9:27: laneGroups[0].spec.entry.gateway: there is no such key; did you mean `gateways`?"
            ]
        );
    }

    #[test]
    fn what_means_nothing_is_told_with_its_place() {
        for (text, expected) in [
            (
                "rules: {LK999: off}",
                "1:9: rules.LK999: no rule has the code or name `LK999`",
            ),
            (
                "rules: {LK101: on}",
                "1:16: rules.LK101: expected one of the levels deny, warn and off, found boolean `true`",
            ),
            (
                "rules: {LK101: error}",
                "1:16: rules.LK101: expected one of the levels deny, warn and off, found string \"error\"",
            ),
            ("exclude: ['a[b']", "1:11: exclude[0]: "),
            (
                "namespaces: [{names: ['[']}]",
                "1:14: namespaces[0]: missing field `rules`",
            ),
            (
                "namespaces: [{names: ['['], rules: {}}]",
                "1:15: namespaces[0].names: ",
            ),
            (
                "log: debgu",
                "1:1: log: `debgu` is no level; did you mean `debug`?",
            ),
            ("log: 'info,lanekeeper=loud'", "1:1: log: "),
            (
                "log: on",
                "1:6: log: expected a level or PART=LEVEL, separated by commas, found boolean `true`",
            ),
            ("rules: {LK101: off, LK101: warn}", "1:21: "),
            ("mesh: {}\n---\nmesh: {}\n", "3:1: a second document"),
            ("- a", "1:1: "),
        ] {
            let found = wrong(text);
            assert!(
                found[0].starts_with(&format!("lanekeeper.yaml:{expected}")),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn what_is_logged_may_be_parts_and_levels_and_nothing_between_commas() {
        for (text, expected) in [
            ("warn,", "kube_client=off,warn"),
            ("", "kube_client=off,info"),
            (" , ", "kube_client=off,info"),
            (
                "lanekeeper::admission",
                "lanekeeper::admission=trace,kube_client=off",
            ),
            ("debug,hyper", "hyper=trace,kube_client=off,debug"),
            ("debug, hyper=off", "hyper=off,kube_client=off,debug"),
            ("3", "kube_client=off,info"),
            ("WARN", "kube_client=off,warn"),
            ("tracing", "kube_client=off,tracing=trace"),
            ("kube_client=debug", "kube_client=debug"),
            ("[request{uid=a}]=debug", "kube_client=off,[request{uid=a}]=debug"),
        ] {
            let filter = log_filter(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            let parts = |text: &str| -> BTreeSet<String> { text.split(',').map(str::to_owned).collect() };
            assert_eq!(parts(&filter.to_string()), parts(expected), "{text}");
        }
        for text in ["debgu", "info,wran", "hyper=loud", "a=b=c"] {
            assert!(log_filter(text).is_err(), "{text}");
        }
        for (text, expected) in [
            ("log: off", Some("off")),
            ("log: false", Some("off")),
            ("log: 'off'", Some("off")),
            ("log: ''", None),
            ("log: ','", None),
            ("log:", None),
            ("log: debug,", Some("debug,")),
        ] {
            assert_eq!(config(text).log(), expected, "{text}");
        }
    }

    /// What the schema refuses and what the reading refuses is the same.
    #[test]
    fn the_schema_has_every_key() {
        let schema = serde_json::to_value(Config::schema()).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        for (text, is_right) in [
            ("{}", true),
            ("rules: {LK104: off}\nlog: off\nmesh: {multiCluster: true}", true),
            (
                "laneGroups: [{name: cars, namespace: shop, spec: {header: bu, workloads: {}, lanes: [a], defaultLane: a}}]",
                true,
            ),
            ("rulez: {}", false),
            ("mesh: {clusterDomian: x}", false),
            ("namespaces: [{names: [a], rules: {}, level: warn}]", false),
            (
                "laneGroups: [{name: cars, namespace: shop, spec: {header: bu, workloads: {}, lanes: [a], defaultLane: a, entry: {header: b, gateway: [x]}}}]",
                false,
            ),
            ("log: on", false),
        ] {
            let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
            assert_eq!(schema.is_valid(&value), is_right, "{text}");
            assert_eq!(Config::of(FILE, text.as_bytes()).is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn a_lane_group_stands_in_where_the_files_have_none() {
        let text = "laneGroups: [{name: cars, namespace: shop, spec: {header: bu, workloads: {}, lanes: [a, b], defaultLane: b}}]";
        let mut world = World::new(MeshSettings::default());
        config(text).complete(&mut world);
        let group = world.get(&ObjectRef::new(Kind::LaneGroup, "shop", "cars"));
        assert!(matches!(group, Some(Resource::LaneGroup(_))));
        assert_eq!(
            wrong(&text.replace("defaultLane: b", "defaultLane: c")),
            ["lanekeeper.yaml:1:44: laneGroups[0].spec: defaultLane has to be one of lanes: `c`"]
        );
    }

    #[test]
    fn it_is_found_in_the_nearest_directory_up_to_the_root_of_the_repository() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        fs::create_dir_all(root.join("repository/k8s/base")).unwrap();
        fs::write(root.join(FILE), "").unwrap();
        assert_eq!(find(&root.join("repository/k8s/base")), Some(root.join(FILE)));
        fs::create_dir(root.join("repository/.git")).unwrap();
        assert_eq!(find(&root.join("repository/k8s/base")), None);
        fs::write(root.join("repository/k8s").join(FILE), "").unwrap();
        assert_eq!(
            find(&root.join("repository/k8s/base")),
            Some(root.join("repository/k8s").join(FILE))
        );
    }
}

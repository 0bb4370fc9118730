//! What becomes of a request, by its direction.

use std::collections::BTreeMap;
use std::rc::Rc;

use lanekeeper_filter_core::baggage::{self, BAGGAGE};
use lanekeeper_filter_core::trace_id::{REQUEST_ID, TRACEPARENT, traceparent_from};
use lanekeeper_filter_core::{Config, Direction, Format, Key, Layout, Store};

use crate::host::{self, Level, header, set_header};
use crate::metrics::{Count, Metrics};
use crate::shared::{Pin, Shared};

/// A VM's state. A VM can have several plugins, of other lane headers or of a former configuration.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    plugins: BTreeMap<u32, Rc<Plugin>>,
    streams: BTreeMap<u32, Stream>,
    metrics: Option<Metrics>,
    /// Whether it was told that Envoy does not say which direction a request has.
    has_warned: bool,
}

/// A request on its way.
#[derive(Debug)]
struct Stream {
    plugin: u32,
    /// Its trace in the store, of the plugin as it was configured when the request came.
    pinned: Option<(Rc<Plugin>, Pin)>,
}

impl Filter {
    /// A context begins.
    pub(crate) fn created(&mut self, context: u32, parent: u32) {
        if parent != 0 {
            let stream = Stream {
                plugin: parent,
                pinned: None,
            };
            self.streams.insert(context, stream);
        }
    }

    /// Takes a plugin's configuration, or says why not.
    pub(crate) fn configure(&mut self, plugin: u32) -> bool {
        let config = match Config::parse(&host::plugin_configuration()) {
            Ok(config) => config,
            Err(error) => {
                host::log(
                    Level::Error,
                    &format!("lanekeeper: pluginConfig is refused: {error}"),
                );
                return false;
            }
        };
        for note in &config.notes {
            host::log(Level::Warn, &format!("lanekeeper: pluginConfig: {note}"));
        }
        let metrics = *self.metrics.get_or_insert_with(Metrics::define);
        self.plugins.insert(plugin, Rc::new(Plugin::new(config, metrics)));
        true
    }

    /// A request's headers are there.
    pub(crate) fn request(&mut self, context: u32) {
        #[cfg(feature = "crash")]
        if header("x-lanekeeper-crash").is_some() {
            host::crash();
        }
        let Some(stream) = self.streams.get_mut(&context) else {
            return;
        };
        let Some(plugin) = self.plugins.get(&stream.plugin) else {
            return;
        };
        let lane = plugin.lane();
        if lane.is_none() && plugin.config.direction != Direction::Inbound && plugin.keeps_lane() {
            return;
        }
        match (plugin.direction(), lane) {
            (Direction::Inbound, Some(lane)) => {
                stream.pinned = plugin.store(&lane, context).map(|pin| (Rc::clone(plugin), pin));
            }
            (Direction::Inbound, None) => {
                if plugin.config.inbound_default {
                    plugin.set_default();
                }
            }
            (Direction::Outbound, None) => plugin.outbound(),
            (Direction::Auto, _) if !self.has_warned => {
                self.has_warned = true;
                host::log(
                    Level::Warn,
                    "lanekeeper: Envoy does not tell this listener's traffic direction, and nothing is done with requests \
                     whose lane is not stored: set `direction` to inbound or outbound in pluginConfig",
                );
            }
            (Direction::Outbound, Some(_)) | (Direction::Auto, _) => {}
        }
    }

    /// A context ends.
    pub(crate) fn deleted(&mut self, context: u32) {
        let Some(stream) = self.streams.remove(&context) else {
            self.plugins.remove(&context);
            return;
        };
        if let Some((plugin, pin)) = stream.pinned {
            plugin.shared.done(pin);
        }
    }
}

/// A plugin as it is configured.
#[derive(Debug)]
struct Plugin {
    config: Config,
    shared: Shared,
    metrics: Metrics,
}

impl Plugin {
    fn new(config: Config, metrics: Metrics) -> Self {
        let store = Store {
            layout: Layout::of(config.cache_size),
            pin_timeout: config.pin_timeout,
        };
        Self {
            shared: Shared::open(&config.lane_header, store, metrics),
            config,
            metrics,
        }
    }

    /// Which direction the request has; `Auto` if nothing tells. The listeners of both share one plugin, so that it is a
    /// question for each request.
    fn direction(&self) -> Direction {
        match self.config.direction {
            Direction::Auto => direction_of_listener(),
            known => known,
        }
    }

    /// A request comes to the application in a lane, which is kept for those that the application will send for it.
    fn store(&self, lane: &[u8], context: u32) -> Option<Pin> {
        if !self.config.has_lane(lane) {
            self.metrics.count(Count::Invalid);
            return None;
        }
        if self.config.baggage {
            let before = header(BAGGAGE).unwrap_or_default();
            let after = baggage::with_member(&before, &self.config.lane_header, lane);
            if after != before {
                set_header(BAGGAGE, &after);
            }
        }
        let key = self.trace().or_else(|| {
            self.metrics.count(Count::NoTrace);
            if self.config.generate_trace {
                begin_trace(context)
            } else {
                self.request_id()
            }
        })?;
        self.shared.put(&key, lane)
    }

    /// Gives a request without a lane that of its trace, if it is stored.
    ///
    /// It is nearly always one that the application sends, and to ask Envoy for the direction would cost more than any
    /// other call; one that comes back to the application keeps its lane too.
    fn keeps_lane(&self) -> bool {
        let Some(lane) = self.stored().filter(|lane| self.config.has_lane(lane)) else {
            return false;
        };
        self.set_lane(&lane);
        true
    }

    /// The application sends a request without a lane whose trace is not stored.
    fn outbound(&self) {
        if let Some(lane) = self.in_baggage().filter(|lane| self.config.has_lane(lane)) {
            self.set_lane(&lane);
            return;
        }
        self.metrics.count(if self.trace().is_some() {
            Count::Miss
        } else {
            Count::NoTrace
        });
        self.set_default();
    }

    fn set_lane(&self, lane: &[u8]) {
        set_header(&self.config.lane_header, lane);
        self.metrics.count(Count::Hit);
    }

    /// The lane header's value, if it has one.
    fn lane(&self) -> Option<Vec<u8>> {
        header(&self.config.lane_header).filter(|lane| !lane.is_empty())
    }

    /// The lane of the request's trace, or else of its request id.
    fn stored(&self) -> Option<Vec<u8>> {
        let trace = self.trace();
        if let Some(lane) = trace.as_ref().and_then(|key| self.shared.get(key)) {
            return Some(lane);
        }
        let request = self.request_id();
        let lane = request.and_then(|key| self.shared.get(&key));
        lane.or_else(|| self.shared.get_elsewhere(&[trace, request]))
    }

    fn in_baggage(&self) -> Option<Vec<u8>> {
        let header = self.config.baggage.then(|| header(BAGGAGE))??;
        baggage::member(&header, &self.config.lane_header)
    }

    fn set_default(&self) {
        if let Some(lane) = &self.config.default_lane {
            set_header(&self.config.lane_header, lane.as_bytes());
            self.metrics.count(Count::Default);
        }
    }

    fn trace(&self) -> Option<Key> {
        let mut headers = self.config.trace_headers();
        headers.find_map(|(name, format)| format.key(&header(name)?))
    }

    fn request_id(&self) -> Option<Key> {
        let id = self.config.request_id_fallback.then(|| header(REQUEST_ID))??;
        Format::RequestId.key(&id)
    }
}

/// Gives a request a trace of its own.
fn begin_trace(context: u32) -> Option<Key> {
    let mut seed = header(REQUEST_ID).unwrap_or_default();
    seed.extend_from_slice(&host::nanoseconds().to_be_bytes());
    seed.extend_from_slice(&context.to_be_bytes());
    let traceparent = traceparent_from(&seed);
    set_header(TRACEPARENT, &traceparent);
    Format::W3c.key(&traceparent)
}

/// What Envoy says of the listener (`envoy.config.core.v3.TrafficDirection`), 8 bytes little endian. Before Envoy
/// 1.22 the property had no `xds` before it.
fn direction_of_listener() -> Direction {
    let property = host::property("xds\0listener_direction").or_else(|| host::property("listener_direction"));
    match property.as_deref() {
        Some([1, 0, 0, 0, 0, 0, 0, 0]) => Direction::Inbound,
        Some([2, 0, 0, 0, 0, 0, 0, 0]) => Direction::Outbound,
        _ => Direction::Auto,
    }
}

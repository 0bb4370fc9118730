//! The program's own log on standard error, and how much it says.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::{DEFAULT_LOG, log_filter};

/// The variable that says what is logged from the start on.
const VARIABLE: &str = "LANEKEEPER_LOG";

/// The log, whose filter can be changed.
#[derive(Clone)]
pub(super) struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
    /// What counts where the configuration says nothing.
    start: String,
}

impl Log {
    /// Begins to log.
    pub(super) fn start() -> Self {
        let asked = env::var(VARIABLE).unwrap_or_default();
        let (filter, start, wrong) = match log_filter(&asked) {
            Ok(filter) => (filter, asked, None),
            Err(error) => (
                log_filter(DEFAULT_LOG).unwrap_or_default(),
                DEFAULT_LOG.to_owned(),
                Some(error),
            ),
        };
        let (layer, filter) = reload::Layer::new(filter);
        let lines = fmt::layer().with_writer(io::stderr);
        let lines = if io::stderr().is_terminal() {
            lines.with_target(false).boxed()
        } else {
            lines.json().flatten_event(true).boxed()
        };
        tracing_subscriber::registry().with(layer).with(lines).init();
        if let Some(error) = wrong {
            tracing::warn!("{VARIABLE} cannot be used, and `{DEFAULT_LOG}` counts: {error}");
        }
        Self { filter, start }
    }

    /// Logs what the configuration asks for from now on; where it says nothing, what counted at the start.
    pub(super) fn says(&self, configured: Option<&str>) {
        let wanted = configured.unwrap_or(&self.start);
        // It cannot fail: both were read before, and the log lasts as long as the program.
        let changed = log_filter(wanted).map(|filter| self.filter.reload(filter));
        if let Ok(Err(error)) = changed {
            tracing::error!(%error, "the log cannot be changed");
        }
    }
}

//! The program's own log on standard error, and how much it says.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, fmt, reload};

use crate::config::log_filter;

/// The variable that says what is logged from the start on.
const VARIABLE: &str = "LANEKEEPER_LOG";

/// What is logged where nothing says otherwise.
const DEFAULT: &str = "info,kube_client=off";

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
        let asked = env::var(VARIABLE).ok().map(|asked| (log_filter(&asked), asked));
        let (filter, start, wrong) = match asked {
            Some((Ok(filter), asked)) => (filter, asked, None),
            Some((Err(error), _)) => (EnvFilter::new(DEFAULT), DEFAULT.to_owned(), Some(error)),
            None => (EnvFilter::new(DEFAULT), DEFAULT.to_owned(), None),
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
            tracing::warn!("{VARIABLE} cannot be used, and `{DEFAULT}` counts: {error}");
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

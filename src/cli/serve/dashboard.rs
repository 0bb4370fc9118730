//! The dashboard of `lanekeeper serve`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;

use crate::dashboard::{Dashboard, Source};

/// The port, where nothing says otherwise.
const PORT: u16 = 8081;

/// Arguments about it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct DashboardArgs {
    /// Where the dashboard is served, plain and to anybody who gets there [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "no_dashboard")]
    dashboard_listen: Option<SocketAddr>,
    /// Serve no dashboard
    #[arg(long)]
    no_dashboard: bool,
}

impl DashboardArgs {
    /// Whether there is to be one.
    pub(super) fn is_wanted(&self) -> bool {
        !self.no_dashboard
    }
}

/// Serves it. Nothing depends on it: where its usual port is taken, the server does without.
pub(super) async fn start(args: &DashboardArgs, source: Source) -> anyhow::Result<Option<Dashboard>> {
    let usual = || (Ipv4Addr::LOCALHOST, PORT).into();
    let address = args.dashboard_listen.unwrap_or_else(usual);
    match Dashboard::start(address, source).await {
        Ok(dashboard) => {
            let url = format!("http://{}/", dashboard.address());
            tracing::info!(%url, "the dashboard is served");
            Ok(Some(dashboard))
        }
        Err(error) if args.dashboard_listen.is_none() => {
            tracing::warn!("no dashboard: {address}: {error}; choose another port by --dashboard-listen");
            Ok(None)
        }
        Err(error) => Err(error).with_context(|| format!("--dashboard-listen {address}")),
    }
}

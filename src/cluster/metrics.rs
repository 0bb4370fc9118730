//! What is counted of the watches, and of who leads.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use super::progress::Progress;
use crate::resource::Kind;

/// Asked for at each reading of the metrics: how far the watches are, and whether this replica leads.
#[derive(Debug)]
pub struct WatchMetrics {
    progress: Arc<Progress>,
    leading: watch::Receiver<bool>,
}

impl WatchMetrics {
    /// Registers them.
    pub fn register(progress: Arc<Progress>, leading: watch::Receiver<bool>, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("lanekeeper");
        registry.register_collector(Box::new(Self { progress, leading }));
    }
}

impl Collector for WatchMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        each(
            encoder.encode_descriptor(
                "index_synced",
                "Whether a kind that the API server serves is in the index: 1, or 0.",
                None,
                MetricType::Gauge,
            )?,
            |kind| self.progress.is_synced(kind).map(i64::from).map(ConstGauge::new),
        )?;
        each(
            encoder.encode_descriptor(
                "index_age",
                "Seconds since the API server last answered the watch of a kind, which asks every two minutes; so old may be what the index has of it.",
                Some(&Unit::Seconds),
                MetricType::Gauge,
            )?,
            |kind| self.progress.age(kind).map(|age| ConstGauge::new(age.as_secs_f64())),
        )?;
        each(
            encoder.encode_descriptor(
                "watch_restarts",
                "Times that the watch of a kind failed and was begun again.",
                None,
                MetricType::Counter,
            )?,
            |kind| Some(ConstCounter::new(self.progress.restarts(kind))),
        )?;
        let leads = ConstGauge::new(i64::from(*self.leading.borrow()));
        leads.encode(encoder.encode_descriptor(
            "leader",
            "Whether this replica leads: 1, or 0.",
            None,
            MetricType::Gauge,
        )?)
    }
}

/// A series for each kind of which something is known.
fn each<M: EncodeMetric>(mut encoder: MetricEncoder<'_>, known: impl Fn(Kind) -> Option<M>) -> fmt::Result {
    for kind in Kind::ALL {
        if let Some(metric) = known(*kind) {
            metric.encode(encoder.encode_family(&[("kind", kind.name())])?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_that_is_served_has_its_series() {
        let progress = Arc::new(Progress::default());
        let (leads, leading) = watch::channel(false);
        let mut registry = Registry::default();
        WatchMetrics::register(Arc::clone(&progress), leading, &mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let has = |line: &str| text().lines().any(|found| found.starts_with(line));
        assert!(has("lanekeeper_index_synced{kind=\"Pod\"} 0"), "{}", text());
        assert!(
            !has("lanekeeper_index_age_seconds{") && has("lanekeeper_leader 0"),
            "{}",
            text()
        );

        progress.is_served(Kind::Pod, "v1");
        progress.is_not_served(Kind::Gateway);
        progress.has_synced(Kind::Pod);
        progress.has_failed(Kind::Pod, "gone".to_owned());
        leads.send_replace(true);
        for line in [
            "# UNIT lanekeeper_index_age_seconds seconds",
            "lanekeeper_index_synced{kind=\"Pod\"} 1",
            "lanekeeper_index_age_seconds{kind=\"Pod\"} 0.",
            "lanekeeper_watch_restarts_total{kind=\"Pod\"} 1",
            "lanekeeper_watch_restarts_total{kind=\"Gateway\"} 0",
            "lanekeeper_leader 1",
        ] {
            assert!(has(line), "no {line} in:\n{}", text());
        }
        assert!(!text().contains("index_synced{kind=\"Gateway\"}"), "{}", text());
    }
}

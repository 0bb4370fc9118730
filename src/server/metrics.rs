//! What the server counts.

use std::{fmt, sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, prometheus_text, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

use super::Webhook;
use crate::{admission::Record, resource::Kind, verdict::Mode, version};

/// The bounds of the duration's buckets, in seconds.
const SECONDS: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    webhook: &'static str,
    kind: &'static str,
    operation: &'static str,
    decision: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    webhook: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

/// How a request ended, for its `decision` label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// The body was read but is no review.
    Unreadable,
    /// The request was refused before it was judged: its type, size or speed.
    Rejected,
    /// Too many others were being judged.
    Shed,
    /// The judge panicked.
    Panicked,
    /// It was judged, but the decision log, which is required, did not take the decision.
    Unlogged,
}

impl Unjudged {
    const ALL: [Self; 5] = [
        Self::Unreadable,
        Self::Rejected,
        Self::Shed,
        Self::Panicked,
        Self::Unlogged,
    ];

    /// What the metric has of it.
    fn labels(self, webhook: Webhook) -> RequestLabels {
        let decision = match self {
            Self::Unreadable => "unreadable",
            Self::Rejected => "rejected",
            Self::Shed => "shed",
            Self::Panicked => "panic",
            Self::Unlogged => "unlogged",
        };
        RequestLabels {
            webhook: webhook.name(),
            kind: "unknown",
            operation: "unknown",
            decision,
        }
    }
}

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `OpenMetrics`, which Prometheus asks for.
    OpenMetrics,
    /// The older text format, which everything else reads.
    Text,
}

/// The metrics of the server; every label has a bounded set of values.
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    duration: Family<WebhookLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    index_objects: Family<KindLabels, Gauge<u64, AtomicU64>>,
    index_version: Gauge<u64, AtomicU64>,
    certificate_expiry: Gauge,
    certificate_life: Gauge,
    pub(super) panics: Counter,
    pub(super) audit_log_errors: Counter,
    pub(super) certificate_errors: Counter,
}

impl Metrics {
    /// Adds the server's metrics to those that others have registered.
    pub(super) fn new(registry: Registry) -> Self {
        let mut metrics = Self {
            registry,
            requests: Family::default(),
            duration: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
            index_objects: Family::default(),
            index_version: Gauge::default(),
            certificate_expiry: Gauge::default(),
            certificate_life: Gauge::default(),
            panics: Counter::default(),
            audit_log_errors: Counter::default(),
            certificate_errors: Counter::default(),
        };
        // A rate needs a count of nothing before the first one.
        for webhook in [Webhook::Validate(Mode::Enforce), Webhook::Mutate(Mode::Enforce)] {
            for why in Unjudged::ALL {
                drop(metrics.requests.get_or_create(&why.labels(webhook)));
            }
        }
        // The encoder ends the name of a counter with `_total`.
        let registry = metrics.registry.sub_registry_with_prefix("lanekeeper");
        let build = [("version", version::VERSION), ("commit", version::COMMIT)];
        // The encoder ends its name with `_info`.
        registry.register(
            "build",
            "The version and the commit of the server",
            Info::new(build),
        );
        registry.register(
            "admission_requests",
            "Requests to the webhooks, by what came of them",
            metrics.requests.clone(),
        );
        registry.register_with_unit(
            "admission_duration",
            "Time from a request's arrival to its answer, of reviews that were judged",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register(
            "admission_in_flight",
            "Requests to the webhooks that are not answered yet",
            metrics.in_flight.clone(),
        );
        registry.register(
            "panics",
            "Requests that ended in a panic; each is a defect to report",
            metrics.panics.clone(),
        );
        registry.register(
            "audit_log_errors",
            "Decisions that the decision log did not take; they are in the program's own log",
            metrics.audit_log_errors.clone(),
        );
        registry.register(
            "certificate_errors",
            "Readings of the certificate files that found no usable pair; the pair before stays in use",
            metrics.certificate_errors.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry",
            "Seconds until the certificate in use expires; less than nothing once it has",
            Unit::Seconds,
            metrics.certificate_expiry.clone(),
        );
        registry.register_with_unit(
            "certificate_life",
            "Seconds for which the certificate in use was valid when it was made",
            Unit::Seconds,
            metrics.certificate_life.clone(),
        );
        registry.register(
            "index_objects",
            "Objects in the index, by kind",
            metrics.index_objects.clone(),
        );
        registry.register(
            "index_version",
            "Version of the index; it grows with each change",
            metrics.index_version.clone(),
        );
        metrics
    }

    /// Counts a request as in flight until the guard is dropped, however the request ends.
    pub(super) fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a review that was judged.
    pub(super) fn judged(&self, record: &Record, webhook: Webhook, took: Duration) {
        let decision = match record {
            Record { allowed: false, .. } => "deny",
            Record { patch: Some(_), .. } => "patch",
            Record { warned, .. } if !warned.is_empty() => "warn",
            _ => "allow",
        };
        let labels = RequestLabels {
            webhook: webhook.name(),
            kind: kind_label(&record.kind),
            operation: operation_label(&record.operation),
            decision,
        };
        self.requests.get_or_create(&labels).inc();
        self.duration
            .get_or_create(&WebhookLabels {
                webhook: webhook.name(),
            })
            .observe(took.as_secs_f64());
    }

    /// Counts a request of which nothing is known but how it ended.
    pub(super) fn unjudged(&self, why: Unjudged, webhook: Webhook) {
        self.requests.get_or_create(&why.labels(webhook)).inc();
    }

    /// The metrics as text; those of the index and the certificate are of this moment.
    pub(super) fn encode(
        &self,
        format: Format,
        (objects, version): (Vec<(Kind, usize)>, u64),
        (certificate_expiry, certificate_life): (i64, i64),
    ) -> Result<String, fmt::Error> {
        self.certificate_expiry.set(certificate_expiry);
        self.certificate_life.set(certificate_life);
        for (kind, count) in objects {
            let gauge = self
                .index_objects
                .get_or_create(&KindLabels { kind: kind.name() });
            gauge.set(u64::try_from(count).unwrap_or(u64::MAX));
        }
        self.index_version.set(version);
        let mut out = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut out, &self.registry)?,
            Format::Text => prometheus_text::encode(&mut out, &self.registry)?,
        }
        Ok(out)
    }
}

/// A request in flight.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A kind comes from the request, so only those that Lanekeeper knows become a label.
fn kind_label(kind: &str) -> &'static str {
    if kind == "Scale" {
        return "Scale";
    }
    Kind::ALL
        .iter()
        .map(|known| known.name())
        .find(|known| *known == kind)
        .unwrap_or("other")
}

fn operation_label(operation: &str) -> &'static str {
    ["CREATE", "UPDATE", "DELETE", "CONNECT"]
        .into_iter()
        .find(|known| *known == operation)
        .unwrap_or("other")
}

//! Runs the audit: when what has changed is quiet, and in full from time to time. Every replica does, so that each has the
//! metrics and can go on where another one ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep;

use super::progress::Progress;
use crate::audit::{Audit, Changes, Report};
use crate::verdict::Settings;
use crate::world::World;

/// How often it is looked whether something has to be judged.
const LOOK: Duration = Duration::from_millis(250);

/// The bounds of the duration's buckets, in seconds.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0];

/// What is reported now; `None` before the first pass.
pub type Audited = Option<Arc<Report>>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct FindingLabels {
    code: &'static str,
    rule: &'static str,
    level: String,
    namespace: String,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct WaitingLabels {
    code: &'static str,
    namespace: String,
}

/// What is counted of the audit.
#[derive(Debug)]
pub struct AuditMetrics {
    findings: Family<FindingLabels, Gauge>,
    waiting: Family<WaitingLabels, Gauge>,
    duration: Histogram,
    passes: Counter,
    objects: Counter,
    pub(super) event_errors: Counter,
}

impl AuditMetrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            findings: Family::default(),
            waiting: Family::default(),
            duration: Histogram::new(SECONDS),
            passes: Counter::default(),
            objects: Counter::default(),
            event_errors: Counter::default(),
        };
        // The encoder ends the name of a counter with `_total`.
        let registry = registry.sub_registry_with_prefix("lanekeeper");
        registry.register(
            "findings",
            "Findings in what runs, of namespaces that have opted in",
            metrics.findings.clone(),
        );
        registry.register(
            "findings_waiting",
            "What is only missing and may still come; after a minute it is a finding",
            metrics.waiting.clone(),
        );
        registry.register_with_unit(
            "audit_duration",
            "Time from the beginning of a pass of the audit to its end, with its rests",
            Unit::Seconds,
            metrics.duration.clone(),
        );
        registry.register("audit_passes", "Passes of the audit", metrics.passes.clone());
        registry.register(
            "audit_objects",
            "Objects that the audit has judged",
            metrics.objects.clone(),
        );
        registry.register(
            "audit_event_errors",
            "Attempts to write an Event for a finding that failed; they are made again",
            metrics.event_errors.clone(),
        );
        metrics
    }

    /// The gauges as the report has it, in place of those of the report before.
    fn report(&self, report: &Report, known: &mut Counts) {
        let mut counts = Counts::default();
        for one in report.all() {
            let labels = FindingLabels {
                code: one.finding.code,
                rule: one.finding.rule,
                level: one.level.to_string(),
                namespace: one.finding.object.namespace.to_string(),
            };
            *counts.findings.entry(labels).or_insert(0) += 1;
        }
        for (code, object, _) in report.waiting() {
            let namespace = object.namespace.to_string();
            *counts
                .waiting
                .entry(WaitingLabels { code, namespace })
                .or_insert(0) += 1;
        }
        replace(&self.findings, &counts.findings, &known.findings);
        replace(&self.waiting, &counts.waiting, &known.waiting);
        *known = counts;
    }
}

/// What the gauges have.
#[derive(Debug, Default)]
struct Counts {
    findings: BTreeMap<FindingLabels, i64>,
    waiting: BTreeMap<WaitingLabels, i64>,
}

/// Puts counts in the place of those that were known; what there is none of any more has no series.
fn replace<L>(gauges: &Family<L, Gauge>, counts: &BTreeMap<L, i64>, known: &BTreeMap<L, i64>)
where
    L: Clone + std::hash::Hash + Ord,
{
    for gone in known.keys().filter(|labels| !counts.contains_key(*labels)) {
        gauges.remove(gone);
    }
    for (labels, count) in counts {
        gauges.get_or_create(labels).set(*count);
    }
}

/// Who runs the audit. It ends when this is dropped.
#[derive(Debug)]
pub struct Auditor {
    audited: watch::Receiver<Audited>,
    task: JoinHandle<()>,
}

/// What an audit works on.
pub struct Audits<S> {
    /// The world.
    pub world: Arc<RwLock<World>>,
    /// What has changed in it.
    pub changes: Arc<Mutex<Changes>>,
    /// How far the watches have come: of half a world nothing is said.
    pub progress: Arc<Progress>,
    /// The settings that count at the moment.
    pub settings: S,
    /// How often everything is judged.
    pub interval: Duration,
    /// What is counted.
    pub metrics: Arc<AuditMetrics>,
}

impl Auditor {
    /// Starts the audit. Has to be called within a Tokio runtime.
    pub fn start<S: Fn() -> Arc<Settings> + Send + 'static>(of: Audits<S>) -> Self {
        let (sender, audited) = watch::channel(None);
        Self {
            audited,
            task: tokio::spawn(run(of, sender)),
        }
    }

    /// What it reports.
    pub fn audited(&self) -> watch::Receiver<Audited> {
        self.audited.clone()
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run<S: Fn() -> Arc<Settings>>(of: Audits<S>, audited: watch::Sender<Audited>) {
    let mut audit = Audit::default();
    let mut known = Counts::default();
    let mut settings = (of.settings)();
    // A full pass is the first one.
    let mut full = Instant::now();
    loop {
        of.progress.until_synced().await;
        let now = Instant::now();
        let current = (of.settings)();
        if now.duration_since(full) >= of.interval {
            of.changes.lock().all(now);
        }
        let is_due = of.changes.lock().are_due(now) || audit.is_due(now) || !Arc::ptr_eq(&current, &settings);
        if !is_due {
            sleep(LOOK).await;
            continue;
        }
        settings = current;
        let changes = of.changes.lock().take();
        if changes.concern_all() {
            full = now;
        }
        let (world, by) = (Arc::clone(&of.world), Arc::clone(&settings));
        let pass = spawn_blocking(move || {
            audit.pass(&world, &changes, &by, now);
            audit
        });
        let Ok(done) = pass.await else {
            // It cannot be known what is lost with it.
            tracing::error!("the audit broke off, and starts again; this is a defect");
            audit = Audit::default();
            of.changes.lock().all(Instant::now());
            continue;
        };
        audit = done;
        let took = now.elapsed();
        of.metrics.duration.observe(took.as_secs_f64());
        of.metrics.passes.inc();
        let slices = audit.slices();
        of.metrics
            .objects
            .inc_by(u64::try_from(slices.objects).unwrap_or(u64::MAX));
        tracing::debug!(
            objects = slices.objects,
            slices = slices.count,
            longest_micros = slices.longest.as_micros(),
            took_millis = took.as_millis(),
            "a pass of the audit"
        );
        of.metrics.report(audit.report(), &mut known);
        audited.send_if_modified(|before| {
            let is_same = before
                .as_ref()
                .is_some_and(|before| Arc::ptr_eq(before, audit.report()));
            *before = Some(Arc::clone(audit.report()));
            !is_same
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Reported;
    use crate::resource::{Kind, ObjectRef};
    use crate::rule::{Finding, Level, find};

    #[test]
    fn a_series_that_falls_to_nothing_is_removed() {
        let mut registry = Registry::default();
        let metrics = AuditMetrics::new(&mut registry);
        let text = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let one = |name: &str| {
            let object = ObjectRef::new(Kind::DestinationRule, "cars", name);
            Reported {
                finding: Finding::new(find("LK101").unwrap(), object, "spec"),
                level: Level::Deny,
            }
        };
        let series = r#"lanekeeper_findings{code="LK101",rule="subset-without-workload",level="deny",namespace="cars"}"#;
        let mut known = Counts::default();
        metrics.report(&Report::new(vec![one("a"), one("b")], [].into()), &mut known);
        assert!(text().contains(&format!("{series} 2\n")), "{}", text());
        metrics.report(&Report::new(vec![one("a")], [].into()), &mut known);
        assert!(text().contains(&format!("{series} 1\n")), "{}", text());
        metrics.report(&Report::default(), &mut known);
        assert!(!text().contains("lanekeeper_findings{"), "{}", text());
    }
}

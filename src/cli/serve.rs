//! `lanekeeper serve`.

mod dashboard;
mod log;
mod reload;
mod size;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use parking_lot::{Mutex, RwLock};

use self::dashboard::DashboardArgs;
use self::log::Log;
use self::reload::{Content, follow};
use self::size::Size;
use super::{CLEAN, cluster::Access, configuration::Configuration, write_whole};
use crate::admission::{Engine, Judge as _};
use crate::audit::{self, Report};
use crate::cluster::{
    AuditMetrics, Auditor, Audits, Election, Fresh, SharedAuthority, SharedAuthorityConfig, StatusWriter,
    Teller, WatchMetrics, Watches, connect, watch,
};
use crate::config::Config;
use crate::dashboard::{Findings, Source};
use crate::files;
use crate::server::{self, CertificateSource, LogTarget, Recent, serve};
use crate::verdict::Settings;
use crate::world::World;

/// How long what is still looked at may take after all else has ended.
const LAST_LOOK: Duration = Duration::from_secs(1);

/// Arguments of `serve`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = "\
Examples:
  lanekeeper serve --manifests examples/cars          a world from files; `lanekeeper submit` sends objects to it
  lanekeeper serve --kubeconfig ~/.kube/config        the world of a cluster, from outside
  lanekeeper serve --tls-cert-dir /etc/lanekeeper/tls --audit-log decisions.jsonl --audit-log-required
  lanekeeper serve --manifests k8s/ --config lanekeeper.yaml --dashboard-listen 127.0.0.1:9000

Environment:
  LANEKEEPER_LOG    what is logged on standard error, as in `info,lanekeeper=debug`;
                    `log` in --config counts more, and is followed")]
pub(super) struct Args {
    /// Take the world from these files and directories, without a cluster
    #[arg(long, num_args = 1.., value_name = "PATH", conflicts_with_all = ["kubeconfig", "context"])]
    manifests: Vec<PathBuf>,
    #[command(flatten)]
    access: Access,
    /// Where the webhook listens [default: 0.0.0.0:9443; with --manifests 127.0.0.1:9443]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Where health, readiness, metrics and the lane filter are served [default: 0.0.0.0:8080; with --manifests 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// A directory with tls.crt and tls.key, read again when they change [default: a certificate is made]
    #[arg(long, value_name = "DIR")]
    tls_cert_dir: Option<PathBuf>,
    /// Make certificates by an authority in this Secret of Lanekeeper's namespace, which all replicas share; the Secret is
    /// made if it is not there, followed by another authority in time, and told to the webhook configurations
    #[arg(long, value_name = "NAME", conflicts_with_all = ["tls_cert_dir", "manifests", "ca_file"])]
    ca_secret: Option<String>,
    /// How long an authority in --ca-secret is valid; another one follows after two thirds
    #[arg(long, value_name = "TIME", default_value = "365d", value_parser = time, requires = "ca_secret")]
    ca_life: Duration,
    /// How long a certificate by --ca-secret is valid; it is renewed after two thirds
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = time, requires = "ca_secret")]
    leaf_life: Duration,
    /// The Service in Lanekeeper's namespace that certificates by --ca-secret are for
    #[arg(
        long,
        value_name = "NAME",
        default_value = "lanekeeper",
        requires = "ca_secret"
    )]
    service: String,
    /// The name of both webhook configurations, to which the authority in --ca-secret is told
    #[arg(
        long,
        value_name = "NAME",
        default_value = "lanekeeper",
        requires = "ca_secret"
    )]
    webhooks: String,
    /// Where to write the authority of a certificate that is made [default: where `submit` looks]
    #[arg(long, value_name = "FILE", conflicts_with = "tls_cert_dir")]
    ca_file: Option<PathBuf>,
    /// Only clients with a certificate by one of this file's authorities may ask
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
    /// Where decisions are written, one JSON line each: a file, which is rotated, or - for standard output
    #[arg(long, default_value = "-", value_name = "FILE")]
    audit_log: String,
    /// Answer with an error where a decision cannot be written, so that the webhook's failurePolicy decides; without
    /// it the answer goes out, and the decision to standard error
    #[arg(long)]
    audit_log_required: bool,
    /// The size at which the file is rotated to FILE.1, FILE.1 to FILE.2 and so on: 500KiB, 100MiB, 1GiB
    /// [default: 100MiB]
    #[arg(long, value_name = "SIZE")]
    audit_log_max_size: Option<Size>,
    /// How many rotated files are kept [default: 5]
    #[arg(long, value_name = "NUMBER")]
    audit_log_keep: Option<u32>,
    /// Users and field managers that apply sets of objects one by one: what is only missing warns
    /// [default: the configuration's, or the known ones: helm, flagger, the controllers of Argo CD and Flux …]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    set_appliers: Vec<String>,
    /// Users that scale workloads by themselves: scaling to zero warns
    /// [default: the configuration's, or the known ones: horizontal-pod-autoscaler, keda-operator, kube-downscaler]
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    scalers: Vec<String>,
    /// How long to keep answering, in seconds, after the order to stop
    #[arg(long, default_value_t = 5, value_name = "SECONDS")]
    shutdown_delay: u64,
    /// The namespace of objects in --manifests that name none
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// How often everything that runs is judged, in seconds; what changes is judged at once
    #[arg(long, default_value_t = 600, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..),
        conflicts_with_all = ["manifests", "no_audit"])]
    audit_interval: u64,
    /// Judge only what is asked for, not what runs
    #[arg(long, conflicts_with = "manifests")]
    no_audit: bool,
    /// Write no status of lane groups
    #[arg(long, conflicts_with = "manifests")]
    no_status: bool,
    /// Lanekeeper's own namespace, for the Lease by which one of several replicas leads
    /// [default: the pod's own, else lanekeeper-system]
    #[arg(long, value_name = "NAMESPACE", conflicts_with = "manifests")]
    own_namespace: Option<String>,
    #[command(flatten)]
    dashboard: DashboardArgs,
    #[command(flatten)]
    configuration: Configuration,
}

impl Args {
    /// Where decisions are written.
    fn decision_log(&self) -> anyhow::Result<LogTarget> {
        if self.audit_log == "-" {
            ensure!(
                self.audit_log_max_size.is_none() && self.audit_log_keep.is_none(),
                "--audit-log-max-size and --audit-log-keep are about a file; name it with --audit-log"
            );
            return Ok(LogTarget::Stdout);
        }
        Ok(LogTarget::File {
            path: PathBuf::from(&self.audit_log),
            max_bytes: self
                .audit_log_max_size
                .map_or(LogTarget::MAX_BYTES, |size| size.0),
            keep: self.audit_log_keep.unwrap_or(LogTarget::KEEP),
        })
    }

    /// The namespace that Lanekeeper runs in.
    fn own_namespace(&self) -> String {
        /// Where a pod finds its namespace (Kubernetes, "Accessing the Kubernetes API from a Pod").
        const OWN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
        let own = || fs::read_to_string(OWN).ok().map(|own| own.trim().to_owned());
        let given = self.own_namespace.clone().or_else(own);
        given
            .filter(|given| !given.is_empty())
            .unwrap_or_else(|| "lanekeeper-system".to_owned())
    }

    /// How the shared authority is kept, if there is one.
    fn shared_authority(&self) -> Option<SharedAuthorityConfig> {
        Some(SharedAuthorityConfig {
            namespace: self.own_namespace(),
            secret: self.ca_secret.clone()?,
            service: self.service.clone(),
            webhooks: self.webhooks.clone(),
            authority_life: self.ca_life,
            leaf_life: self.leaf_life,
        })
    }

    /// What the configuration and the flags together say of levels and of who is who.
    fn settings(&self, config: &Config) -> Settings {
        let mut settings = self.configuration.settings(config);
        for (given, names) in [
            (&self.set_appliers, &mut settings.set_appliers),
            (&self.scalers, &mut settings.scalers),
        ] {
            if !given.is_empty() {
                *names = given.iter().cloned().collect();
            }
        }
        settings
    }
}

/// A length of time that is longer than nothing.
fn time(text: &str) -> Result<Duration, String> {
    let time = super::length_of_time(text).and_then(Duration::try_from);
    let time = time.map_err(|error| error.to_string())?;
    if time.is_zero() {
        return Err("it has to be longer than nothing".to_owned());
    }
    Ok(time)
}

pub(super) fn run(args: &Args) -> anyhow::Result<u8> {
    let log = Log::start();
    let runtime = super::runtime()?;
    let served = runtime.block_on(serve_until_stopped(args, log));
    // Who still looks at the world for the dashboard does not hold up the end.
    runtime.shutdown_timeout(LAST_LOOK);
    served?;
    Ok(CLEAN)
}

async fn serve_until_stopped(args: &Args, log: Log) -> anyhow::Result<()> {
    let file = args.configuration.named();
    let content = file.map(Content::read).transpose()?;
    let config = content
        .as_ref()
        .map(|content| content.config.clone())
        .unwrap_or_default();
    log.says(config.log());
    let settings = args.settings(&config);
    let is_embedded = !args.manifests.is_empty();
    let host = if is_embedded { [127, 0, 0, 1] } else { [0, 0, 0, 0] };
    let mut server = server::Config {
        listen: args.listen.unwrap_or_else(|| (host, 9443).into()),
        admin_listen: args.admin_listen.unwrap_or_else(|| (host, 8080).into()),
        certificates: match &args.tls_cert_dir {
            Some(directory) => CertificateSource::Directory(directory.clone()),
            None => CertificateSource::SelfMade(Vec::new()),
        },
        client_ca: args.client_ca.clone(),
        decision_log: args.decision_log()?,
        decision_log_required: args.audit_log_required,
        shutdown_delay: Duration::from_secs(args.shutdown_delay),
        ..server::Config::default()
    };
    let Started {
        engine,
        world,
        findings,
        tasks,
    } = if is_embedded {
        on_files(args, &config, settings)?
    } else {
        on_cluster(args, &config, settings, &mut server).await?
    };
    server.recent = args.dashboard.is_wanted().then(Recent::default);
    let by = Arc::clone(&engine);
    let source = server.recent.clone().map(|recent| Source {
        world,
        pending: Box::new(move || by.unsynced()),
        findings,
        recent,
    });
    engine.confirmations().register(&mut server.registry);
    if let Some(content) = content {
        let metrics = reload::Metrics::new(&mut server.registry);
        let (args, engine) = (args.clone(), Arc::clone(&engine));
        tokio::spawn(follow(content, metrics, move |config| {
            engine.configure(args.settings(config));
            log.says(config.log());
        }));
    }
    let running = serve(server, engine).await?;
    if let Some(ca) = running.ca_pem() {
        let file = match &args.ca_file {
            Some(file) => file.clone(),
            None => super::ca_file()?,
        };
        let directory = file.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .and_then(|()| write_whole(&file, ca.as_bytes()))
            .with_context(|| format!("cannot write the certificate's authority to {}", file.display()))?;
        tracing::info!(file = %file.display(), "made a certificate; clients have to trust the authority in this file");
    }
    let dashboard = match source {
        Some(source) => dashboard::start(&args.dashboard, source).await?,
        None => None,
    };
    running.until_signal().await?;
    drop(dashboard);
    if let Some(tasks) = tasks {
        tasks.end().await;
    }
    Ok(())
}

/// What a server is made of.
struct Started {
    engine: Arc<Engine>,
    world: Arc<RwLock<World>>,
    findings: Findings,
    tasks: Option<Tasks>,
}

/// The engine on the world that files have.
fn on_files(args: &Args, config: &Config, settings: Settings) -> anyhow::Result<Started> {
    let world = Arc::new(RwLock::new(world_of_files(args, config)?));
    let engine = Arc::new(Engine::new(Arc::clone(&world), settings).on_files());
    // The world stays as it is, and so does what is wrong with it until other settings count.
    let last = Mutex::new(None::<(Arc<Settings>, Arc<Report>)>);
    let (judged, by) = (Arc::clone(&world), Arc::clone(&engine));
    let findings = move || {
        let settings = by.settings();
        let mut last = last.lock();
        let known = last.as_ref().filter(|(of, _)| Arc::ptr_eq(of, &settings));
        let report = match known {
            Some((_, report)) => Arc::clone(report),
            None => audit::at_once(&judged, &settings),
        };
        *last = Some((settings, Arc::clone(&report)));
        Some(report)
    };
    Ok(Started {
        engine,
        world,
        findings: Box::new(findings),
        tasks: None,
    })
}

/// What runs beside the server on a cluster.
struct Tasks {
    watches: Watches,
    election: Election,
    auditor: Option<Auditor>,
    teller: Option<Teller>,
    writer: Option<StatusWriter>,
    authority: Option<SharedAuthority>,
}

impl Tasks {
    async fn end(self) {
        // Who gives the lead back has to have ended what only the leader does.
        drop((self.writer, self.teller, self.authority));
        self.election.end().await;
        drop((self.auditor, self.watches));
    }
}

/// The engine on the world that a cluster has, and what keeps both in step and tells of them.
async fn on_cluster(
    args: &Args,
    config: &Config,
    settings: Settings,
    server: &mut server::Config,
) -> anyhow::Result<Started> {
    let mesh = args.configuration.mesh(config);
    let client = connect(&args.access.connection()).await?;
    let world = Arc::new(RwLock::new(World::new(mesh.clone())));
    let changes = Arc::default();
    let watches = watch(client.clone(), Arc::clone(&world), Arc::clone(&changes));
    let progress = Arc::clone(watches.progress());
    let fresh = Fresh::new(client.clone(), Arc::clone(&progress), mesh);
    let unsynced = Arc::clone(&progress);
    let pending = move || unsynced.pending().iter().map(ToString::to_string).collect();
    let engine = Engine::new(Arc::clone(&world), settings)
        .confirming(Arc::new(fresh))
        .ready_when(pending);
    let engine = Arc::new(engine);
    let election = Election::start(client.clone(), &args.own_namespace(), Arc::clone(&progress));
    WatchMetrics::register(Arc::clone(&progress), election.leading(), &mut server.registry);
    let metrics = (!args.no_audit).then(|| Arc::new(AuditMetrics::new(&mut server.registry)));
    let auditor = metrics.clone().map(|metrics| {
        let engine = Arc::clone(&engine);
        Auditor::start(Audits {
            world: Arc::clone(&world),
            changes,
            progress: Arc::clone(&progress),
            settings: move || engine.settings(),
            interval: Duration::from_secs(args.audit_interval),
            metrics,
        })
    });
    let audited = auditor.as_ref().map(Auditor::audited);
    let teller = audited.clone().zip(metrics).map(|(audited, metrics)| {
        let progress = Arc::clone(&progress);
        Teller::start(client.clone(), progress, audited, election.leading(), metrics)
    });
    let (of_status, shown) = (Arc::clone(&world), audited.clone());
    let writer = (!args.no_status)
        .then(|| StatusWriter::start(client.clone(), of_status, progress, election.leading(), audited));
    let findings = move || shown.as_ref().and_then(|audited| audited.borrow().clone());
    let authority = match args.shared_authority() {
        Some(config) => {
            let (names, life) = (config.names(), config.leaf_life);
            let authority = SharedAuthority::start(client, config, election.leading())?;
            let shared = authority.shared();
            server.certificates = CertificateSource::Shared { names, life, shared };
            Some(authority)
        }
        None => None,
    };
    let tasks = Tasks {
        watches,
        election,
        auditor,
        teller,
        writer,
        authority,
    };
    Ok(Started {
        engine,
        world,
        findings: Box::new(findings),
        tasks: Some(tasks),
    })
}

/// The world of `--manifests`: whole, or not at all. A world with gaps would refuse what is right.
fn world_of_files(args: &Args, config: &Config) -> anyhow::Result<World> {
    let files = files::load(&args.manifests, Some(&args.namespace));
    if !files.problems.is_empty() {
        let problems: Vec<String> = files.problems.iter().map(ToString::to_string).collect();
        anyhow::bail!("some manifests cannot be read:\n  {}", problems.join("\n  "));
    }
    for refused in &files.refused {
        tracing::warn!("an API server would refuse this: {refused}");
    }
    for note in &files.notes {
        tracing::warn!("{note}");
    }
    tracing::info!(
        files = files.count(),
        objects = files.objects.len(),
        skipped = files.skipped,
        "read the manifests"
    );
    Ok(args.configuration.world(config, &files))
}

//! A real control plane that a test starts, uses and forgets.
//!
//! ```text
//!  test process
//!   ├── ControlPlane ── temporary folder: keys, tokens, kubeconfigs, logs, audit log
//!   ├── etcd                      unix socket in that folder, no fsync
//!   ├── kube-apiserver            https://127.0.0.1:<free port>, RBAC, tokens, audit
//!   ├── kube-controller-manager   on request: ReplicaSets, Pods, garbage, namespaces
//!   └── kubectl                   a process for each call, with a cache of its own
//! ```
//!
//! `tests/control-plane/build.sh` makes the programs and Istio's CRDs. A program is looked for in
//! `KUBEBUILDER_ASSETS`, then (kubectl alone) on `PATH`, then in `.cache/control-plane/bin`.
//!
//! Every method blocks. A test that serves the webhook from its own process must do so on other
//! threads than the one that calls kubectl: `#[tokio::test(flavor = "multi_thread")]`, or the API
//! server waits for a webhook that waits for kubectl.
//!
//! The processes end with the `ControlPlane`. Where util-linux's `setpriv` is at hand they also end
//! with the test process, however that ends, so a `ControlPlane` may live in a `static` (whose
//! temporary folder then stays behind).

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test support: each test uses its own part of it, and fails by a panic that says why"
)]

use std::{
    env, fmt,
    fs::{self, File},
    io::{self, Read, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

/// An ordinary user: signs in with a token, is in no group, and may do nothing until RBAC says so.
pub const DEV: &str = "dev";

/// The `ServiceAccount` by which Flux applies manifests; signs in with a token.
pub const FLUX: &str = "system:serviceaccount:flux-system:kustomize-controller";

/// How long a component may take until it is ready. A start takes some four seconds; many at once
/// on a small machine take longer.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// How long one kubectl call may take before it counts as hung.
const KUBECTL_PATIENCE: Duration = Duration::from_secs(180);

/// How long [`eventually`] waits.
const PATIENCE: Duration = Duration::from_secs(60);

/// A user of the API server's token file.
struct Account {
    /// The user's name, as RBAC and admission see it.
    name: &'static str,
    /// The user's groups, beside `system:authenticated`.
    groups: &'static [&'static str],
}

impl Account {
    const ADMIN: Self = Self {
        name: "admin",
        groups: &["system:masters"],
    };
    const CONTROLLER_MANAGER: Self = Self {
        name: "system:kube-controller-manager",
        groups: &[],
    };
    const ALL: [Self; 4] = [
        Self::ADMIN,
        Self::CONTROLLER_MANAGER,
        Self {
            name: DEV,
            groups: &[],
        },
        Self {
            name: FLUX,
            groups: &["system:serviceaccounts", "system:serviceaccounts:flux-system"],
        },
    ];

    /// The bearer token; it opens nothing but a server on a loopback port of this test.
    fn token(&self) -> String {
        format!("token-of-{}", file_stem(self.name))
    }
}

/// What is not worth a line in the audit log is left out; the rest is logged once answered, without
/// bodies, and with the annotations that webhooks add.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: None
    nonResourceURLs: ['*']
  - level: None
    resources: [{group: coordination.k8s.io}]
  - level: Metadata
";

/// An API server with its etcd, running until it is dropped.
pub struct ControlPlane {
    // Fields are dropped in this order: callers before the called, the folder last.
    controller_manager: OnceLock<Component>,
    /// Another one after a restart.
    api_server: Mutex<Component>,
    etcd: Component,
    port: u16,
    /// What the API server is told beside.
    flags: Vec<String>,
    kubectl: PathBuf,
    /// Numbers the files and folders that calls make.
    calls: AtomicUsize,
    dir: TempDir,
}

impl ControlPlane {
    /// Starts etcd and the API server, and returns when they serve and the namespace `default`
    /// exists.
    ///
    /// # Panics
    ///
    /// When a component is missing or does not come up; the message holds the end of its log.
    pub fn start() -> Self {
        Self::with_flags(Vec::new())
    }

    /// The same with more flags for the API server.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn with_flags(flags: Vec<String>) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("lk-")
            .tempdir()
            .expect("a temporary folder");
        write_settings(dir.path());

        let etcd = start_etcd(dir.path());
        let (api_server, port) = start_api_server(dir.path(), &flags);
        for account in &Account::ALL {
            let path = kubeconfig_of(dir.path(), account);
            let user = format!("token: {}", account.token());
            write_kubeconfig(&path, port, &server_ca(dir.path()), &user);
        }

        let plane = Self {
            controller_manager: OnceLock::new(),
            api_server: Mutex::new(api_server),
            etcd,
            port,
            flags,
            kubectl: program("kubectl"),
            calls: AtomicUsize::new(0),
            dir,
        };
        plane.until_ready();
        plane
    }

    /// Returns when the API server is ready.
    fn until_ready(&self) {
        // The server creates the system's namespaces on its own time, after it calls itself ready.
        self.api_server().until("ready", || {
            self.kubectl(&["get", "--raw=/readyz"]).status.success() && self.finds(&["namespace", "default"])
        });
    }

    fn api_server(&self) -> MutexGuard<'_, Component> {
        self.api_server.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the API server by a signal (`TERM` lets it end in order, `KILL` does not) and starts another one
    /// on the same port and the same etcd after a while; returns when it is ready.
    ///
    /// # Panics
    ///
    /// When the one does not end or the other does not come up.
    pub fn restart_api_server(&self, signal: &str, away: Duration) {
        {
            let mut api_server = self.api_server();
            api_server.signal(signal);
            api_server.ended();
            thread::sleep(away);
            let number = self.calls.fetch_add(1, Ordering::Relaxed);
            let mut command = mortal(&program("kube-apiserver"));
            command.args(api_server_args(self.dir.path(), self.port, &self.flags));
            *api_server = Component::run(&format!("kube-apiserver-{number}"), self.dir.path(), command);
            api_server.until("serving", || api_server.log_contains("Serving securely on"));
        }
        self.until_ready();
    }

    /// Stops etcd where it is (the API server's requests to it hang) until [`Self::resume_etcd`].
    pub fn pause_etcd(&self) {
        self.etcd.signal("STOP");
    }

    /// Lets etcd go on.
    pub fn resume_etcd(&self) {
        self.etcd.signal("CONT");
    }

    /// Starts kube-controller-manager with every controller that needs no cloud and no node, each
    /// under its own `ServiceAccount`, as kubeadm does; returns when its controllers work. A second
    /// call does nothing.
    ///
    /// The garbage collector sees a new CRD up to half a minute late: install CRDs first.
    ///
    /// # Panics
    ///
    /// When it does not come up; the message holds the end of its log.
    pub fn start_controller_manager(&self) {
        self.controller_manager.get_or_init(|| {
            let component = Component::spawn(
                "kube-controller-manager",
                self.dir.path(),
                &[
                    flag_path("kubeconfig", &self.kubeconfig_of(&Account::CONTROLLER_MANAGER)),
                    flag_path("root-ca-file", &server_ca(self.dir.path())),
                    flag_path(
                        "service-account-private-key-file",
                        &service_account_key(self.dir.path()),
                    ),
                    "--use-service-account-credentials=true".into(),
                    "--leader-elect=false".into(),
                    // No kubelet tells of the mesh tests' node: its pods would be taken for lost.
                    "--controllers=*,-node-lifecycle-controller".into(),
                    "--secure-port=0".into(),
                    "--kube-api-qps=200".into(),
                    "--kube-api-burst=400".into(),
                ],
            );
            // It serves nothing to ask for readiness; this ServiceAccount is the work of one of its
            // controllers.
            component.until("at work", || {
                self.finds(&["serviceaccount", "default", "--namespace=default"])
            });
            component
        });
    }

    /// The address of the API server.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// The kubeconfig of `admin`, who is in `system:masters`.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.kubeconfig_of(&Account::ADMIN)
    }

    /// The certificate that the API server's certificate is verified by.
    pub fn ca_path(&self) -> PathBuf {
        server_ca(self.dir.path())
    }

    /// A kubeconfig of the user `name` in `groups`.
    ///
    /// [`DEV`] and [`FLUX`] have tokens (leave `groups` empty). Any other user is impersonated by
    /// `admin`: RBAC and admission see the same, and the audit log names the user under
    /// `impersonatedUser`.
    pub fn user(&self, name: &str, groups: &[&str]) -> PathBuf {
        let known = Account::ALL
            .iter()
            .find(|account| account.name == name && (groups.is_empty() || account.groups == groups));
        if let Some(account) = known {
            return self.kubeconfig_of(account);
        }
        let path = self.numbered(&format!("{}.kubeconfig", file_stem(name)));
        self.write_kubeconfig(
            &path,
            &format!(
                "token: {}, as: {name:?}, as-groups: {groups:?}",
                Account::ADMIN.token()
            ),
        );
        path
    }

    /// A kubeconfig that signs in with `token`, such as one of `kubectl create token`.
    pub fn kubeconfig_for_token(&self, token: &str) -> PathBuf {
        let path = self.numbered("token.kubeconfig");
        self.write_kubeconfig(&path, &format!("token: {token:?}"));
        path
    }

    /// Runs kubectl as `admin`.
    pub fn kubectl(&self, args: &[&str]) -> KubectlOutput {
        self.kubectl_as(&self.kubeconfig_path(), args, None)
    }

    /// Runs kubectl as `admin` with `input` on its standard input, to be named as `-f -`.
    pub fn kubectl_stdin(&self, args: &[&str], input: &str) -> KubectlOutput {
        self.kubectl_as(&self.kubeconfig_path(), args, Some(input))
    }

    /// Runs kubectl with the given kubeconfig, and with `input`, if any, on its standard input.
    ///
    /// # Panics
    ///
    /// When kubectl cannot be run, or does not end within three minutes.
    pub fn kubectl_as(&self, kubeconfig: &Path, args: &[&str], input: Option<&str>) -> KubectlOutput {
        let home = self.numbered("kubectl");
        fs::create_dir(&home).expect("a home folder for kubectl");
        let mut command = Command::new(&self.kubectl);
        command
            .arg(flag_path("cache-dir", &home.join("cache")))
            .args(args)
            .env("HOME", &home)
            .env("KUBECONFIG", kubeconfig);
        let output = run(command, input);
        // Discovery is cached by call, or a kind that was just installed would not be known.
        fs::remove_dir_all(&home).ok();
        output
    }

    /// A Kubernetes client that signs in as the kubeconfig says.
    pub async fn client(&self, kubeconfig: &Path) -> kube::Client {
        let kubeconfig = Kubeconfig::read_from(kubeconfig).expect("a readable kubeconfig");
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a complete kubeconfig");
        kube::Client::try_from(config).expect("a client")
    }

    /// Installs Istio's CRDs, and returns when all their kinds are served.
    pub fn install_istio_crds(&self) {
        let crds = cache_dir().join("istio-crds.yaml");
        assert!(
            crds.is_file(),
            "{} is missing: run tests/control-plane/build.sh",
            crds.display()
        );
        self.install_crds(&crds);
    }

    /// Installs the CRDs of a file or folder, and returns when all their kinds are served.
    pub fn install_crds(&self, path: &Path) {
        // A client-side apply would not hold: its annotation is too small for such schemas.
        let path = path.to_str().expect("a path in UTF-8");
        let installed = self
            .kubectl(&[
                "apply",
                "--server-side",
                "--output=jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}{.metadata.name}",
                "--filename",
                path,
            ])
            .expect_success();
        let names: Vec<&str> = installed.stdout.split_whitespace().collect();
        assert!(!names.is_empty(), "no CRD in {path}");
        eventually(&format!("the kinds of {path} are served"), || {
            let served = self.kubectl(&["api-resources", "--output=name"]);
            let served: Vec<&str> = served.stdout.lines().collect();
            names.iter().all(|name| served.contains(name)).then_some(())
        });
    }

    /// The API server's audit log, a JSON object a line: what was asked (not its body), by whom, what was
    /// answered, and the annotations of webhooks.
    ///
    /// The line of a request is written when its answer has been sent: wait with [`Self::audit_line`].
    pub fn audit_log_path(&self) -> PathBuf {
        audit_log(self.dir.path())
    }

    /// The first line of the audit log that `matches`, waiting for it.
    ///
    /// # Panics
    ///
    /// When there is none after a minute.
    pub fn audit_line(&self, what: &str, matches: impl Fn(&str) -> bool) -> String {
        eventually(&format!("an audit line of {what}"), || {
            let log = fs::read_to_string(self.audit_log_path()).unwrap_or_default();
            // The last line may be half written.
            log.split_inclusive('\n')
                .filter(|line| line.ends_with('\n'))
                .find(|line| matches(line))
                .map(|line| line.trim_end().to_owned())
        })
    }

    /// The end of the API server's log: what it says of webhooks that it could not call.
    pub fn api_server_log(&self) -> String {
        self.api_server().log_tail(200)
    }

    /// All that API servers have logged here, those before a restart included.
    pub fn api_server_logs(&self) -> String {
        let entries = fs::read_dir(self.dir.path()).expect("the temporary folder");
        let paths = entries.filter_map(|entry| entry.ok().map(|entry| entry.path()));
        let is_log = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("kube-apiserver") && name.ends_with(".log")
        };
        let logs = paths.filter(is_log).filter_map(|path| fs::read(path).ok());
        logs.map(|log| String::from_utf8_lossy(&log).into_owned())
            .collect()
    }

    /// Whether `kubectl get` with these arguments finds what it is asked for.
    fn finds(&self, args: &[&str]) -> bool {
        self.kubectl(&[&["get"], args].concat()).status.success()
    }

    fn kubeconfig_of(&self, account: &Account) -> PathBuf {
        kubeconfig_of(self.dir.path(), account)
    }

    fn write_kubeconfig(&self, path: &Path, user: &str) {
        write_kubeconfig(path, self.port, &self.ca_path(), user);
    }

    /// A path in the temporary folder that no other call uses.
    fn numbered(&self, name: &str) -> PathBuf {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        self.dir.path().join(format!("{number}-{name}"))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        // The folder goes away with the failed test: what the server said of it must be shown now.
        if thread::panicking() {
            eprintln!("{}", self.api_server().log_tail(20));
        }
    }
}

/// What a kubectl call came to.
#[derive(Debug, Clone)]
pub struct KubectlOutput {
    /// The exit status: 0 when all went well, 1 when the server refused anything.
    pub status: ExitStatus,
    /// What it printed: results.
    pub stdout: String,
    /// What it printed beside: warnings and errors.
    pub stderr: String,
}

impl KubectlOutput {
    /// The output of a call that must have succeeded.
    ///
    /// # Panics
    ///
    /// When it did not; the message holds what kubectl printed.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.status.success(), "kubectl failed: {self}");
        self
    }

    /// The output of a call that must have failed.
    ///
    /// # Panics
    ///
    /// When it succeeded; the message holds what kubectl printed.
    #[track_caller]
    pub fn expect_failure(self) -> Self {
        assert!(!self.status.success(), "kubectl succeeded: {self}");
        self
    }
}

impl fmt::Display for KubectlOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}\n--- stdout\n{}--- stderr\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

/// Waits until `probe` gives something, asking ten times a second for a minute.
///
/// # Panics
///
/// When it gave nothing: `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            PATIENCE.as_secs()
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// A running program, killed when dropped.
pub struct Component {
    name: String,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Component {
    /// Starts the program `name` of the control plane, logging to a file in `dir`.
    fn spawn(name: &str, dir: &Path, args: &[String]) -> Self {
        let mut command = mortal(&program(name));
        command.args(args);
        Self::run(name, dir, command)
    }

    /// Starts a command in `dir`, logging to the file `name`.log there.
    pub fn run(name: &str, dir: &Path, mut command: Command) -> Self {
        let log = dir.join(format!("{name}.log"));
        let output = File::create(&log).expect("a log file");
        command
            .current_dir(dir)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle of the log file"))
            .stderr(output);
        let child = spawn_for_life(command).unwrap_or_else(|error| {
            panic!("{name} cannot be started: {error}");
        });
        Self {
            name: name.to_owned(),
            child: Mutex::new(child),
            log,
        }
    }

    /// Waits until `probe` says that the component is what it should be.
    pub fn until(&self, what: &str, mut probe: impl FnMut() -> bool) {
        let deadline = Instant::now() + START_PATIENCE;
        while !probe() {
            if let Some(status) = self.exited() {
                panic!(
                    "{} ended before it was {what}: {status}\n{}",
                    self.name,
                    self.log_tail(40)
                );
            }
            assert!(
                Instant::now() < deadline,
                "{} was not {what} within {} s\n{}",
                self.name,
                START_PATIENCE.as_secs(),
                self.log_tail(40)
            );
            thread::sleep(Duration::from_millis(25));
        }
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.lock().expect("no thread panics with this lock").id()
    }

    /// Sends the program a signal by its name, such as `TERM`.
    ///
    /// # Panics
    ///
    /// When it has ended already.
    pub fn signal(&self, name: &str) {
        let pid = self.id();
        let sent = Command::new("kill")
            .args([format!("-{name}"), pid.to_string()])
            .status()
            .expect("kill runs");
        assert!(sent.success(), "no signal {name} for {}", self.name);
    }

    /// Waits for the end of the program.
    ///
    /// # Panics
    ///
    /// When it does not end within two minutes.
    pub fn ended(&self) -> ExitStatus {
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(status) = self.exited() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} does not end\n{}",
                self.name,
                self.log_tail(40)
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// How the program ended, if it did.
    fn exited(&self) -> Option<ExitStatus> {
        self.child
            .lock()
            .expect("no thread panics with this lock")
            .try_wait()
            .expect("the status of a child")
    }

    fn log_contains(&self, text: &str) -> bool {
        self.read_log().contains(text)
    }

    /// The last lines of the log.
    pub fn log_tail(&self, lines: usize) -> String {
        let log = self.read_log();
        let all: Vec<&str> = log.lines().collect();
        let last = &all[all.len().saturating_sub(lines)..];
        format!("--- end of {}'s log\n{}\n---", self.name, last.join("\n"))
    }

    /// All that it has logged.
    pub fn read_log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Component {
    fn drop(&mut self) {
        // All state is in a folder that goes away: there is nothing to end gracefully.
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        child.kill().ok();
        child.wait().ok();
    }
}

/// Writes what the components read at their start: keys, tokens and the audit policy.
fn write_settings(dir: &Path) {
    let key = rcgen::KeyPair::generate().expect("a key for service account tokens");
    let tokens = Account::ALL.iter().fold(String::new(), |lines, account| {
        let (token, name) = (account.token(), account.name);
        lines
            + &match account.groups {
                [] => format!("{token},{name},{name}\n"),
                groups => format!("{token},{name},{name},\"{}\"\n", groups.join(",")),
            }
    });
    for (path, content) in [
        (service_account_key(dir), key.serialize_pem()),
        (service_account_public_key(dir), key.public_key_pem()),
        (token_file(dir), tokens),
        (audit_policy(dir), AUDIT_POLICY.to_owned()),
    ] {
        fs::write(path, content).expect("a file in the temporary folder");
    }
}

/// Starts etcd; the API server waits for it.
fn start_etcd(dir: &Path) -> Component {
    Component::spawn(
        "etcd",
        dir,
        &[
            flag_path("data-dir", &dir.join("etcd")),
            format!("--listen-client-urls={}", etcd_url(dir)),
            // etcd wants a host and a port here; no one asks for it.
            "--advertise-client-urls=http://127.0.0.1:2379".into(),
            "--listen-peer-urls=http://127.0.0.1:0".into(),
            // A member alone elects itself: the sooner the better.
            "--heartbeat-interval=20".into(),
            "--election-timeout=200".into(),
            "--unsafe-no-fsync".into(),
            "--log-level=warn".into(),
        ],
    )
}

/// Starts the API server on a free port, and returns when it serves there.
fn start_api_server(dir: &Path, flags: &[String]) -> (Component, u16) {
    // Between choosing a port and binding it, another process may take it.
    for _ in 0..5 {
        let port = free_port();
        let component = Component::spawn("kube-apiserver", dir, &api_server_args(dir, port, flags));
        let mut taken = false;
        component.until("serving", || {
            taken = component.log_contains("address already in use");
            taken || component.log_contains("Serving securely on")
        });
        if !taken {
            return (component, port);
        }
    }
    panic!("five free ports in a row were taken by others before kube-apiserver had them");
}

fn api_server_args(dir: &Path, port: u16, flags: &[String]) -> Vec<String> {
    let own = vec![
        format!("--etcd-servers={}", etcd_url(dir)),
        flag_path("cert-dir", &certificates(dir)),
        "--bind-address=127.0.0.1".into(),
        // Else it looks for an address that others reach it by, and a machine may have none. As no
        // Endpoints can hold a loopback address, none are made of it.
        "--advertise-address=127.0.0.1".into(),
        "--endpoint-reconciler-type=none".into(),
        format!("--secure-port={port}"),
        flag_path("service-account-key-file", &service_account_public_key(dir)),
        flag_path("service-account-signing-key-file", &service_account_key(dir)),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--authorization-mode=RBAC".into(),
        flag_path("token-auth-file", &token_file(dir)),
        "--service-cluster-ip-range=10.0.0.0/24".into(),
        // Pods need no ServiceAccount to exist before them.
        "--disable-admission-plugins=ServiceAccount".into(),
        "--allow-privileged=true".into(),
        flag_path("audit-policy-file", &audit_policy(dir)),
        flag_path("audit-log-path", &audit_log(dir)),
        // In MB: it is read whole, and what it was rotated to would be lost.
        "--audit-log-maxsize=10240".into(),
    ];
    [own, flags.to_vec()].concat()
}

fn etcd_url(dir: &Path) -> String {
    format!("unix://{}", dir.join("etcd.sock").display())
}

fn certificates(dir: &Path) -> PathBuf {
    dir.join("certificates")
}

/// The server makes its certificate and a CA at its start, and writes both to this file.
fn server_ca(dir: &Path) -> PathBuf {
    certificates(dir).join("apiserver.crt")
}

fn service_account_key(dir: &Path) -> PathBuf {
    dir.join("service-accounts.key")
}

/// Of an elliptic curve key, the server reads the public half only as a file of its own.
fn service_account_public_key(dir: &Path) -> PathBuf {
    dir.join("service-accounts.pub")
}

fn token_file(dir: &Path) -> PathBuf {
    dir.join("tokens.csv")
}

fn audit_policy(dir: &Path) -> PathBuf {
    dir.join("audit-policy.yaml")
}

fn audit_log(dir: &Path) -> PathBuf {
    dir.join("audit.log")
}

fn kubeconfig_of(dir: &Path, account: &Account) -> PathBuf {
    dir.join(format!("{}.kubeconfig", file_stem(account.name)))
}

/// Writes a kubeconfig with one cluster, and one user of the given fields.
fn write_kubeconfig(path: &Path, port: u16, ca: &Path, user: &str) {
    let ca = ca.display();
    let content = format!(
        "apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{ca}'}}}}]
users: [{{name: test, user: {{{user}}}}}]
"
    );
    fs::write(path, content).expect("a kubeconfig in the temporary folder");
}

fn flag_path(flag: &str, path: &Path) -> String {
    format!("--{flag}={}", path.display())
}

/// A user's name as part of a file name.
fn file_stem(name: &str) -> String {
    name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

/// A port of the loopback address that is free now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port")
        .port()
}

/// What `build.sh` made.
fn cache_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/control-plane")
}

/// Finds a program of the control plane.
fn program(name: &str) -> PathBuf {
    let assets = env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty());
    let search = env::var_os("PATH").filter(|_| name == "kubectl");
    let folders: Vec<PathBuf> = assets
        .map(PathBuf::from)
        .into_iter()
        .chain(search.iter().flat_map(env::split_paths))
        .chain([cache_dir().join("bin")])
        .collect();
    find(name, &folders).unwrap_or_else(|| {
        panic!(
            "{name} is missing; run tests/control-plane/build.sh. Looked in {}",
            folders
                .iter()
                .map(|folder| folder.display().to_string())
                .collect::<Vec<_>>()
                .join(", ")
        )
    })
}

fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// A command for `program`, which the kernel kills when the thread that starts it is gone, where
/// there is a tool to ask for that.
pub fn mortal(program: &Path) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    const ARGS: [&str; 2] = ["--pdeathsig", "KILL"];
    // There are programs of this name without this option.
    let available = *SETPRIV.get_or_init(|| {
        Command::new("setpriv")
            .args(ARGS)
            .arg("true")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    });
    if available {
        let mut command = Command::new("setpriv");
        command.args(ARGS).arg(program);
        command
    } else {
        Command::new(program)
    }
}

/// Starts a process from a thread that lives as long as this process does.
///
/// The kernel's signal comes when the *thread* that started a process ends, and a test's thread may
/// end while other tests still use what it started.
fn spawn_for_life(command: Command) -> io::Result<Child> {
    type Order = (Command, mpsc::Sender<io::Result<Child>>);
    static SPAWNER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();

    let spawner = SPAWNER.get_or_init(|| {
        let (orders, inbox) = mpsc::channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                reply.send(command.spawn()).ok();
            }
        });
        orders
    });
    let (reply, answer) = mpsc::channel();
    spawner.send((command, reply)).expect("the spawner never ends");
    answer.recv().expect("the spawner always answers")
}

/// Runs a command to its end, with `input` on its standard input.
fn run(mut command: Command, input: Option<&str>) -> KubectlOutput {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let mut stdin = child.stdin.take().expect("a piped input");
    let stdout = child.stdout.take().expect("a piped output");
    let stderr = child.stderr.take().expect("a piped output");

    thread::scope(|scope| {
        // A program that ends before it has read everything says why in its output.
        scope.spawn(move || stdin.write_all(input.unwrap_or_default().as_bytes()).ok());
        let stdout = scope.spawn(|| read(stdout));
        let stderr = scope.spawn(|| read(stderr));
        let status = wait(&mut child);
        let stdout = stdout.join().expect("the output");
        let stderr = stderr.join().expect("the output");
        match status {
            Some(status) => KubectlOutput {
                status,
                stdout,
                stderr,
            },
            None => panic!(
                "killed, not having ended within {} s: {command:?}\n{stdout}{stderr}",
                KUBECTL_PATIENCE.as_secs()
            ),
        }
    })
}

/// Waits for a child to end; kills it when it takes too long.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let deadline = Instant::now() + KUBECTL_PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("the status of a child") {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().ok();
    child.wait().ok();
    None
}

fn read(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    String::from_utf8_lossy(&bytes).into_owned()
}

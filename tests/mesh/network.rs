//! The mesh's network: nothing of it is in the machine's own.
//!
//! ```text
//!  the machine
//!   └── network, mount and PID namespace of this run: API server, istiod, webhook, tests     br0 10.244.0.1
//!        ├── network namespace of a pod: Envoy, application, iptables as Istio sets them     eth0 10.244.0.10
//!        └── ...
//! ```
//!
//! The test program begins anew as the first process of namespaces of its own. When it ends, however it ends, the kernel
//! ends all that it started and forgets its networks, its mounts and its temporary files. So a run leaves nothing behind
//! and several can run side by side.

use std::env;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

/// Set in the process that has namespaces of its own.
const INSIDE: &str = "LANEKEEPER_MESH_INSIDE";

/// Where the control plane is reached from the pods.
pub const BRIDGE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

/// The group that Envoy runs in, whose connections Istio's iptables rules let through.
/// Source: `istio/tools/istio-iptables`, `--proxy-gid`.
const PROXY_GROUP: &str = "1337";

/// What Envoy and the application answer beside the mesh: Envoy's administration, and the application's orders.
pub const ADMIN_PORT: u16 = 15000;

/// Where an application is told to send a request.
pub const ORDER_PORT: u16 = 15020;

/// Whether this process is in namespaces of its own, where it is the first.
pub fn is_entered() -> bool {
    env::var_os(INSIDE).is_some() && std::process::id() == 1
}

/// Begins the program anew, with the same arguments, in namespaces of its own; returns only when it cannot.
pub fn enter() -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    Command::new("unshare")
        .args([
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child=SIGKILL",
            "--mount-proc",
        ])
        .arg(program)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        // A file system of the mount namespace: what is in it goes away with the process.
        .env("TMPDIR", "/run")
        .exec()
}

/// Makes the network of a process that has entered.
///
/// # Panics
///
/// When a tool is missing or fails.
pub fn prepare() {
    run(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"]);
    run(&["ip", "link", "set", "lo", "up"]);
    run(&["ip", "link", "add", "br0", "type", "bridge"]);
    run(&["ip", "address", "add", &format!("{BRIDGE}/16"), "dev", "br0"]);
    run(&["ip", "link", "set", "br0", "up"]);
}

/// A pod's network, until it is dropped.
pub struct Network {
    name: String,
    /// The pod's address.
    pub address: Ipv4Addr,
}

impl Network {
    /// The network of the pod of this number, below 200; with a sidecar what it sends and gets goes through Envoy.
    pub fn new(number: u8, sidecar: bool) -> Self {
        let name = format!("pod{number}");
        let address = Ipv4Addr::new(10, 244, 0, 10 + number);
        let peer = format!("veth{number}");
        run(&["ip", "netns", "add", &name]);
        run(&[
            "ip", "link", "add", &peer, "type", "veth", "peer", "name", "eth0", "netns", &name,
        ]);
        run(&["ip", "link", "set", &peer, "master", "br0", "up"]);
        let network = Self { name, address };
        network.run("ip link set lo up");
        network.run(&format!("ip address add {address}/16 dev eth0"));
        network.run("ip link set eth0 up");
        // Addresses of Services are nowhere, and have to be sent off to be redirected.
        network.run(&format!("ip route add default via {BRIDGE}"));
        if sidecar {
            network.redirect();
        }
        network
    }

    /// Istio's rules: what leaves goes to 15001, what comes to 15006, what Envoy sends goes as it is.
    /// Source: `istio/tools/istio-iptables/pkg/capture`.
    fn redirect(&self) {
        let beside = format!("15006,{ADMIN_PORT},{ORDER_PORT}");
        for rule in [
            &format!("OUTPUT -p tcp -m owner --gid-owner {PROXY_GROUP} -j RETURN"),
            "OUTPUT -p tcp ! -d 127.0.0.1/32 -j REDIRECT --to-ports 15001",
            &format!("PREROUTING -p tcp -m multiport --dports {beside} -j RETURN"),
            "PREROUTING -p tcp -j REDIRECT --to-ports 15006",
        ] {
            self.run(&format!("iptables -t nat -A {rule}"));
        }
    }

    /// A command in the pod's network.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = tool("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// A command in the pod's network whose connections are not redirected.
    pub fn proxy_command(&self, program: &Path) -> Command {
        let mut command = self.command(Path::new("setpriv"));
        command
            .args(["--regid", PROXY_GROUP, "--clear-groups"])
            .arg(program);
        command
    }

    fn run(&self, words: &str) {
        let words: Vec<&str> = ["ip", "netns", "exec", &self.name]
            .into_iter()
            .chain(words.split(' '))
            .collect();
        run(&words);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        tool("ip").args(["netns", "delete", &self.name]).status().ok();
    }
}

/// A tool that may be where only root looks.
fn tool(name: &str) -> Command {
    let path = env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
    command
}

fn run(words: &[&str]) {
    let output = tool(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| {
        panic!(
            "`{}` cannot be run: {error}; tests/mesh/build.sh installs it",
            words[0]
        )
    });
    assert!(
        output.status.success(),
        "`{}` failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

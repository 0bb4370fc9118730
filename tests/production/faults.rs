//! What becomes of the control plane, and what the replicas promise meanwhile.
//!
//! A watch that is interrupted leaves a replica ready, with a world that gets older; a denial is confirmed by a fresh
//! read, and where that fails the change passes with a warning. So nothing is denied for what is not true any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use crate::balancer::page;
use crate::control_plane::eventually;
use crate::cuttable::Cuttable;
use crate::decisions::{assert_each_once, now};
use crate::load::Load;
use crate::objects::{OPEN, destination_rule, virtual_service};
use crate::site::{By, Site};
use crate::{long_or, turn};

/// How long fresh reads may fail after a fault, while connections that have died are found out.
const COMES_BACK: Duration = Duration::from_secs(3);

/// Asks both replicas all the time whether they are ready.
struct Readiness {
    is_over: Arc<AtomicBool>,
    asking: thread::JoinHandle<Vec<String>>,
}

impl Readiness {
    fn of(site: &Site) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let admins = site.replicas.each_ref().map(|replica| replica.endpoint().admin);
        let (over, runtime) = (Arc::clone(&is_over), site.runtime.handle().clone());
        let asking = thread::spawn(move || {
            let mut refusals = Vec::new();
            while !over.load(Ordering::SeqCst) {
                for admin in admins {
                    let page = runtime.block_on(page(admin, "/readyz"));
                    if !page.starts_with("HTTP/1.1 200 ") {
                        refusals.push(page);
                    }
                }
                thread::sleep(Duration::from_millis(100));
            }
            refusals
        });
        Self { is_over, asking }
    }

    /// Asserts that they were.
    fn held(self, during: &str) {
        self.is_over.store(true, Ordering::SeqCst);
        let refusals = self.asking.join().unwrap();
        assert!(
            refusals.is_empty(),
            "not ready {} times during {during}: {:?}",
            refusals.len(),
            refusals[0]
        );
    }
}

/// What a replica says of a `VirtualService` that routes to a subset of a host.
fn asked(site: &Site, replica: usize, host: &str, lane: &str) -> Value {
    site.ask(replica, &virtual_service(OPEN, "asked", host, lane))
}

fn run(by: By) {
    let _turn = turn();
    let mut line = None;
    let site = Site::with_kubeconfigs(by, |runtime, plane, own| {
        let cuttable = runtime.block_on(Cuttable::to(plane, own, Duration::ZERO));
        let along = cuttable.kubeconfig().to_owned();
        line = Some(cuttable);
        [own.to_owned(), along]
    });
    let line = line.unwrap();
    let load = Load::start(&site, 50);
    thread::sleep(Duration::from_secs(1));
    let mut away = Vec::new();
    let mut fault = |what: &str, fault: &dyn Fn()| {
        load.server_is_away(true);
        let from = now();
        let readiness = Readiness::of(&site);
        let before = load.writes();
        fault();
        thread::sleep(COMES_BACK);
        readiness.held(what);
        load.server_is_away(false);
        away.push((from, now()));
        eventually(&format!("writes go on after {what}"), || {
            (load.writes() > before + 100).then_some(())
        });
        for replica in 0..2 {
            let answer = asked(&site, replica, "stable", "c");
            assert_eq!(answer["allowed"], false, "after {what}: {answer}");
        }
    };

    fault("a stop of etcd", &|| {
        site.plane.pause_etcd();
        thread::sleep(Duration::from_secs(1));
        // What would be denied cannot be read afresh.
        let answer = asked(&site, 0, "stable", "c");
        let warnings = answer["warnings"].to_string();
        assert_eq!(answer["allowed"], true, "{answer}");
        assert!(
            warnings.contains("could not read the cluster afresh") && warnings.contains("LK103"),
            "{warnings}"
        );
        thread::sleep(long_or(Duration::from_secs(20), Duration::from_secs(3)));
        site.plane.resume_etcd();
    });
    fault("a death of the API server", &|| {
        site.plane
            .restart_api_server("KILL", long_or(Duration::from_secs(10), Duration::from_secs(1)));
    });
    fault("a gap that the API server cannot fill", &|| {
        line.cut();
        // What the replica of this line does not see, and what no watch tells it later: a server that has just started
        // has no history (410, "too old resource version").
        site.apply(&destination_rule(OPEN, "gap", &["new"]));
        site.plane.restart_api_server("KILL", Duration::ZERO);
        line.mend();
        eventually("the watch begins afresh", || {
            let log = site.replicas[1].log();
            log.contains("too old resource version").then_some(())
        });
    });
    // Its world gets what came in the gap: a route to the subset is wrong for other reasons, if any. A watch that has
    // failed several times in a row waits up to five seconds before it tries again, and once more before it lists.
    eventually("the second replica is in step", || {
        let answer = asked(&site, 1, "gap", "new");
        (!answer.to_string().contains("LK103")).then_some(())
    });
    let answer = asked(&site, 1, "gap", "old");
    assert!(
        answer["allowed"] == false && answer.to_string().contains("LK103"),
        "{answer}"
    );
    load.end(&site, "faults of the control plane");
    assert_each_once(&site, &away);
}

#[test]
fn faults_of_the_control_plane_are_outlived_over_http2() {
    run(By::Address);
}

#[test]
fn faults_of_the_control_plane_are_outlived_over_http1() {
    run(By::Service);
}

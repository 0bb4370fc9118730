//! Reviews while both replicas restart, certificates and the decision log rotate, and the API server restarts.

use std::thread;
use std::time::{Duration, Instant};

use crate::decisions::{assert_each_once, count, now};
use crate::load::Load;
use crate::replica::Replica;
use crate::site::{By, Site};
use crate::{long_or, turn};

/// Writes a second; with both webhooks of a `VirtualService`, some 200 reviews.
const WRITES: u32 = 160;

/// Restarts everything under load, and asserts that nobody has felt it.
fn restart_everything(site: &mut Site, is_server_too: bool) {
    let what = if is_server_too {
        "with the API server"
    } else {
        "replicas alone"
    };
    let reviews_before = count(site);
    let started = Instant::now();
    let load = Load::start(site, WRITES);
    thread::sleep(long_or(Duration::from_secs(10), Duration::from_secs(1)));
    let mut away = Vec::new();
    for replica in 0..2 {
        let before = site.served();
        site.certificates.rotate();
        if long_or(true, false) {
            site.until_others_are_served(&before);
        }
        site.restart_replica(replica);
        if is_server_too && replica == 0 {
            load.server_is_away(true);
            let from = now();
            // A server that ends in order waits a minute for the watches that it has.
            let signal = long_or("TERM", "KILL");
            site.plane.restart_api_server(signal, Duration::from_millis(500));
            // The replicas find out which of their connections have died.
            thread::sleep(Duration::from_secs(3));
            load.server_is_away(false);
            away.push((from, now()));
        }
    }
    let before = site.served();
    site.certificates.rotate();
    site.until_others_are_served(&before);
    let writes = long_or(WRITES as usize * 120, 0);
    while load.writes() < writes {
        thread::sleep(Duration::from_millis(100));
    }
    let outcome = load.end(site, what);
    // Over HTTP/2 the API server may keep to one connection, and so to one replica.
    let rotated: usize = site.replicas.iter().map(Replica::rotated_logs).sum();
    assert!(rotated > 0, "no decision log was rotated");
    let reviews = count(site) - reviews_before;
    eprintln!("{what}: {reviews} reviews in {:.1?}", started.elapsed());
    assert!(
        outcome.allowed > 100 && outcome.denied > 30,
        "too little was written: {outcome:?}"
    );
    if !is_server_too {
        assert_eq!(outcome.unconfirmed, 0, "the API server was there all the time");
    }
    assert_each_once(site, &away);
    site.assert_protocol();
}

fn run(mut site: Site) {
    restart_everything(&mut site, false);
    assert_eq!(site.balancer.nowhere(), 0, "a replica was always ready");
    restart_everything(&mut site, true);
}

#[test]
fn restarts_and_rotations_lose_nothing_over_http2() {
    let _turn = turn();
    run(Site::start(By::Address));
}

/// As the manifests have it: by the Service, with an authority that the replicas share.
#[test]
fn restarts_and_rotations_lose_nothing_over_http1() {
    let _turn = turn();
    run(Site::sharing_an_authority(By::Service));
}

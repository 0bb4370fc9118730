//! Two clients whose changes do not go together, at the same moment.

use std::time::{Duration, Instant};

use crate::balancer::page;
use crate::control_plane::eventually;
use crate::load::{Answer, Write};
use crate::long_or;
use crate::objects::{Kind, OPEN, deployment, destination_rule, route, service, subsets, virtual_service};
use crate::replica::check;
use crate::site::Site;

/// Returns when the lost subset is in the audit of both replicas, or in that of neither. It is only missing, and might still
/// come: so it is not reported before a minute has passed, but known.
fn until_audited(site: &Site, is_lost: bool) {
    let began = Instant::now();
    for replica in &site.replicas {
        let is_known = || {
            let page = page(replica.endpoint().admin, "/metrics");
            let page = site.runtime.block_on(page);
            assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
            page.lines()
                .filter(|line| line.starts_with("lanekeeper_findings"))
                .any(|line| line.contains("LK103") && line.contains(OPEN))
        };
        eventually("the audit knows what is lost", || {
            (is_known() == is_lost).then_some(())
        });
    }
    if is_lost {
        eprintln!("in the audit of both after {:.1?}", began.elapsed());
    }
}

/// One takes the subset away, the other routes to it; which of them is a little earlier changes from round to round.
pub(crate) fn run(site: &Site) {
    site.apply(&service(OPEN, "portal"));
    for lane in ["a", "b"] {
        site.apply(&deployment(OPEN, "portal", lane));
    }
    site.apply(&destination_rule(OPEN, "portal", &["a", "b"]));
    site.apply(&virtual_service(OPEN, "portal", "portal", "a"));
    let takes = Write::edit(Kind::DestinationRule, OPEN, "portal", &subsets("portal", &["a"]));
    let adds = Write::edit(
        Kind::VirtualService,
        OPEN,
        "portal",
        &route("portal", "portal", "b"),
    );
    let gives_back = Write::edit(
        Kind::DestinationRule,
        OPEN,
        "portal",
        &subsets("portal", &["a", "b"]),
    );
    let goes_back = Write::edit(
        Kind::VirtualService,
        OPEN,
        "portal",
        &route("portal", "portal", "a"),
    );
    let (one, other) = (site.client(), site.client());
    let kubeconfig = site.plane.kubeconfig_path();

    let rounds = long_or(50, 12);
    let (mut denied, mut passed) = (0, 0);
    for round in 0..rounds {
        let head_start = Duration::from_millis(round / 2 % 3);
        let (first, second) = if round % 2 == 0 {
            (&takes, &adds)
        } else {
            (&adds, &takes)
        };
        let answers = site.runtime.block_on(async {
            tokio::join!(first.send(&one), async {
                tokio::time::sleep(head_start).await;
                second.send(&other).await
            })
        });
        match answers {
            (Answer::Allowed, Answer::Allowed) => {
                passed += 1;
                let (is_clean, found) = check(&kubeconfig, OPEN);
                assert!(
                    !is_clean && found.contains("LK103"),
                    "round {round}: not found at once:\n{found}"
                );
                until_audited(site, true);
            }
            (Answer::Allowed, Answer::Denied(_)) | (Answer::Denied(_), Answer::Allowed) => denied += 1,
            answers => panic!("round {round}: {answers:?}"),
        }
        // Back to where it began, the subset first.
        for write in [&gives_back, &goes_back] {
            let answer = site.runtime.block_on(write.send(&one));
            assert_eq!(answer, Answer::Allowed, "round {round}: {write}");
        }
        // Both replicas know of it: what is denied next is denied for what it is.
        eventually("the world is as it was", || {
            let lag = site.runtime.block_on(takes.send(&one));
            (lag == Answer::Allowed).then_some(())
        });
        let answer = site.runtime.block_on(gives_back.send(&one));
        assert_eq!(answer, Answer::Allowed, "round {round}");
        // What the next round finds is its own.
        until_audited(site, false);
    }
    let (is_clean, found) = check(&kubeconfig, OPEN);
    assert!(is_clean, "{found}");
    eprintln!("two at once, {rounds} times: one was denied {denied} times, both passed {passed} times");
}

//! What one replica has allowed, and the other one needs at once.

use crate::control_plane::eventually;
use crate::load::{Answer, Write};
use crate::objects::{Kind, OPEN, deployment, destination_rule, service, virtual_service};
use crate::site::{By, Site};
use crate::{long_or, turn};

/// A `DestinationRule` through one replica and, when it is there, a `VirtualService` that needs it through the other.
fn run(by: By) {
    let _turn = turn();
    let site = Site::start(by);
    let port = |replica: usize| site.replicas[replica].endpoint().webhook.port();
    site.register(|resource| port(usize::from(resource != "destinationrules")));
    site.apply(&service(OPEN, "portal"));
    site.apply(&deployment(OPEN, "portal", "a"));
    let client = site.client();
    // A rule that is there before, so that a route to a subset that it does not have is denied and not only told of.
    site.apply(&destination_rule(OPEN, "portal", &["a"]));
    let wrong = Write::create(
        Kind::VirtualService,
        virtual_service(OPEN, "wrong", "portal", "none"),
    );
    eventually("the second replica denies what is wrong", || {
        let answer = site.runtime.block_on(wrong.send(&client));
        matches!(answer, Answer::Denied(_)).then_some(())
    });

    let rounds = long_or(1000, 40);
    let mut wrong = Vec::new();
    site.runtime.block_on(async {
        for round in 0..rounds {
            let lane = format!("lane-{round}");
            let deployed = Write::create(Kind::Deployment, deployment(OPEN, "portal", &lane));
            let spec = crate::objects::subsets("portal", &["a", &lane]);
            let rule = Write::edit(Kind::DestinationRule, OPEN, "portal", &spec);
            let route = Write::create(
                Kind::VirtualService,
                virtual_service(OPEN, &lane, "portal", &lane),
            );
            let clear = Write::delete(Kind::VirtualService, OPEN, &lane);
            for write in [deployed, rule, route, clear] {
                let answer = write.send(&client).await;
                if answer != Answer::Allowed {
                    wrong.push(format!("{write}\n  {answer:?}"));
                }
            }
        }
    });
    assert!(
        wrong.is_empty(),
        "{} of {rounds}:\n{}",
        wrong.len(),
        wrong.iter().take(5).cloned().collect::<Vec<_>>().join("\n")
    );
    // It was as it should be: the routes were judged by the other replica than the rules.
    let [one, two] = [0, 1].map(|replica| site.replicas[replica].decisions());
    let has =
        |decisions: &[serde_json::Value], kind: &str| decisions.iter().filter(|d| d["kind"] == kind).count();
    assert!(
        has(&one, "DestinationRule") >= rounds,
        "{}",
        has(&one, "DestinationRule")
    );
    assert!(
        has(&two, "VirtualService") >= rounds,
        "{}",
        has(&two, "VirtualService")
    );
}

#[test]
fn what_one_replica_allowed_the_other_counts_on_over_http2() {
    run(By::Address);
}

#[test]
fn what_one_replica_allowed_the_other_counts_on_over_http1() {
    run(By::Service);
}

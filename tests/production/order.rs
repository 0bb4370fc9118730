//! What one replica has allowed, and the other one needs at once, before its watches have it.

use crate::control_plane::eventually;
use crate::load::{Answer, Write};
use crate::long_or;
use crate::objects::{Kind, OPEN, deployment, destination_rule, service, virtual_service};
use crate::site::{Site, Whom};

/// A `DestinationRule` through one replica and, when it is there, a `VirtualService` that needs it through the other.
pub(crate) fn run(site: &Site) {
    site.register(|resource| Whom::Only(usize::from(resource != "destinationrules")));
    site.apply(&service(OPEN, "ordered"));
    site.apply(&deployment(OPEN, "ordered", "a"));
    let client = site.client();
    // A rule that is there before, so that a route to a subset that it does not have is denied and not only told of.
    site.apply(&destination_rule(OPEN, "ordered", &["a"]));
    eventually("the second replica denies what is wrong", || {
        let answer = site.ask(1, &virtual_service(OPEN, "asked", "ordered", "none"));
        (answer["allowed"] == false).then_some(())
    });

    let rounds = long_or(1000, 40);
    let mut wrong = Vec::new();
    site.runtime.block_on(async {
        for round in 0..rounds {
            let lane = format!("lane-{round}");
            let deployed = Write::create(Kind::Deployment, deployment(OPEN, "ordered", &lane));
            let spec = crate::objects::subsets("ordered", &["a", &lane]);
            let rule = Write::edit(Kind::DestinationRule, OPEN, "ordered", &spec);
            let route = Write::create(
                Kind::VirtualService,
                virtual_service(OPEN, &lane, "ordered", &lane),
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
        "{} wrong answers in {rounds} rounds:\n{}",
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

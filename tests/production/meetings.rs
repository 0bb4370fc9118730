//! Changes that meet: at two replicas one after the other, and at the same moment.

use std::time::Duration;

use crate::cuttable::Cuttable;
use crate::site::{By, Site};
use crate::{clients, order, turn};

/// How much later the second replica learns what the API server has: what the first one has allowed, its own watch
/// does not have yet.
const LATE: Duration = Duration::from_millis(100);

fn run(by: By) {
    let _turn = turn();
    let mut line = None;
    let site = Site::with_kubeconfigs(by, |runtime, plane, own| {
        let late = runtime.block_on(Cuttable::to(plane, own, LATE));
        let along = late.kubeconfig().to_owned();
        line = Some(late);
        [own.to_owned(), along]
    });
    clients::run(&site);
    order::run(&site);
    site.assert_protocol();
}

#[test]
fn changes_that_meet_are_judged_by_what_is_there_over_http2() {
    run(By::Address);
}

#[test]
fn changes_that_meet_are_judged_by_what_is_there_over_http1() {
    run(By::Service);
}

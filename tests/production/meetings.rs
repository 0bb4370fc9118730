//! Changes that meet: at two replicas one after the other, and at the same moment.

use crate::site::{By, Site};
use crate::{clients, order, turn};

fn run(by: By) {
    let _turn = turn();
    let site = Site::start(by);
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

//! A server with many connections that want nothing, or that take for ever to say what.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use crate::asking::ask;
use crate::control_plane::{Component, eventually, free_port, mortal};
use crate::crowd::{Crowd, trusting};
use crate::objects::service;
use crate::turn;

const IDLE: usize = 500;
const SLOW: usize = 100;

#[test]
fn others_are_answered_beside_many_idle_and_slow_connections() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let webhook = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let mut command = mortal(Path::new(env!("CARGO_BIN_EXE_lanekeeper")));
    command
        .args([
            "serve",
            "--audit-log=decisions.jsonl",
            "--ca-file=ca.crt",
            "--shutdown-delay=0",
        ])
        .arg(format!("--listen={webhook}"))
        .arg(format!("--admin-listen={admin}"))
        .arg("--manifests")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/cars"));
    let server = Component::run("serve", folder.path(), command);
    let authority = eventually("the authority is written", || {
        std::fs::read_to_string(folder.path().join("ca.crt")).ok()
    });
    let tls = trusting(&authority);

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let crowd = Crowd::around(webhook, &tls, IDLE, SLOW).await;
        // Long enough that each of the slow ones has sent something, and more than the server's time for a body.
        for round in 0..24 {
            for number in 0..5 {
                let uid = format!("{round}-{number}");
                let service = service("cars-aswatson-dev", &uid);
                let answer = tokio::time::timeout(Duration::from_secs(30), ask(webhook, &tls, &service))
                    .await
                    .unwrap_or_else(|_| panic!("no answer beside {} others", crowd.size()));
                assert_eq!(answer["allowed"], true, "{answer}");
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        assert!(crowd.size() > IDLE, "{} are there", crowd.size());
        drop(crowd);
    });

    // It ends in order all the same.
    server.signal("TERM");
    assert!(server.ended().success(), "{}", server.log_tail(40));
}

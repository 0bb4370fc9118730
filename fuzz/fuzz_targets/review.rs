//! Whatever the API server, or who passes for it, sends: it is answered, with the uid that it has, and nothing panics.

#![no_main]

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use futures::executor::block_on;
use lanekeeper::admission::{Engine, Judge, read};
use lanekeeper::files::Reader;
use lanekeeper::verdict::{Mode, Settings};
use lanekeeper::world;
use libfuzzer_sys::fuzz_target;
use parking_lot::RwLock;
use serde_json::Value;

/// On a right world, which refuses what breaks it.
static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let text = include_bytes!("../../tests/worlds/a-group-is-written-down.yaml");
    let files = Reader::default().load_texts(vec![("world.yaml".to_owned(), text.to_vec())]);
    assert!(files.errors().next().is_none(), "the world is right");
    let world = files.world(world::Settings::default());
    Engine::new(Arc::new(RwLock::new(world)), Settings::default()).on_files()
});

fuzz_target!(|body: &[u8]| {
    let request = read(body);
    for mode in Mode::ALL {
        let body = || Bytes::copy_from_slice(body);
        for answer in [
            block_on(Judge::validate(&*ENGINE, mode, body(), None)),
            block_on(Judge::mutate(&*ENGINE, mode, body(), None)),
        ] {
            let json: Value = serde_json::from_slice(&answer.body).expect("an answer is JSON");
            assert_eq!(answer.record.is_some(), request.is_ok());
            match &request {
                Ok(request) => {
                    assert_eq!(answer.status, 200);
                    assert_eq!(json["response"]["uid"], request.uid.as_ref());
                    assert!(json["response"]["allowed"].is_boolean());
                }
                Err(_) => assert_eq!(answer.status, 400),
            }
        }
    }
});

//! Any world of objects that the API server would take, and of some that it would not: every rule, the matrix, a
//! request through every gateway, the gateway routes and the status of groups come to an end without a panic.

#![no_main]

use lanekeeper::matrix;
use lanekeeper::resource::{Kind, Resource};
use lanekeeper::rewrite;
use lanekeeper::routing::{Client, Request, simulate};
use lanekeeper::rule::{Check, RULES};
use lanekeeper::status;
use lanekeeper::world::{Settings, View, World};
use lanekeeper_fuzz::objects;
use libfuzzer_sys::arbitrary::Unstructured;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let objects = objects(&mut Unstructured::new(bytes));
    let parsed = objects
        .into_iter()
        .filter_map(|(kind, json)| Resource::parse(kind, json).ok());
    let world = World::of(Settings::default(), parsed);
    let view = View::new(&world);
    let check = Check::new(&view, None);
    for object in world.objects() {
        for finding in check.object(RULES, object) {
            assert!(!finding.path.is_empty() || finding.object.kind != Kind::VirtualService);
        }
        if let Resource::VirtualService(vs) = object {
            rewrite::edits(&view, None, vs);
        }
        if let Resource::Gateway(gateway) = object {
            let name = format!("{}/{}", gateway.meta.namespace, gateway.meta.name);
            let client = Client::at_gateway(&view, &name.as_str().into(), &gateway.meta.namespace);
            let (request, port) = Request::get("http://portal.example/a/b?x=blue").expect("a URL");
            simulate(&view, &client, &request.with("buid", "blue"), port);
        }
    }
    for matrix in matrix::all(&view, matrix::Detail::Steps) {
        matrix.is_whole();
    }
    for group in status::groups(&world) {
        status::of(&view, &group, None);
    }
});

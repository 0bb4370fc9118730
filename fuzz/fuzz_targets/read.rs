//! Any file is read, judged and reported without a panic, and every place is inside it.

#![no_main]

use lanekeeper::files::Reader;
use lanekeeper::rule::{Check, RULES};
use lanekeeper::world::{Settings, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let files = Reader::default().load_texts(vec![("a.yaml".to_owned(), bytes.to_vec())]);
    // For YAML a carriage return alone ends a line, too.
    let lines = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).count();
    for problem in files.errors() {
        let line = problem.place.line;
        assert!(line as usize <= lines, "{problem} in {lines} lines");
    }
    let world = files.world(Settings::default());
    let view = View::new(&world);
    let check = Check::new(&view, None);
    for object in &files.objects {
        assert!(files.json(object).is_some(), "what is read is JSON");
        let Some(resource) = world.get(&object.resource.reference()) else {
            continue;
        };
        for finding in check.object(RULES, resource) {
            let place = files.place(object, &finding.path);
            assert!(place.line as usize <= lines, "{place} in {lines} lines");
        }
    }
});

//! A change of a document changes what it says, or nothing.

#![no_main]

use json_patch::Patch;
use lanekeeper::yaml::documents;
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// What of a document can be changed.
fn pointers(value: &Value, above: &str, all: &mut Vec<String>) {
    if !above.is_empty() {
        all.push(above.to_owned());
    }
    let escaped = |key: &str| key.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(key, value)| pointers(value, &format!("{above}/{}", escaped(key)), all)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| pointers(value, &format!("{above}/{at}"), all)),
        _ => {}
    }
}

// The first byte says how to change what the second chooses, the rest of the first line is what it becomes.
fuzz_target!(|input: &str| {
    let Some((head, text)) = input.split_once('\n') else {
        return;
    };
    let mut head = head.chars();
    let mut number = || head.next().map_or(0, |c| c as usize);
    let (kind, which) = (number(), number());
    let new = head.as_str();
    let before = documents(text);
    let Some(document) = before.first() else { return };
    let Ok(node) = document.decode() else { return };
    let value = of(&node);
    let mut all = Vec::new();
    pointers(&value, "", &mut all);
    let Some(path) = all.get(which % all.len().max(1)) else {
        return;
    };
    let operation = match kind % 4 {
        0 => json!({"op": "replace", "path": path, "value": new}),
        1 => json!({"op": "remove", "path": path}),
        2 => json!({"op": "add", "path": format!("{path}/-"), "value": {"name": new}}),
        _ => json!({"op": "add", "path": format!("{path}/added"), "value": new}),
    };
    let Ok(patch) = serde_json::from_value::<Patch>(json!([operation])) else {
        return;
    };
    let mut meant = value;
    let Ok(edited) = document.edited(&patch) else {
        return;
    };
    json_patch::patch(&mut meant, &patch).expect("what is written can be done");
    let again = documents(&edited);
    let [after] = again.as_slice() else {
        panic!("one document becomes {}", again.len())
    };
    let after = after.decode().expect("what is written can be read");
    assert_eq!(of(&after), meant);
});

fn of(node: &lanekeeper::yaml::Node<'_>) -> Value {
    serde::Deserialize::deserialize(node).unwrap_or_default()
}

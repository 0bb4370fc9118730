//! The objects with wrong and with right fields, which `tests/check.rs` reads and `tests/apiserver` sends to an API server.

use std::fs;
use std::path::Path;

/// The documents of a file of `tests/fields`.
pub(crate) fn field_cases(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fields")
        .join(name);
    let text = fs::read_to_string(path).expect("the file");
    text.split("---\n").map(ToOwned::to_owned).collect()
}

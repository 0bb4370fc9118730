//! Objects from files: the same views that a cluster's watches give, with the place of each.
//!
//! Every document is decoded on its own, over threads; one that cannot be read does not hide the others. The
//! views hold no places: a finding's field becomes a line and a column by reading its document once more.

mod decode;
mod edit;
mod exclude;
mod find;
mod load;
mod place;

pub use edit::Texts;
pub use exclude::Exclude;
pub use load::{FileObject, Files, Problem, Reader, STDIN, Validation, load, read};
pub use place::Place;

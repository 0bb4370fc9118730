//! Changes of objects in the texts that they come from.

use std::collections::BTreeMap;

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation};

use super::load::{FileObject, Files, Problem, Reader};
use crate::yaml::{EditError, Extent};

/// New texts of files, by the name of the file.
pub type Texts = BTreeMap<String, String>;

impl Files {
    /// The files that these changes of objects, in their order, give another text. All else in them stays as it is.
    pub fn edited(&self, changes: &[(&FileObject, Patch)]) -> Result<Texts, EditError> {
        let mut by_document: BTreeMap<_, (Extent, Vec<PatchOperation>)> = BTreeMap::new();
        for (object, patch) in changes {
            let origin = object.origin;
            let known = by_document.entry(origin.document_key());
            let (_, operations) = known.or_insert_with(|| (origin.document, Vec::new()));
            operations.extend(patch.0.iter().map(|operation| in_item(operation, origin.item)));
        }
        let mut texts = Texts::new();
        // From the end, so that what is not changed yet stays where it is.
        for ((source, _), (extent, operations)) in by_document.into_iter().rev() {
            let Some((name, text)) = self.source(source) else {
                continue;
            };
            let document = extent.of(text);
            let edited = document.edited(&Patch(operations))?;
            let from = document.start().offset as usize;
            let file = texts.entry(name.to_owned()).or_insert_with(|| text.to_owned());
            file.replace_range(from..from + document.text().len(), &edited);
        }
        Ok(texts)
    }
}

impl Reader<'_> {
    /// The files as they would be read with other texts for some of them.
    pub fn again(&self, files: &Files, texts: &Texts) -> Files {
        let of_names = files.sources().map(|(name, text)| {
            let text = texts.get(name).map_or(text, String::as_str);
            (name.to_owned(), text.as_bytes().to_vec())
        });
        let mut again = self.load_texts(of_names.collect());
        // What could not be read at all is told as before.
        let unread = |problem: &&Problem| files.text(&problem.place.file).is_none();
        let unread: Vec<Problem> = files.problems.iter().filter(unread).cloned().collect();
        again.problems.splice(0..0, unread);
        again
    }
}

/// The operation as one on the document that an object is in.
fn in_item(operation: &PatchOperation, item: Option<u32>) -> PatchOperation {
    let Some(item) = item else {
        return operation.clone();
    };
    let below = |path: &PointerBuf| {
        let mut whole = PointerBuf::from_tokens(["items".to_owned(), item.to_string()]);
        whole.append(path);
        whole
    };
    let mut operation = operation.clone();
    match &mut operation {
        PatchOperation::Add(add) => add.path = below(&add.path),
        PatchOperation::Remove(remove) => remove.path = below(&remove.path),
        PatchOperation::Replace(replace) => replace.path = below(&replace.path),
        PatchOperation::Move(moved) => {
            moved.from = below(&moved.from);
            moved.path = below(&moved.path);
        }
        PatchOperation::Copy(copy) => {
            copy.from = below(&copy.from);
            copy.path = below(&copy.path);
        }
        PatchOperation::Test(test) => test.path = below(&test.path),
    }
    operation
}

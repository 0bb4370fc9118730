//! What would mend a finding, as a change that can be made.

use json_patch::jsonptr::PointerBuf;
use json_patch::{
    AddOperation, CopyOperation, MoveOperation, Patch, PatchOperation, RemoveOperation, ReplaceOperation,
};
use serde_json::{Value, json};

use crate::resource::{Kind, ObjectRef, Service};
use crate::routing::Missed;
use crate::yaml::{field, pointer};

/// A change of one object that would mend a finding. It rests on a guess (a near name, a sibling's form), so that
/// someone has to want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// The object to change: the finding's own, or another.
    pub object: ObjectRef,
    /// What to change of it.
    pub change: Change,
}

/// A change of an object; paths are as Kubernetes writes fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A field that is there gets another value.
    Set {
        /// The field.
        path: String,
        /// Its value.
        value: Value,
    },
    /// A key of a map gets another name.
    Rename {
        /// The field as it is.
        path: String,
        /// Its last key as it is to be.
        key: String,
    },
    /// A list gets one more item at its end.
    Append {
        /// The list.
        list: String,
        /// The item that the new one is a copy of; without one it has the fields only.
        from: Option<usize>,
        /// The fields of the copy, as paths within it, that are not to be there.
        without: Vec<String>,
        /// The fields, as paths within it, in which it differs.
        fields: Vec<(String, Value)>,
    },
}

impl Suggestion {
    /// The field `path` of `object` gets this value.
    pub fn set(object: ObjectRef, path: impl Into<String>, value: impl Into<Value>) -> Self {
        let (path, value) = (path.into(), value.into());
        Self {
            object,
            change: Change::Set { path, value },
        }
    }

    /// The last key of the field `path` of `object` becomes another.
    pub fn rename(object: ObjectRef, path: impl Into<String>, key: impl Into<String>) -> Self {
        let (path, key) = (path.into(), key.into());
        Self {
            object,
            change: Change::Rename { path, key },
        }
    }

    /// The Service selects what the workload has that it misses.
    pub fn in_selector(service: &Service, missed: &Missed) -> Self {
        let path = format!("spec.selector{}", field(&missed.key));
        Self::set(
            service.meta.reference(Kind::Service),
            path,
            missed.carried.as_str(),
        )
    }

    /// What to ask who wrote the finding's field.
    pub fn question(&self) -> String {
        match &self.change {
            Change::Set { value, .. } => format!("did you mean `{}`?", plain(value)),
            Change::Rename { key, .. } => format!("did you mean `{key}`?"),
            Change::Append { list, .. } => format!("is there an item missing in {list}?"),
        }
    }
}

impl Change {
    /// The field that it is about.
    pub fn path(&self) -> &str {
        match self {
            Self::Set { path, .. } | Self::Rename { path, .. } => path,
            Self::Append { list, .. } => list,
        }
    }

    /// The change as a JSON Patch (RFC 6902) of the object; `None` where the object is not as it should be.
    pub fn patch(&self, object: &Value) -> Option<Patch> {
        let operations = match self {
            Self::Set { path, value } => {
                let path = pointer(path);
                path.resolve(object).ok()?;
                vec![replace(path, value)]
            }
            Self::Rename { path, key } => {
                let from = pointer(path);
                let mut path = from.clone();
                path.pop_back()?;
                path.push_back(key.as_str());
                let is_free = path.resolve(object).is_err();
                from.resolve(object).ok().filter(|_| is_free)?;
                vec![PatchOperation::Move(MoveOperation { from, path })]
            }
            Self::Append {
                list,
                from,
                without,
                fields,
            } => append(object, &pointer(list), *from, without, fields)?,
        };
        let patch = Patch(operations);
        let mut patched = object.clone();
        json_patch::patch(&mut patched, &patch).ok()?;
        Some(patch)
    }

    /// The change as a person would write it down, in YAML; `None` where the object is not as it should be.
    pub fn written(&self, object: &Value) -> Option<String> {
        Some(match self {
            Self::Set { path, value } => format!("{path}: {value}", value = in_yaml(value)),
            Self::Rename { path, key } => format!("{path}: the key is to be `{key}`"),
            Self::Append { list, .. } => {
                let mut patched = object.clone();
                json_patch::patch(&mut patched, &self.patch(object)?).ok()?;
                let items = pointer(list).resolve(&patched).ok()?.as_array()?;
                let item = json!([items.last()?]);
                format!("{list}: one more item\n{}", in_yaml(&item))
            }
        })
    }
}

fn append(
    object: &Value,
    list: &PointerBuf,
    from: Option<usize>,
    without: &[String],
    fields: &[(String, Value)],
) -> Option<Vec<PatchOperation>> {
    let len = list.resolve(object).ok()?.as_array()?.len();
    let at = |last: &str| {
        let mut path = list.clone();
        path.push_back(last);
        path
    };
    let item = at(&len.to_string());
    let within = |path: &str| {
        let mut whole = item.clone();
        whole.append(pointer(path));
        whole
    };
    let end = at("-");
    let mut fields = fields.iter();
    let mut operations = Vec::new();
    if let Some(from) = from {
        let from = at(&from.to_string());
        operations.push(PatchOperation::Copy(CopyOperation { from, path: end }));
    } else {
        let (first, value) = fields.next()?;
        let value = json!({ first: value });
        operations.push(PatchOperation::Add(AddOperation { path: end, value }));
    }
    let template = from.and_then(|from| at(&from.to_string()).resolve(object).ok());
    let is_there = |path: &&String| template.is_some_and(|item| pointer(path).resolve(item).is_ok());
    operations.extend(without.iter().filter(is_there).map(|path| {
        let path = within(path);
        PatchOperation::Remove(RemoveOperation { path })
    }));
    operations.extend(fields.map(|(path, value)| {
        let (path, value) = (within(path), value.clone());
        PatchOperation::Add(AddOperation { path, value })
    }));
    Some(operations)
}

fn replace(path: PointerBuf, value: &Value) -> PatchOperation {
    let value = value.clone();
    PatchOperation::Replace(ReplaceOperation { path, value })
}

/// A value without quotes.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), ToOwned::to_owned)
}

fn in_yaml(value: &Value) -> String {
    // What cannot be written as YAML is JSON, which is YAML too.
    let text = serde_saphyr::to_string(value).unwrap_or_else(|_| value.to_string());
    text.trim_end().to_owned()
}

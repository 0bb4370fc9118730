//! Keys that stand twice, and merge keys. In a mapping whose merge keys are not put in yet, those have a null
//! for key.

use std::collections::HashMap;

use super::{Entry, Error, Node, Value};

/// An error for the first key that a mapping has twice; kubectl would keep the last in silence.
pub(super) fn refuse_duplicates(entries: &[Entry<'_>]) -> Result<(), Error> {
    // Comparing is faster than hashing while there are few.
    const FEW: usize = 16;
    let is_same = |one: &Entry<'_>, other: &Entry<'_>| one.name() == other.name() && !one.key.is_null();
    let pair = if entries.len() <= FEW {
        entries.iter().enumerate().find_map(|(at, entry)| {
            let mut earlier = entries[..at].iter();
            earlier
                .find(|earlier| is_same(earlier, entry))
                .map(|earlier| (earlier, entry))
        })
    } else {
        let mut seen = HashMap::with_capacity(entries.len());
        let mut named = entries.iter().filter(|entry| !entry.key.is_null());
        named.find_map(|entry| seen.insert(entry.name(), entry).map(|earlier| (earlier, entry)))
    };
    let Some((first, second)) = pair else {
        return Ok(());
    };
    let name = second.name();
    let message = format!(
        "the key `{name}` is already on line {}",
        first.key.span.start.line
    );
    Err(Error::new(second.key.span.start, message).under_key(name))
}

/// Puts in what merge keys bring. As in kubectl the order decides: a merge key replaces what stands before it
/// in the mapping and gives way to what follows; of several mappings in its list the first counts most.
pub(super) fn merge(entries: Vec<Entry<'_>>) -> Result<Vec<Entry<'_>>, Error> {
    if !entries.iter().any(|entry| entry.key.is_null()) {
        return Ok(entries);
    }
    let mut flat = Vec::with_capacity(entries.len());
    for entry in entries {
        if !entry.key.is_null() {
            flat.push(entry);
            continue;
        }
        let place = entry.value.span.start;
        let sources = match entry.value.value {
            Value::Sequence(items) => items,
            _ => vec![entry.value],
        };
        for source in sources.into_iter().rev() {
            let Node {
                value: Value::Mapping(entries),
                ..
            } = source
            else {
                return Err(Error::new(
                    place,
                    "a merge key `<<` takes a mapping or a list of mappings",
                ));
            };
            flat.extend(entries);
        }
    }
    Ok(last_of_each_name(flat))
}

fn last_of_each_name(entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let mut kept: Vec<Entry<'_>> = Vec::with_capacity(entries.len());
    let mut places: HashMap<String, usize> = HashMap::new();
    for entry in entries {
        let at = *places.entry(entry.name().to_owned()).or_insert(kept.len());
        match kept.get_mut(at) {
            Some(earlier) => *earlier = entry,
            None => kept.push(entry),
        }
    }
    kept
}

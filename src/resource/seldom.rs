//! Parts of an object that are seldom written.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Fields of which mostly none is written: then they take the room of a pointer. They read as if they were there.
#[derive(Clone, Default)]
pub struct Seldom<T>(Option<Box<T>>);

/// What reads as the default where it is not written.
pub trait Unwritten: Default + PartialEq + 'static {
    /// The default.
    fn unwritten() -> &'static Self;
}

impl<T: Unwritten> From<T> for Seldom<T> {
    fn from(fields: T) -> Self {
        Self((fields != *T::unwritten()).then(|| Box::new(fields)))
    }
}

impl<T: Unwritten> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::unwritten())
    }
}

impl<T: Unwritten> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Unwritten> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Unwritten + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

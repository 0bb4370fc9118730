//! Objects of which only their metadata counts.

use serde::{Deserialize, Deserializer};

use super::{Kind, Meta};

/// A `Namespace` (its labels say how Lanekeeper and Istio treat it) or an `EnvoyFilter`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Which of these it is.
    pub kind: Kind,
    /// Its metadata.
    pub meta: Meta,
}

impl Mark {
    /// Parses an object of `kind`.
    pub fn parse<'de, D: Deserializer<'de>>(kind: Kind, object: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            metadata: Meta,
        }

        let wire = Wire::deserialize(object)?;
        Ok(Self {
            kind,
            meta: wire.metadata,
        })
    }
}

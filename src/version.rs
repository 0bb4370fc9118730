//! Which Lanekeeper this is.

/// The version of the package.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from: twelve digits, with `-dirty` where files differed from it, or `unknown`.
pub const COMMIT: &str = env!("LANEKEEPER_COMMIT");

/// Both, as `--version` prints them.
pub(crate) const BOTH: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LANEKEEPER_COMMIT"), ")");

//! `lanekeeper crd`.

use std::io::{self, Write as _};

use super::CLEAN;
use crate::cluster::crd_yaml;

pub(super) fn run() -> anyhow::Result<u8> {
    let mut out = io::stdout().lock();
    out.write_all(crd_yaml()?.as_bytes())?;
    out.flush()?;
    Ok(CLEAN)
}

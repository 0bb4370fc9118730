//! The programs that the tests start and that may not be installed.

use std::env;
use std::ffi::OsString;
use std::path::Path;

/// `PATH`, with what `tests/helm/build.sh` and `tests/control-plane/build.sh` have built: Helm before what is installed, whose
/// version is not known, kubectl after it.
pub(crate) fn path() -> OsString {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache");
    let helm = cache.join("helm/bin");
    assert!(
        helm.join("helm").is_file(),
        "{} has no Helm: run tests/helm/build.sh",
        helm.display()
    );
    let installed = env::var_os("PATH").unwrap_or_default();
    let folders = [helm]
        .into_iter()
        .chain(env::split_paths(&installed))
        .chain([cache.join("control-plane/bin")]);
    env::join_paths(folders).unwrap()
}

#!/usr/bin/env bash
#
# Writes the bills of materials, from Cargo.lock and the features that `make
# build` has, in CycloneDX 1.5:
#
#   target/image/lanekeeper.cdx.json    the binary, without the lane filter in it
#   target/image/lane-filter.cdx.json   the lane filter
#
# Installs cargo-cyclonedx into .cache/sbom, once (about 2 minutes).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.5.9
tool="$PWD/.cache/sbom"
if [ "$("$tool/bin/cargo-cyclonedx" cyclonedx --version 2>/dev/null)" != "cargo-cyclonedx-cyclonedx $version" ]; then
    cargo install --quiet --locked --version "$version" --root "$tool" cargo-cyclonedx
fi

# However it ends, none is left among the sources.
trap 'rm -f lanekeeper.cdx.json lane-filter.cdx.json; find wasm -name "*.cdx.json" -delete' EXIT

bill() { # NAME MANIFEST ARGUMENTS...
    local name=$1 manifest=$2
    shift 2
    # It writes beside the manifest of every member of the workspace, and takes no other folder.
    "$tool/bin/cargo-cyclonedx" cyclonedx --quiet --manifest-path "$manifest" --format json --spec-version 1.5 \
        --override-filename "$name.cdx" "$@"
    mkdir -p target/image
    mv -f "$(dirname "$manifest")/$name.cdx.json" "target/image/$name.cdx.json"
    echo "sbom: target/image/$name.cdx.json, $(grep -c '"type": "library"' "target/image/$name.cdx.json") libraries" >&2
}

bill lanekeeper Cargo.toml --features lane-filter --target x86_64-unknown-linux-gnu
bill lane-filter wasm/filter/Cargo.toml --target wasm32-unknown-unknown

#!/usr/bin/env bash
# A second build, from a copy of the sources at another place, gives the same module.
set -euo pipefail
cd "$(dirname "$0")/../.."
copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
cp -r wasm "$copy"
"$copy/wasm/filter/build.sh"
cmp target/wasm/lanekeeper.wasm "$copy/target/wasm/lanekeeper.wasm"
echo "two builds, one sha256"

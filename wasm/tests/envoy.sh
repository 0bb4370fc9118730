#!/usr/bin/env bash
# The lane filter in a real Envoy, at several numbers of workers and sizes of the cache.
set -euo pipefail
cd "$(dirname "$0")/../.."
envoy=$(wasm/tests/fetch-envoy.sh)
for workers in 1 2 4; do
    for cache in 1024 128; do
        python3 wasm/tests/envoy.py "$envoy" target/wasm/lanekeeper.wasm --concurrency "$workers" --cache "$cache"
    done
done

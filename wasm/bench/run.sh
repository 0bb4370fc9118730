#!/usr/bin/env bash
# What the lane filter costs a request. Needs wrk, and rustup's target wasm32-unknown-unknown for the filter of the SDK.
set -euo pipefail
cd "$(dirname "$0")/../.."
command -v wrk >/dev/null || { echo "bench: install wrk first (Debian: apt-get install wrk)" >&2; exit 1; }
[ -d "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ] ||
    { echo "bench: the filter of the SDK needs rustup's target: rustup target add wasm32-unknown-unknown" >&2; exit 1; }
. wasm/tests/envoy/install.sh
(cd wasm && cargo build --quiet --locked --release --target wasm32-unknown-unknown -p lanekeeper-sdk-noop)
exec "$python" wasm/bench/bench.py "$envoy" "$@"

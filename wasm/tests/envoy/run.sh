#!/usr/bin/env bash
# The lane filter in a real Envoy. Arguments go to the tests.
set -euo pipefail
cd "$(dirname "$0")/../../.."
. wasm/tests/envoy/install.sh
exec "$python" wasm/tests/envoy "$envoy" "$@"

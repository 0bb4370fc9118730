#!/usr/bin/env bash
#
# Finds chromium and chromedriver for the tests of the dashboard, or installs
# them from Debian as root.

set -euo pipefail

has_both() {
    command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null
}

if has_both; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "browser: installing chromium and chromium-driver" >&2
    { apt-get update && apt-get install --yes --no-install-recommends chromium chromium-driver; } >&2
fi
has_both || {
    echo "browser: error: chromium and chromedriver are missing: install them (Debian: apt-get install chromium chromium-driver)" >&2
    exit 1
}

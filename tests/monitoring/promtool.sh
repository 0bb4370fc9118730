#!/usr/bin/env bash
# Prints where promtool is: on PATH, or taken out of Debian's package `prometheus`, of which nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder="$PWD/.cache/monitoring"

fail() {
    echo "monitoring: $*" >&2
    exit 1
}

if command -v promtool; then
    exit
fi
if ! [ -x "$folder/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "promtool is missing, and this is no Debian: install Prometheus, and see that \`promtool\` is on PATH"
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    cd "$scratch"
    if [ "$(id -u)" = 0 ]; then
        # Without it there may be no list of packages, as in a container.
        apt-get update >&2 || true
        # apt drops its rights for downloads, and has to be able to write here.
        chmod 0777 .
    fi
    apt-get download prometheus >&2 || fail "promtool is missing, and Debian's package \`prometheus\` cannot be fetched (see above)"
    dpkg-deb --extract prometheus_*.deb out
    mkdir -p "$folder/usr/bin"
    mv out/usr/bin/promtool "$folder/usr/bin/"
fi
echo "$folder/usr/bin/promtool"

#!/usr/bin/env bash
#
# Builds the Helm that the tests start, from the Go module that go.mod pins.
#
#   .cache/helm/bin/helm
#
# What was built from the same go.mod and go.sum is kept. The first build takes
# two minutes.

set -euo pipefail

module_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin="$(cd "$module_dir/../.." && pwd)/.cache/helm/bin"

say() {
    printf 'helm: %s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

command -v go >/dev/null 2>&1 || fail "the Go toolchain is missing, and Helm is built from source: install Go
$(sed -n 's/^go //p' "$module_dir/go.mod") or newer, and see that \`go\` is on PATH."

cd "$module_dir"
export GOWORK=off
mkdir -p "$bin"

# Built from a module, Helm does not know its version, which charts may ask for.
version=$(go list -m -f '{{.Version}}' helm.sh/helm/v4)
ldflags="-s -w -X helm.sh/helm/v4/internal/version.version=$version"
want="$(cat go.mod go.sum | cksum) $ldflags"
stamp="$bin/.helm.stamp"
if [ -x "$bin/helm" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
    exit 0
fi

say "building Helm $version ..."
rm -f "$stamp"
# A rename is the last step: no one ever sees half a file, not even with two builds at once.
scratch=$(mktemp "$bin/.helm.XXXXXX")
trap 'rm -f "$scratch"' EXIT
started=$SECONDS
CGO_ENABLED=0 go build -trimpath -ldflags="$ldflags" -o "$scratch" helm.sh/helm/v4/cmd/helm ||
    fail "go could not build Helm (see above)"
chmod 0755 "$scratch"
mv -f "$scratch" "$bin/helm"
printf '%s\n' "$want" >"$stamp"
say "built in $((SECONDS - started)) s: $bin/helm"

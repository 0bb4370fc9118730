#!/usr/bin/env bash
#
# Builds the images of Lanekeeper and of its lane filter, as archives that
# `skopeo copy` takes to a registry and `podman load` to a machine:
#
#   target/image/PROFILE/lanekeeper.tar    oci-archive, the static binary
#   target/image/PROFILE/lane-filter.tar   oci-archive, plugin.wasm
#
# Argument: release (the default), or debug, which reuses what `cargo test`
# has built. Needs buildah; as root on Debian it is installed.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

profile=${1:-release}
case $profile in
    release) flags=(--release) ;;
    debug) flags=() ;;
    *) echo "image: error: no profile $profile: release or debug" >&2 && exit 2 ;;
esac

say() {
    printf 'image: %s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

command -v readelf >/dev/null || fail "readelf is missing: install it (Debian: apt-get install binutils)"
if ! command -v buildah >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing buildah"
        { apt-get update && apt-get install --yes --no-install-recommends buildah; } >&2 || true
    fi
    command -v buildah >/dev/null || fail "buildah is missing: install it (Debian: apt-get install buildah)"
fi

[ -r target/wasm/lanekeeper.wasm ] || fail "there is no lane filter: make wasm"
out="$PWD/target/image/$profile"
context="$out/context"
rm -rf "$out"
# However it ends, only the archives are left.
trap 'rm -rf "$out/store" "$out/run" "$context"' EXIT
mkdir -p "$context/server" "$context/filter"

say "building the static binary ($profile) ..."
image/static.sh "${flags[@]}"
binary="${CARGO_TARGET_DIR:-target}/$profile/lanekeeper"
headers=$(readelf --program-headers "$binary")
if grep -q INTERP <<<"$headers"; then
    fail "$binary wants a dynamic linker"
fi
install -m 0755 "$binary" "$context/server/lanekeeper"
install -m 0644 LICENSE "$context/server/LICENSE"
install -m 0644 target/wasm/lanekeeper.wasm "$context/filter/plugin.wasm"

# `lanekeeper 0.1.0 (36fa887e5c21)`
read -r _ version commit < <("$binary" --version)
commit=${commit//[()]/}
# A store of its own: no daemon, no configuration, nothing of it is left.
store=(--root "$out/store" --runroot "$out/run" --storage-driver vfs)

image() { # NAME DOCKERFILE CONTEXT
    say "building $1 $version ..."
    # Time and host are left out: the same files make the same image.
    buildah "${store[@]}" bud --quiet --isolation chroot --format oci --timestamp 0 \
        --build-arg "VERSION=$version" --build-arg "COMMIT=$commit" \
        --tag "$1:$version" --file "$2" "$3" >/dev/null
    buildah "${store[@]}" push --quiet "$1:$version" "oci-archive:$out/$1.tar:$1:$version"
    say "$out/$1.tar, $(stat -c %s "$out/$1.tar") bytes"
}

image lanekeeper Dockerfile "$context/server"
image lane-filter wasm/Dockerfile "$context/filter"

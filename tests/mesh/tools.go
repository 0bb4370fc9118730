//go:build tools

// Package mesh pins the control plane of the tests' mesh.
//
// Its import exists so that `go mod tidy` keeps go.mod and go.sum complete for
// build.sh. The tag keeps every build away from it.
package mesh

import (
	_ "istio.io/istio/pilot/cmd/pilot-discovery"
)

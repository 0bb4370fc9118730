//go:build tools

// Package helm pins the Helm that the tests start.
//
// Its import exists so that `go mod tidy` keeps go.mod and go.sum complete for
// build.sh. The tag keeps every build away from it.
package helm

import (
	_ "helm.sh/helm/v4/cmd/helm"
)

# What there is to do; `make` alone lists it.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

export CARGO_TERM_COLOR ?= auto

# The binary offers the lane filter, which target `wasm` builds.
FEATURES := --features lane-filter

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: wasm ## Build the release binary, with the lane filter in it
	cargo build --release --locked $(FEATURES)

.PHONY: test
test: lint control-plane helm promtool ## Everything that has to pass: formatting, lints, unit, fixture, command, API server and lane filter tests
	cargo test --locked $(FEATURES)
	$(MAKE) test-wasm
	@# As root on Debian it is installed.
	if [ "$$(id -u)" = 0 ] || command -v chromedriver >/dev/null; then $(MAKE) test-browser; else \
		echo "the dashboard is not tested: that needs chromium and chromedriver" >&2; fi
	@# It starts a server in another root file system.
	if [ "$$(id -u)" = 0 ]; then $(MAKE) test-image; else echo "the image is not tested: that needs root" >&2; fi

.PHONY: lint
lint: wasm ## Formatting and lints
	cargo fmt --check
	cargo clippy --locked $(FEATURES) --all-targets -- -D warnings
	cargo clippy --locked $(FEATURES) --test mesh --test browser -- -D warnings

.PHONY: control-plane
control-plane: ## Build kube-apiserver, kube-controller-manager and etcd for the tests, once (about 8 minutes)
	tests/control-plane/build.sh

.PHONY: helm
helm: ## Build Helm for the tests, once (about 2 minutes)
	tests/helm/build.sh

.PHONY: promtool
promtool: ## Find promtool, or take it out of Debian's package, for the tests of alerts and metrics
	tests/monitoring/promtool.sh

.PHONY: test-long
test-long: control-plane helm fuzz wasm ## Rounds, loads and fuzzing that take long; run by hand
	LANEKEEPER_ROUNDS=50 cargo test --release --locked --test apiserver -- --nocapture rounds
	LANEKEEPER_LONG=1 cargo test --release --locked --test production -- --nocapture
	wasm/tests/envoy/run.sh --memory 1000000

.PHONY: wasm
wasm: ## Build the lane filter: target/wasm/lanekeeper.wasm and its sha256
	wasm/filter/build.sh

.PHONY: test-wasm
test-wasm: wasm ## The lane filter: its pure half natively, the module in a host of our own and in a real Envoy (needs Python 3)
	cd wasm && cargo fmt --all --check && cargo clippy --locked --all-targets -- -D warnings && cargo test --locked
	@# Clippy needs the target's own standard library, which Debian does not have.
	if [ -d "$$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib" ]; then cd wasm && \
		cargo clippy --locked --target wasm32-unknown-unknown -p lanekeeper-filter -p lanekeeper-sdk-noop -- -D warnings; fi
	wasm/tests/reproducible.sh
	wasm/tests/envoy/run.sh

.PHONY: bench-wasm
bench-wasm: wasm ## What the lane filter costs a request in a real Envoy, beside other filters (needs wrk)
	wasm/bench/run.sh

.PHONY: test-browser
test-browser: wasm ## The dashboard in a headless Chromium, which is installed on Debian as root
	tests/browser/install.sh
	cargo test --locked $(FEATURES) --test browser

.PHONY: pictures
pictures: wasm ## Take the pictures of README.md: docs/images/*.png
	tests/browser/install.sh
	rm -rf target/pictures
	LANEKEEPER_PICTURES=$(CURDIR)/target/pictures cargo test --quiet --locked $(FEATURES) --test browser
	mkdir -p docs/images
	cp $(addprefix target/pictures/,lanes.png trace.png) docs/images

.PHONY: image
image: wasm ## Build the images of Lanekeeper and of the lane filter: target/image/release/*.tar (needs buildah)
	image/build.sh release

.PHONY: test-image
test-image: wasm ## Start the server from the root file system of an image with the debug binary (needs root, buildah and Python 3)
	image/build.sh debug
	python3 image/test.py target/image/debug

.PHONY: sbom
sbom: ## Write what is in the binary and in the lane filter, as CycloneDX: target/image/*.cdx.json
	image/sbom.sh

.PHONY: release-notes
release-notes: ## Print what CHANGELOG.md says of VERSION
	@awk -v version="$(VERSION)" ' \
		/^## \[/ { inside = index($$0, "## [" version "]") == 1; found += inside; next } \
		inside { text = text $$0 "\n" } \
		END { \
			if (!found) { print "CHANGELOG.md has no version " version > "/dev/stderr"; exit 1 } \
			gsub(/^\n+|\n+$$/, "", text); print text \
		}' CHANGELOG.md

.PHONY: mesh
mesh: ## Build istiod and fetch Envoy for the tests, once (about 6 minutes; needs root)
	tests/mesh/build.sh

.PHONY: test-mesh
test-mesh: mesh control-plane wasm ## Lanes in a real Istio mesh on this machine (needs root and network namespaces)
	cargo test --locked $(FEATURES) --test mesh

.PHONY: fuzz
fuzz: ## Fuzz what reads and writes YAML, reviews, rules and the lane filter, FUZZ_SECONDS (300) each; installs cargo-fuzz and a nightly toolchain
	FUZZ_SECONDS=$${FUZZ_SECONDS:-300} fuzz/run.sh

# What `bench` keeps of a run, and what it runs, in the order of its table.
BENCH := $(CURDIR)/target/bench
BENCHES := serve peer decision index cluster check table

.PHONY: bench
bench: wasm control-plane peer ## Measure it all, and write the table of docs/performance.md; BENCH_QUICK=1 shows that it works
	rm -rf $(BENCH)
	mkdir -p $(BENCH)
	cp /proc/loadavg $(BENCH)/load
	image/static.sh --release
	cp $${CARGO_TARGET_DIR:-target}/release/lanekeeper $(BENCH)
	cargo bench --quiet --locked $(FEATURES) $(addprefix --bench ,$(BENCHES)) --no-run
	for bench in $(BENCHES); do LANEKEEPER_BENCH=$(BENCH) \
		cargo bench --quiet --locked $(FEATURES) --bench $$bench -- $(if $(BENCH_QUICK),--quick) || exit 1; done

.PHONY: bench-audit
bench-audit: ## Measure the audit on 28,000 and 280,000 objects
	cargo bench --locked --bench audit

.PHONY: bench-check
bench-check: ## Compare the instructions that the same work takes here and at BASE (origin/main); over 5 % more fails (needs valgrind)
	benches/instructions.py $(BASE)

.PHONY: peer
peer: ## Build the Go webhook that `bench` measures beside
	cd benches/peer && CGO_ENABLED=0 GOWORK=off go build -trimpath -ldflags='-s -w' -o ../../.cache/peer/webhook .

.PHONY: generate
generate: control-plane helm ## Write the files that are made: the CustomResourceDefinition, the rules' pages, what they catch, the table of fields
	cargo run --quiet --locked -- crd > target/crd.yaml
	mv target/crd.yaml manifests/base/crd.yaml
	@# Copies: Flux, which fetches charts by git, leaves links out.
	cp $(addprefix manifests/base/,crd.yaml mutating-webhook.yaml validating-webhook.yaml) manifests/chart/files
	cargo run --quiet --locked -- rules --markdown docs/rules
	LANEKEEPER_WRITE=1 cargo test --quiet --locked --test mutation --test schema --test docs --test manifests

.PHONY: deny
deny: ## Licences, bans and sources of dependencies (needs cargo-deny)
	cargo deny --all-features check bans licenses sources

# Two targets matter: `make demo` runs the main job on two real sites, `make test` runs every check. The rest are their parts.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

CACHE   ?= $(or $(PEC_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pec-operator)
SITES   := hack/sites/run
# The checkout's own instance of the sites, so that a test never meets a living demo nor another checkout's test.
E2E     := e2e-$(shell pwd | sha256sum | cut -c1-8)

CONTROLLER_GEN := $(CACHE)/bin/controller-gen-v0.23.0
GOLANGCI_LINT  := $(CACHE)/bin/golangci-lint-v2.15.0
KUBE_API_LINT  := $(CACHE)/bin/kube-api-linter-v0.0.0-20260716143926-092fe0c72997
HELM           := $(CACHE)/bin/helm-v4.3.1
export PEC_CACHE := $(CACHE)
export PEC_HELM := $(HELM)

.PHONY: help
help: ## List the targets.
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

##@ The main job

.PHONY: demo
demo: packages $(HELM) ## Two real sites, the operator in both, one certified message from mailbox to mailbox.
	@go run ./hack/demo up

.PHONY: demo-down
demo-down: ## Remove everything that the demo started, and nothing else.
	@$(SITES) --instance demo down

##@ Checks

.PHONY: test
test: packages lint verify unit e2e ## Every check: lint, generated files, unit and controller tests, the road on real sites.

.PHONY: lint
lint: $(GOLANGCI_LINT) $(KUBE_API_LINT) ## gofmt, go vet, golangci-lint, kube-api-linter; the floors are a unit test.
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run: gofmt -w on the files above"; exit 1; }
	go vet ./...
	go vet -tags soak ./... # they run seldom, and must compile
	$(GOLANGCI_LINT) run ./...
	$(KUBE_API_LINT) run --config .golangci-kal.yml ./api/v1alpha1
	cd hack/sites && go vet . && $(GOLANGCI_LINT) run --config ../../.golangci.yml . # not ./servers: it would compile Kubernetes a second time

.PHONY: unit
unit: sites-ready $(HELM) ## Unit tests, and controller tests against a real API server and etcd.
	PEC_SERVERS="$$($(SITES) build)" PEC_MAIL_ROOTFS="$$($(SITES) rootfs)" go test -timeout 30m $$(go list ./... | grep -v /test/e2e)
	cd hack/sites && go test .

.PHONY: e2e
e2e: sites-ready $(HELM) ## The demo's road with assertions, on sites of this checkout's own.
	PEC_INSTANCE=$(E2E) go test -count=1 -timeout 25m -v ./test/e2e

.PHONY: e2e-down
e2e-down: ## Remove the sites of this checkout's e2e test, if a killed run left them.
	@$(SITES) --instance $(E2E) down

.PHONY: soak
soak: sites-ready $(HELM) ## The tests in their long forms: a thousand mailboxes, two quiet minutes, a letter of 6,000 messages, half an hour without API server.
	PEC_SERVERS="$$($(SITES) build)" PEC_MAIL_ROOTFS="$$($(SITES) rootfs)" go test -tags soak -count=1 -timeout 60m $$(go list ./... | grep -v /test/e2e)
	PEC_INSTANCE=$(E2E) go test -tags soak -count=1 -timeout 90m -v ./test/e2e -run 'TestJobs|TestMailGoesOnWithoutOperatorAndAPIServer'

# How long each of them runs.
FUZZTIME ?= 10s

.PHONY: fuzz
fuzz: ## Every fuzz target of the repository, for FUZZTIME each (10s).
	@go list -f '{{$$p := .}}{{range .TestGoFiles}}{{$$p.ImportPath}} {{$$p.Dir}}/{{.}}{{"\n"}}{{end}}{{range .XTestGoFiles}}{{$$p.ImportPath}} {{$$p.Dir}}/{{.}}{{"\n"}}{{end}}' ./... | \
	while read -r package file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(f \*testing\.F).*/\1/p' "$$file"); do \
			echo "$$package $$target"; go test -short -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
		done; \
	done

.PHONY: bench
bench: sites-ready ## Benchmarks of the certification (compare runs with benchstat), and ten thousand mailboxes (a quarter of an hour, on a quiet machine).
	go test -run '^$$' -bench . -benchmem ./internal/...
	PEC_SERVERS="$$($(SITES) build)" PEC_MAIL_ROOTFS="$$($(SITES) rootfs)" go test -tags soak -count=1 -timeout 30m -v ./test/scale

##@ Generated files

.PHONY: generate
generate: $(CONTROLLER_GEN) ## Deep copies, apply configurations, CRDs and the reference from the code; the chart's copies of config/.
	rm -rf api/v1alpha1/applyconfiguration
	$(CONTROLLER_GEN) object applyconfiguration paths=./api/v1alpha1
	$(CONTROLLER_GEN) crd paths=./api/v1alpha1 output:crd:dir=config/crd/bases
	cp config/crd/bases/*.yaml charts/pec-operator/crds/
	mkdir -p charts/pec-operator/files/policies
	cp $(filter-out %kustomization.yaml,$(wildcard config/policies/*.yaml)) charts/pec-operator/files/policies/
	cp config/rbac/people.yaml charts/pec-operator/files/
	go run ./hack/catalogue

.PHONY: verify
verify: generate ## Fail if a generated file is not what the types say.
	@git add --intent-to-add -- api config/crd charts/pec-operator docs/reference
	@git diff --exit-code -- api config/crd charts/pec-operator docs/reference || { echo "generated files are stale: run make generate and commit"; exit 1; }

##@ What the rest needs

.PHONY: packages
packages: ## Install the Debian packages that are missing (root).
	@hack/sites/packages

.PHONY: sites-ready
sites-ready: packages
	@$(SITES) build >/dev/null
	@$(SITES) images >/dev/null

$(CONTROLLER_GEN):
	@$(call install,sigs.k8s.io/controller-tools/cmd/controller-gen@v0.23.0)

$(GOLANGCI_LINT):
	@$(call install,github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0)

$(KUBE_API_LINT): # golangci-lint with that one linter in it
	@$(call install,sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter@v0.0.0-20260716143926-092fe0c72997)

$(HELM):
	@$(call install,helm.sh/helm/v4/cmd/helm@v4.3.1)

# install builds a tool once into the cache, under a name that holds its version: a new version is a new file.
define install
	echo "building $(1) once (a minute or two)"; tmp=$$(mktemp -d); GOBIN=$$tmp CGO_ENABLED=0 GOFLAGS= go install -trimpath $(1); mkdir -p $(@D); mv $$tmp/* $@; rmdir $$tmp
endef

# Sekisho's build. `make run` tries it, `make test` proves it.

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := build

GO       ?= go
PROGRAMS := sekishod sekisho-agent sekisho
BUILD    := $(GO) build -trimpath -buildvcs=false
DATA     ?= .sekisho

AGENT_ARCHITECTURES := amd64 arm64
FUZZTIME ?= 20s

GOLANGCI_VERSION := v2.15.0
DEADCODE_VERSION := v0.52.0
BENCHSTAT_VERSION := v0.0.0-20260908200009-22c9c6c9d4da
NFPM_VERSION     := v2.45.2
SBOM_VERSION     := v1.10.0
PACKAGES         ?= bin/packages

# What the console is built from. web/dist and web/node_modules are products.
WEB_SOURCES := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' -not -path 'web/test/*' 2>/dev/null)
CONSOLE     := internal/console/dist/index.html

# The tools that only tests and lint need live in bin/ too: nothing is
# installed outside this folder except Debian packages.
PLUGIN     := bin/test/session-manager-plugin
S3SERVER   := bin/test/s3server
PEBBLE     := bin/test/pebble
PLAYWRIGHT := e2e/browser/node_modules/.package-lock.json
JAVASCRIPT := e2e/javascript/node_modules/.package-lock.json
GOLANGCI   := bin/tools/golangci-lint-$(GOLANGCI_VERSION)
NFPM       := bin/tools/nfpm
DEADCODE   := bin/tools/deadcode
BENCHSTAT  := bin/tools/benchstat
SBOM       := bin/tools/cyclonedx-gomod

.PHONY: help operations build programs agents race-programs test-programs web run test unit web-unit web-lint e2e browser outages lint console-flood screenshots picture fmt vet check man cross manipulations fuzz bench bench-compare bench-record peers clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

operations: ## docs/operations.md, from the doors and AWS's models
	$(GO) test -count=1 -run '^TestOperationsPage$$' ./internal/servertest -update

## Building.

build: web programs agents ## the console and bin/sekishod, bin/sekisho-agent, bin/sekisho

programs:
	@mkdir -p bin
	CGO_ENABLED=0 $(BUILD) -o bin/ $(addprefix ./cmd/,$(PROGRAMS))

# The agents that machines fetch from the server (docs/quick-setup.md). The
# same sources and the same Go make the same bytes anywhere.
agents: $(addprefix agent-linux-,$(AGENT_ARCHITECTURES)) ## bin/sekisho-agent-linux-amd64 and -arm64

agent-linux-%:
	@mkdir -p bin
	CGO_ENABLED=0 GOOS=linux GOARCH=$* $(BUILD) -o bin/sekisho-agent-linux-$* ./cmd/sekisho-agent

# The same programs with the race detector inside, for the end-to-end tests.
# Without -trimpath they share their compiled packages with `go test -race`.
race-programs:
	@mkdir -p bin/race
	CGO_ENABLED=1 $(GO) build -buildvcs=false -race -o bin/race/ $(addprefix ./cmd/,$(PROGRAMS))

# All that the end-to-end tests run beside the built programs.
test-programs: race-programs $(PLUGIN) $(S3SERVER) $(PEBBLE) $(PLAYWRIGHT) $(JAVASCRIPT)

web: $(CONSOLE) ## the console, when its sources changed

web/node_modules/.package-lock.json: web/package-lock.json
	cd web && npm ci --no-audit --no-fund
	@touch $@

# The committed part of internal/console/dist (what a plain `go build` embeds)
# stays; everything else there is replaced by the new build.
$(CONSOLE): web/node_modules/.package-lock.json $(WEB_SOURCES)
	cd web && npm run build
	@mkdir -p $(@D)
	find $(@D) -mindepth 1 -type f -not -name placeholder.html -delete
	cp -R web/dist/. $(@D)/
	@touch $@

# The agent of this machine only: compiling everything for another architecture doubles the time to the first session.
run: web programs agent-linux-$(shell $(GO) env GOARCH) ## build, then start a server with one node of this machine; DATA=DIR LISTEN=HOST:PORT
	@echo
	@echo "In another terminal:  . $(DATA)/env && aws ssm start-session --target \$$SEKISHO_TARGET"
	@echo "In a browser:         the address after 'ready:' below; the user name and password are in $(DATA)/env"
	@echo
	exec bin/sekishod dev --data $(DATA) $(if $(LISTEN),--listen $(LISTEN))

## Testing.

test: ## install what is missing and run every test
	scripts/test

unit: $(S3SERVER) ## unit tests, race detector on; PKG=./internal/... narrows
	scripts/phase unit $(PKG)

web-unit: web/node_modules/.package-lock.json ## the console's unit tests
	cd web && npm test

e2e: build race-programs $(PLUGIN) $(S3SERVER) $(PEBBLE) $(JAVASCRIPT) ## the real programs in a terminal; RUN=regexp narrows
	scripts/phase e2e $(if $(RUN),'$(RUN)')

outages: build race-programs $(PLUGIN) ## outages of up to 2 minutes while programs end
	SEKISHO_E2E_OUTAGES=long scripts/phase e2e TestOutage

browser: build race-programs $(PLUGIN) $(PLAYWRIGHT) ## the console in headless Chromium
	scripts/phase browser

man: ## manual pages and shell completion of all programs, into bin/man and bin/completion
	@mkdir -p bin/man bin/completion
	for program in $(PROGRAMS); do \
	  $(GO) build -trimpath -buildvcs=false -tags manpages -o bin/man/.program ./cmd/$$program; \
	  SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) bin/man/.program man bin/man; \
	  for shell in bash zsh fish; do bin/man/.program completion $$shell >bin/completion/$$program.$$shell; done; \
	done; rm -f bin/man/.program

# The client for systems that the tests do not run on.
CROSS := darwin/arm64 darwin/amd64 windows/amd64

cross: ## vet and build sekisho for macOS and Windows, into bin/
	@mkdir -p bin
	@for target in $(CROSS); do \
	  export CGO_ENABLED=0 GOOS=$${target%/*} GOARCH=$${target#*/}; \
	  suffix=; [ $$GOOS != windows ] || suffix=.exe; \
	  echo "sekisho-$$GOOS-$$GOARCH$$suffix"; \
	  $(GO) vet ./cmd/sekisho ./internal/cli ./internal/client ./internal/session/transfer; \
	  $(BUILD) -o bin/sekisho-$$GOOS-$$GOARCH$$suffix ./cmd/sekisho; \
	done

console-flood: build race-programs $(PLUGIN) $(PLAYWRIGHT) ## how long a keystroke takes in the console during 100 MB of output
	SEKISHO_FLOOD_BYTES=100000000 SEKISHO_E2E=1 SEKISHO_BIN=$(CURDIR)/bin $(GO) test -count=1 -v -run 'TestBrowserTerminal$$' ./e2e

screenshots: build race-programs $(PLUGIN) $(PLAYWRIGHT) ## every page at three widths, in both languages and colour schemes; DIR=screenshots
	PICTURES=1 SCREENSHOT_DIR=$(abspath $(or $(DIR),screenshots)) SEKISHO_E2E=1 SEKISHO_BIN=$(CURDIR)/bin/race $(GO) test -count=1 -v -run 'TestBrowserPages$$' ./e2e

picture: build ## the moving picture of README.md, from a real session
	$(GO) run ./tools/picture -bin bin -out docs/images/terminal.svg

check: fmt vet cross lint unit ## what to run before a commit

fmt:
	scripts/phase fmt

vet:
	$(GO) vet ./...

web-lint: web/node_modules/.package-lock.json ## oxlint and prettier over the console and its browser tests
	cd web && npm run lint
	web/node_modules/.bin/oxlint -c web/.oxlintrc.json --deny-warnings e2e/browser/*.mjs e2e/javascript/*.mjs
	web/node_modules/.bin/prettier --check e2e/browser/*.mjs e2e/javascript/*.mjs

lint: web-lint $(GOLANGCI) $(DEADCODE) ## golangci-lint, unreachable code, prose, commit messages and web-lint
	$(GOLANGCI) run ./...
	@unreachable=$$($(DEADCODE) -tags manpages ./cmd/...) || exit 1; \
	if [[ -n $$unreachable ]]; then echo "$$unreachable"; exit 1; fi
	$(GO) run ./tools/prose
	scripts/commits

MANIPULATIONS ?= 20000
manipulations: ## MANIPULATIONS random changes of recordings, ledger, trail and database; the seed is printed
	$(GO) test -count=1 -timeout 0 -v -run '^TestRandomManipulations$$' ./internal/server \
		-manipulation-seed 0 -manipulations $(MANIPULATIONS)

fuzz: ## every fuzz target for FUZZTIME each
	scripts/fuzz $(FUZZTIME)

bench: build $(PLUGIN) ## Go benchmarks; everything else side by side with ssh, into docs/performance.md
	scripts/setup bench
	cd bench && $(GO) test -run '^$$' -bench . -benchmem ./...
	cd bench && $(GO) run ./session -bin ../bin -plugin ../$(PLUGIN)
	cd bench && $(GO) run ./compare -bin ../bin -plugin ../$(PLUGIN) -page ../docs/performance.md
	$(GO) build -tags norecording -o bin/norecording/ ./cmd/sekishod ./cmd/sekisho-agent ./cmd/sekisho
	cd bench && $(GO) run ./recording -bin ../bin -without ../bin/norecording -page ../docs/performance.md
	cd bench && $(GO) run ./admission -bin ../bin -agents 300
	cd bench && $(GO) run ./lists -bin ../bin -page ../docs/performance.md
	cd bench && $(GO) run ./idle -bin ../bin -page ../docs/performance.md

# The Go benchmarks whose results are kept in bench/results.
BENCH_PACKAGES := ./internal/wire/link ./internal/wire/mgs ./internal/wire/mux ./internal/wire/datachannel ./internal/wire/sigv4 ./internal/session/relay \
	./internal/session/recfile ./internal/iam/policy ./internal/storage/objects ./internal/server
BENCH_COUNT ?= 6

bin/bench.txt: FORCE
	@mkdir -p $(@D)
	$(GO) test -run '^$$' -bench . -benchmem -benchtime 100ms -count $(BENCH_COUNT) $(BENCH_PACKAGES) > $@.new
	mv $@.new $@

bench-compare: bin/bench.txt $(BENCHSTAT) ## Go benchmarks compared with the recorded results by benchstat
	$(BENCHSTAT) bench/results/go.txt bin/bench.txt

bench-record: bin/bench.txt ## Go benchmarks, recorded in bench/results for bench-compare
	cp bin/bench.txt bench/results/go.txt

.PHONY: FORCE
FORCE:

peers: programs ## versitygw's's and minio-go's S3 tests on a fresh server; SUITE=name narrows
	@mkdir -p bin/peers
	cd peers && $(BUILD) -o ../bin/peers/versitygw ./versitygw
	cd peers && $(BUILD) -o ../bin/peers/minio-go "$$($(GO) list -m -f '{{.Dir}}' github.com/minio/minio-go/v7)/functional_tests.go"
	cd peers && $(GO) test . && $(GO) run . -bin ../bin $(SUITE)

## Releasing.

.PHONY: packages packages-test

packages: $(NFPM) $(SBOM) web ## deb, rpm, tarballs, SBOMs and checksums; PACKAGES=DIR VERSION=… SIGNING_KEY=FILE
	scripts/packages $(PACKAGES)

packages-test: $(NFPM) $(SBOM) web ## build packages twice, install, upgrade and remove them in a Debian root
	scripts/setup packages
	scripts/packages-test

## Tools.

# AWS's own plugin is an ordinary Go module, pinned in a module of its own.
$(PLUGIN): tools/session-manager-plugin/go.mod tools/session-manager-plugin/go.sum
	@mkdir -p $(@D)
	cd tools/session-manager-plugin && CGO_ENABLED=0 $(GO) build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' \
		-o ../../$@ github.com/aws/session-manager-plugin/src/sessionmanagerplugin-main
	@touch $@

# A real S3 server for tests of the store of recordings: versitygw, in the module
# of the S3 test suites.
# Let's Encrypt's test authority, for certificates by ACME.
$(PEBBLE): tools/pebble/go.mod tools/pebble/go.sum
	@mkdir -p $(@D)
	cd tools/pebble && CGO_ENABLED=0 $(GO) build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o ../../$(@D)/ \
		github.com/letsencrypt/pebble/v2/cmd/pebble github.com/letsencrypt/pebble/v2/cmd/pebble-challtestsrv
	@touch $@

$(S3SERVER): peers/go.mod peers/go.sum $(wildcard peers/s3server/*.go)
	@mkdir -p $(@D)
	cd peers && CGO_ENABLED=0 $(GO) build -mod=readonly -trimpath -buildvcs=false -ldflags '-s -w' -o ../$@ ./s3server
	@touch $@

$(DEADCODE): Makefile
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools GOFLAGS= $(GO) install golang.org/x/tools/cmd/deadcode@$(DEADCODE_VERSION)
	@touch $@

$(BENCHSTAT): Makefile
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools GOFLAGS= $(GO) install golang.org/x/perf/cmd/benchstat@$(BENCHSTAT_VERSION)
	@touch $@

# Tools that only releases need. Each is an ordinary Go module.
$(NFPM): Makefile
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools GOFLAGS= $(GO) install github.com/goreleaser/nfpm/v2/cmd/nfpm@$(NFPM_VERSION)
	@touch $@

$(SBOM): Makefile
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools GOFLAGS= $(GO) install github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@$(SBOM_VERSION)
	@touch $@

$(PLAYWRIGHT): e2e/browser/package-lock.json
	cd e2e/browser && npm ci --no-audit --no-fund
	@touch $@

$(JAVASCRIPT): e2e/javascript/package-lock.json
	cd e2e/javascript && npm ci --no-audit --no-fund
	@touch $@

$(GOLANGCI):
	@mkdir -p $(@D)
	GOBIN=$(CURDIR)/bin/tools $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	mv bin/tools/golangci-lint $@

clean: ## remove everything that was built
	rm -rf bin web/dist web/node_modules e2e/browser/node_modules e2e/javascript/node_modules
	find internal/console/dist -mindepth 1 -type f -not -name placeholder.html -delete

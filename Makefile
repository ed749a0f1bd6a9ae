# osvol: the commands of daily work. `make` alone lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
export IMAGE VOLUME PORT FIRMWARE

.PHONY: help deps build run boot stop check test bench bench-quick bench-store soak fuzz kills power-cuts scale fuzz-api clean-demo

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

deps: ## install the Debian packages that running and testing need (root or sudo)
	@tests/rig/install-deps.sh build run test

build: ## build osvold and osvol (release)
	@tests/rig/install-deps.sh build
	cargo build --release --locked

run: ## osvold on loopback, a golden image, a volume cloned from it (IMAGE= PORT= VOLUME=)
	@tests/rig/install-deps.sh build run
	cargo build --release --locked
	@tests/rig/demo.sh run

boot: ## boot a machine without a disk from that volume, in this terminal (FIRMWARE=uefi)
	@tests/rig/demo.sh boot

stop: ## end the osvold of `make run`
	@tests/rig/demo.sh stop

check: ## the fast tests: format, lints, crate arrows, unit tests
	@tests/run.py check

test: ## every test; installs what they need
	@tests/rig/install-deps.sh build run test
	@tests/run.py test

bench: ## osvold beside Debian's tgt: rates, ratios, CPU
	@tests/rig/install-deps.sh build run test
	cargo build --release --locked --workspace
	@benches/compare.py $(BENCH)

bench-quick: ## the same in a minute, with the public clients alone
	@$(MAKE) --no-print-directory bench BENCH=--quick

bench-store: ## the store beside the bare disk, without a network (ONLY="reads writes")
	@tests/rig/install-deps.sh build
	cargo bench -p cow --bench store --locked -- $(ONLY)

soak: ## random crashes of the store for SECONDS=600, from SEED=1; a failure prints how to see it again
	@tests/rig/install-deps.sh build
	cargo run -p cow --profile sim --features sim --example soak --locked -- --seconds $(or $(SECONDS),600) --seed $(or $(SEED),1)

fuzz: ## a fuzzer of ROOM=cow (disk), iscsi (peer) or scsi (commands): TARGET=all for SECONDS=60 each; needs nightly and cargo-fuzz
	@tests/rig/install-deps.sh build
	@tests/fuzz.sh "$(or $(ROOM),cow)" "$(or $(TARGET),all)" "$(or $(SECONDS),60)"

kills: ## osvold under load, killed KILLS=300 times, every acknowledged write verified; SEED= as well
	@tests/rig/install-deps.sh build run test
	cargo build --release --locked --workspace
	@tests/kills.py --kills $(or $(KILLS),300) --seconds $(or $(SECONDS),36000) $(if $(SEED),--seed $(SEED))

power-cuts: ## osvold in a machine whose power goes: SECONDS=30 of load, CUTS=60 moments; SEED= as well
	@tests/rig/install-deps.sh build run test
	cargo build --release --locked --workspace
	@tests/power_cuts.py --seconds $(or $(SECONDS),30) --cuts $(or $(CUTS),60) $(if $(SEED),--seed $(SEED))

scale: ## COUNT=10000 profiles with their volumes: lists, start-up, one clone more
	@tests/rig/install-deps.sh build run test
	cargo build --release --locked --workspace
	@tests/api_scale.py --count $(or $(COUNT),10000)

fuzz-api: ## generated requests on all of the control API for SECONDS=300, over TLS
	@tests/rig/install-deps.sh build run test
	cargo build --release --locked --workspace
	@SECONDS=$(or $(SECONDS),300) tests/api_hostile.py schemathesis

clean-demo: stop ## remove what `make run` has made
	@rm -rf var

# All tasks of this repository. Needs Rust and make. As root on Debian or Ubuntu, the targets install what else is missing;
# elsewhere they print the command that does.

BINARY := target/oneoff-docker-runner
IMAGE  ?= oneoff-docker-runner:latest
HOST_TRIPLE = $(shell rustc -vV | sed -n 's/^host: //p')
# Equal functions are linked once. Only where Rust brings a linker that can do that.
ONCE = $(if $(filter x86_64-unknown-linux-gnu,$(HOST_TRIPLE)),-C link-arg=-Wl$(comma)--icf=all)
comma := ,
STATIC = target/$(HOST_TRIPLE)/release/oneoff-docker-runner
REVISION = $(shell git rev-parse --short=12 HEAD 2>/dev/null)
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)

# makes the docker command use DOCKER_HOST or the default socket, as the server does, whatever context is selected
export DOCKER_CONTEXT := default

# Built into the allocator: few arenas, small caches per thread (each open stream has threads), and freed memory goes back to the
# system after 2 s. A build without it keeps more, and freed memory for 10 s.
export JEMALLOC_SYS_WITH_MALLOC_CONF := narenas:2,dirty_decay_ms:2000,muzzy_decay_ms:0,tcache_max:2048,tcache_nslots_small_max:8,tcache_nslots_large:1

.DEFAULT_GOAL := help
.PHONY: help build run demo test test-engines chaos coverage lint audit bench image docker images clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# An explicit --target keeps crt-static away from build scripts and procedural macros, which cannot be static. Packed relocations
# make the binary 2 % smaller; linkers that do not know them say so and go on.
build: ## The release binary, one static file
	@RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs $(ONCE)' cargo build --release --locked --target-dir target --target $(HOST_TRIPLE) \
		--bin oneoff-docker-runner
	@tests/support/static_check.sh $(STATIC)
	@ln -f $(STATIC) $(BINARY) 2>/dev/null || cp $(STATIC) $(BINARY)

run: build docker ## Build and start the server on http://127.0.0.1:8000 (PORT=... for another)
	@exec $(BINARY)

demo: build docker images ## See a container run from one HTTP request, with files going in and coming back
	@tests/support/demo.sh $(BINARY)

test: docker images ## Every test, against a real engine
	@tests/support/setup.sh
	cargo test

test-engines: build docker images ## The core of the tests against other engines, as root on Debian (ENGINES="podman runsc" for some)
	@tests/support/packages.sh curl openssl docker-registry htpasswd:apache2-utils ip:iproute2 mmdebstrap xz:xz-utils
	cargo test --test engines -- $(ENGINES)

chaos: docker images ## The mixed load while everything fails in turn, for long (CHAOS_RUNS=2000, CHAOS_SEED=..., CHAOS_FAULTS=disk,clock)
	@tests/support/packages.sh faketime mke2fs:e2fsprogs
	CHAOS_RUNS=$(or $(CHAOS_RUNS),2000) cargo test --test it -- chaos:: --nocapture

coverage: docker images ## Which lines of src/ the tests reach (COVERAGE_ARGS=--html for a report of another kind)
	@tests/support/setup.sh
	@tests/support/coverage.sh $(COVERAGE_ARGS)

lint: ## Formatting, clippy and documentation, warnings are errors; shell scripts where shellcheck is installed
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test engines -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
	@if command -v shellcheck >/dev/null; then shellcheck -x .ci/run tests/support/*.sh tests/support/engines/*.sh; fi

audit: ## Advisories, licences, duplicates and sources of the dependencies (needs the network)
	@tests/support/cargo_tool.sh cargo-deny@0.20.2
	target/tools/bin/cargo-deny --config .ci/deny.toml check

bench: build docker images ## Our overhead against the bare Engine API and docker run (BENCH_ARGS=... is passed on)
	ONEOFF_BINARY=$(abspath $(BINARY)) cargo bench --bench bench -- $(BENCH_ARGS)

# Only the binary and the Dockerfile are sent, and no base image is needed: this works without any network.
image: build docker ## The container image, FROM scratch, as oneoff-docker-runner:latest (IMAGE=... for another name)
	@tests/support/image.sh $(BINARY) $(IMAGE) "$(VERSION)" "$(REVISION)"

docker: ## An engine to talk to: finds it, or starts Debian's (AUTO_DOCKER=0 only advises)
	@tests/support/engine.sh

images: docker
	@tests/support/images.sh

clean: ## Remove what was built
	cargo clean --target-dir target

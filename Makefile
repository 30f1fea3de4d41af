# `make test` is all that must hold; `.ci/run` calls it. Needs Linux, root, and the toolchain of rust-version.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := build

# What the tests need beyond the product: places at which they kill the daemon.
TEST_FEATURES ?= --features grantd/failpoints
# What is measured. Named for both builds of the benchmark, so that they agree on features and share what they build.
BENCH_PACKAGES := -p grantd -p grantctl
TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

.PHONY: setup build demo fmt lint mutants roles test bench release install deb

# Where `make install` puts things. DESTDIR is put before every path, for packages.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
# What is installed: built by `make release`, with the profile that is released.
PROFILE ?= release
BIN_DIR ?= $(TARGET_DIR)/$(PROFILE)
# Which version of systemd the host has that is installed to: 253 and later wait for the end of a reload.
SYSTEMD_VERSION ?= $(shell systemctl --version 2>/dev/null | awk 'NR == 1 { print $$2 }')

## Installs what tests and demo stand on. Needs root.
setup:
	@tests/setup/install.sh

## Builds the binaries that the tests drive, and those that they drive them with.
build:
	cargo build --locked --workspace --bins $(TEST_FEATURES)

## The main job from end to end, with real clients, on this machine alone.
demo: setup
	@cargo build --quiet --locked --workspace --bins
	@GRANTD_BIN_DIR=$(TARGET_DIR)/debug tests/demo/demo.sh

## Formats the code.
fmt:
	cargo fmt --all

## Everything that can be said without running the code.
lint:
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets $(TEST_FEATURES) -- -D warnings
	cargo deny --log-level warn --all-features check --hide-inclusion-graph bans licenses sources
	tests/setup/one-tls-stack.sh
	@if grep -rnE '^\s*#\[ignore' --include='*.rs' src providers tests; then echo 'lint: a test that is ignored tests nothing' >&2; exit 1; fi

## Everything.
test: setup lint build
	GRANTD_BIN_DIR=$(TARGET_DIR)/debug cargo nextest run --locked --workspace --no-fail-fast $(TEST_FEATURES)
	cargo test --locked --workspace --doc $(TEST_FEATURES)

## Breaks each promise in a scratch copy and shows that its test notices.
mutants: setup
	tests/broken/run.sh

## Holds the capability maps of Azure and Google Cloud to their published roles, of which nobody makes a package:
## AZURE_ROLES and GCP_ROLES are the lists as JSON, see tests/catalog/roles.py. Not part of `make test`.
roles:
	tests/catalog/roles.py azure config/entitlements/azure.toml '$(AZURE_ROLES)'
	tests/catalog/roles.py gcp config/entitlements/gcp.toml '$(GCP_ROLES)'

## Measures the product as it would be released, but for link-time optimisation, and keeps the tables with every raw
## sample in tests/bench/results. Needs root and a quiet machine; nothing in it passes or fails by a time.
bench: setup
	cargo build --locked --profile bench-run $(BENCH_PACKAGES) --bins
	GRANTD_BENCH_COMMAND='make bench' GRANTD_BIN_DIR=$(TARGET_DIR)/bench-run \
		cargo bench --locked --profile bench-run $(BENCH_PACKAGES) -p grantd-tests \
		--bench bench -- --results $(CURDIR)/tests/bench/results

## Builds what is installed: without the places at which tests kill the daemon.
release:
	cargo build --locked --profile $(PROFILE) $(BENCH_PACKAGES) --bins

## Installs what `make release` built. Changed settings are kept: the new ones stand beside them as FILE.new.
install:
	@SYSTEMD_VERSION='$(SYSTEMD_VERSION)' systemd/install.sh '$(BIN_DIR)' '$(DESTDIR)' '$(PREFIX)' '$(SYSCONFDIR)'

## Makes a Debian package in target/debian, from a build with the release profile. Needs cargo-deb, which it installs.
deb: release
	@tests/setup/install.sh cargo-deb
	rm -rf $(TARGET_DIR)/package
	@SYSTEMD_VERSION=0 systemd/install.sh '$(BIN_DIR)' '$(TARGET_DIR)/package' /usr /etc
	cargo deb --locked --no-build --no-strip --package grantd --profile $(PROFILE)

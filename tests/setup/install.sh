#!/usr/bin/env bash
# Installs what the tests and the demo stand on. Safe to run again: each step looks first. Needs root, for the Unix
# users and the packages. Everything has an exact version; what Debian ships is taken as it is.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)

deny_version=0.20.2
nextest_version=0.9.143
deb_version=3.8.0

step() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Runs a command silently; shows what it printed only if it failed.
quietly() {
    local log
    log=$(mktemp)
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        fail "failed: $*"
    fi
    rm -f "$log"
}

[ "$(id -u)" = 0 ] || fail "run as root: the tests create Unix users and act as them"

packages() {
    local missing=()
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
    [ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)
    command -v curl >/dev/null || missing+=(curl)
    command -v setpriv >/dev/null || missing+=(util-linux)
    # Checks the units; need not be running.
    command -v systemd-analyze >/dev/null || missing+=(systemd)
    # Shows that a file has its owner and mode before there is a secret in it.
    command -v strace >/dev/null || missing+=(strace)
    # Runs the GitHub action, as the runner's own node does: 20 or later.
    command -v node >/dev/null || missing+=(nodejs)
    # Brings the evaluator of AWS policies.
    command -v npm >/dev/null || missing+=(npm)
    # Moves the daemon's clock in the tests of clock jumps.
    compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null || missing+=(libfaketime)
    /usr/bin/python3 -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    # aws-lc-sys and the bundled SQLite are C.
    command -v cc >/dev/null || missing+=(gcc libc6-dev)
    if [ ${#missing[@]} -gt 0 ]; then
        step "apt packages: ${missing[*]}"
        quietly apt-get update -q
        quietly env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
    else
        step "apt packages are there"
    fi
}

users() {
    getent group gt-clients >/dev/null || quietly groupadd --system gt-clients
    local user
    for user in gt-daemon gt-alice gt-bob gt-olga gt-olga-adm gt-otto; do
        getent passwd "$user" >/dev/null || quietly useradd --system --user-group --no-create-home \
            --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
        id -nG "$user" | tr ' ' '\n' | grep -qx gt-clients || quietly usermod --append --groups gt-clients "$user"
    done
    step "users gt-daemon, gt-alice, gt-bob, gt-olga, gt-olga-adm, gt-otto in group gt-clients"
}

# The test users run boto3 themselves, so they must be able to reach it. A checkout below a private directory, such as
# /root, keeps its environments in /var/lib instead and has a link to them.
place_for() {
    local name=$1
    if setpriv --reuid gt-alice --regid gt-alice --clear-groups test -x "$root"; then
        echo "$root/$name"
    else
        echo "/var/lib/grantd-test/$(printf '%s' "$root" | sha256sum | cut -c1-12)/$name"
    fi
}

# A virtual environment named .venv-NAME that holds exactly what NAME.txt lists.
environment() {
    local name=.venv-$1 list=$here/$1.txt place
    place=$(place_for "$name")
    if ! cmp -s "$list" "$place/installed.txt"; then
        step "$name: installing"
        rm -rf "$place"
        mkdir -p "$(dirname "$place")"
        quietly /usr/bin/python3 -m venv "$place"
        quietly "$place/bin/pip" install --disable-pip-version-check --no-deps -r "$list"
        quietly "$place/bin/pip" check
        # Compiled now: the test users cannot write here, and would compile boto3 again in every process.
        quietly "$place/bin/python" -m compileall -q "$place/lib"
        chmod -R go+rX "$place"
        cp "$list" "$place/installed.txt"
    fi
    [ "$place" = "$root/$name" ] || { rm -rf "${root:?}/$name" && ln -s "$place" "$root/$name"; }
    setpriv --reuid gt-alice --regid gt-alice --clear-groups "$place/bin/python" -c '' ||
        fail "gt-alice cannot run $place/bin/python: make the directories above it searchable for everyone"
    step "$name is there"
}

# A directory named .node-NAME with exactly what NAME/package-lock.json lists.
node_packages() {
    local name=.node-$1 lock=$here/$1/package-lock.json place
    place=$(place_for "$name")
    if ! cmp -s "$lock" "$place/installed.json"; then
        step "$name: installing"
        rm -rf "$place"
        mkdir -p "$place"
        cp "$here/$1/package.json" "$lock" "$place/"
        quietly npm ci --prefix "$place" --ignore-scripts --no-audit --no-fund
        chmod -R go+rX "$place"
        cp "$lock" "$place/installed.json"
    fi
    [ "$place" = "$root/$name" ] || { rm -rf "${root:?}/$name" && ln -s "$place" "$root/$name"; }
    step "$name is there"
}

# A cargo tool at one exact version.
tool() {
    local name=$1 version=$2
    if ! "$name" --version 2>/dev/null | head -n1 | grep -q -F " $version"; then
        step "$name $version: compiling, this takes minutes"
        quietly cargo install --locked --force "$name" --version "$version"
    fi
    step "$name $version is there"
}

# What only packaging needs, when asked for.
if [ "${1:-}" = cargo-deb ]; then
    tool cargo-deb "$deb_version"
    exit
fi

packages
users
environment ministack
environment aws
environment azure
environment catalog
environment clouds
environment desk
environment gcp
environment seaweedfs
node_packages iam
tool cargo-deny "$deny_version"
tool cargo-nextest "$nextest_version"

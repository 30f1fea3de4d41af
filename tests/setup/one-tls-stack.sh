#!/usr/bin/env bash
# Fails if a second TLS or crypto stack is built. Cargo.lock is no witness: it names crates that only a feature which
# nobody enables would build.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

# What depends on a crate in the graph that is built; empty if it is not in there. For a crate that is only in
# Cargo.lock, cargo tree prints nothing and exits 0; for one that is not even there, it fails with these words.
dependents() {
    local errors
    errors=$(mktemp)
    if ! cargo tree --locked --edges normal,build --workspace --all-features --invert "$1" 2>"$errors"; then
        if ! grep -q 'did not match any packages' "$errors"; then
            cat "$errors" >&2
            rm -f "$errors"
            return 1
        fi
    fi
    rm -f "$errors"
}

# If this is not found, neither would the others be.
[ -n "$(dependents rustls)" ] || { echo "one-tls-stack: rustls is not in the graph; is this check still right?" >&2; exit 1; }

for crate in ring openssl-sys native-tls; do
    found=$(dependents "$crate")
    if [ -n "$found" ]; then
        printf 'one-tls-stack: %s is built, by:\n%s\n' "$crate" "$found" >&2
        exit 1
    fi
done

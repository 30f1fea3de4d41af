#!/usr/bin/env bash
# Breaks one promise after another in a scratch copy, and succeeds only if for each the named test fails - having passed
# on the unbroken copy, and with the broken code compiling, so that it fails for the right reason.
# Usage: run.sh [P1 P5 ...]; all of them without arguments.
set -eu

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
scratch=$root/target/mutants
features=(--features grantd/failpoints)
export CARGO_TARGET_DIR=$scratch/target
export GRANTD_BIN_DIR=$CARGO_TARGET_DIR/debug
export GRANTD_TEST_VENVS=${GRANTD_TEST_VENVS:-$root}
export RUST_BACKTRACE=0

rm -rf "$scratch/tree"
mkdir -p "$scratch/tree"
# What has been built of others' code need not be built again.
[ -d "$CARGO_TARGET_DIR" ] || [ ! -d "$root/target/debug" ] ||
    { mkdir -p "$CARGO_TARGET_DIR" && cp -a "$root/target/debug" "$CARGO_TARGET_DIR/"; }
(cd "$root" && git ls-files -z | xargs -0 cp --parents -t "$scratch/tree")
cd "$scratch/tree"
git init -q . 2>/dev/null

# The whole workspace each time, so that all of it agrees on features and nothing is built twice.
build() { cargo build -q --locked --workspace --bins "${features[@]}" >"$scratch/log" 2>&1; }
# The test's target and name, as its patch says.
run_test() {
    local words
    read -ra words <<<"$1"
    cargo test -q --locked --workspace "${features[@]}" "${words[@]:0:${#words[@]}-1}" -- --test-threads 1 "${words[-1]}" \
        >"$scratch/log" 2>&1
}
ran_one() { grep -qE '^test result: .* [1-9][0-9]* (passed|failed)|[1-9][0-9]* failed' "$scratch/log"; }
stop() {
    printf '%s: %s\n' "$1" "$2" >&2
    tail -n 30 "$scratch/log" >&2
    exit 1
}
test_of() { sed -n 's/^Test: //p' "$here/$1.patch"; }

names=("$@")
[ $# -gt 0 ] || mapfile -t names < <(cd "$here" && printf '%s\n' *.patch | sed 's/\.patch$//' | sort -V)

build || stop baseline 'the unbroken copy does not build'
for name in "${names[@]}"; do
    test=$(test_of "$name")
    run_test "$test" || stop "$name" "the test fails without the patch: $test"
    ran_one || stop "$name" "there is no such test: $test"
done
caught=0
for name in "${names[@]}"; do
    patch=$here/$name.patch
    test=$(test_of "$name")
    lines=$(sed -n '/^diff /,$p' "$patch" | grep -cE '^[+-]([^+-]|$)' || true)
    [ "$lines" -le 10 ] || stop "$name" "the patch changes $lines lines, ten at most"
    git apply "$patch" || stop "$name" 'the patch does not apply any more'
    build || stop "$name" 'the broken copy does not build'
    if run_test "$test"; then
        stop "$name" "the promise is broken and nobody noticed: $test"
    fi
    ran_one || stop "$name" "the test did not run on the broken copy: $test"
    git apply -R "$patch"
    caught=$((caught + 1))
    printf '%-4s caught: %s\n' "$name" "$(sed -n 's/^Breaks //p' "$patch")"
done
printf '%d passed, 0 failed\n' "$caught"

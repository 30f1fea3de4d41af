#!/usr/bin/env bash
# Puts everything into its place: install.sh BIN_DIR DESTDIR PREFIX SYSCONFDIR. `make install` calls it. What an
# administrator changed below SYSCONFDIR is never overwritten. SYSTEMD_VERSION says for which version the units are.
set -eu

binaries=$1 destination=$2 prefix=$3 settings=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/.." && pwd)

say() { printf 'install: %s\n' "$*"; }
fail() { printf 'install: %s\n' "$*" >&2; exit 1; }

for program in grantd grantctl; do
    [ -x "$binaries/$program" ] || fail "$binaries/$program is not there: run make release first, or set BIN_DIR"
done

# put MODE SOURCE TARGET
put() { install -D -m "$1" "$2" "$destination$3"; }

put 755 "$binaries/grantd" "$prefix/bin/grantd"
put 755 "$binaries/grantctl" "$prefix/bin/grantctl"

# The units name the programs by their full path.
unit() {
    local edited
    edited=$(mktemp)
    sed "s|/usr/bin/grant|$prefix/bin/grant|g; s|/usr/share/doc|$prefix/share/doc|g" "$here/$1" >"$edited"
    put 644 "$edited" "$prefix/lib/systemd/system/${2:-$1}"
    rm -f "$edited"
}
unit grantd.socket
unit grantd.service
unit grantd-drain.service
if [ "${SYSTEMD_VERSION:-0}" -ge 253 ] 2>/dev/null; then
    unit notify-reload.conf grantd.service.d/notify-reload.conf
fi
put 644 "$here/notify-reload.conf" "$prefix/share/grantd/notify-reload.conf"
put 644 "$here/sysusers.d/grantd.conf" "$prefix/lib/sysusers.d/grantd.conf"
put 644 "$here/tmpfiles.d/grantd.conf" "$prefix/lib/tmpfiles.d/grantd.conf"

# Settings and policy: root's, readable for the daemon, and nothing secret in them. Base credentials do not belong
# here but into /etc/credstore, where only root can read them.
# Nor is what was removed put back: a policy without a permit stays without it.
first=yes
[ ! -e "$destination$settings/grantd/grantd.toml" ] || first=no
setting() {
    local target=$settings/grantd/$2
    if [ $first = no ] && [ ! -e "$destination$target" ]; then
        put 644 "$1" "$prefix/share/grantd/settings/$2"
        say "$target is not there and is not put back; if it is new to you, see $prefix/share/grantd/settings/$2"
    elif [ -e "$destination$target" ] && ! cmp -s "$1" "$destination$target"; then
        put 644 "$1" "$target.new"
        say "$target was changed and is kept; the new one is $target.new"
    else
        put 644 "$1" "$target"
    fi
}
setting "$root/config/grantd.toml" grantd.toml
cd "$root/config/policy"
find . -type f | sort | while read -r file; do setting "$file" "policy/${file#./}"; done
cd "$root/config/entitlements"
find . -type f | sort | while read -r file; do setting "$file" "policy/entitlements/${file#./}"; done

put 644 "$root/README.md" "$prefix/share/doc/grantd/README.md"
put 644 "$root/CHANGELOG.md" "$prefix/share/doc/grantd/CHANGELOG.md"
cd "$root/config/examples"
find . -type f | sort | while read -r file; do put 644 "$file" "$prefix/share/doc/grantd/examples/${file#./}"; done

# Where this grantctl can write them: one that cannot is installed all the same.
generated=$(mktemp -d)
trap 'rm -rf "$generated"' EXIT
completion() {
    if "$binaries/grantctl" completions "$1" >"$generated/$1" 2>/dev/null && [ -s "$generated/$1" ]; then
        put 644 "$generated/$1" "$prefix/share/$2"
    else
        say "this grantctl has no completions for $1"
    fi
}
completion bash bash-completion/completions/grantctl
completion zsh zsh/site-functions/_grantctl
completion fish fish/vendor_completions.d/grantctl.fish
mkdir "$generated/man"
if "$binaries/grantctl" man "$generated/man" >/dev/null 2>&1 && compgen -G "$generated/man/*.1" >/dev/null; then
    for page in "$generated"/man/*.1; do
        put 644 "$page" "$prefix/share/man/man1/$(basename "$page")"
    done
else
    say "this grantctl has no man pages"
fi

say "done. Next: systemd-sysusers; systemd-tmpfiles --create; write $settings/grantd/grantd.toml and what it names;"
say "grantd --check; systemctl daemon-reload; systemctl enable --now grantd.socket grantd.service grantd-drain.service"

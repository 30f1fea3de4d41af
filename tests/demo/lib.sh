# What every part of the demo uses: where things are, how it tells what it saw, and how it acts as somebody.

bin=${GRANTD_BIN_DIR:-$root/target/debug}
venvs=${GRANTD_TEST_VENVS:-$root}
aws_venv=$(readlink -f "$venvs/.venv-aws")
azure_venv=$(readlink -f "$venvs/.venv-azure")
gcp_venv=$(readlink -f "$venvs/.venv-gcp")
ministack_venv=$(readlink -f "$venvs/.venv-ministack")
stage=$(mktemp -d /tmp/grantd-demo.XXXXXX)
socket=$stage/run/grantd.sock
daemon=
clouds=

say() { printf '\n%s\n' "$*"; }
ok() { printf '  ok    %s\n' "$*"; }
fail() {
    printf '  FAIL  %s\n' "$*" >&2
    tail -n 5 "$stage"/log/*.log >&2
    exit 1
}
clean() {
    # The job may still be there if something failed half-way.
    for pid in $daemon $clouds ${job:-} ${exec:-}; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$stage"
}
# as USER COMMAND...: the command as that user, with nothing of our environment.
as() {
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH="$bin_copy:$aws_venv/bin:/usr/bin:/bin" \
        HOME="$stage/home/$user" GRANTD_SOCKET="$socket" AWS_ENDPOINT_URL="$endpoint" AWS_EC2_METADATA_DISABLED=true \
        AWS_MAX_ATTEMPTS=1 REQUESTS_CA_BUNDLE="$stage/config/azure-ca.pem" PYTHONWARNINGS=ignore "$@"
}
# until_true WHAT COMMAND...: within twenty seconds.
until_true() {
    local what=$1 left=200
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || fail "not within twenty seconds: $what"
        sleep 0.1
    done
}
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# request USER RESOURCE
request() { as "$1" grantctl request --resource "$2" --can object-storage:read --for 30m --why "the nightly export"; }

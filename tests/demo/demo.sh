#!/usr/bin/env bash
# The main job from end to end, with real clients: four Unix users, boto3 and the AWS CLI, MiniStack as the cloud.
# Every line that begins with "ok" was seen to be so; the first that is not ends the demo with status 1.
set -eu

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
bin=${GRANTD_BIN_DIR:-$root/target/debug}
venvs=${GRANTD_TEST_VENVS:-$root}
aws_venv=$(readlink -f "$venvs/.venv-aws")
ministack_venv=$(readlink -f "$venvs/.venv-ministack")
stage=$(mktemp -d /tmp/grantd-demo.XXXXXX)
socket=$stage/run/grantd.sock
daemon=
cloud=

say() { printf '\n%s\n' "$*"; }
ok() { printf '  ok    %s\n' "$*"; }
fail() {
    printf '  FAIL  %s\n' "$*" >&2
    tail -n 5 "$stage"/log/*.log >&2
    exit 1
}
clean() {
    # The job may still be there if something failed half-way.
    for pid in $daemon $cloud ${job:-} ${exec:-}; do kill -9 "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$stage"
}
trap clean EXIT
trap 'fail "line $LINENO: $BASH_COMMAND"' ERR

# as USER COMMAND...: the command as that user, with nothing of our environment.
as() {
    local user=$1
    shift
    setpriv --reuid "$user" --regid "$user" --init-groups env -i PATH="$bin_copy:$aws_venv/bin:/usr/bin:/bin" \
        HOME="$stage/home/$user" GRANTD_SOCKET="$socket" AWS_ENDPOINT_URL="$endpoint" AWS_EC2_METADATA_DISABLED=true \
        AWS_MAX_ATTEMPTS=1 PYTHONWARNINGS=ignore "$@"
}
# until_true WHAT COMMAND...: within ten seconds.
until_true() {
    local what=$1 left=100
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || fail "not within ten seconds: $what"
        sleep 0.1
    done
}
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

# --- The stage -------------------------------------------------------------------------------------------------------
bin_copy=$stage/bin
mkdir -p "$bin_copy" "$stage"/{config/policy,log,home/gt-alice/.aws,home/gt-bob/.aws,home/gt-olga,home/gt-otto}
chmod 755 "$stage" "$bin_copy" "$stage/config" "$stage/config/policy"
install -m 755 "$bin/grantd" "$bin/grantctl" "$bin_copy"
install -d -m 700 -o gt-daemon -g gt-daemon "$stage/state"
install -d -m 755 -o gt-daemon -g gt-daemon "$stage/run"

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
endpoint=http://127.0.0.1:$port
(cd "$stage/log" && exec env -i PATH=/usr/bin:/bin HOME="$stage/log" STATE_DIR="$stage/log/ms" \
    S3_DATA_DIR="$stage/log/s3" AUTH=true BIND_HOST=127.0.0.1 GATEWAY_PORT="$port" LOG_LEVEL=WARNING \
    MINISTACK_ACCOUNT_ID=123456789012 "$ministack_venv/bin/ministack") >"$stage/log/cloud.log" 2>&1 &
cloud=$!
until_true 'the cloud is up' curl -fs "$endpoint/_ministack/health"
account=$("$aws_venv/bin/python" -W ignore "$root/tests/setup/aws_setup.py" "$endpoint")

install -m 600 -o gt-daemon -g gt-daemon /dev/stdin "$stage/config/aws-credentials" <<END
[grantd]
aws_access_key_id = $(field access_key_id <<<"$account")
aws_secret_access_key = $(field secret_access_key <<<"$account")
END
cp -r "$root/config/policy/schema.cedarschema" "$root/config/policy/policies" "$root/config/entitlements" \
    "$stage/config/policy"
cat >"$stage/config/policy/people.toml" <<END
[[person]]
name = "olga"
unix = ["gt-olga"]

[[person]]
name = "otto"
unix = ["gt-otto"]

[[workload]]
name = "deploy"
kind = "pipeline"
unix = "gt-alice"

[[workload]]
name = "indexer"
kind = "service"
unix = "gt-bob"
END
for line in "reports alpha low" "invoices beta low" "ledger ledger high" "vault vault critical"; do
    read -r name bucket tier <<<"$line"
    cat >>"$stage/config/policy/catalog.toml" <<END
[[resource]]
name = "$name"
cloud = "aws"
account = "main"
type = "object-storage"
native = "arn:aws:s3:::$bucket"
environment = "dev"
tier = "$tier"
owners = ["olga"]

END
done
cat >"$stage/config/grantd.toml" <<END
state_dir = "$stage/state"
policy_dir = "$stage/config/policy"

[socket]
path = "$socket"
group = "gt-clients"

[roles]
administrators = ["root", "gt-olga", "gt-otto"]

[log]
filter = "warn"

[aws]
# The emulator feels a deny at once. In a real account it takes seconds, and nothing is confirmed before the worst case.
propagation = { expected = "0s", worst = "0s" }

[[aws.account]]
name = "main"
id = "123456789012"
region = "eu-west-1"
endpoint = "$endpoint"
base = { type = "profile", files = ["$stage/config/aws-credentials"], profile = "grantd" }

[[aws.account.role]]
arn = "arn:aws:iam::123456789012:role/grantd-target-1"
boundary = "arn:aws:iam::123456789012:policy/grantd-boundary-1"
END
chmod -R go-w,a+rX "$stage/config/policy"
for user in gt-alice gt-bob; do
    # No secret and no grant id stands here: the daemon knows who is calling, and which grant is theirs.
    cat >"$stage/home/$user/.aws/config" <<END
[default]
region = eu-west-1
credential_process = grantctl credential-process auto
s3 =
    addressing_style = path
END
    chown -R "$user:$user" "$stage/home/$user"
done

start_daemon() {
    setpriv --reuid gt-daemon --regid gt-daemon --init-groups env -i PATH=/usr/bin:/bin \
        "$bin_copy/grantd" --config "$stage/config/grantd.toml" >>"$stage/log/grantd.log" 2>&1 &
    daemon=$!
    # Its death is part of the story; the shell need not report it.
    disown $daemon
    until_true 'grantd is ready' as root grantctl status
}
request() { as "$1" grantctl request --resource "$2" --can object-storage:read --for 30m --why "the nightly export"; }
# Reads a bucket with a credential that was taken before, as a thief or a leftover would: boto3, no grantctl.
read_with() {
    as gt-alice env $(python3 -c '
import json, sys
c = json.load(open(sys.argv[1]))
print("AWS_ACCESS_KEY_ID=" + c["AccessKeyId"], "AWS_SECRET_ACCESS_KEY=" + c["SecretAccessKey"],
      "AWS_SESSION_TOKEN=" + c["SessionToken"], "AWS_CONFIG_FILE=/dev/null AWS_DEFAULT_REGION=eu-west-1")' "$1") \
        python -c '
import boto3
from botocore.config import Config
s3 = boto3.client("s3", config=Config(s3={"addressing_style": "path"}))
print(s3.get_object(Bucket="alpha", Key="hello.txt")["Body"].read().decode(), end="")' 2>&1
}
refused() { read_with "$1" | grep -q AccessDenied; }

# --- The story -------------------------------------------------------------------------------------------------------
say "grantd starts on an empty state directory, as its own user"
start_daemon
ok "ready: $(as root grantctl --json status | field state)"

say "alice's pipeline asks for the vault, which is of tier critical"
why=$(request gt-alice vault 2>&1 >/dev/null) && fail "the vault was granted"
ok "denied: ${why#grantctl: }"

say "alice's pipeline asks to read the reports, and bob's service too; tier low is self-service"
ok "granted: $(request gt-alice reports | head -1)"
request gt-bob reports >/dev/null
ok "granted to bob: $(as gt-bob grantctl list | tail -n 1 | tr -s ' ')"

say "a job of alice ties what it takes to itself, and reads with the plain AWS CLI through credential_process"
mkfifo "$stage/job.in"
chmod 666 "$stage/job.in"
as gt-alice bash -c '
    grantctl attach 2>/dev/null >/dev/null
    aws s3 cp s3://alpha/hello.txt - >~/alpha.out 2>&1
    aws s3 cp s3://beta/hello.txt - >~/beta.out 2>&1
    grantctl credential-process auto >~/credential.json
    touch ~/done
    read -r _ <"$1"' job "$stage/job.in" &
job=$!
home=$stage/home/gt-alice
until_true 'the job has done its work' test -e "$home/done"
grep -qx 'hello from alpha' "$home/alpha.out" || fail "alpha: $(cat "$home/alpha.out")"
ok "the reports: $(cat "$home/alpha.out")"
grep -q -e AccessDenied -e Forbidden "$home/beta.out" || fail "beta: $(cat "$home/beta.out")"
ok "another bucket of the same account: refused by the cloud"
leases() { as gt-alice grantctl --json leases --ended | python3 -c 'import json,sys; print(len(json.load(sys.stdin)["leases"]))'; }
[ "$(leases)" = 1 ] || fail "the job took more than one session"
ok "three fetches, one session: the live lease answered"
as gt-bob grantctl vend auto --format json >"$stage/bob.json" 2>/dev/null
python3 - "$stage/bob.json" "$stage/neighbour.json" <<'END'
import json, sys
c = json.load(open(sys.argv[1]))["credential"]
json.dump({"AccessKeyId": c["access_key_id"], "SecretAccessKey": c["secret_access_key"], "SessionToken": c["session_token"]},
          open(sys.argv[2], "w"))
END
cp "$home/credential.json" "$stage/stolen.json"
[ "$(read_with "$stage/stolen.json")" = 'hello from alpha' ] || fail "the job's credential does not work while the job runs"
ok "while the job runs, its credential works; bob's service has one of its own on the same role"

say "the job ends"
echo >"$stage/job.in"
wait $job
until_true "the job's credential is refused" refused "$stage/stolen.json"
ok "the very same credential: AccessDenied"
[ "$(read_with "$stage/neighbour.json")" = 'hello from alpha' ] || fail "bob's credential was ended too"
ok "bob's credential on the same role: still reads"
ok "$(as gt-alice grantctl leases --ended | tail -n 1 | tr -s ' ' | cut -d' ' -f1-3)"

say "another job of alice runs; grantd is killed with SIGKILL; the job ends while nobody watches"
rm "$home/done"
as gt-alice bash -c 'grantctl attach 2>/dev/null >/dev/null; grantctl credential-process auto >~/second.json; touch ~/done
    read -r _ <"$1"' job "$stage/job.in" &
job=$!
until_true 'the second job has its credential' test -e "$home/done"
cp "$home/second.json" "$stage/second.json"
kill -9 $daemon
until_true 'grantd is dead' eval '! kill -0 $daemon'
echo >"$stage/job.in"
wait $job
[ "$(read_with "$stage/second.json")" = 'hello from alpha' ] || fail "the second credential died with the daemon"
ok "the dead job's credential still works: nobody was there to take it back"
start_daemon
until_true "the dead job's credential is refused" refused "$stage/second.json"
ok "grantd is back: the dead job's credential is refused"
[ "$(read_with "$stage/neighbour.json")" = 'hello from alpha' ] || fail "the restart ended bob's lease"
ok "bob's credential: still reads; no lease ended by the crash"

say "alice's pipeline needs the ledger, of tier high: one command asks, waits, runs and gives back"
as gt-alice grantctl exec --resource ledger --can object-storage:read --for 30m --why "month-end reconciliation" -- \
    aws s3 cp s3://ledger/hello.txt - >"$stage/ledger.out" 2>"$stage/ledger.err" &
exec=$!
pending() { as gt-olga grantctl --json list --approvable | python3 -c 'import json,sys; print(json.load(sys.stdin)["grants"][0]["id"])'; }
until_true 'olga, who owns the ledger, sees a request' pending
grant=$(pending)
ok "it waits: $(grep -m 1 -i olga "$stage/ledger.err" | sed 's/^grantctl: //')"
as gt-alice grantctl approve "$grant" --yes >/dev/null 2>"$stage/own.err" && fail "alice approved her own request"
ok "alice herself: $(sed 's/^grantctl: //; s/ (rule.*//' "$stage/own.err" | tail -n 1)"
as gt-olga grantctl approve "$grant" --yes --comment "seen with finance" >/dev/null 2>&1
wait $exec || fail "the job with the ledger: $(cat "$stage/ledger.err")"
grep -qx 'hello from ledger' "$stage/ledger.out" || fail "the ledger: $(cat "$stage/ledger.out")"
ok "olga approves as another Unix user; the job reads: $(cat "$stage/ledger.out")"
ok "and its grant is over: $(as gt-alice grantctl show "$grant" | grep -m 1 -E '^ +state' | tr -s ' ')"

say "a job of alice runs under grantctl exec, and somebody kills that with SIGKILL in the middle of its work"
as gt-alice grantctl exec --resource reports -- bash -c '
    curl -sf -H "Authorization: $(cat "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")" "$AWS_CONTAINER_CREDENTIALS_FULL_URI" |
        python3 -c "import json,sys; c = json.load(sys.stdin); c[\"SessionToken\"] = c[\"Token\"]; print(json.dumps(c))" >~/third.json
    touch ~/third; exec sleep 600' >/dev/null 2>&1 &
exec=$!
until_true 'the third job has its credential' test -e "$home/third"
cp "$home/third.json" "$stage/third.json"
[ "$(read_with "$stage/third.json")" = 'hello from alpha' ] || fail "the third credential does not work"
pkill -9 -u gt-alice -f 'grantctl exec --resource reports'
wait $exec || true
until_true "the killed job's credential is refused" refused "$stage/third.json"
ok "nobody said goodbye, and its credential is refused all the same"

say "a token has leaked somewhere: root pulls the brake"
freeze=$(as root grantctl --json freeze --all --reason "a token leaked" | field id)
why=$(as gt-bob grantctl vend auto --format json 2>&1 >/dev/null) && fail "something was vended into the freeze"
why=${why%% (rule*}
ok "nothing is vended: ${why#grantctl: }"
as gt-olga grantctl thaw "$freeze" --reason "the token was rotated" >/dev/null
as gt-bob grantctl vend auto --format json >/dev/null 2>&1 && fail "one person thawed it"
ok "olga wants it lifted: it stands, until a second person does"
as gt-otto grantctl thaw "$freeze" --reason "seen, it was" >/dev/null
as gt-bob grantctl vend auto --format json >/dev/null 2>&1 || fail "it was not thawed"
ok "otto too: bob's service is served again"

say "the auditor looks"
ok "$(as root grantctl audit verify)"
printf '\nEverything above was seen to be so.\n'

# The story on AWS.

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

say "grantd starts on an empty state directory, as its own user"
start_daemon
as root grantctl issuer publish "$stage/published" >/dev/null
ok "ready: $(as root grantctl --json status | field state), with the keys of its own issuer published"

say "alice's pipeline asks for the vault, which is of tier critical, and names no ticket"
why=$(request gt-alice vault 2>&1 >/dev/null) && fail "the vault was granted"
rule=$(sed -n 's/.*(rule: \([^;]*\);.*/\1/p' <<<"$why")
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
kill -9 "$(pgrep -P $exec)"
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

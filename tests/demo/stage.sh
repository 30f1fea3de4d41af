# The stage: users, clouds, catalogue, settings.

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
    MINISTACK_ACCOUNT_ID=123456789012 "$ministack_venv/bin/ministack") >"$stage/log/aws.log" 2>&1 &
clouds=$!
until_true 'the AWS emulator is up' curl -fs "$endpoint/_ministack/health"
account=$("$aws_venv/bin/python" -W ignore "$root/tests/setup/aws_setup.py" "$endpoint")

install -m 600 -o gt-daemon -g gt-daemon /dev/stdin "$stage/config/aws-credentials" <<END
[grantd]
aws_access_key_id = $(field access_key_id <<<"$account")
aws_secret_access_key = $(field secret_access_key <<<"$account")
END
# Nobody offers an emulator of Azure's or Google's identity and access management: these two are the stand-ins that the tests
# are held to as well. They check tokens, role assignments, bindings and their conditions as the vendors document it, and serve
# the vendors' own clients. Both trust the daemon's issuer, by what `grantctl issuer publish` writes.
issuer=https://issuer.test
mkdir "$stage/published"
mkfifo "$stage/fakes.in"
# Held open: they run until their input ends.
exec 9<>"$stage/fakes.in"
fake() {
    local name=$1
    shift
    GRANTD_TEST_VENVS=$venvs "$bin/grantd-testkit" "fake$name" for "$issuer" "$stage/published" "$@" \
        <&9 >"$stage/log/$name.json" 2>"$stage/log/$name.log" &
    clouds="$clouds $!"
    until_true "the stand-in for $name is up" test -s "$stage/log/$name.json"
}
fake azure "$root/config/entitlements/azure.toml"
fake google
azure=$(field url <"$stage/log/azure.json")
google=$(field url <"$stage/log/google.json")
field ca <"$stage/log/azure.json" >"$stage/config/azure-ca.pem"

cp -r "$root/config/policy/schema.cedarschema" "$root/config/policy/policies" "$root/config/entitlements" \
    "$stage/config/policy"
cat >"$stage/config/policy/people.toml" <<END
security = ["otto"]

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
subscription=00000000-0000-4000-8000-0000000050b5
container=/subscriptions/$subscription/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/blobServices/default/containers
bucket=//storage.googleapis.com/projects/_/buckets
for line in "reports aws arn:aws:s3:::alpha low" "invoices aws arn:aws:s3:::beta low" \
    "ledger aws arn:aws:s3:::ledger high" "vault aws arn:aws:s3:::vault critical" \
    "reports-azure azure $container/logs low" "vault-azure azure $container/vault critical" \
    "reports-gcp gcp $bucket/alpha low" "vault-gcp gcp $bucket/vault critical"; do
    read -r name cloud native tier <<<"$line"
    cat >>"$stage/config/policy/catalog.toml" <<END
[[resource]]
name = "$name"
cloud = "$cloud"
account = "main"
type = "object-storage"
native = "$native"
environment = "dev"
tier = "$tier"
owners = ["olga"]

END
done
cat >>"$stage/config/policy/catalog.toml" <<END
[[break_glass]]
name = "ledger-repair"
people = ["otto"]
reviewers = ["olga"]
access = [{ resource = "ledger", capability = "object-storage:read" }]
incident = "INC-{digits}"
max_ttl = "10m"
review_within = "24h"
limits = { per_person = 2, per_resource = 2, in_total = 2, window = "24h" }
END
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

[issuer]
url = "$issuer"

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

[azure]
ca_bundle = "$stage/config/azure-ca.pem"
# The stand-in feels a change of role assignments at once. In a real tenant it takes minutes, and the defaults say so.
propagation = { expected = "0s", worst = "3s" }

[[azure.account]]
name = "main"
tenant = "00000000-0000-4000-8000-000000007e4a"
subscriptions = ["$subscription"]
endpoints = { authority = "$azure", resource_manager = "$azure", blob = "$azure/blob/{name}" }
base = { type = "federation", client_id = "00000000-0000-4000-8000-0000000ba5e1", subject = "grantd" }

[[azure.account.slot]]
client_id = "00000000-0000-4000-8000-00000005107a"
object_id = "00000000-0000-4000-8000-0000000000ba"
subject = "slot-0"

[[azure.account.slot]]
client_id = "00000000-0000-4000-8000-00000005107b"
object_id = "00000000-0000-4000-8000-0000000000bb"
subject = "slot-1"

[gcp]
# So does this one. Google's own words are two minutes typically, seven and more at times.
propagation = { expected = "0s", worst = "3s" }

[[gcp.account]]
name = "main"
projects = ["acme-prod"]
number = "123456789012"
pool = "grantd"
provider = "grantd"
endpoint = "$google"
base = { type = "assertion", subject = "grantd" }
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

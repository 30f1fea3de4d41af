# The same policy, the same commands and the same story on Azure and on Google Cloud.

# leftover CLOUD FILE: what the cloud says to somebody who kept a token and reads the report with it, without grantctl.
leftover() {
    local url
    case $1 in
    azure) url=$azure/blob/store/logs/hello.txt ;;
    gcp) url="$google/storage.googleapis.com/storage/v1/b/alpha/o/in%2Fhello.txt?alt=media" ;;
    esac
    curl -s --cacert "$stage/config/azure-ca.pem" -H 'x-ms-version: 2023-11-03' -H "@$2" "$url"
}
reads() { leftover "$1" "$2" | grep -q '^hello from'; }
is_refused() { leftover "$1" "$2" | grep -q -e AuthorizationPermissionMismatch -e "Permission 'storage.objects.get' denied"; }
# of_lease LEASE NAME: a member of what grantctl shows of a lease.
of_lease() {
    as root grantctl --json show "$1" | python3 -c 'import json,sys; print(json.load(sys.stdin).get(sys.argv[1]) or "")' "$2"
}
told() { as gt-alice grantctl show "$1" | sed -n 's/^ *state *//p' | head -1; }
is_confirmed() { [ "$(of_lease "$1" revocation)" = confirmed ]; }
was_told() { [ "$(of_lease "$1" revocation)" != requested ]; }
# newest USER: the lease that the user took last.
newest() {
    as "$1" grantctl --json leases --ended |
        python3 -c 'import json,sys; print(max(json.load(sys.stdin)["leases"], key=lambda one: one["created_at"])["id"])'
}

install -m 644 "$here/job.py" "$stage/bin/job.py"
for cloud in azure gcp; do
    case $cloud in
    azure) name=Azure client=azure-storage-blob python=$azure_venv/bin/python place=logs other=other storage=$azure/blob/store ;;
    gcp) name='Google Cloud' client=google-cloud-storage python=$gcp_venv/bin/python place=alpha other=beta \
        storage=$google/storage.googleapis.com ;;
    esac

    say "the same on $name, which a stand-in plays that this demo has started"
    why=$(request gt-alice vault-$cloud 2>&1 >/dev/null) && fail "the vault was granted"
    grep -q "(rule: $rule;" <<<"$why" || fail "denied by another rule than on AWS: $why"
    ok "alice's pipeline asks for the vault: denied by the same rule, $rule"
    ok "the reports: granted: $(request gt-alice reports-$cloud | head -1)"
    request gt-bob reports-$cloud >/dev/null
    as gt-bob grantctl vend auto --resource reports-$cloud --format json 2>/dev/null |
        python3 -c 'import json,sys; c = json.load(sys.stdin)["credential"]
print("Authorization: Bearer " + (c.get("access_token") or c["tokens"][0]["token"]))' >"$stage/neighbour.$cloud"
    as gt-alice grantctl exec --resource reports-$cloud -- "$python" "$stage/bin/job.py" $cloud "$storage" $place $other \
        "$stage/job.in" 2>"$stage/log/exec-$cloud.log" &
    exec=$!
    until_true "the job on $name has done its work" test -e "$home/$cloud.done"
    grep -q "^hello from $place" "$home/$cloud.granted" || fail "the reports: $(cat "$home/$cloud.granted")"
    ok "a job under grantctl exec reads them with $client as it is: $(head -1 "$home/$cloud.granted")"
    grep -q 'refused: 403' "$home/$cloud.other" || fail "the other: $(cat "$home/$cloud.other")"
    ok "another one beside it: $(cat "$home/$cloud.other")"
    cp "$home/$cloud.token" "$stage/stolen.$cloud"
    lease=$(newest gt-alice)
    reads $cloud "$stage/stolen.$cloud" || fail "the job's token does not work while the job runs"
    ok "its token, copied, reads too while the job runs: $lease is $(of_lease "$lease" state)"

    echo >"$stage/job.in"
    wait $exec || fail "the job: $(cat "$stage/log/exec-$cloud.log")"
    until_true "the cloud was told" was_told "$lease"
    ok "the job ends: $(told "$lease")"
    until_true "it is confirmed" is_confirmed "$lease"
    is_refused $cloud "$stage/stolen.$cloud" || fail "confirmed, and the token still reads"
    ok "the very same token: refused by the cloud, and only now grantd says: $(told "$lease")"
    reads $cloud "$stage/neighbour.$cloud" || fail "bob's token was ended too"
    ok "bob's own token for the same: still reads"
    case $cloud in
    azure) ok "how late that can be in a real tenant: 2 minutes and more, so grantd calls nothing confirmed before 30" ;;
    gcp) ok "how late in a real project: 2 minutes, 7 at worst; left alone it ends by its own binding, to the second" ;;
    esac
done

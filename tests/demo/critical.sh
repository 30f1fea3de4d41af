# What is most sensitive takes two people: an owner and security, and no second owner in security's place.

say "alice's pipeline needs the vault after all, of tier critical, with a ticket and a reason"
as gt-alice grantctl exec --resource vault --can object-storage:read --for 10m --ticket OPS-7 \
    --why "restore the archive of a customer" -- \
    aws s3 cp s3://vault/hello.txt - >"$stage/vault.out" 2>"$stage/vault.err" &
exec=$!
until_true 'olga, who owns the vault, sees a request' pending
grant=$(pending)
ok "it waits: $(grep -m 1 -i otto "$stage/vault.err" | sed 's/^grantctl: //')"
as gt-olga grantctl approve "$grant" --yes --comment "the customer asked for it" >/dev/null 2>&1
as gt-olga grantctl approve "$grant" --yes >/dev/null 2>&1 || true
state=$(as root grantctl --json show "$grant" | field state)
[ "$state" = pending ] || fail "an owner alone opened it: $state"
ok "olga, its owner, approves, and does so twice: it is $state"
as gt-otto grantctl approve "$grant" --yes --comment "seen the ticket" >/dev/null 2>&1
wait $exec || fail "the job with the vault: $(cat "$stage/vault.err")"
grep -qx 'hello from vault' "$stage/vault.out" || fail "the vault: $(cat "$stage/vault.out")"
ok "otto of security approves; the job reads: $(cat "$stage/vault.out")"
as gt-alice grantctl show "$grant" | sed -n 's/^ *approved by */        approved by /p'

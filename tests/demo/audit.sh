# One policy, one model, one trail: what is on record of a lease that ended early is the same on each cloud.

as root grantctl --json audit tail -n 1000000 >"$stage/audit.jsonl"
as root grantctl --json leases --all --ended --limit 1000 >"$stage/leases.json"
trails=$(python3 - "$stage/audit.jsonl" "$stage/leases.json" <<'END'
import json, sys
records = [json.loads(line) for line in open(sys.argv[1])]
grants = {one["grant"]: one["detail"]["plan"]["cloud"] for one in records if one["kind"] == "grant.request"}
trails = {}
for lease in json.load(open(sys.argv[2]))["leases"]:
    if lease["state"] == "revoked":
        kinds = [one["kind"] for one in records if one.get("lease") == lease["id"]]
        trails.setdefault(" ".join(kinds), set()).add(grants[lease["grant"]])
for kinds, clouds in trails.items():
    print(",".join(sorted(clouds)), kinds)
END
)
[ "$(cut -d' ' -f1 <<<"$trails")" = aws,azure,gcp ] || fail "the trails differ: $trails"
ok "a lease that ended early has the same records on AWS, Azure and Google Cloud: ${trails#* }"
ok "$(as root grantctl audit verify)"

# Policy is code: what was decided is decided again, under what is in force and under a change of it.
as root grantctl policy replay --bundle "$stage/config/policy" >"$stage/replay.same" ||
    fail "the policy in force says something else now: $(cat "$stage/replay.same")"
ok "replayed under the policy in force: $(tail -n 1 "$stage/replay.same")"
cp -r "$stage/config/policy" "$stage/config/proposed"
sed -i 's/@max_duration("8h")/@max_duration("20m")/; s/context.justification_length < 20/context.justification_length < 60/' \
    "$stage"/config/proposed/policies/*.cedar
status=0
as root grantctl policy replay --bundle "$stage/config/proposed" >"$stage/replay.other" || status=$?
[ $status = 21 ] || fail "a stricter policy changes nothing: $(cat "$stage/replay.other")"
ok "under a stricter one (exit code $status):"
sed 's/^/          /' "$stage/replay.other"

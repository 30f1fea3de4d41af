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

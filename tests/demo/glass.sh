# Break-glass: nobody is asked, everybody learns of it, and somebody else looks at it afterwards.

say "at night the ledger is broken and nobody answers: otto, who was enrolled for that, breaks the glass"
as gt-bob grantctl break-glass ledger-repair --incident INC-7 --why "bob's service would like to look at the ledger" -- true \
    2>"$stage/glass.err" && fail "bob broke the glass"
why=$(tail -n 1 "$stage/glass.err")
why=${why%% (rule*}
ok "not everybody can: ${why#grantctl: }"
as gt-otto grantctl break-glass ledger-repair --incident INC-7 --why "the month-end run left the ledger half written" -- \
    aws s3 cp s3://ledger/hello.txt - >"$stage/glass.out" 2>"$stage/glass.err" || fail "otto: $(cat "$stage/glass.err")"
grep -qx 'hello from ledger' "$stage/glass.out" || fail "the ledger: $(cat "$stage/glass.out")"
ok "$(sed -n 's/^grantctl: note: \(BREAK-GLASS: [^,]*\) until .*/\1/p' "$stage/glass.err"): $(cat "$stage/glass.out")"
first_review() { as gt-olga grantctl --json review list | python3 -c 'import json,sys; print(json.load(sys.stdin)["reviews"][0]["id"])'; }
review=$(first_review)
done=(--outcome ok --findings "the run was repaired, and nothing else was touched")
as gt-otto grantctl review complete "$review" "${done[@]}" >/dev/null 2>"$stage/own.err" && fail "otto reviewed himself"
why=$(tail -n 1 "$stage/own.err")
why=${why%% (rule*}
why=${why#grantctl: }
ok "otto himself: ${why//$review/the review}"
as gt-olga grantctl review complete "$review" "${done[@]}" >"$stage/review.out"
ok "olga looks at it: $(grep -E '^ +findings' "$stage/review.out" | tr -s ' ' | sed 's/^ //')"
marked=$(as root grantctl --json audit tail -n 1000000 | python3 -c '
import json, sys
records = [json.loads(line) for line in sys.stdin]
grant = next(one["grant"] for one in records if one["kind"] == "break_glass.use")
about = [one for one in records if one.get("grant") == grant]
assert all(one["detail"]["break_glass"]["incident"] == "INC-7" for one in about), about
assert {"lease.issued", "grant.complete", "review.complete"} <= {one["kind"] for one in about}, about
print("all")')
ok "and $marked of its records, from the request to the review, say that it was break-glass"

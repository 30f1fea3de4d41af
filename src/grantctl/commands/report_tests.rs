use grantd_wire::{ProposalView, SubjectView};

use super::*;

fn report(name: &str) -> ReportView {
    let subject = SubjectView {
        kind: "pipeline".to_owned(),
        issuer: "unix".to_owned(),
        id: "1001".to_owned(),
        name: name.to_owned(),
    };
    ReportView {
        since: "2026-10-23T00:00:00Z".to_owned(),
        until: "2026-11-22T00:00:00Z".to_owned(),
        policy_version: "sha256:aa".to_owned(),
        complete: true,
        repetitions: vec![RepetitionView {
            subject,
            resource: "reports".to_owned(),
            tier: "low".to_owned(),
            capability: "object-storage:read".to_owned(),
            grants: 7,
            break_glass: 1,
            used_grants: 6,
            leases: 9,
            approved_seconds: 12600,
            used_seconds: 3600,
            longest_approved_seconds: 1800,
            longest_used_seconds: 900,
            prefixes: vec!["@SUM(A1)".to_owned(), "a\"b".to_owned()],
            capabilities_approved: 2,
            capabilities_used: 1,
            last_at: "2026-11-21T00:00:00Z".to_owned(),
            proposal: Some(ProposalView {
                kind: "self_service".to_owned(),
                words: format!("{name} again"),
                diff: "--- /dev/null\n+++ b/policies/x.cedar\n@@ -0,0 +1,1 @@\n+when { 1 < 2 };\n".to_owned(),
            }),
        }],
    }
}

#[test]
fn a_table_says_what_was_used_of_what_was_approved_and_that_nothing_was_changed() {
    let text = table(&report("deploy"), "2026-11-22T00:00:00Z".parse().unwrap());
    for word in ["deploy", "1h of 3h 30m", "1 of 2", "self-service", "nothing was changed", "+++ b/policies/x.cedar"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn no_cell_of_a_csv_file_is_a_formula_or_ends_early() {
    for name in ["=cmd|' /C calc'!A0", "+1", "-1", "@x", "\t=1", "  =1", "\r=1"] {
        let text = csv(&report(name));
        assert!(text.contains(&format!("\"'{name}\"")), "{text}");
    }
    let text = csv(&report("deploy"));
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!((lines.len(), lines[2]), (3, ""));
    assert_eq!(lines[0].split(',').count(), lines[1].split("\",\"").count());
    assert!(lines[1].contains("\"'@SUM(A1) a\"\"b\""), "{text}");
    assert!(lines[1].contains("\"12600\",\"3600\""), "{text}");
}

#[test]
fn a_page_runs_nothing_loads_nothing_and_escapes_everything() {
    let text = html(&report("<script>alert('x')</script><img src=http://x>"));
    let known =
        ["!DOCTYPE", "html", "head", "meta", "title", "style", "body", "h1", "p", "table", "tr", "th", "td", "pre"];
    for tag in text.split('<').skip(1) {
        let name: String =
            tag.trim_start_matches('/').chars().take_while(|c| c.is_alphanumeric() || *c == '!').collect();
        assert!(known.contains(&name.as_str()), "<{name}: {text}");
        let inside = tag.split('>').next().unwrap();
        assert!(!inside.contains("src") || inside.starts_with("meta"), "{inside}");
    }
    assert!(text.contains("&lt;script&gt;alert(&#39;x&#39;)") && text.contains("+when { 1 &lt; 2 };"), "{text}");
    assert!(text.contains("default-src 'none'") && text.contains("1 of them break-glass"), "{text}");
    assert!(text.starts_with("<!DOCTYPE html>") && text.ends_with("</html>\n"));
}

//! Runs every policy case in `config/policy/tests` against the shipped bundle, and shows that a wrong one fails.

use std::fs;

use super::super::bundle_tests::{bundle, shipped, shipped_dir};
use super::*;

fn shipped_cases() -> BTreeMap<String, String> {
    let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read_to_string(path).unwrap());
    fs::read_dir(shipped_dir().join("tests")).unwrap().map(|entry| read(entry.unwrap().path())).collect()
}

fn tried(files: &[(&str, &str)]) -> Result<Tried, String> {
    run(&bundle(shipped()).unwrap(), files.iter().copied())
}

#[test]
fn every_policy_case_holds_and_every_rule_has_one() {
    let files = shipped_cases();
    let all =
        run(&bundle(shipped()).unwrap(), files.iter().map(|(name, text)| (name.as_str(), text.as_str()))).unwrap();
    assert!(all.failed.is_empty(), "{:#?}", all.failed);
    assert_eq!(all.untried, Vec::<String>::new(), "every rule of the shipped bundle determines a case");
    assert!(all.passed >= 25, "{}", all.passed);
}

#[test]
fn a_case_fails_on_another_verdict_another_rule_another_obligation_and_another_word() {
    let case = |expect: &str| {
        format!(
            "[[case]]\nname = \"x\"\naction = \"request\"\nprincipal = \"deploy\"\nresource = \"reports\"\n\
             facts = {{ anchor = \"none\" }}\nexpect = {{ {expect} }}\n"
        )
    };
    let good =
        r#"verdict = "allow", rules = ["low-request"], max_ttl = "1h", max_duration = "8h", max_recurrence = "744h""#;
    let all = tried(&[("a.toml", &case(good))]).unwrap();
    assert_eq!((all.passed, all.failed.len()), (1, 0));
    assert!(all.untried.contains(&"vault-request".to_owned()) || all.untried.contains(&"critical-request".to_owned()));
    for (bad, says) in [
        (r#"verdict = "deny", rule = "low-request""#, "a denial was expected"),
        (
            r#"verdict = "allow", rules = ["low-issue"], max_ttl = "1h", max_duration = "8h", max_recurrence = "744h""#,
            "low-issue",
        ),
        (
            r#"verdict = "allow", rules = ["low-request"], max_ttl = "2h", max_duration = "8h", max_recurrence = "744h""#,
            "7200",
        ),
        (r#"verdict = "allow", rules = ["low-request"], max_ttl = "1h""#, "28800"),
        (
            r#"verdict = "allow", rules = ["low-request"], max_ttl = "1h", max_duration = "8h", max_recurrence = "744h", notify = ["a"]"#,
            "notify",
        ),
    ] {
        let all = tried(&[("a.toml", &case(bad))]).unwrap();
        let [failed] = all.failed.as_slice() else { panic!("{bad}: {all:?}") };
        assert!(failed.found.contains(says) && failed.case == "x" && failed.file == "a.toml", "{failed:?}");
    }
    let denied = case(r#"verdict = "deny", rule = "no-widening", says = ["narrowly", "sideways"]"#)
        .replace("anchor = \"none\"", "anchor = \"none\", widens = true");
    let all = tried(&[("a.toml", &denied)]).unwrap();
    assert!(all.failed[0].found.contains("[\"sideways\"] does not stand in"), "{:?}", all.failed);
}

#[test]
fn a_file_that_is_none_of_cases_is_told_by_its_name() {
    let twice = r#"
        [[case]]
        name = "x"
        action = "revoke"
        principal = "ana"
        resource = "reports"
        expect = { verdict = "allow", rules = ["owner-revoke"] }
    "#;
    assert!(tried(&[("b.toml", &twice.repeat(2))]).unwrap_err().contains("stands twice"));
    assert!(tried(&[("b.toml", "[[case]]\nname = 1")]).unwrap_err().starts_with("b.toml: "));
    let unknown = twice.replace("principal = \"ana\"", "principal = \"zoe\"");
    assert!(tried(&[("b.toml", &unknown)]).unwrap().failed[0].found.contains("\"zoe\" is nobody"));
    let unknown = twice.replace("resource = \"reports\"", "resource = \"nothing\"");
    assert!(tried(&[("b.toml", &unknown)]).unwrap().failed[0].found.contains("no resource"));
}

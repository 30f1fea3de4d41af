//! What people and CI read of it: a line for each thing, or JSON.

use std::io::{self, Write};

use grantd_provider_api::{Finding, Standing};
use serde_json::json;

use super::{FOUND, Failure, USAGE};
use crate::policy::{Bundle, Tried};

/// Prints `text` as it is.
pub(super) fn print(text: &str) -> Result<u8, Failure> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| (USAGE, format!("cannot write to standard output: {error}")))?;
    Ok(0)
}

/// A bundle without cases.
pub(super) fn no_cases() -> Finding {
    let fix = "write cases into tests/*.toml, one for each rule, and run grantctl policy test";
    Finding::bad(
        "tests",
        "tests.none",
        Standing::Warning,
        "there is no case, so nothing holds the rules to their purpose",
        fix,
    )
}

/// Each finding, the worst first.
pub(super) fn findings(bundle: &Bundle, findings: &[Finding], notes: &[String], as_json: bool) -> Result<u8, Failure> {
    let count = |standing| findings.iter().filter(|finding| finding.standing == standing).count();
    let (problems, warnings) = (count(Standing::Problem), count(Standing::Warning));
    let code = if problems > 0 { FOUND } else { 0 };
    if as_json {
        let all: Vec<_> = findings
            .iter()
            .map(|one| {
                let standing = word(one.standing);
                json!({ "about": one.about, "check": one.check, "standing": standing, "found": one.found, "fix": one.fix })
            })
            .collect();
        let whole = json!({ "policy": bundle.version, "findings": all, "notes": notes, "rules": bundle.rules().len() });
        print(&format!("{whole}\n"))?;
        return Ok(code);
    }
    let mut text = String::new();
    for standing in [Standing::Problem, Standing::Warning] {
        for one in findings.iter().filter(|finding| finding.standing == standing) {
            let fix = one.fix.as_deref().map(|fix| format!("\n         next: {fix}")).unwrap_or_default();
            text.push_str(&format!("{:8} {}: {}{fix}\n", word(standing), one.about, one.found));
        }
    }
    text.extend(notes.iter().map(|note| format!("note     {note}\n")));
    let rules = bundle.rules().len();
    text.push_str(&format!("policy {}: {rules} rules, {problems} problems, {warnings} warnings\n", bundle.version));
    print(&text)?;
    Ok(code)
}

/// What came of cases.
pub(super) fn tried(bundle: &Bundle, tried: &Tried, notes: &[String], as_json: bool) -> Result<u8, Failure> {
    let good = tried.failed.is_empty() && tried.untried.is_empty();
    let code = if good { 0 } else { FOUND };
    if as_json {
        print(&format!("{}\n", json!({ "policy": bundle.version, "cases": tried, "notes": notes })))?;
        return Ok(code);
    }
    let mut text = String::new();
    for one in &tried.failed {
        text.push_str(&format!("failed   {}: {}: {}\n", one.file, one.case, one.found));
    }
    for rule in &tried.untried {
        text.push_str(&format!("untried  rule {rule}: no case is decided by it\n"));
    }
    text.extend(notes.iter().map(|note| format!("note     {note}\n")));
    text.push_str(&format!(
        "policy {}: {} cases passed, {} failed; {} of {} rules decide none\n",
        bundle.version,
        tried.passed,
        tried.failed.len(),
        tried.untried.len(),
        bundle.rules().len()
    ));
    print(&text)?;
    Ok(code)
}

fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Ok => "ok",
        Standing::NotChecked => "unknown",
        Standing::Warning => "warning",
        Standing::Problem => "problem",
    }
}

//! `review report`: what is granted again and again, as a table, CSV, a page to read, or JSON. It proposes changes of policy
//! as diffs, and applies none.

use std::fmt::Write as _;

use grantd_wire::{RepetitionView, ReportQuery, ReportView};
use jiff::Timestamp;

use super::Context;
use crate::exit::Failure;
use crate::glass::ReportFormat;
use crate::print::{Table, absolute, count, span};

/// The columns of the CSV file.
const COLUMNS: [&str; 19] = [
    "subject_kind",
    "subject",
    "identity",
    "resource",
    "tier",
    "capability",
    "grants",
    "break_glass",
    "used_grants",
    "leases",
    "approved_seconds",
    "used_seconds",
    "longest_approved_seconds",
    "longest_used_seconds",
    "prefixes",
    "capabilities_used",
    "capabilities_approved",
    "last_at",
    "proposal",
];

/// Prints the report.
pub(super) async fn report(context: &mut Context<'_>, since: u64, format: ReportFormat) -> Result<(), Failure> {
    let query = ReportQuery { since_seconds: Some(since) };
    let answer = context.client.get::<_, ReportView>("/v1/reviews/report", &query).await?;
    match format {
        ReportFormat::Json => context.raw(&answer.raw),
        ReportFormat::Table => context.answer(&answer, table),
        ReportFormat::Csv => context.say(&csv(&answer.value)),
        ReportFormat::Html => context.say(&html(&answer.value)),
    }
}

fn table(report: &ReportView, now: Timestamp) -> String {
    let mut text = format!("granted since {}\n", absolute(&report.since, now));
    if report.repetitions.is_empty() {
        text.push_str("nothing that you could see\n");
        return text;
    }
    let mut table = Table::new(["SUBJECT", "CAN", "ON", "GRANTS", "LEASES", "TIME USED", "CAPABILITIES", "PROPOSAL"]);
    for one in &report.repetitions {
        let proposal = one.proposal.as_ref().map_or_else(|| "-".to_owned(), |it| it.kind.replace('_', "-"));
        table.row([
            one.subject.name.clone(),
            one.capability.clone(),
            format!("{} ({})", one.resource, one.tier),
            one.grants.to_string(),
            one.leases.to_string(),
            used(one),
            breadth(one),
            proposal,
        ]);
    }
    text.push_str(&table.text(""));
    for proposal in report.repetitions.iter().filter_map(|one| one.proposal.as_ref()) {
        let _ = write!(text, "\n{}; nothing was changed, review it:\n{}", proposal.words, proposal.diff);
    }
    if !report.complete {
        text.push_str("\nthere was more than is looked at once: look at less with --since\n");
    }
    text
}

fn used(one: &RepetitionView) -> String {
    format!("{} of {}", span(one.used_seconds), span(one.approved_seconds))
}

fn breadth(one: &RepetitionView) -> String {
    format!("{} of {}", one.capabilities_used, one.capabilities_approved)
}

/// RFC 4180. What a spreadsheet would take for a formula begins with an apostrophe (OWASP, "CSV Injection").
fn csv(report: &ReportView) -> String {
    let mut text = COLUMNS.join(",") + "\r\n";
    for one in &report.repetitions {
        let subject = &one.subject;
        let cells = [
            subject.kind.clone(),
            subject.name.clone(),
            format!("{}:{}", subject.issuer, subject.id),
            one.resource.clone(),
            one.tier.clone(),
            one.capability.clone(),
            one.grants.to_string(),
            one.break_glass.to_string(),
            one.used_grants.to_string(),
            one.leases.to_string(),
            one.approved_seconds.to_string(),
            one.used_seconds.to_string(),
            one.longest_approved_seconds.to_string(),
            one.longest_used_seconds.to_string(),
            one.prefixes.join(" "),
            one.capabilities_used.to_string(),
            one.capabilities_approved.to_string(),
            one.last_at.clone(),
            one.proposal.as_ref().map(|proposal| proposal.words.clone()).unwrap_or_default(),
        ];
        text.push_str(&cells.map(|cell| quoted(&cell)).join(","));
        text.push_str("\r\n");
    }
    text
}

fn quoted(cell: &str) -> String {
    let formula = cell.trim_start().starts_with(['=', '+', '-', '@']) || cell.starts_with(['\t', '\r', '\n']);
    let guard = if formula { "'" } else { "" };
    format!("\"{guard}{}\"", cell.replace('"', "\"\""))
}

/// A page that loads nothing and runs nothing: every text that comes from elsewhere is escaped.
fn html(report: &ReportView) -> String {
    let mut rows = String::new();
    for one in &report.repetitions {
        let glass =
            if one.break_glass > 0 { format!(", {} of them break-glass", one.break_glass) } else { String::new() };
        let cells = [
            format!("{} {}", one.subject.kind, one.subject.name),
            one.capability.clone(),
            format!("{} ({})", one.resource, one.tier),
            format!("{}{glass}", one.grants),
            count(one.leases, "lease"),
            used(one),
            breadth(one),
        ];
        let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
        let proposal = one.proposal.as_ref().map_or_else(String::new, |proposal| {
            format!("{}<pre>{}</pre>", escaped(&proposal.words), escaped(&proposal.diff))
        });
        let _ = writeln!(rows, "<tr>{cells}<td>{proposal}</td></tr>");
    }
    let (since, until) = (escaped(&report.since), escaped(&report.until));
    let less = if report.complete { "" } else { "<p>There was more than is looked at once.</p>\n" };
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>What is granted again and again</title>\n<style>\n\
         body {{ font: 15px/1.4 sans-serif; margin: 2em; color: #222; background: #fff }}\n\
         table {{ border-collapse: collapse }}\nth, td {{ border: 1px solid #bbb; padding: .4em .6em; text-align: left; \
         vertical-align: top }}\nth {{ background: #eee }}\npre {{ background: #f6f6f6; padding: .6em; overflow-x: auto }}\n\
         </style>\n</head>\n<body>\n<h1>What is granted again and again</h1>\n\
         <p>From {since} to {until}, under policy {}. Proposals are diffs against the policy bundle, for people to review; \
         nothing was changed.</p>\n{less}<table>\n<tr><th>Who</th><th>Can</th><th>On</th><th>Grants</th><th>Leases taken</th>\
         <th>Time used of approved</th><th>Capabilities used of approved</th><th>Proposal</th></tr>\n{rows}</table>\n\
         </body>\n</html>\n",
        escaped(&report.policy_version)
    )
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;

//! Tables for people, and every raw sample beside them.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use grantd_provider_api::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::machine;
use crate::stage::Stage;

/// Where results are kept.
#[derive(Debug)]
pub struct Results {
    directory: PathBuf,
}

/// One table and what it rests on.
#[derive(Debug)]
pub struct Table {
    what: &'static str,
    title: &'static str,
    when: String,
    facts: Vec<(&'static str, String)>,
    load_before: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
    notes: Vec<String>,
}

impl Results {
    /// Results in `directory`.
    pub fn new(directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).expect("a directory for the results");
        Self { directory }
    }

    /// Writes a table, its raw samples beside it, and shows it.
    pub fn write(&self, table: &Table, raw: &Value) {
        let load = format!("{} before, {} after", table.load_before, machine::load());
        let mut facts = table.facts.clone();
        facts.push(("load averages", load));
        let name = format!("{}-{}", &table.when[..10], table.what);
        let text = table.text(&facts, &name);
        println!("{text}");
        let about: serde_json::Map<String, Value> =
            facts.into_iter().map(|(fact, value)| (fact.replace(' ', "_"), value.into())).collect();
        let raw = json!({ "what": table.what, "taken_at": table.when, "about": about, "raw": raw });
        let mut json = serde_json::to_string(&raw).expect("samples are JSON");
        json.push('\n');
        fs::write(self.directory.join(format!("{name}.md")), text).expect("the table can be written");
        fs::write(self.directory.join(format!("{name}.json")), json).expect("the samples can be written");
    }
}

impl Table {
    /// A table without rows; `what` is the end of its file's name.
    pub fn new(what: &'static str, title: &'static str, stage: &Stage) -> Self {
        Self {
            what,
            title,
            when: format!("{:.0}", SystemClock::new().now()),
            facts: machine::facts(&stage.scene),
            load_before: machine::load(),
            head: Vec::new(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Names the columns.
    pub fn head(&mut self, columns: &[&str]) {
        self.head = columns.iter().map(|&column| column.to_owned()).collect();
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[String]) {
        assert_eq!(cells.len(), self.head.len(), "a cell for each column");
        self.rows.push(cells.to_vec());
    }

    /// Adds a paragraph below.
    pub fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    fn text(&self, facts: &[(&str, String)], name: &str) -> String {
        let mut text = format!("# {}\n\nTaken {}.\n\n", self.title, self.when);
        let mut line = |cells: &[String]| {
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        };
        line(&self.head);
        line(&vec!["---".to_owned(); self.head.len()]);
        self.rows.iter().for_each(|row| line(row));
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "{note}\n");
        }
        for (fact, value) in facts {
            let _ = writeln!(text, "- {fact}: {value}");
        }
        let _ = writeln!(text, "- raw samples: {name}.json");
        text
    }
}

/// Microseconds, shown in milliseconds.
pub fn millis(micros: f64) -> String {
    format!("{:.2}", micros / 1000.0)
}

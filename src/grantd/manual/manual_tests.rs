//! The manual against the code: routes, problems, commands and their options.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const API: &str = include_str!("api.md");
const PAGES: [(&str, &str); 5] = [
    ("architecture.md", include_str!("architecture.md")),
    ("threat_model.md", include_str!("threat_model.md")),
    ("operations.md", include_str!("operations.md")),
    ("revocation.md", include_str!("revocation.md")),
    ("api.md", API),
];

fn source(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// `METHOD /path` of each `.route("/path", post(x).get(y))` under `api/`.
fn routes() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("api");
    for entry in fs::read_dir(dir).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        // Wherever a line is broken: a route may stand on several.
        let text: String = text.split_whitespace().collect();
        for route in text.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once("\",").unwrap();
            let handlers = rest.split(".route(").next().unwrap().split(".merge(").next().unwrap();
            for method in ["get", "post", "put", "patch", "delete"] {
                let called = format!("{method}(");
                if handlers.starts_with(&called) || handlers.contains(&format!(".{called}")) {
                    found.insert(format!("{} {path}", method.to_uppercase()));
                }
            }
        }
    }
    found
}

#[test]
fn every_route_is_a_heading_of_the_api_page_and_no_other_is() {
    let headings: BTreeSet<String> =
        API.lines().filter_map(|line| Some(line.strip_prefix("## `")?.strip_suffix('`')?.to_owned())).collect();
    assert!(headings.len() >= 19, "{headings:?}");
    assert_eq!(headings, routes(), "left: the page; right: the router");
}

#[test]
fn every_kind_of_problem_is_in_the_table_with_its_status() {
    let text = source("src/wire/problem.rs");
    let (_, names) = text.split_once("pub fn name(self)").unwrap();
    let (names, _) = names.split_once("pub fn status(self)").unwrap();
    let kinds: Vec<grantd_wire::ProblemKind> = names
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|name| serde_json::from_value(serde_json::Value::String(name.to_owned())).unwrap())
        .collect();
    assert!(kinds.len() >= 15);
    for kind in kinds {
        let row = API.lines().find(|line| line.starts_with(&format!("| `{}` |", kind.name())));
        let row = row.unwrap_or_else(|| panic!("{} is not in api.md", kind.name()));
        assert!(row.contains(&kind.status().to_string()), "{row}");
    }
}

/// `FreezeAll` as clap shows it: `freeze-all`.
fn kebab(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push('-');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

/// The commands of `grantctl`, from the enum that clap reads.
fn commands() -> Vec<String> {
    let text = source("src/grantctl/cli.rs");
    let (_, body) = text.split_once("pub enum Command {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    body.lines()
        .filter_map(|line| line.strip_prefix("    "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(|line| kebab(line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap()))
        .collect()
}

#[test]
fn every_command_of_grantctl_is_in_the_manual_or_the_readme() {
    let commands = commands();
    assert!(commands.len() >= 15 && commands.contains(&"credential-process".to_owned()), "{commands:?}");
    let mut text = source("README.md");
    PAGES.iter().for_each(|(_, page)| text.push_str(page));
    for command in commands {
        assert!(text.contains(&format!("grantctl {command}")), "nothing says what grantctl {command} is for");
    }
}

#[test]
fn every_command_that_the_manual_names_exists_with_its_options() {
    let commands = commands();
    let cli: String = ["cli.rs", "cover.rs"].map(|file| source(&format!("src/grantctl/{file}"))).concat();
    for (page, text) in PAGES {
        for rest in text.split("grantctl ").skip(1) {
            let line = rest.split(['\n', '`']).next().unwrap();
            let mut words = line.split_whitespace().skip_while(|word| *word == "--json");
            let Some(first) = words.next() else { continue };
            // Prose goes on after the name ("`grantctl` links none of them").
            if first.starts_with('-') || !commands.contains(&first.to_owned()) {
                let prose = rest.starts_with(first) && text.contains(&format!("`grantctl` {first}"));
                assert!(first == "--help" || prose, "{page}: grantctl {first} is no command");
                continue;
            }
            for option in words.filter(|word| word.starts_with("--")) {
                let name = option.trim_start_matches('-');
                let declared = [
                    format!("pub {}:", name.replace('-', "_")),
                    format!("        {}: ", name.replace('-', "_")),
                    format!("long = \"{name}\""),
                ];
                assert!(declared.iter().any(|text| cli.contains(text)), "{page}: grantctl {first} has no {option}");
            }
        }
    }
}

#[test]
fn every_block_says_what_it_is_so_that_none_is_taken_for_rust() {
    for (page, text) in PAGES {
        for fence in text.lines().filter(|line| line.starts_with("```")).step_by(2) {
            assert!(["```sh", "```json", "```text"].contains(&fence), "{page}: {fence}");
        }
    }
}

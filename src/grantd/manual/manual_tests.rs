//! The manual against the code: routes, problems, commands and their options.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const API: &str = include_str!("api.md");
const PAGES: [(&str, &str); 9] = [
    ("architecture.md", include_str!("architecture.md")),
    ("threat_model.md", include_str!("threat_model.md")),
    ("policy.md", include_str!("policy.md")),
    ("operations.md", include_str!("operations.md")),
    ("clients.md", include_str!("clients.md")),
    ("revocation.md", include_str!("revocation.md")),
    ("issuer.md", include_str!("issuer.md")),
    ("elsewhere.md", include_str!("elsewhere.md")),
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
    assert!(headings.len() >= 26, "{headings:?}");
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
    assert!(kinds.len() >= 16);
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

/// The commands of `grantctl` that its help lists, from the enum that clap reads.
fn commands() -> Vec<String> {
    let text = source("src/grantctl/cli.rs");
    let (_, body) = text.split_once("pub enum Command {").unwrap();
    let (body, _) = body.split_once("\n}").unwrap();
    let (mut found, mut hidden) = (Vec::new(), false);
    for line in body.lines().filter_map(|line| line.strip_prefix("    ")) {
        if line.starts_with(|first: char| first.is_ascii_uppercase()) {
            if !hidden {
                found.push(kebab(line.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap()));
            }
            hidden = false;
        } else if line.starts_with("#[command(") {
            hidden = line.contains("hide = true");
        }
    }
    found
}

#[test]
fn every_command_of_grantctl_is_in_the_manual_or_the_readme() {
    let commands = commands();
    assert!(commands.len() >= 21 && commands.contains(&"credential-process".to_owned()), "{commands:?}");
    assert!(!commands.contains(&"exec-child".to_owned()), "what help does not list needs no page");
    let mut text = source("README.md");
    PAGES.iter().for_each(|(_, page)| text.push_str(page));
    for command in commands {
        assert!(text.contains(&format!("grantctl {command}")), "nothing says what grantctl {command} is for");
    }
}

#[test]
fn every_command_that_the_manual_names_exists_with_its_options() {
    let commands = commands();
    let cli: String = [
        "cli.rs",
        "absence.rs",
        "asking.rs",
        "bundle.rs",
        "cover.rs",
        "detail.rs",
        "elsewhere.rs",
        "fetch.rs",
        "glass.rs",
        "exec/args.rs",
        "agent/args.rs",
    ]
    .map(|file| source(&format!("src/grantctl/{file}")))
    .concat();
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

/// The word after each backtick that begins with `prefix`, up to the first character that cannot be in a name.
fn names<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let inside = |c: char| c.is_ascii_lowercase() || c == '_';
    text.split('`').filter_map(move |word| word.strip_prefix(prefix)?.split(move |c| !inside(c)).next())
}

#[test]
fn every_metric_that_the_manual_names_is_measured() {
    let families =
        ["families.rs", "issuer.rs", "signal.rs"].map(|file| source(&format!("src/grantd/metrics/{file}"))).concat();
    let named: BTreeSet<&str> = PAGES.iter().flat_map(|(_, text)| names(text, "grantd_")).collect();
    assert!(named.len() >= 10, "{named:?}");
    for name in named {
        let mut plain = [name, name.trim_end_matches("_total"), name.trim_end_matches("_seconds")].into_iter();
        assert!(plain.any(|plain| families.contains(&format!("\"{plain}\""))), "grantd_{name} is not measured");
    }
}

#[test]
fn every_setting_of_aws_is_in_the_example_or_in_the_manual() {
    every_setting_is_told("AWS", "providers/aws/raw.rs", 20);
}

#[test]
fn every_setting_of_google_cloud_is_in_the_example_or_in_the_manual() {
    every_setting_is_told("Google Cloud", "providers/gcp/raw.rs", 20);
}

/// Not a function of the same file.
fn is_field(name: &&str) -> bool {
    !name.contains(' ')
}

fn every_setting_is_told(cloud: &str, raw: &str, least: usize) {
    let (_, tables) = include_str!("operations.md").split_once(&format!("\n# Settings of {cloud}\n")).unwrap();
    let (tables, _) = tables.split_once("\n# ").unwrap_or((tables, ""));
    let text = [&source("config/grantd.toml"), tables].concat();
    let raw = [source(raw), source("providers/api/setting.rs")].concat();
    let settings: BTreeSet<&str> = raw
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(name, _)| name)
        .filter(is_field)
        .collect();
    assert!(settings.len() >= least, "{settings:?}");
    for setting in settings {
        assert!(
            [" = ", "`", "]"].iter().any(|end| text.contains(&format!("{setting}{end}"))),
            "nothing says what the setting {setting} of {cloud} is for"
        );
    }
}

#[test]
fn every_setting_of_an_issuer_is_in_the_manual_with_its_default() {
    let raw = source("src/grantd/config/issuer.rs");
    let (_, table) = raw.split_once("pub(super) struct RawIssuer {").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let settings: Vec<&str> =
        table.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(settings.len(), 5, "{settings:?}");
    for setting in settings {
        let row = format!("\n| `{setting}` |");
        assert!(
            include_str!("issuer.md").contains(&row),
            "nothing says what the setting {setting} of an issuer is for"
        );
    }
}

#[test]
fn every_setting_of_tokens_that_are_handed_out_is_in_the_manual_and_in_the_example() {
    let raw = source("providers/oidc/raw.rs");
    let (_, account) = raw.split_once("pub(crate) struct RawAccount {").unwrap();
    let settings: Vec<&str> = account
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(name, _)| name)
        .collect();
    assert_eq!(settings.len(), 5, "{settings:?}");
    let example = source("config/grantd.toml");
    for setting in settings {
        let told = include_str!("issuer.md").contains(&format!("\n| `{setting}` |"));
        assert!(
            told && example.contains(&format!("\n#{setting} = ")),
            "nothing says what the setting {setting} is for"
        );
    }
    // What a token says is what the plan says that it does.
    let plan = source("providers/oidc/plan.rs");
    let (_, claims) = plan.split_once("CLAIMS: [&str; 8] = [").unwrap();
    let claims = claims.split(']').next().unwrap();
    for claim in claims.split(", ").map(|name| name.trim_matches('"').replace("OURS", "grantd")) {
        assert!(include_str!("issuer.md").contains(&format!("`{claim}`")), "{claim}");
    }
}

#[test]
fn every_setting_of_azure_is_in_the_example_or_in_the_manual() {
    let (_, tables) = include_str!("operations.md").split_once("\n# Settings of Azure\n").unwrap();
    let text = [&source("config/grantd.toml"), tables].concat();
    let raw = [source("providers/azure/raw.rs"), source("providers/api/setting.rs")].concat();
    let fields = raw.lines().filter_map(|line| line.strip_prefix("    pub ")?.split_once(": ")).map(|(name, _)| name);
    let fields = fields.filter(is_field);
    // The members of the kinds of base stand in one line each.
    let members = raw.lines().filter(|line| line.starts_with("    ") && line.contains(" { ") && line.ends_with(" },"));
    let members = members.flat_map(|line| line.split(['{', ',']).filter_map(|part| part.trim().split_once(": ")));
    let settings: BTreeSet<&str> = fields.chain(members.map(|(name, _)| name)).collect();
    assert!(settings.len() >= 22, "{settings:?}");
    for setting in settings {
        assert!(
            [" = ", "`", "]"].iter().any(|end| text.contains(&format!("{setting}{end}"))),
            "nothing says what the setting {setting} of Azure is for"
        );
    }
}

#[test]
fn the_rules_of_the_daemon_itself_and_its_exit_codes_are_told() {
    let quorum = source("src/grantd/broker/quorum.rs");
    let rules: Vec<&str> =
        quorum.lines().filter_map(|line| line.strip_prefix("pub const ")?.split('"').nth(1)).collect();
    assert_eq!(rules, ["quorum", "own-request", "not-a-person"]);
    for rule in rules {
        assert!(API.contains(&format!("`{rule}`")), "{rule}");
    }
    let exit = source("src/grantctl/exit.rs");
    let (_, codes) = exit.split_once("Exit codes:\n").unwrap();
    let (codes, _) = codes.split_once("\n\n").unwrap();
    for line in codes.lines() {
        let code = line.split_whitespace().next().unwrap();
        assert!(API.lines().any(|row| row.starts_with(&format!("| {code} |"))), "exit code {code} is not in api.md");
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

/// Whoever takes the comment signs away has something that the daemon reads.
#[test]
fn the_example_of_a_cloud_in_the_settings_is_valid() {
    let settings = source("config/grantd.toml");
    let (_, example) = settings.split_once("# One table for each cloud").unwrap();
    let lines = example.lines().filter_map(|line| line.strip_prefix('#'));
    let example: String = lines.filter(|line| !line.starts_with(['#', ' '])).flat_map(|line| [line, "\n"]).collect();
    let mut tables: toml::Table = example.parse().unwrap_or_else(|error| panic!("{error}\n{example}"));
    let aws: grantd_provider_aws::Config = tables.remove("aws").unwrap().try_into().unwrap();
    assert_eq!(aws.files().count(), 1, "the base identity's");
    let _: grantd_provider_azure::Config = tables.remove("azure").unwrap().try_into().unwrap();
    let _: grantd_provider_gcp::Config = tables.remove("gcp").unwrap().try_into().unwrap();
    let mut oidc: toml::Table = tables.remove("oidc").unwrap().try_into().unwrap();
    assert!(oidc.remove("issuer").is_some(), "its issuer is the daemon's to read");
    let oidc: grantd_provider_oidc::Config = oidc.try_into().unwrap();
    assert_eq!(oidc.longest().as_secs(), 300);
    assert!(tables.is_empty(), "{tables:?}");
    // The same by the daemon's own reading.
    let settings = crate::config::Settings::parse(&example, &|_| Some(0)).unwrap();
    assert_eq!(settings.oidc_issuer.unwrap().url, "https://tokens.example.com/jobs");
}

#[test]
fn every_setting_of_grant_documents_is_in_the_manual_and_the_example_of_each_is_read() {
    let page = include_str!("elsewhere.md");
    for (file, table, number) in [("grant_issuer", "RawGrantIssuer", 5), ("grant_export", "RawGrantExport", 4)] {
        let raw = source(&format!("src/grantd/config/{file}.rs"));
        let (_, fields) = raw.split_once(&format!("pub(super) struct {table} {{")).unwrap();
        let (fields, _) = fields.split_once("\n}").unwrap();
        let fields: Vec<&str> = fields
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(fields.len(), number, "{fields:?}");
        for field in fields {
            assert!(page.contains(&format!("\n| `{field}` |")), "nothing says what {field} of {file} is for");
        }
    }
    let (_, example) = page.split_once("```text\n[grant_export]").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let settings = crate::config::Settings::parse(&format!("[grant_export]{example}"), &|_| Some(0)).unwrap();
    assert_eq!(settings.grant_export.unwrap().longest.as_secs(), 3600);
}

#[test]
fn every_setting_of_who_is_told_is_in_the_example() {
    let raw = source("src/grantd/config/notify.rs");
    let (_, table) = raw.split_once("pub(super) struct RawNotify {").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let settings = table.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": ")).map(|(name, _)| name);
    let text = [&source("config/grantd.toml"), include_str!("operations.md")].concat();
    for setting in settings.filter(|name| *name != "way") {
        let told = [format!("#{setting} = "), format!("`{setting}`"), setting.replace("url_file", "url_file in place")];
        assert!(
            told.iter().any(|told| text.contains(told)),
            "nothing says what the setting {setting} of notify is for"
        );
    }
}

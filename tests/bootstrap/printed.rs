//! Terraform that was printed, as an independent reader of the language sees it.

use std::process::Command;

use grantd_testkit::{aws_environment, repository_root};
use serde_json::{Map, Value};

/// What stands in it.
pub struct Printed(Value);

impl Printed {
    /// Reads it. What `terraform validate` would refuse breaks the test.
    pub fn read(text: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let output = Command::new(aws_environment().unwrap().join("bin/python"))
            .args(["-W", "ignore"])
            .arg(repository_root().join("tests/setup/read_hcl.py"))
            .arg(file.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
        Self(serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The resources of a kind, by name.
    pub fn resources(&self, kind: &str) -> Vec<(&str, &Map<String, Value>)> {
        Self::of(&self.0["resource"][kind])
    }

    /// The data of a kind, by name.
    pub fn data<'a>(&'a self, kind: &str, name: &str) -> &'a Value {
        &self.0["data"][kind][name]
    }

    fn of(kind: &Value) -> Vec<(&str, &Map<String, Value>)> {
        let all = kind.as_object().into_iter().flatten();
        all.map(|(name, body)| (name.as_str(), body.as_object().unwrap())).collect()
    }
}

/// The name in a reference such as `${data.azuread_application.NAME.id}`.
pub fn referred<'a>(text: &'a Value, before: &str) -> &'a str {
    let inside = text.as_str().unwrap().strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).unwrap();
    let rest = inside.strip_prefix(before).unwrap_or_else(|| panic!("{inside} is no {before}"));
    rest.trim_start_matches('.').split('.').next().unwrap()
}

/// A text.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A list of texts.
pub fn texts(value: &Value) -> Vec<&str> {
    value.as_array().unwrap_or_else(|| panic!("{value} is no list")).iter().map(text).collect()
}

//! Third-party tools that answer questions in bulk: one process for all of them, JSON in and JSON out.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use grantd_testkit::{catalog_environment, iam_packages, repository_root};
use serde_json::Value;

/// A script of this directory.
pub fn script(name: &str) -> PathBuf {
    repository_root().join("tests/catalog").join(name)
}

/// What `iam.mjs` answers in one of its modes.
pub fn iam(mode: &str, questions: &Value) -> Vec<Value> {
    let packages = iam_packages().unwrap();
    ask(Command::new("node").arg(script("iam.mjs")).arg(packages).arg(mode), questions)
}

/// What a Python script answers.
pub fn python(name: &str, questions: &Value) -> Vec<Value> {
    ask(Command::new(interpreter()).arg(script(name)), questions)
}

/// The Python that has the tools.
pub fn interpreter() -> PathBuf {
    catalog_environment().unwrap().join(Path::new("bin/python"))
}

fn ask(command: &mut Command, questions: &Value) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the tool starts");
    let (mut input, text) = (child.stdin.take().unwrap(), questions.to_string());
    let writer = thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?} failed: {}", output.status);
    writer.join().unwrap().expect("the tool reads all that it is asked");
    let answers: Vec<Value> = serde_json::from_slice(&output.stdout).expect("the tool answers in JSON");
    assert_eq!(answers.len(), questions.as_array().unwrap().len(), "one answer for each question");
    answers
}

//! Tests of what is written into files of others.

use super::*;

const THEIRS: &str = "[default]\nregion = eu-west-1\n\n# the old one\n[profile  grantd] ; mine\nrole_arn = x\n\n[profile b]\nregion = b\n";

fn process(value: &str) -> Vec<(&'static str, String)> {
    vec![("credential_process", value.to_owned())]
}

#[test]
fn a_section_is_added_after_what_is_there_and_found_again() {
    let first = with_section("", "[profile grantd]", &process("one"), false).unwrap();
    assert_eq!(first, format!("[profile grantd]\n{MARK}\ncredential_process = one\n"));
    let added = with_section("[default]\nregion = x", "[profile grantd]", &process("one"), false).unwrap();
    assert_eq!(added, format!("[default]\nregion = x\n\n{first}"));
    // What a person added to it stays, and so does its place.
    let theirs = added.replace("one\n", "one\nregion = eu-north-1\n\n[profile z]\nregion = z\n");
    let again = with_section(&theirs, "[profile grantd]", &process("two"), false).unwrap();
    assert_eq!(again, theirs.replace("= one", "= two"));
    assert_eq!(with_section(&again, "[profile grantd]", &process("two"), false).unwrap(), again);
}

#[test]
fn a_foreign_section_is_left_alone_unless_forced() {
    assert_eq!(with_section(THEIRS, "[profile grantd]", &process("one"), false), Err(Foreign));
    let forced = with_section(THEIRS, "[profile grantd]", &process("one"), true).unwrap();
    assert_eq!(forced, THEIRS.replace("role_arn = x", &format!("{MARK}\ncredential_process = one")));
    // A name that only begins alike is another.
    assert!(with_section("[profile grantd2]\nx = y\n", "[profile grantd]", &process("one"), false).is_ok());
    assert!(has_section(THEIRS, "[profile b]") && !has_section(THEIRS, "[b]"));
}

#[test]
fn a_file_is_replaced_in_one_step_and_keeps_its_mode_and_its_link() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("a/b/config");
    replace(&path, "one").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let link = place.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    replace(&link, "two").unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!((fs::read_to_string(&path).unwrap().as_str(), mode(&path)), ("two", 0o640));
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "something is left beside it");
}

#[test]
fn a_quoted_word_survives_a_shell() {
    for word in ["/usr/bin/grantctl", "/opt/my tools/grant'ctl", "", "a$(b)\"c`d\\"] {
        let line = format!("printf %s {}", quoted(word));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
    }
    assert_eq!(quoted("/usr/bin/grantctl"), "/usr/bin/grantctl");
}

//! `credential:NAME` in a cloud's table: a file that systemd hands over (`LoadCredential=` of the unit) and that is
//! nowhere else for the daemon's user to read. Whether it can be trusted is checked as for every other file.

use std::path::Path;

use super::raw::ConfigError;

const FILE: &str = "grantd.toml";
/// What stands before the name of a credential.
pub(super) const PREFIX: &str = "credential:";

/// Puts the path of each credential that `table` names in its place.
///
/// # Errors
/// When systemd handed nothing over, or a name cannot be a credential's.
pub fn resolve(cloud: &str, table: &mut toml::Table, directory: Option<&Path>) -> Result<(), ConfigError> {
    for (key, value) in table.iter_mut() {
        in_value(&format!("{cloud}.{key}"), value, directory)?;
    }
    Ok(())
}

/// One file: its path as it is, or that of the credential which is named.
pub(super) fn resolve_one(key: &str, text: &str, directory: Option<&Path>) -> Result<String, ConfigError> {
    match text.strip_prefix(PREFIX) {
        Some(name) => path_of(key, name, directory),
        None => Ok(text.to_owned()),
    }
}

fn in_value(key: &str, value: &mut toml::Value, directory: Option<&Path>) -> Result<(), ConfigError> {
    match value {
        toml::Value::String(text) => {
            *text = resolve_one(key, text, directory)?;
            Ok(())
        }
        toml::Value::Array(values) => values.iter_mut().try_for_each(|value| in_value(key, value, directory)),
        toml::Value::Table(table) => {
            table.iter_mut().try_for_each(|(name, value)| in_value(&format!("{key}.{name}"), value, directory))
        }
        _ => Ok(()),
    }
}

fn path_of(key: &str, name: &str, directory: Option<&Path>) -> Result<String, ConfigError> {
    let wrong = |problem: String| ConfigError::new(FILE, key, problem);
    // systemd.exec(5), "Credentials": what can be a file's name.
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || !name.bytes().all(inside) {
        return Err(wrong(format!("{name:?} is not the name of a credential: write letters, digits, '.', '_' or '-'")));
    }
    let directory = directory.filter(|directory| directory.is_absolute()).ok_or_else(|| {
        wrong(format!(
            "credential \"{name}\" comes from systemd, and none was handed over: start grantd by its unit, which has \
             LoadCredential={name}; to check by hand, set CREDENTIALS_DIRECTORY to the directory it lies in"
        ))
    })?;
    let path = directory.join(name);
    path.to_str().map(str::to_owned).ok_or_else(|| wrong("$CREDENTIALS_DIRECTORY is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str, directory: Option<&str>) -> Result<toml::Table, String> {
        let mut table = toml::from_str(text).unwrap();
        resolve("aws", &mut table, directory.map(Path::new)).map_err(|error| error.to_string())?;
        Ok(table)
    }

    #[test]
    fn a_credential_is_found_where_systemd_put_it_however_deep_it_is_named() {
        let text = "ca_bundle = \"/etc/ca.pem\"\n[[account]]\nbase = { files = [\"credential:grantd.aws\"] }\n";
        let expected = text.replace("credential:", "/run/credentials/grantd.service/");
        let found = resolved(text, Some("/run/credentials/grantd.service"));
        assert_eq!(found, Ok(toml::from_str(&expected).unwrap()));
    }

    #[test]
    fn without_systemd_the_setting_is_named_and_what_to_do() {
        for directory in [None, Some("relative")] {
            let error =
                resolved("[[account]]\nbase = { files = [\"credential:grantd.aws\"] }\n", directory).unwrap_err();
            for words in ["grantd.toml: aws.account.base.files", "LoadCredential=grantd.aws", "CREDENTIALS_DIRECTORY"] {
                assert!(error.contains(words), "{error}");
            }
        }
        assert!(resolved("files = [\"/etc/grantd/keys\"]", None).is_ok(), "nothing is needed for what is not used");
    }

    #[test]
    fn p9_a_name_cannot_lead_out_of_the_directory() {
        for name in ["", "..", "../shadow", "a/b", "/etc/shadow", ".hidden", "a b", &"x".repeat(256)] {
            let error = resolved(&format!("file = \"credential:{name}\""), Some("/run/credentials/x")).unwrap_err();
            assert!(error.contains("aws.file"), "{name}: {error}");
        }
    }
}

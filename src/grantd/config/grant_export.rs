//! `[grant_export]`: that this daemon hands grants to other hosts as signed documents.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::credential;
use super::raw::{ConfigError, bounded_duration};

const FILE: &str = "grantd.toml";

/// How documents are made here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantExportSettings {
    /// Who signs them.
    pub iss: String,
    /// For whom they are.
    pub audience: String,
    /// The file with the private key.
    pub key: PathBuf,
    /// How long one is good for at most, with what is vended on it.
    pub longest: Duration,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrantExport {
    iss: String,
    audience: String,
    key: String,
    longest: Option<String>,
}

impl RawGrantExport {
    pub fn parse(self) -> Result<GrantExportSettings, ConfigError> {
        let wrong = |key: &str, problem: String| ConfigError::new(FILE, format!("grant_export.{key}"), problem);
        for (key, text) in [("iss", &self.iss), ("audience", &self.audience)] {
            if text.is_empty() || text.len() > 255 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(wrong(key, "write 1 to 255 bytes without white space".to_owned()));
            }
        }
        if !self.key.starts_with(credential::PREFIX) && !Path::new(&self.key).is_absolute() {
            return Err(wrong("key", format!("{:?} is neither an absolute path nor credential:NAME", self.key)));
        }
        let longest = bounded_duration(self.longest.as_deref().unwrap_or("1h"), "1m", "24h");
        Ok(GrantExportSettings {
            iss: self.iss,
            audience: self.audience,
            key: PathBuf::from(self.key),
            longest: longest.map_err(|problem| wrong("longest", problem))?,
        })
    }
}

impl GrantExportSettings {
    /// Puts the path of a credential that is named in its place.
    ///
    /// # Errors
    /// When systemd handed nothing over, or the name cannot be a credential's.
    pub fn resolve(&mut self, directory: Option<&Path>) -> Result<(), ConfigError> {
        if let Some(text) = self.key.to_str() {
            self.key = credential::resolve_one("grant_export.key", text, directory)?.into();
        }
        Ok(())
    }
}

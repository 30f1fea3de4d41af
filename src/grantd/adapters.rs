//! The clouds that are configured: the only place that names a concrete adapter.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd::config::Settings;
use grantd::issuer::{FEDERATION, Issuer, OIDC};
use grantd::startup;
use grantd::sys::files::Owners;
use grantd_provider_api::{Assertions, Clock, Cloud, NoAssertions, Provider};
use grantd_provider_aws::AwsProvider;
use grantd_provider_azure::AzureProvider;
use grantd_provider_gcp::GcpProvider;
use grantd_provider_oidc::OidcProvider;
use serde::de::DeserializeOwned;

/// Whether the files are there that an adapter reads when it is first asked something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They are, and it is checked who could write them.
    Checked,
    /// They need not be: nothing will be asked.
    Absent,
}

/// An adapter for each cloud that has a table in `grantd.toml`.
///
/// # Errors
/// In words, naming the table, when one is wrong or a file that it names is not kept as it must be.
pub fn providers(
    settings: &Settings,
    owners: &Owners,
    clock: &Arc<dyn Clock>,
    issuers: &[Arc<Issuer>],
    secrets: Secrets,
) -> Result<BTreeMap<Cloud, Arc<dyn Provider>>, String> {
    let mut providers: BTreeMap<Cloud, Arc<dyn Provider>> = BTreeMap::new();
    for (cloud, table) in &settings.providers {
        match cloud.as_str() {
            "aws" => {
                let config: grantd_provider_aws::Config = parsed(table)?;
                if secrets == Secrets::Checked {
                    startup::check_files(config.files(), owners)?;
                }
                let aws = AwsProvider::new(config, Arc::clone(clock), federation(issuers))
                    .map_err(|error| error.to_string())?;
                providers.insert(Cloud::Aws, Arc::new(aws));
            }
            "azure" => {
                let config: grantd_provider_azure::Config = parsed(table)?;
                startup::check_files(config.files(), owners)?;
                let azure = AzureProvider::new(config, Arc::clone(clock), federation(issuers));
                providers.insert(Cloud::Azure, Arc::new(azure.map_err(|error| error.to_string())?));
            }
            "gcp" => {
                let config: grantd_provider_gcp::Config = parsed(table)?;
                let federation = federation(issuers);
                if let (true, Some(name)) = (federation.issuer().is_empty(), config.federated().next()) {
                    return Err(format!(
                        "grantd.toml: account \"{name}\" of [gcp] takes the daemon's own assertions: add [issuer]"
                    ));
                }
                let gcp = GcpProvider::new(config, Arc::clone(clock), federation);
                providers.insert(Cloud::Gcp, Arc::new(gcp.map_err(|error| error.to_string())?));
            }
            "oidc" => {
                let Some(issuer) = issuers.iter().find(|issuer| issuer.name() == OIDC) else {
                    return Err(
                        "grantd.toml: [oidc] hands out tokens of an issuer of its own: add [oidc.issuer]".to_owned()
                    );
                };
                let oidc = OidcProvider::new(parsed(table)?, Arc::<Issuer>::clone(issuer));
                providers.insert(Cloud::Oidc, Arc::new(oidc.map_err(|error| error.to_string())?));
            }
            other => return Err(format!("grantd.toml: this version has no adapter for [{other}]: remove the table")),
        }
    }
    Ok(providers)
}

/// Whoever mints the tokens that clouds take in place of a secret.
fn federation(issuers: &[Arc<Issuer>]) -> Arc<dyn Assertions> {
    match issuers.iter().find(|issuer| issuer.name() == FEDERATION) {
        Some(issuer) => Arc::<Issuer>::clone(issuer),
        None => Arc::new(NoAssertions),
    }
}

fn parsed<T: DeserializeOwned>(table: &toml::Table) -> Result<T, String> {
    table.clone().try_into().map_err(|error| format!("grantd.toml: {error}"))
}

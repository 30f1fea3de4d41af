//! Where Azure is: the addresses and audiences of its clouds, or of a stand-in for tests. Pure.

use azure_core::http::Url;
use serde::Deserialize;

use crate::raw::RawEndpoints;

/// One of Azure's separate clouds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CloudName {
    /// Azure.
    #[default]
    Public,
    /// Azure Government.
    Government,
    /// Azure operated by 21Vianet.
    China,
}

/// The addresses of a cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoints {
    /// Which cloud's audiences apply.
    pub cloud: CloudName,
    /// Microsoft Entra ID, which issues tokens.
    pub authority: Url,
    /// Azure Resource Manager.
    pub resource_manager: Url,
    /// A storage account's blobs: `{name}` is the account.
    pub blob: String,
    /// A key vault: `{name}` is the vault.
    pub vault: String,
}

impl Endpoints {
    /// Those of `cloud`, but for what is given.
    ///
    /// # Errors
    /// Which one is no usable address.
    pub fn new(cloud: CloudName, given: RawEndpoints) -> Result<Self, String> {
        let [authority, resource_manager, blob, vault] = match cloud {
            CloudName::Public => [
                "https://login.microsoftonline.com",
                "https://management.azure.com",
                "https://{name}.blob.core.windows.net",
                "https://{name}.vault.azure.net",
            ],
            CloudName::Government => [
                "https://login.microsoftonline.us",
                "https://management.usgovcloudapi.net",
                "https://{name}.blob.core.usgovcloudapi.net",
                "https://{name}.vault.usgovcloudapi.net",
            ],
            CloudName::China => [
                "https://login.chinacloudapi.cn",
                "https://management.chinacloudapi.cn",
                "https://{name}.blob.core.chinacloudapi.cn",
                "https://{name}.vault.azure.cn",
            ],
        };
        let blob = given.blob.unwrap_or_else(|| blob.to_owned());
        let vault = given.vault.unwrap_or_else(|| vault.to_owned());
        for (what, template) in [("blob", &blob), ("vault", &vault)] {
            if template.matches("{name}").count() != 1 {
                return Err(format!("endpoints.{what} = {template:?} needs {{name}} exactly once"));
            }
            https(what, &template.replace("{name}", "name"))?;
        }
        Ok(Self {
            cloud,
            authority: https("authority", given.authority.as_deref().unwrap_or(authority))?,
            resource_manager: https("resource_manager", given.resource_manager.as_deref().unwrap_or(resource_manager))?,
            blob,
            vault,
        })
    }

    /// The audience of Resource Manager's tokens.
    pub fn resource_manager_audience(&self) -> &'static str {
        self.audience("https://management.azure.com").unwrap_or("https://management.azure.com")
    }

    /// What this cloud calls an audience of the public cloud, if it calls it otherwise (Azure documentation, "Compare
    /// Azure Government and global Azure" and "Azure China developer guide").
    fn audience(&self, public: &str) -> Option<&'static str> {
        const ELSEWHERE: [(&str, &str, &str); 3] = [
            (
                "https://management.azure.com",
                "https://management.core.usgovcloudapi.net",
                "https://management.core.chinacloudapi.cn",
            ),
            ("https://vault.azure.net", "https://vault.usgovcloudapi.net", "https://vault.azure.cn"),
            ("https://database.windows.net", "https://database.usgovcloudapi.net", "https://database.chinacloudapi.cn"),
        ];
        let (_, government, china) = ELSEWHERE.into_iter().find(|(name, _, _)| *name == public)?;
        match self.cloud {
            CloudName::Public => None,
            CloudName::Government => Some(government),
            CloudName::China => Some(china),
        }
    }

    /// An audience of the map, which names those of the public cloud, as this cloud calls it.
    pub fn audience_of(&self, public: &str) -> String {
        self.audience(public).unwrap_or(public).to_owned()
    }

    /// The audience that Entra wants in an assertion (Microsoft Entra workload ID, "Configure an app to trust an external
    /// identity provider").
    pub fn assertion_audience(&self) -> &'static str {
        match self.cloud {
            CloudName::Public => "api://AzureADTokenExchange",
            CloudName::Government => "api://AzureADTokenExchangeUSGov",
            CloudName::China => "api://AzureADTokenExchangeChina",
        }
    }
}

/// An https address of a host, without credentials, query or path.
fn https(what: &str, text: &str) -> Result<Url, String> {
    let wrong = |why: &str| Err(format!("endpoints.{what} = {text:?} {why}"));
    let Ok(url) = Url::parse(text) else {
        return wrong("is no address");
    };
    if url.scheme() != "https" {
        return wrong("is not https: tokens would cross the network in the open");
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return wrong("holds more than a host");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cloud_has_its_own_addresses_and_audiences() {
        let public = Endpoints::new(CloudName::Public, RawEndpoints::default()).unwrap();
        assert_eq!(public.resource_manager_audience(), "https://management.azure.com");
        assert_eq!(public.audience_of("https://vault.azure.net"), "https://vault.azure.net");
        let government = Endpoints::new(CloudName::Government, RawEndpoints::default()).unwrap();
        assert_eq!(government.authority.as_str(), "https://login.microsoftonline.us/");
        assert_eq!(government.audience_of("https://vault.azure.net"), "https://vault.usgovcloudapi.net");
        assert_eq!(government.audience_of("https://storage.azure.com"), "https://storage.azure.com");
        let china = Endpoints::new(CloudName::China, RawEndpoints::default()).unwrap();
        assert_eq!(china.resource_manager_audience(), "https://management.core.chinacloudapi.cn");
        assert_eq!(china.assertion_audience(), "api://AzureADTokenExchangeChina");
    }

    #[test]
    fn only_https_is_spoken() {
        let with = |authority: &str| {
            let given = RawEndpoints { authority: Some(authority.to_owned()), ..RawEndpoints::default() };
            Endpoints::new(CloudName::Public, given)
        };
        assert!(with("https://127.0.0.1:8443").is_ok());
        for bad in ["http://127.0.0.1:8443", "login", "https://u:p@login", "https://login?x=1"] {
            assert!(with(bad).is_err(), "{bad} was taken");
        }
        let given = RawEndpoints { blob: Some("https://blob".to_owned()), ..RawEndpoints::default() };
        assert!(Endpoints::new(CloudName::Public, given).unwrap_err().contains("{name}"));
    }
}

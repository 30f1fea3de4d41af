//! What the command of `exec` finds in its environment. Pure.

use std::ffi::OsString;
use std::path::Path;

/// Variables by which a cloud's clients find a credential, or are led to one, before or instead of ours.
///
/// AWS: "AWS SDKs and Tools Reference Guide", Environment variables support; botocore 1.44 `credentials.py` (environment,
/// web identity, boto2 and original-EC2 files all come before the container provider; the relative URI wins over the full
/// one); AWS SDK for Java 1.x `SDKGlobalConfiguration` for the older spellings. Azure: azure-identity
/// `EnvironmentCredential`, `WorkloadIdentityCredential`, `ManagedIdentityCredential`, azure-storage and the azurerm
/// provider's `ARM_*`. Google: "How Application Default Credentials works", gcloud's `CLOUDSDK_*` properties, the
/// google provider's configuration reference.
const AMBIENT: &[&str] = &[
    "ARM_ACCESS_KEY",
    "ARM_ADO_PIPELINE_SERVICE_CONNECTION_ID",
    "ARM_CLIENT_CERTIFICATE",
    "ARM_CLIENT_CERTIFICATE_PASSWORD",
    "ARM_CLIENT_CERTIFICATE_PATH",
    "ARM_CLIENT_ID",
    "ARM_CLIENT_ID_FILE_PATH",
    "ARM_CLIENT_SECRET",
    "ARM_CLIENT_SECRET_FILE_PATH",
    "ARM_MSI_ENDPOINT",
    "ARM_OIDC_AZURE_SERVICE_CONNECTION_ID",
    "ARM_OIDC_REQUEST_TOKEN",
    "ARM_OIDC_REQUEST_URL",
    "ARM_OIDC_TOKEN",
    "ARM_OIDC_TOKEN_FILE_PATH",
    "ARM_SAS_TOKEN",
    "ARM_USE_AKS_WORKLOAD_IDENTITY",
    "ARM_USE_CLI",
    "ARM_USE_MSI",
    "ARM_USE_OIDC",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_TOKEN",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AZCOPY_AUTO_LOGIN_TYPE",
    "AZCOPY_OAUTH_TOKEN_INFO",
    "AZCOPY_SPA_CERT_PASSWORD",
    "AZCOPY_SPA_CERT_PATH",
    "AZCOPY_SPA_CLIENT_SECRET",
    "AZURE_ACCESS_TOKEN",
    "AZURE_AUTH_LOCATION",
    "AZURE_CLIENT_CERTIFICATE_PASSWORD",
    "AZURE_CLIENT_CERTIFICATE_PATH",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_CONFIG_DIR",
    "AZURE_CREDENTIALS",
    "AZURE_FEDERATED_TOKEN",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_PASSWORD",
    "AZURE_POD_IDENTITY_AUTHORITY_HOST",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_TENANT_ID",
    "AZURE_TOKEN_CREDENTIALS",
    "AZURE_USERNAME",
    "BOTO_CONFIG",
    "CLOUDSDK_ACTIVE_CONFIG_NAME",
    "CLOUDSDK_AUTH_ACCESS_TOKEN",
    "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE",
    "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
    "CLOUDSDK_AUTH_IMPERSONATE_SERVICE_ACCOUNT",
    "CLOUDSDK_CONFIG",
    "CLOUDSDK_CORE_ACCOUNT",
    "GCE_METADATA_HOST",
    "GCE_METADATA_IP",
    "GCE_METADATA_MTLS_MODE",
    "GCE_METADATA_ROOT",
    "GCLOUD_KEYFILE_JSON",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BACKEND_CREDENTIALS",
    "GOOGLE_CLOUD_KEYFILE_JSON",
    "GOOGLE_CREDENTIALS",
    "GOOGLE_GHA_CREDS_PATH",
    "GOOGLE_IMPERSONATE_SERVICE_ACCOUNT",
    "GOOGLE_OAUTH_ACCESS_TOKEN",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "IDENTITY_SERVER_THUMBPRINT",
    "IMDS_ENDPOINT",
    "MSI_ENDPOINT",
    "MSI_SECRET",
    "NO_GCE_CHECK",
];

/// The start of variables of which there is one for each service: `AWS_BEARER_TOKEN_BEDROCK` and its like.
const AMBIENT_PREFIXES: &[&str] = &["AWS_BEARER_TOKEN_"];

/// The pointers to gcloud's configuration that `--keep-gcloud-config` leaves alone.
const GCLOUD: &[&str] = &["CLOUDSDK_ACTIVE_CONFIG_NAME", "CLOUDSDK_CONFIG", "CLOUDSDK_CORE_ACCOUNT"];

/// The pointer to the Azure CLI's configuration that `--keep-azure-config` leaves alone, and what has the SDKs pass it by.
const AZURE: &[&str] = &["AZURE_CONFIG_DIR", "AZURE_TOKEN_CREDENTIALS"];

/// The pointers to AWS configuration that `--keep-aws-config` leaves alone.
const CONFIGURATION: &[&str] = &[
    "AWS_CONFIG_FILE",
    "AWS_CREDENTIAL_FILE",
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "BOTO_CONFIG",
];

/// What the command finds in place of the user's configuration; nothing keeps the user's.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Instead<'a> {
    /// A file without content, in place of the AWS files.
    pub aws: Option<&'a Path>,
    /// An empty directory, in place of gcloud's, where the libraries too look for somebody who is logged in.
    pub gcloud: Option<&'a Path>,
    /// An empty directory, in place of the Azure CLI's.
    pub azure: Option<&'a Path>,
}

/// What to take away and what to set, in this order.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Environment {
    /// Names of variables that are there and must not be.
    pub removed: Vec<OsString>,
    /// Variables to set. They may hold secrets: this has no `Debug`.
    pub set: Vec<(String, OsString)>,
}

impl Environment {
    /// Begins with what is there: takes ambient credentials away, and sets what holds for every format.
    ///
    /// The user's default region is lost with the AWS files, so that of the account is set where one is known and no other
    /// is in the environment.
    pub(super) fn cleaned(
        names: impl Iterator<Item = OsString>,
        instead: Instead<'_>,
        region: Option<&str>,
        grant: &str,
    ) -> Self {
        let (mut removed, mut regions) = (Vec::new(), Vec::new());
        for name in names {
            let Some(text) = name.to_str() else { continue };
            if text == "AWS_REGION" || text == "AWS_DEFAULT_REGION" {
                regions.push(text.to_owned());
            }
            let kept = (instead.aws.is_none() && CONFIGURATION.contains(&text))
                || (instead.gcloud.is_none() && GCLOUD.contains(&text))
                || (instead.azure.is_none() && AZURE.contains(&text));
            if is_ambient(text) && !kept {
                removed.push(name);
            }
        }
        removed.sort();
        let mut environment = Self { removed, set: Vec::new() };
        environment.put("AWS_EC2_METADATA_DISABLED", "true");
        if let Some(empty) = instead.aws {
            for name in
                ["AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE", "AWS_CREDENTIAL_PROFILES_FILE", "BOTO_CONFIG"]
            {
                environment.put(name, empty);
            }
        }
        if let Some(directory) = instead.gcloud {
            environment.put("CLOUDSDK_CONFIG", directory);
        }
        if let Some(directory) = instead.azure {
            environment.put("AZURE_CONFIG_DIR", directory);
            // Environment, workload identity, managed identity, and not the logins of tools for developers.
            environment.put("AZURE_TOKEN_CREDENTIALS", "prod");
        }
        if let Some(region) = region.filter(|_| regions.is_empty()) {
            environment.put("AWS_REGION", region);
            environment.put("AWS_DEFAULT_REGION", region);
        }
        environment.put("GRANTD_GRANT", grant);
        environment
    }

    /// Sets a variable; a later one of the same name counts.
    pub(super) fn put(&mut self, name: &str, value: impl Into<OsString>) {
        self.set.push((name.to_owned(), value.into()));
    }

    /// Leaves the command a variable that would be taken away.
    pub(super) fn leave(&mut self, name: &str) {
        self.removed.retain(|removed| removed != name);
    }

    /// What of it a person may wonder about: credentials that are no longer there.
    pub(super) fn told(&self) -> Option<String> {
        let names: Vec<String> = self
            .removed
            .iter()
            .filter(|name| *name != "AWS_EC2_METADATA_DISABLED")
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        (!names.is_empty()).then(|| format!("kept from the command: {}", names.join(", ")))
    }
}

fn is_ambient(name: &str) -> bool {
    AMBIENT.binary_search(&name).is_ok() || AMBIENT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(names: &[&str], empty: Option<&str>, region: Option<&str>) -> Environment {
        let instead = match empty {
            Some(empty) => Instead {
                aws: Some(Path::new(empty)),
                gcloud: Some(Path::new("/x/gcloud")),
                azure: Some(Path::new("/x/azure")),
            },
            None => Instead::default(),
        };
        Environment::cleaned(names.iter().map(OsString::from), instead, region, "grant-aaaa")
    }

    fn value(environment: &Environment, name: &str) -> Option<String> {
        environment.set.iter().rfind(|(set, _)| set == name).map(|(_, value)| value.to_string_lossy().into_owned())
    }

    #[test]
    fn the_list_is_in_order_because_it_is_searched_so() {
        assert!(AMBIENT.is_sorted());
        assert!([CONFIGURATION, GCLOUD, AZURE].concat().iter().all(|name| is_ambient(name)));
    }

    #[test]
    fn p9_ambient_credentials_of_every_cloud_are_kept_from_the_command() {
        let ambient = [
            "AWS_ACCESS_KEY_ID",
            "AWS_BEARER_TOKEN_BEDROCK",
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            "AWS_PROFILE",
            "AWS_WEB_IDENTITY_TOKEN_FILE",
            "AZURE_CLIENT_SECRET",
            "AZURE_CONFIG_DIR",
            "CLOUDSDK_CONFIG",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ];
        let others = ["PATH", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS", "HOME"];
        let all: Vec<&str> = ambient.iter().chain(&others).copied().collect();
        let environment = cleaned(&all, Some("/x/empty"), None);
        assert_eq!(environment.removed, ambient.map(OsString::from));
        assert_eq!(value(&environment, "AWS_SHARED_CREDENTIALS_FILE").as_deref(), Some("/x/empty"));
        assert_eq!(value(&environment, "BOTO_CONFIG").as_deref(), Some("/x/empty"));
        assert_eq!(value(&environment, "AWS_EC2_METADATA_DISABLED").as_deref(), Some("true"));
        assert_eq!(value(&environment, "CLOUDSDK_CONFIG").as_deref(), Some("/x/gcloud"));
        assert_eq!(value(&environment, "AZURE_CONFIG_DIR").as_deref(), Some("/x/azure"));
        assert_eq!(value(&environment, "AZURE_TOKEN_CREDENTIALS").as_deref(), Some("prod"));
        let told = environment.told().unwrap();
        assert!(told.contains("AWS_PROFILE") && !told.contains("PATH,"), "{told}");
    }

    #[test]
    fn configuration_is_kept_when_asked_but_no_credential() {
        let environment = cleaned(
            &["AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SESSION_TOKEN", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG"],
            None,
            None,
        );
        assert_eq!(environment.removed, ["AWS_SESSION_TOKEN"]);
        for name in ["AWS_CONFIG_FILE", "AZURE_CONFIG_DIR", "CLOUDSDK_CONFIG", "AZURE_TOKEN_CREDENTIALS"] {
            assert_eq!(value(&environment, name), None);
        }
    }

    #[test]
    fn the_accounts_region_is_set_where_none_is() {
        let environment = cleaned(&[], Some("/x"), Some("eu-west-1"));
        assert_eq!(value(&environment, "AWS_REGION").as_deref(), Some("eu-west-1"));
        let chosen = cleaned(&["AWS_DEFAULT_REGION"], Some("/x"), Some("eu-west-1"));
        assert_eq!(value(&chosen, "AWS_REGION"), None);
        assert!(chosen.removed.is_empty());
    }
}

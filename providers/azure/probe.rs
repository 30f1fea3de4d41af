//! Trying a session by one read that harms nobody: of something that does not exist. Azure tells whoever may read that it
//! is not there, and whoever may not that it is forbidden. Where a condition tells listing from reading, which are one data
//! action, listing what does not exist is tried too: a session that may do either is let in.

use azure_core::http::{HttpClient, Method, RawResponse, Request, Url};
use grantd_provider_api::{Credential, ErrorKind, ProviderError, Trial};

use crate::account::Account;
use crate::error::Call;
use crate::names::ResourceId;
use crate::plan::{Grant, Native};

/// The version of Blob Storage's interface (Blob Storage REST API, "Versioning").
const BLOB_VERSION: &str = "2023-11-03";

/// The version of Key Vault's interface.
const VAULT_VERSION: &str = "7.4";

/// A name that nobody gives to anything.
const NOTHING: &str = "grantd-looks-whether-it-may-read-this-and-there-is-nothing";

/// A version of a secret or key that does not exist.
const NO_VERSION: &str = "00000000000000000000000000000000";

/// A read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read {
    action: &'static str,
    audience: &'static str,
    place: Place,
}

/// Of what.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// A blob, in a container of a storage account.
    Blob { account: String, path: String },
    /// The blobs of a container whose names begin with this.
    Listing { account: String, container: String, prefix: String },
    /// A version of a secret or key, in a vault.
    Vault { vault: String, path: String },
    /// What one may do on a resource.
    Rights { scope: String },
}

const READ_BLOB: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
const READ_SECRET: &str = "Microsoft.KeyVault/vaults/secrets/getSecret/action";
const READ_KEY: &str = "Microsoft.KeyVault/vaults/keys/read";

/// What a session of the plan can be tried by: it is let in if one of them is, and they have one action and audience.
fn reads_of(native: &Native) -> Option<Vec<Read>> {
    let wanted =
        |grant: &Grant, action: &str| grant.data_permissions.iter().any(|one| one.eq_ignore_ascii_case(action));
    let resource = ResourceId::parse(&native.resource).ok()?;
    let audience = |name: &str| native.audiences.iter().any(|audience| audience.contains(name));
    for grant in &native.assignments {
        if wanted(grant, READ_BLOB) && audience("storage.azure.com") {
            let (account, container) = (resource.segment("storageAccounts")?, resource.segment("containers")?);
            let prefix = format!("{}{NOTHING}", native.prefix.as_deref().unwrap_or_default());
            let read = |place| Read { action: READ_BLOB, audience: "storage.azure.com", place };
            let blob = Place::Blob { account: account.to_owned(), path: format!("{container}/{prefix}") };
            let mut reads = vec![read(blob)];
            if grant.condition.is_some() {
                let (account, container) = (account.to_owned(), container.to_owned());
                reads.push(read(Place::Listing { account, container, prefix }));
            }
            return Some(reads);
        }
        for (action, kind) in [(READ_SECRET, "secrets"), (READ_KEY, "keys")] {
            if wanted(grant, action) && audience("vault.") {
                let (vault, name) = (resource.segment("vaults")?, resource.segment(kind)?);
                let place = Place::Vault { vault: vault.to_owned(), path: format!("{kind}/{name}/{NO_VERSION}") };
                return Some(vec![Read { action, audience: "vault.", place }]);
            }
        }
        if !grant.permissions.is_empty() && audience("management.") {
            let place = Place::Rights { scope: grant.scope.clone() };
            let action = "Microsoft.Authorization/permissions/read";
            return Some(vec![Read { action, audience: "management.", place }]);
        }
    }
    None
}

/// The native name of what a session of the plan can be tried by.
pub(crate) fn harmless(native: &Native) -> Option<&'static str> {
    reads_of(native)?.first().map(|read| read.action)
}

/// Whether the cloud lets a session of the plan do that now.
///
/// # Errors
/// Any; the answer was neither.
pub(crate) async fn try_session(
    account: &Account,
    native: &Native,
    credential: &Credential,
) -> Result<Trial, ProviderError> {
    let call = Call { account: &account.config.name, action: "try the session on", on: &native.resource, caller: "it" };
    let unfit = |what: &str| call.error(ErrorKind::Unsupported, what);
    let reads = reads_of(native).ok_or_else(|| unfit("there is no read that harms nobody"))?;
    let Credential::Azure { tokens, .. } = credential else {
        return Err(unfit("its credential is not one of azure's"));
    };
    for read in reads {
        let token = tokens.iter().find(|token| token.audience.contains(read.audience));
        let token = token.ok_or_else(|| unfit("it has no token for that"))?;
        let url = url(account, &read.place).ok_or_else(|| unfit("its address makes no sense"))?;
        let mut request = Request::new(url, Method::Get);
        request.insert_header("authorization", format!("Bearer {}", token.token.expose()));
        if matches!(read.place, Place::Blob { .. } | Place::Listing { .. }) {
            request.insert_header("x-ms-version", BLOB_VERSION);
        }
        let answer = account.http.execute_request(&request).await.map_err(|error| call.no_answer(&error))?;
        let answer = answer.try_into_raw_response().await.map_err(|error| call.no_answer(&error))?;
        if verdict(&call, &read.place, &answer)? == Trial::Allowed {
            return Ok(Trial::Allowed);
        }
    }
    Ok(Trial::Refused)
}

fn url(account: &Account, place: &Place) -> Option<Url> {
    let endpoints = &account.config.endpoints;
    let mut url = match place {
        Place::Blob { account, .. } | Place::Listing { account, .. } => {
            Url::parse(&endpoints.blob.replace("{name}", account)).ok()?
        }
        Place::Vault { vault, .. } => Url::parse(&endpoints.vault.replace("{name}", vault)).ok()?,
        Place::Rights { .. } => endpoints.resource_manager.clone(),
    };
    let path = match place {
        Place::Blob { path, .. } | Place::Vault { path, .. } => path.clone(),
        Place::Listing { container, .. } => container.clone(),
        Place::Rights { scope } => {
            format!("{}/providers/Microsoft.Authorization/permissions", scope.trim_start_matches('/'))
        }
    };
    url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
    match place {
        Place::Blob { .. } => {}
        Place::Listing { prefix, .. } => {
            let mut query = url.query_pairs_mut();
            query.append_pair("restype", "container").append_pair("comp", "list").append_pair("maxresults", "1");
            query.append_pair("prefix", prefix);
        }
        Place::Vault { .. } => url.set_query(Some(&format!("api-version={VAULT_VERSION}"))),
        Place::Rights { .. } => url.set_query(Some(&format!("api-version={}", crate::arm::API_VERSION))),
    }
    Some(url)
}

/// What the answer says (Blob Storage REST API, "Status and error codes"; Key Vault, "Authentication, requests and
/// responses").
fn verdict(call: &Call<'_>, place: &Place, answer: &RawResponse) -> Result<Trial, ProviderError> {
    let status = u16::from(answer.status());
    let body = String::from_utf8_lossy(answer.body().as_ref()).into_owned();
    let neither = || call.error(ErrorKind::Unknown, format!("the answer (status {status}) says neither yes nor no"));
    match (place, status) {
        (_, 403) => Ok(Trial::Refused),
        (Place::Blob { .. }, 404) if body.contains("BlobNotFound") => Ok(Trial::Allowed),
        (Place::Vault { .. }, 404) if body.contains("NotFound") => Ok(Trial::Allowed),
        (Place::Rights { .. }, 200) => {
            let rights: serde_json::Value = serde_json::from_str(&body).map_err(|_| neither())?;
            let listed = rights.get("value").and_then(serde_json::Value::as_array).ok_or_else(neither)?;
            Ok(if listed.is_empty() { Trial::Refused } else { Trial::Allowed })
        }
        (Place::Blob { .. } | Place::Listing { .. } | Place::Vault { .. }, 200) => Ok(Trial::Allowed),
        _ => Err(neither()),
    }
}

//! What sessions are for: blobs of a storage account and secrets of a key vault, to be read by whoever may.

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use serde_json::json;

use super::Fake;
use super::entra::answer;
use super::roles::{Question, allowed};
use crate::serve::{Call, Reply};

const READ_BLOB: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read";
const BLOB_PATH: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path";
const BLOB_PREFIX: &str = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs:prefix";
const CONTAINER_NAME: &str = "Microsoft.Storage/storageAccounts/blobServices/containers:name";
const READ_SECRET: &str = "Microsoft.KeyVault/vaults/secrets/getSecret/action";

impl Fake {
    /// `GET /blob/{account}/{container}/{blob}`, and `?restype=container&comp=list` of a container.
    pub(super) fn blob(&self, call: &Call, path: &str) -> Reply {
        let refuse = |status: u16, code: &'static str| {
            let body = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
            );
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut reply = Reply::of(status, "application/xml", body);
            if let Reply::Answer(response) = &mut reply {
                response.headers_mut().insert("x-ms-error-code", HeaderValue::from_static(code));
            }
            reply
        };
        let header = |name: &str| call.head.headers.get(name).and_then(|value| value.to_str().ok());
        if call.head.method != Method::GET && call.head.method != Method::HEAD {
            return refuse(405, "UnsupportedHttpVerb");
        }
        // Tokens are taken from this version on (Blob Storage REST API, "Authorize with Microsoft Entra ID").
        if header("x-ms-version").is_none_or(|version| version < "2017-11-09") {
            return refuse(400, "MissingRequiredHeader");
        }
        let principal = match self.principal(header("authorization"), &["https://storage.azure.com"]) {
            Ok(principal) => principal,
            Err("MissingToken") => return refuse(401, "NoAuthenticationInformation"),
            Err(_) => return refuse(401, "InvalidAuthenticationInfo"),
        };
        let mut parts = path.splitn(3, '/');
        let (account, container, name) = (parts.next(), parts.next(), parts.next());
        let query = self.query(call);
        let asked = |name: &str, value: &str| query.get(name).is_some_and(|given| given == value);
        let lists = name.is_none_or(str::is_empty) && asked("restype", "container") && asked("comp", "list");
        let (Some(account), Some(container), Some(name)) = (account, container, name.or(lists.then_some(""))) else {
            return refuse(400, "InvalidUri");
        };
        let state = self.state();
        let tail = format!("/storageAccounts/{account}/blobServices/default/containers/{container}");
        let Some(scope) = state.resources.iter().find(|one| one.ends_with(&tail)) else {
            return refuse(404, "ContainerNotFound");
        };
        let prefix = query.get("prefix").cloned().unwrap_or_default();
        let mut attributes = vec![("Resource", CONTAINER_NAME, container.to_owned())];
        match lists {
            true if prefix.is_empty() => {}
            true => attributes.push(("Request", BLOB_PREFIX, prefix.clone())),
            false => attributes.push(("Resource", BLOB_PATH, name.to_owned())),
        }
        let question = Question {
            principal,
            action: READ_BLOB,
            data: true,
            suboperation: lists.then_some("Blob.List"),
            scope,
            attributes: &attributes,
            now: self.elapsed(),
        };
        if !allowed(&question, &state.roles, &state.assignments) {
            return refuse(403, "AuthorizationPermissionMismatch");
        }
        if lists {
            let below = format!("{account}/{container}/{prefix}");
            let inside = state.blobs.keys().filter(|key| key.starts_with(&below));
            let names = inside.filter_map(|key| key.splitn(3, '/').nth(2));
            let shown: String = names.map(|name| format!("<Blob><Name>{name}</Name></Blob>")).collect();
            let text = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?><EnumerationResults><Blobs>{shown}</Blobs><NextMarker/></EnumerationResults>"
            );
            return Reply::of(StatusCode::OK, "application/xml", text);
        }
        match state.blobs.get(&format!("{account}/{container}/{name}")) {
            Some(content) => found(content, header("x-ms-range").or_else(|| header("range"))),
            None => refuse(404, "BlobNotFound"),
        }
    }

    /// `GET /vault/{vault}/secrets/{name}[/{version}]`.
    pub(super) fn secret(&self, call: &Call, path: &str) -> Reply {
        let refuse = |status: u16, code: &str, inner: &str| {
            answer(status, &json!({ "error": { "code": code, "message": code, "innererror": { "code": inner } } }))
        };
        let authorization = call.head.headers.get("authorization").and_then(|value| value.to_str().ok());
        let Ok(principal) = self.principal(authorization, &["https://vault.azure.net"]) else {
            return refuse(401, "Unauthorized", "AKV10000");
        };
        let parts: Vec<&str> = path.split('/').collect();
        let (Some(vault), Some(&"secrets"), Some(name)) = (parts.first(), parts.get(1), parts.get(2)) else {
            return refuse(404, "NotFound", "NotFound");
        };
        let state = self.state();
        let tail = format!("/vaults/{vault}/secrets/{name}");
        let Some(scope) = state.resources.iter().find(|one| one.ends_with(&tail)) else {
            return refuse(403, "Forbidden", "ForbiddenByRbac");
        };
        let now = self.elapsed();
        let question =
            Question { principal, action: READ_SECRET, data: true, suboperation: None, scope, attributes: &[], now };
        if !allowed(&question, &state.roles, &state.assignments) {
            return refuse(403, "Forbidden", "ForbiddenByRbac");
        }
        if parts.get(3).is_some_and(|version| !version.is_empty()) {
            return refuse(404, "SecretNotFound", "SecretNotFound");
        }
        answer(
            200,
            &json!({ "value": format!("the secret {name}"), "id": format!("https://{vault}.vault.azure.net/secrets/{name}/1") }),
        )
    }
}

/// A blob. Clients ask for a range from its beginning and are given all of it (Blob Storage REST API, "Get Blob").
fn found(content: &str, range: Option<&str>) -> Reply {
    let last = content.len().saturating_sub(1);
    let status = if range.is_some() { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut reply = Reply::of(status, "application/octet-stream", content.to_owned());
    if let Reply::Answer(response) = &mut reply {
        let headers = response.headers_mut();
        headers.insert("etag", HeaderValue::from_static("\"0x1\""));
        headers.insert("last-modified", HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"));
        headers.insert("x-ms-blob-type", HeaderValue::from_static("BlockBlob"));
        if range.is_some()
            && let Ok(range) = HeaderValue::from_str(&format!("bytes 0-{last}/{}", content.len()))
        {
            headers.insert("content-range", range);
        }
    }
    reply
}

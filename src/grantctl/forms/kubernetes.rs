//! What `kubectl` and its like read from a credential plugin (Kubernetes, "client-go credential plugins"): a bearer token
//! in an `ExecCredential`.

use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use zeroize::Zeroizing;

use super::aws::Aws;
use super::sigv4::{EMPTY, Signed};
use crate::exit::{Exit, Failure};
use crate::secret::{Secret, json};

/// The versions of the document that are known. Clients want the one that they asked for.
pub(crate) const VERSIONS: [&str; 2] = ["client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1"];

/// The application that every AKS cluster with Microsoft Entra takes tokens for ("Use kubelogin with AKS").
const AKS: &str = "6dae42f8-4368-4678-94ff-3960e28e3630";

/// For how long an EKS cluster takes a token from its signing on, less a minute ("aws eks get-token").
const EKS_LIFE: SignedDuration = SignedDuration::from_mins(14);

/// For how long the signed URL inside of it holds, in seconds.
const PRESIGNED: u32 = 60;

/// An EKS cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cluster {
    /// Its name, which only EKS needs.
    pub name: Option<String>,
    /// Its region, where the lease tells none or another.
    pub region: Option<String>,
}

/// The document, for a cluster of the credential's cloud. The token is not said to hold longer than the lease.
pub(crate) fn exec_credential(
    secret: &Secret,
    cluster: &Cluster,
    version: &str,
    now: Timestamp,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        api_version: &'a str,
        kind: &'a str,
        status: Status<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Status<'a> {
        expiration_timestamp: String,
        token: &'a str,
    }
    let until: Timestamp = secret
        .expiration()
        .parse()
        .map_err(|_| Failure::new(Exit::Unexpected, "the credential does not say when it ends"))?;
    let usage = |line: String| Failure::new(Exit::Usage, line);
    let mut written = Document { api_version: version, kind: "ExecCredential", status: status(until, "") };
    let presigned;
    match secret {
        Secret::Aws(aws) => {
            let until = until.min(now.saturating_add(EKS_LIFE).unwrap_or(until));
            presigned = eks(aws, cluster, now).map_err(usage)?;
            written.status = status(until, &presigned);
        }
        Secret::Gcp(gcp) => written.status.token = &gcp.access_token,
        // A cluster that trusts the issuer takes it as it is (Kubernetes, "Authenticating", OpenID Connect tokens).
        Secret::Token(token) => written.status.token = &token.token,
        Secret::Azure(azure) => {
            let token = azure.token_for(AKS).or_else(|said| azure.token_for(&format!("api://{AKS}")).map_err(|_| said));
            written.status.token = &token.map_err(usage)?.token;
        }
    }
    return json(&written).map(|mut bytes| {
        bytes.push(b'\n');
        bytes
    });

    fn status(until: Timestamp, token: &str) -> Status<'_> {
        Status { expiration_timestamp: until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(), token }
    }
}

/// A token for EKS: a presigned question to STS who is asking, which the cluster asks in the caller's place.
fn eks(aws: &Aws, cluster: &Cluster, now: Timestamp) -> Result<Zeroizing<String>, String> {
    let name = cluster.name.as_deref().ok_or("the grant is for AWS: name the EKS cluster with --cluster")?;
    let region = cluster.region.as_deref().or(aws.region.as_deref());
    let region = region.ok_or("the account has no region: name that of the EKS cluster with --region")?;
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !plain(name) || !plain(region) || name.is_empty() || region.is_empty() {
        return Err("the name and the region of an EKS cluster are letters, digits, - and _".to_owned());
    }
    let suffix = if region.starts_with("cn-") { ".cn" } else { "" };
    let signed = Signed {
        host: &format!("sts.{region}.amazonaws.com{suffix}"),
        path: "/",
        region,
        service: "sts",
        query: &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")],
        headers: &[("x-k8s-aws-id", name)],
        expires: PRESIGNED,
        payload: EMPTY,
    };
    let url = signed.url(aws, now);
    let mut token = Zeroizing::new(String::with_capacity(url.len().saturating_mul(2)));
    token.push_str("k8s-aws-v1.");
    BASE64URL_NOPAD.encode_append(url.as_bytes(), &mut token);
    Ok(token)
}

#[cfg(test)]
#[path = "kubernetes_tests.rs"]
mod tests;

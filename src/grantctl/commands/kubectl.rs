//! `kubectl-token`, `gcp-token`: a token of the live lease, for clients that start a command to get one.

use grantd_wire::{AnchorChoice, Vended};
use zeroize::Zeroizing;

use super::Context;
use super::vend::{give_back, print, request};
use crate::exit::{Exit, Failure};
use crate::fetch::{GcpToken, KubectlToken};
use crate::forms::kubernetes::{Cluster, VERSIONS, exec_credential};
use crate::secret::{Cloud, OtherCloud, Secret};

/// In which kubectl says what it wants (Kubernetes, "client-go credential plugins", input and output formats).
const ASKED: &str = "KUBERNETES_EXEC_INFO";

/// Takes a credential and prints a cluster's token in the form that kubectl reads.
pub(super) async fn kubectl_token(context: &mut Context<'_>, wanted: KubectlToken) -> Result<(), Failure> {
    let version = version(std::env::var(ASKED).ok().as_deref())?;
    let request = request(wanted.what, AnchorChoice::Parent)?;
    let vended = context.client.post::<_, Vended>("/v1/leases", &request).await?.value;
    let cluster = Cluster { name: wanted.cluster, region: wanted.region };
    let now = context.now;
    hand_out(context, vended, |secret, _| exec_credential(secret, &cluster, version, now)).await
}

/// Takes a credential and prints the access token of Google Cloud in it, and a line break; not to a terminal, in whose
/// history it would stay.
pub(super) async fn gcp_token(context: &mut Context<'_>, wanted: GcpToken) -> Result<(), Failure> {
    if context.out_is_terminal {
        let line = "standard output is a terminal, and a token would stay in its history: redirect it";
        return Err(Failure::new(Exit::Usage, line));
    }
    let request = request(wanted.what, AnchorChoice::Parent)?;
    let vended = context.client.post::<_, Vended>("/v1/leases", &request).await?.value;
    hand_out(context, vended, |secret, grant| match secret {
        Secret::Gcp(gcp) => {
            let mut line = Zeroizing::new(Vec::with_capacity(gcp.access_token.len().saturating_add(1)));
            line.extend_from_slice(gcp.access_token.as_bytes());
            line.push(b'\n');
            Ok(line)
        }
        other => Err(OtherCloud { is: other.cloud(), wanted: Cloud::Gcp }.failure(grant, "gcp-token")),
    })
    .await
}

/// Prints a form of what was vended; gives it back if it has none.
pub(super) async fn hand_out(
    context: &mut Context<'_>,
    vended: Vended,
    form: impl FnOnce(&Secret, &str) -> Result<Zeroizing<Vec<u8>>, Failure>,
) -> Result<(), Failure> {
    let Vended { lease, reused, notes, credential } = vended;
    match form(&Secret::from(credential), &lease.grant) {
        Ok(bytes) => print(context, &bytes, &lease)?,
        Err(failure) => {
            give_back(context, &lease, reused).await;
            return Err(failure);
        }
    }
    // The clients pass standard error on to the person; once for each lease is enough.
    if !reused {
        notes.iter().for_each(|note| context.note(note));
    }
    Ok(())
}

/// The version of the document that is wanted; the newest where nobody says.
fn version(asked: Option<&str>) -> Result<&'static str, Failure> {
    let Some(asked) = asked else { return Ok(VERSIONS[0]) };
    let asked: serde_json::Value = serde_json::from_str(asked)
        .map_err(|_| Failure::new(Exit::Usage, format!("{ASKED} is not JSON: it is kubectl's to set")))?;
    let name = asked.get("apiVersion").and_then(serde_json::Value::as_str).unwrap_or_default();
    VERSIONS.into_iter().find(|known| *known == name).ok_or_else(|| {
        let known = VERSIONS.join(" or ");
        Failure::new(Exit::Usage, format!("apiVersion of the plugin is {name:?}: write {known} into the kubeconfig"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_which_the_client_asked_for() {
        assert_eq!(version(None).unwrap(), "client.authentication.k8s.io/v1");
        let beta = r#"{"apiVersion":"client.authentication.k8s.io/v1beta1","kind":"ExecCredential","spec":{}}"#;
        assert_eq!(version(Some(beta)).unwrap(), "client.authentication.k8s.io/v1beta1");
        for asked in ["", "{}", r#"{"apiVersion":"client.authentication.k8s.io/v2"}"#] {
            assert_eq!(version(Some(asked)).unwrap_err().exit(), Exit::Usage, "{asked}");
        }
    }
}

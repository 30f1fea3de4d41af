//! How the command gets its credential: by a front, by its environment or by a file, each as the clients of its cloud
//! look for it.

use std::env;
use std::io;
use std::path::PathBuf;

use super::args::ExecFormat;
use super::environment::Environment;
use super::front::Front;
use super::keeper::Current;
use super::place::Place;
use super::shapes::{
    AWS_PATH, AZURE_APP_SERVICE, AZURE_VIRTUAL_MACHINE, GCP_EXCHANGE, GCP_INTROSPECT, Shape, external_account,
};
use crate::exit::{Exit, Failure};
use crate::forms::token::{Exchange, Token};
use crate::secret::{Cloud, OtherCloud, Secret};

/// Variables by which a person chooses where to work. One of a group that is set keeps ours out.
const CHOSEN: [&[&str]; 3] = [
    &["AWS_REGION", "AWS_DEFAULT_REGION"],
    &["GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CORE_PROJECT"],
    &["AZURE_SUBSCRIPTION_ID", "ARM_SUBSCRIPTION_ID"],
];

/// Puts the first credential where the command looks for it; gives the front that is to be served, if there is one.
pub(super) async fn offer(
    environment: &mut Environment,
    place: &Place,
    format: ExecFormat,
    (grant, first): (&str, &Current),
) -> Result<Option<(Front, Shape)>, Failure> {
    let cloud = first.secret.cloud();
    match format {
        ExecFormat::Front | ExecFormat::File if cloud == Cloud::Oidc => {
            let file = write_down(place, format, (grant, first))?;
            if let Secret::Token(token) = &first.secret {
                lead_to(environment, token, file);
            }
            Ok(None)
        }
        ExecFormat::Front => front(environment, place, &first.secret).await.map(Some),
        ExecFormat::Env => {
            for (name, value) in first.secret.variables() {
                choose(environment, &name, value);
            }
            environment.put("GRANTD_LEASE", &first.lease);
            Ok(None)
        }
        ExecFormat::Json => {
            environment.put("GRANTD_CREDENTIALS_FILE", write_down(place, format, (grant, first))?);
            Ok(None)
        }
        ExecFormat::File if cloud == Cloud::Gcp => {
            let front = front(environment, place, &first.secret).await?;
            environment.put("CLOUDSDK_AUTH_ACCESS_TOKEN_FILE", write_down(place, format, (grant, first))?);
            Ok(Some(front))
        }
        ExecFormat::File => {
            environment.put("AWS_SHARED_CREDENTIALS_FILE", write_down(place, format, (grant, first))?);
            Ok(None)
        }
    }
}

/// Puts a credential where the command reads it, for the formats that have such a place.
pub(super) fn write_down(
    place: &Place,
    format: ExecFormat,
    (grant, current): (&str, &Current),
) -> Result<PathBuf, Failure> {
    let written = match (format, &current.secret) {
        (ExecFormat::Front | ExecFormat::File, Secret::Token(token)) => place.write("token", token.token.as_bytes()),
        (ExecFormat::Front | ExecFormat::Env, _) => return Ok(PathBuf::new()),
        (ExecFormat::Json, secret) => place.write("credentials.json", &secret.document()?),
        (ExecFormat::File, Secret::Aws(aws)) => place.write("credentials", &aws.credentials_file()),
        (ExecFormat::File, Secret::Gcp(gcp)) => place.write("access-token", gcp.access_token.as_bytes()),
        (ExecFormat::File, Secret::Azure(_)) => {
            let other = OtherCloud { is: Cloud::Azure, wanted: Cloud::Aws };
            return Err(other.failure(grant, "exec --format file"));
        }
    };
    written.map_err(|error| failed("cannot write the credential down", error))
}

/// Names the file with the token to the command, and to the clients of the cloud whose token service it is for. What they
/// have to be told beside, the user chose: which application, and which role.
fn lead_to(environment: &mut Environment, token: &Token, file: PathBuf) {
    let (variable, beside): (_, &[&str]) = match token.exchange() {
        Some(Exchange::Azure) => {
            ("AZURE_FEDERATED_TOKEN_FILE", &["AZURE_AUTHORITY_HOST", "AZURE_CLIENT_ID", "AZURE_TENANT_ID"])
        }
        Some(Exchange::Aws) => ("AWS_WEB_IDENTITY_TOKEN_FILE", &["AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME"]),
        None => ("", &[]),
    };
    if !variable.is_empty() {
        environment.put(variable, &file);
        beside.iter().for_each(|name| environment.leave(name));
    }
    environment.put("GRANTD_TOKEN_FILE", file);
}

/// Opens a front and leads the cloud's clients to it.
async fn front(environment: &mut Environment, place: &Place, secret: &Secret) -> Result<(Front, Shape), Failure> {
    let front = Front::open().await.map_err(|error| failed("cannot listen on 127.0.0.1", error))?;
    let written =
        |name: &str, contents: &[u8]| place.write(name, contents).map_err(|error| failed("cannot write a file", error));
    match secret {
        Secret::Aws(_) => {
            environment.put("AWS_CONTAINER_CREDENTIALS_FULL_URI", front.uri(AWS_PATH));
            let file = written("token", front.token().as_bytes())?;
            environment.put("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", file);
            // AWS CLI 2 before 2.13 and SDKs of its age read only this one.
            environment.put("AWS_CONTAINER_AUTHORIZATION_TOKEN", front.token());
        }
        Secret::Azure(azure) => {
            environment.put("IDENTITY_ENDPOINT", front.uri(AZURE_APP_SERVICE));
            environment.put("IDENTITY_HEADER", front.token());
            // For clients that know a virtual machine only.
            environment.put("AZURE_POD_IDENTITY_AUTHORITY_HOST", front.uri(""));
            environment.put("ARM_USE_MSI", "true");
            environment.put("ARM_MSI_ENDPOINT", front.uri(AZURE_VIRTUAL_MACHINE));
            for (name, value) in azure.context() {
                choose(environment, name, value);
            }
        }
        Secret::Gcp(gcp) => {
            for name in ["GCE_METADATA_HOST", "GCE_METADATA_IP", "GCE_METADATA_ROOT"] {
                environment.put(name, front.authority());
            }
            let token = written("token", front.token().as_bytes())?;
            let account = external_account(&front.uri(GCP_EXCHANGE), &front.uri(GCP_INTROSPECT), &token);
            let file = written("external-account.json", account.as_bytes())?;
            environment.put("CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE", file.clone());
            environment.put("GOOGLE_APPLICATION_CREDENTIALS", file);
            for (name, value) in gcp.context() {
                choose(environment, name, value);
            }
        }
        Secret::Token(_) => return Err(Failure::new(Exit::Unexpected, "a token has no front")),
    }
    Ok((front, Shape(secret.cloud())))
}

/// Sets a variable, unless a person chose otherwise.
fn choose(environment: &mut Environment, name: &str, value: &str) {
    let chosen = |group: &&[&str]| group.contains(&name) && group.iter().any(|name| env::var_os(name).is_some());
    if !CHOSEN.iter().any(chosen) {
        environment.put(name, value);
    }
}

fn failed(what: &str, error: io::Error) -> Failure {
    Failure::new(Exit::Unexpected, format!("{what}: {error}"))
}

//! The metadata server of Compute Engine as far as clients need it for a token, and a token exchange of its own kind.
//!
//! The metadata server ("About VM metadata", "Access tokens from the metadata server") has no place for a secret: it wants
//! `Metadata-Flavor: Google`, which no page in a browser can send, and who is calling is the kernel's word alone. Its
//! errors are text, which the clients show as it is.
//!
//! The exchange (RFC 8693) is there because a credential file comes before the metadata server wherever a client looks for
//! application default credentials, and some find one of the user's in the home directory: `GOOGLE_APPLICATION_CREDENTIALS`
//! names one that leads here. What is exchanged is the front's own token, worth nothing anywhere else; so nothing that
//! could be exchanged at Google's token service is ever handed out. gcloud asks besides whose the token is that it was given
//! (RFC 7662), to have a name for the account; that is answered here too, so that no token is sent anywhere for it.

use std::fmt;
use std::path::Path;

use hyper::header::HeaderName;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Asking, Problem, Reply, member};
use crate::forms::gcp::Gcp;
use crate::secret;

/// Where an external account's token is exchanged.
pub(in crate::exec) const EXCHANGE: &str = "/v1/token";

/// Where an external account asks whose its token is.
pub(in crate::exec) const INTROSPECT: &str = "/v1/introspect";

/// Below this is what the metadata server knows.
const ROOT: &str = "/computeMetadata/v1/";

/// What a token may be used for; what it can do is the matter of the grant.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A thing that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::exec) enum Wanted {
    /// Whether there is somebody.
    Ping,
    /// The token of an account.
    Token(String),
    /// The token for the front's own.
    Exchange,
    /// Whose a token is.
    Whose(Held),
    Project,
    Universe,
    /// The directory of accounts; the flag is for all that is below.
    Accounts(bool),
    /// One account, with the name it was asked by; the flag is for all that is below.
    Account(String, bool),
    /// A text about an account.
    Email(String),
    Scopes(String),
    Aliases(String),
}

/// A token that somebody has.
#[derive(Clone)]
pub(in crate::exec) struct Held(Zeroizing<String>);

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_bytes().ct_eq(other.0.as_bytes()).into()
    }
}

impl Eq for Held {}

pub(super) fn asked(asking: &Asking<'_>) -> Result<Wanted, Problem> {
    let path = asking.head.uri.path();
    asking.direct()?;
    if path == EXCHANGE {
        asking.only(&Method::POST)?;
        return exchange(asking);
    }
    if path == INTROSPECT {
        asking.only(&Method::POST)?;
        let form = std::str::from_utf8(asking.body).unwrap_or_default();
        let Some(token) = member(form, "token") else {
            return Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_request", "the form has no token"));
        };
        return Ok(Wanted::Whose(Held(Zeroizing::new(token))));
    }
    if asking.header(HeaderName::from_static("metadata-flavor")) != Some(b"Google".as_slice()) {
        let message = "the header Metadata-Flavor: Google is missing";
        return Err(Problem::new(StatusCode::FORBIDDEN, "flavor", message));
    }
    asking.only(&Method::GET)?;
    let recursive = asking.query("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let Some(below) = path.strip_prefix(ROOT) else {
        return if matches!(path, "/" | "/computeMetadata" | "/computeMetadata/") {
            Ok(Wanted::Ping)
        } else {
            missing(path)
        };
    };
    let words: Vec<&str> = below.trim_end_matches('/').split('/').collect();
    match words.as_slice() {
        [""] | ["instance"] => Ok(Wanted::Ping),
        ["project", "project-id"] => Ok(Wanted::Project),
        ["universe", "universe-domain" | "universe_domain"] => Ok(Wanted::Universe),
        ["instance", "service-accounts"] => Ok(Wanted::Accounts(recursive)),
        ["instance", "service-accounts", account] => Ok(Wanted::Account((*account).to_owned(), recursive)),
        ["instance", "service-accounts", account, leaf] => {
            let account = (*account).to_owned();
            match *leaf {
                "token" => Ok(Wanted::Token(account)),
                "email" => Ok(Wanted::Email(account)),
                "scopes" => Ok(Wanted::Scopes(account)),
                "aliases" => Ok(Wanted::Aliases(account)),
                "identity" => Err(Problem::new(
                    StatusCode::NOT_FOUND,
                    "identity",
                    "a grant gives access tokens, and no identity token",
                )),
                _ => missing(path),
            }
        }
        _ => missing(path),
    }
}

fn missing(path: &str) -> Result<Wanted, Problem> {
    let message = format!("{path} is not known here: this is grantctl exec, and no virtual machine");
    Err(Problem::new(StatusCode::NOT_FOUND, "path", message))
}

fn exchange(asking: &Asking<'_>) -> Result<Wanted, Problem> {
    let form = std::str::from_utf8(asking.body).unwrap_or_default();
    let bad = |code, message: &str| Err(Problem::new(StatusCode::BAD_REQUEST, code, message));
    if member(form, "grant_type").as_deref() != Some("urn:ietf:params:oauth:grant-type:token-exchange") {
        return bad("unsupported_grant_type", "only a token exchange is answered");
    }
    let token = Zeroizing::new(member(form, "subject_token").unwrap_or_default());
    if !asking.is_token(token.as_bytes()) {
        return bad("invalid_grant", "the subject token is not the one of this grantctl exec");
    }
    Ok(Wanted::Exchange)
}

/// What a client asks to find out whether it is on a virtual machine, and in which universe. If that were refused it would
/// look for a credential elsewhere, and nobody would be told why there is none.
pub(super) fn here(wanted: &Wanted) -> Option<Reply> {
    match wanted {
        Wanted::Ping => Some(Reply::text("computeMetadata/\n")),
        Wanted::Universe => Some(Reply::text("googleapis.com")),
        _ => None,
    }
}

pub(super) fn given(gcp: &Gcp, wanted: &Wanted, now: Timestamp) -> Result<Reply, Problem> {
    let email = email(&gcp.principal);
    let ours = |account: &str| {
        if account == "default" || account == email {
            return Ok(());
        }
        let message = format!("account {account} is not that of the lease, {email}; name none, or default");
        Err(Problem::new(StatusCode::NOT_FOUND, "account", message))
    };
    let whole = || json!({ "aliases": ["default"], "email": email, "scopes": [SCOPE] });
    let json = |value: &Value| Ok(Reply::says(StatusCode::OK, value));
    let text = |text: &str| Ok(Reply::text(text));
    match wanted {
        Wanted::Ping | Wanted::Universe => here(wanted).ok_or_else(Problem::internal),
        Wanted::Token(account) => {
            ours(account).and_then(|()| gcp.metadata_json(now).map(Reply::json).map_err(|_| Problem::internal()))
        }
        Wanted::Exchange => exchanged(gcp, now),
        // RFC 7662, 2.2: of a token that it does not know it tells no more than that.
        Wanted::Whose(held) if *held != Held(gcp.access_token.clone()) => json(&json!({ "active": false })),
        Wanted::Whose(_) => json(&json!({
            "active": true, "username": gcp.principal, "scope": SCOPE, "token_type": "Bearer",
        })),
        Wanted::Project => text(&gcp.project),
        Wanted::Accounts(true) => json(&json!({ "default": whole(), email: whole() })),
        Wanted::Accounts(false) => text(&format!("default/\n{email}/\n")),
        Wanted::Account(account, true) => ours(account).and_then(|()| json(&whole())),
        Wanted::Account(account, false) => ours(account).and_then(|()| text("aliases\nemail\nscopes\ntoken\n")),
        Wanted::Email(account) => ours(account).and_then(|()| text(email)),
        Wanted::Scopes(account) => ours(account).and_then(|()| text(&format!("{SCOPE}\n"))),
        Wanted::Aliases(account) => ours(account).and_then(|()| text("default\n")),
    }
}

fn exchanged(gcp: &Gcp, now: Timestamp) -> Result<Reply, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        access_token: &'a str,
        issued_token_type: &'a str,
        token_type: &'a str,
        expires_in: i64,
    }
    let document = Document {
        access_token: &gcp.access_token,
        issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
        token_type: "Bearer",
        expires_in: gcp.expires_in(now),
    };
    secret::json(&document).map(Reply::json).map_err(|_| Problem::internal())
}

pub(super) fn refused(path: &str, problem: &Problem) -> Reply {
    let Problem { status, code, message } = problem;
    if path == EXCHANGE || path == INTROSPECT {
        // RFC 6749, 5.2. Clients show both.
        return Reply::says(*status, &json!({ "error": code, "error_description": message }));
    }
    let body = Zeroizing::new(format!("grantctl: {message}\n").into_bytes());
    Reply { status: *status, kind: "text/plain", body }
}

/// A name without slashes for the account: a service account's address, or the subject of a federated identity, which has
/// no address.
fn email(principal: &str) -> &str {
    principal.trim_end_matches('/').rsplit('/').next().unwrap_or(principal)
}

/// A credential file that leads to the exchange ("Workload identity federation", credential configuration). Nothing of it
/// is secret: the token stands in the file at `token`.
pub(in crate::exec) fn external_account(exchange: &str, introspect: &str, token: &Path) -> String {
    json!({
        "type": "external_account",
        "audience": "//grantd/exec",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": exchange,
        "token_info_url": introspect,
        "credential_source": { "file": token, "format": { "type": "text" } },
    })
    .to_string()
}

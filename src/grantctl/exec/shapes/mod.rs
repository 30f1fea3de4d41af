//! What a cloud's clients ask a front, and in which words they are answered. Pure: who may ask was found out before.

mod aws;
mod azure;
mod gcp;

use hyper::header::HeaderName;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::Value;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::secret::{Cloud, Secret};

pub(super) use self::aws::PATH as AWS_PATH;
pub(super) use self::azure::{APP_SERVICE as AZURE_APP_SERVICE, VIRTUAL_MACHINE as AZURE_VIRTUAL_MACHINE};
pub(super) use self::gcp::{EXCHANGE as GCP_EXCHANGE, INTROSPECT as GCP_INTROSPECT, external_account};

/// Which cloud's clients are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape(pub Cloud);

/// A request, once it is read.
pub(super) struct Asking<'a> {
    /// Its head.
    pub head: &'a Parts,
    /// Its body, with a token in it.
    pub body: &'a [u8],
    /// What the caller has to know. Not every protocol has a place for it.
    pub token: &'a str,
}

/// What is wanted of the credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wanted {
    Aws,
    Azure { resource: String, client_id: Option<String> },
    Gcp(gcp::Wanted),
}

/// Why a request is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A word for programs.
    pub code: &'static str,
    /// What a person reads.
    pub message: String,
}

/// What goes back. It may hold a credential: it has no `Debug`.
pub(super) struct Reply {
    /// The HTTP status.
    pub status: StatusCode,
    /// The content type.
    pub kind: &'static str,
    /// The body.
    pub body: Zeroizing<Vec<u8>>,
}

impl Shape {
    /// What a request wants.
    pub(super) fn asked(self, asking: &Asking<'_>) -> Result<Wanted, Problem> {
        match self.0 {
            Cloud::Aws => aws::asked(asking).map(|()| Wanted::Aws),
            Cloud::Azure => azure::asked(asking),
            Cloud::Gcp => gcp::asked(asking).map(Wanted::Gcp),
            // It is read from a file: there is no front for it.
            Cloud::Oidc => Err(Problem::internal()),
        }
    }

    /// What is answered whether there is a credential or not: that somebody is here.
    pub(super) fn here(wanted: &Wanted) -> Option<Reply> {
        match wanted {
            Wanted::Gcp(wanted) => gcp::here(wanted),
            Wanted::Aws | Wanted::Azure { .. } => None,
        }
    }

    /// Gives it.
    pub(super) fn given(wanted: &Wanted, secret: &Secret, now: Timestamp) -> Result<Reply, Problem> {
        match (wanted, secret) {
            (Wanted::Aws, Secret::Aws(aws)) => aws::given(aws),
            (Wanted::Azure { resource, client_id }, Secret::Azure(azure)) => {
                azure::given(azure, resource, client_id.as_deref(), now)
            }
            (Wanted::Gcp(wanted), Secret::Gcp(gcp)) => gcp::given(gcp, wanted, now),
            _ => Err(Problem::internal()),
        }
    }

    /// Says why not, as the clients that ask at `path` show it to people.
    pub(super) fn refused(self, path: &str, problem: &Problem) -> Reply {
        match self.0 {
            Cloud::Aws | Cloud::Oidc => aws::refused(problem),
            Cloud::Azure => azure::refused(path, problem),
            Cloud::Gcp => gcp::refused(path, problem),
        }
    }
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// A fault of this program.
    pub(super) fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "grantctl could not make its answer")
    }
}

impl Reply {
    fn json(body: Zeroizing<Vec<u8>>) -> Self {
        Self { status: StatusCode::OK, kind: "application/json", body }
    }

    fn text(body: &str) -> Self {
        Self { status: StatusCode::OK, kind: "application/text", body: Zeroizing::new(body.as_bytes().to_vec()) }
    }

    fn says(status: StatusCode, value: &Value) -> Self {
        let body = Zeroizing::new(value.to_string().into_bytes());
        Self { status, kind: "application/json", body }
    }
}

impl Asking<'_> {
    /// A header that is there once.
    fn header(&self, name: impl Into<HeaderName>) -> Option<&[u8]> {
        single(self.head, name.into())
    }

    /// Whether a header is the token.
    fn has_token(&self, name: impl Into<HeaderName>) -> bool {
        self.is_token(self.header(name).unwrap_or_default())
    }

    fn is_token(&self, said: &[u8]) -> bool {
        bool::from(said.ct_eq(self.token.as_bytes()))
    }

    /// A member of the query that is there once, decoded.
    fn query(&self, name: &str) -> Option<String> {
        member(self.head.uri.query().unwrap_or_default(), name)
    }

    fn only(&self, method: &Method) -> Result<(), Problem> {
        if self.head.method == *method {
            return Ok(());
        }
        Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", format!("only {method} is answered")))
    }

    /// A proxy that passes on what strangers send marks it so; metadata servers answer none of it.
    fn direct(&self) -> Result<(), Problem> {
        if self.head.headers.contains_key("x-forwarded-for") {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "forwarded",
                "requests by way of a proxy are not answered",
            ));
        }
        Ok(())
    }
}

/// A header that is there once.
pub(super) fn single(head: &Parts, name: HeaderName) -> Option<&[u8]> {
    let mut values = head.headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(|value| value.as_bytes())
}

/// A member of a query or of a form that is there once, decoded (URL Standard, application/x-www-form-urlencoded).
fn member(text: &str, name: &str) -> Option<String> {
    let mut found = text.split('&').filter_map(|member| {
        let (key, value) = member.split_once('=').unwrap_or((member, ""));
        (decoded(key)? == name).then(|| decoded(value))
    });
    found.next().filter(|_| found.next().is_none()).flatten()
}

fn decoded(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
#[path = "shapes_tests.rs"]
mod tests;

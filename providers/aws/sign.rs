//! Requests to services that have no client here: one of a kind, signed with Signature Version 4 (IAM User Guide, "AWS
//! Signature Version 4 for API requests").

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use grantd_provider_api::{ErrorKind, ProviderError};
use serde_json::Value;

use crate::account::Account;
use crate::arn::Arn;
use crate::error::Call;

/// One request, before it is signed.
pub(crate) struct Ask {
    /// As signatures name it.
    pub service: &'static str,
    /// The first part of its own endpoint's name.
    pub host: &'static str,
    pub method: &'static str,
    /// Path and query.
    pub target: String,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Ask {
    /// One in AWS's JSON protocol.
    pub(crate) fn json(service: &'static str, target: &str, version: &str, body: &Value) -> Self {
        Self {
            service,
            host: service,
            method: "POST",
            target: "/".to_owned(),
            headers: vec![
                ("content-type", format!("application/x-amz-json-{version}")),
                ("x-amz-target", target.to_owned()),
            ],
            body: body.to_string(),
        }
    }

    /// A question to S3 about a bucket, by path: a bucket's name with a full stop in it has no certificate of its own.
    pub(crate) fn bucket(name: &str, query: &str) -> Self {
        Self {
            service: "s3",
            host: "s3",
            method: "GET",
            target: format!("/{name}?{query}"),
            headers: Vec::new(),
            body: String::new(),
        }
    }
}

/// `ask` about `on`, signed by `credentials`, to the endpoint that is configured or the service's own.
///
/// # Errors
/// `Config` when it cannot be built; nothing was sent.
pub(crate) fn signed(
    call: &Call<'_>,
    account: &Account,
    ask: &Ask,
    on: &Arn,
    credentials: &Credentials,
) -> Result<HttpRequest, ProviderError> {
    let unsendable = || call.error(ErrorKind::Config, "the request could not be built, so nothing was sent");
    let region = if on.region().is_empty() { account.config.region.as_str() } else { on.region() };
    let endpoint = match &account.config.endpoint {
        Some(endpoint) => endpoint.as_str().trim_end_matches('/').to_owned(),
        None => {
            let suffix = if on.partition() == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://{}.{region}.{suffix}", ask.host)
        }
    };
    let identity = credentials.clone().into();
    let mut settings = SigningSettings::default();
    if ask.service == "s3" {
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    }
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(ask.service)
        .time(account.clock.now().into())
        .settings(settings)
        .build()
        .map_err(|_| unsendable())?
        .into();
    let uri = format!("{endpoint}{}", ask.target);
    let headers = ask.headers.iter().map(|(name, value)| (*name, value.as_str()));
    let body = SignableBody::Bytes(ask.body.as_bytes());
    let signable = SignableRequest::new(ask.method, uri.as_str(), headers, body).map_err(|_| unsendable())?;
    let (instructions, _) = sign(signable, &params).map_err(|_| unsendable())?.into_parts();
    let mut request = HttpRequest::new(SdkBody::from(ask.body.clone()));
    request.set_method(ask.method).map_err(|_| unsendable())?;
    request.set_uri(uri).map_err(|_| unsendable())?;
    for (name, value) in &ask.headers {
        request.headers_mut().try_insert(*name, value.clone()).map_err(|_| unsendable())?;
    }
    for (name, value) in instructions.headers() {
        request.headers_mut().try_insert(name.to_owned(), value.to_owned()).map_err(|_| unsendable())?;
    }
    Ok(request)
}

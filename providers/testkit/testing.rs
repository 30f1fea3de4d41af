//! A raw client for the tests of this crate: sends exactly what it is told to, with no SDK that would correct it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::query::{namespace_of, percent_encoded};

/// The key that `FakeStsSettings::default()` knows.
pub(crate) const KEY: &str = "AKIAGRANTDBASE000000";

/// An `Authorization` header of the right shape for `service`.
pub(crate) fn authorization(key: &str, service: &str) -> String {
    let signature = "0".repeat(64);
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/eu-west-1/{service}/aws4_request, SignedHeaders=host;x-amz-date, \
         Signature={signature}"
    )
}

/// Posts a form with a good `Authorization`; status and body, or how the connection ended.
pub(crate) fn post(url: &str, form: &[(&str, &str)]) -> io::Result<(u16, String)> {
    let action = form.iter().find(|(name, _)| *name == "Action").map_or("", |(_, action)| action);
    let service = if namespace_of(action).contains("iam") { "iam" } else { "sts" };
    post_with(url, Some(&authorization(KEY, service)), form)
}

/// Posts a form with the given `Authorization` or none.
pub(crate) fn post_with(url: &str, authorization: Option<&str>, form: &[(&str, &str)]) -> io::Result<(u16, String)> {
    let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
    let body = body.join("&");
    let authorization = authorization.map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: fake\r\nConnection: close\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\n{authorization}\r\n{body}",
        body.len()
    );
    exchange(url, &request)
}

/// Sends one request and reads to the end of the connection, for 5 s at most.
pub(crate) fn exchange(url: &str, request: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(url.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
    Ok((status, body.to_owned()))
}

/// `AssumeRole` on the first role with the given session name and 900 s.
pub(crate) fn assume(url: &str, name: &str) -> io::Result<(u16, String)> {
    let arn = "arn:aws:iam::123456789012:role/grantd-target-1";
    let form = [("Action", "AssumeRole"), ("RoleArn", arn), ("RoleSessionName", name), ("DurationSeconds", "900")];
    post(url, &form)
}

//! Signing a URL for AWS: Signature Version 4, in the query ("AWS Signature Version 4 for API requests", create a signed
//! request). Pure. grantctl signs one request of one kind; an SDK would weigh more than all the rest of it.

use data_encoding::HEXLOWER;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::aws::Aws;

/// All but the unreserved characters (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signed<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub region: &'a str,
    pub service: &'a str,
    /// Members of the query beside those of the signature.
    pub query: &'a [(&'a str, &'a str)],
    /// Headers beside `host` that have to be sent as they are here; names in lowercase.
    pub headers: &'a [(&'a str, &'a str)],
    /// How long the URL holds, in seconds.
    pub expires: u32,
    /// The digest of the payload, or a word in its place.
    pub payload: &'a str,
}

/// The SHA-256 of nothing.
pub(crate) const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Signed<'_> {
    /// The URL of a GET request. It is a secret as long as it holds. Nothing when `now` cannot be written.
    pub(crate) fn url(&self, aws: &Aws, now: Timestamp) -> Zeroizing<String> {
        let now = now.to_zoned(TimeZone::UTC);
        let (date, time) = (now.strftime("%Y%m%d").to_string(), now.strftime("%Y%m%dT%H%M%SZ").to_string());
        let scope = format!("{date}/{}/{}/aws4_request", self.region, self.service);
        let mut headers = vec![("host", self.host)];
        headers.extend_from_slice(self.headers);
        headers.sort_unstable();
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let credential = format!("{}/{scope}", aws.access_key_id);
        let expires = self.expires.to_string();
        let mut query = vec![
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", &credential),
            ("X-Amz-Date", &time),
            ("X-Amz-Expires", &expires),
            ("X-Amz-SignedHeaders", &names),
        ];
        if !aws.session_token.is_empty() {
            query.push(("X-Amz-Security-Token", &aws.session_token));
        }
        query.extend_from_slice(self.query);
        query.sort_unstable();
        let room = aws.session_token.len().saturating_mul(3).saturating_add(2048);
        let mut text = Zeroizing::new(String::with_capacity(room));
        for (name, value) in query {
            if !text.is_empty() {
                text.push('&');
            }
            text.extend(utf8_percent_encode(name, ENCODED));
            text.push('=');
            text.extend(utf8_percent_encode(value, ENCODED));
        }
        let mut request = Sha256::new();
        for piece in ["GET\n", self.path, "\n", &text, "\n"] {
            request.update(piece);
        }
        for (name, value) in headers {
            for piece in [name, ":", value.trim(), "\n"] {
                request.update(piece);
            }
        }
        for piece in ["\n", &names, "\n", self.payload] {
            request.update(piece);
        }
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", HEXLOWER.encode(&request.finalize()));
        let first = Zeroizing::new(format!("AWS4{}", *aws.secret_access_key));
        let mut key = hashed(first.as_bytes(), &date);
        for word in [self.region, self.service, "aws4_request"] {
            key = hashed(&*key, word);
        }
        let signature = HEXLOWER.encode(&*hashed(&*key, &to_sign));
        let mut url = Zeroizing::new(String::with_capacity(room.saturating_add(2048)));
        for piece in ["https://", self.host, self.path, "?", &text, "&X-Amz-Signature=", &signature] {
            url.push_str(piece);
        }
        url
    }
}

fn hashed(key: &[u8], text: &str) -> Zeroizing<[u8; 32]> {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Zeroizing::new([0; 32]) };
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aws(session_token: &str) -> Aws {
        Aws {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: Zeroizing::new("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned()),
            session_token: Zeroizing::new(session_token.to_owned()),
            expiration: String::new(),
            region: None,
        }
    }

    /// Amazon S3 API Reference, "Authenticating requests: using query parameters", example.
    #[test]
    fn the_example_that_aws_publishes_comes_out() {
        let signed = Signed {
            host: "examplebucket.s3.amazonaws.com",
            path: "/test.txt",
            region: "us-east-1",
            service: "s3",
            query: &[],
            headers: &[],
            expires: 86_400,
            payload: "UNSIGNED-PAYLOAD",
        };
        assert_eq!(
            *signed.url(&aws(""), "2013-05-24T00:00:00Z".parse().unwrap()),
            "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=\
             AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&\
             X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=\
             aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
        );
    }

    /// The key of "Create a signed AWS API request", examples of deriving a signing key.
    #[test]
    fn the_key_that_aws_publishes_comes_out() {
        let mut key = hashed(b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", "20120215");
        for word in ["us-east-1", "iam", "aws4_request"] {
            key = hashed(&*key, word);
        }
        let expected = "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d";
        assert_eq!(HEXLOWER.encode(&*key), expected);
    }

    #[test]
    fn the_digest_of_nothing_is_what_it_is() {
        assert_eq!(HEXLOWER.encode(&Sha256::digest(b"")), EMPTY);
    }
}

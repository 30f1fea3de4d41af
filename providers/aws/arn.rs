//! Amazon Resource Names. Pure.

use std::fmt;
use std::str::FromStr;

/// An ARN that names exactly one thing: no wildcards, no policy variables
/// (AWS General Reference, "Amazon Resource Names").
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arn {
    text: String,
    partition: (usize, usize),
    service: (usize, usize),
    region: (usize, usize),
    account: (usize, usize),
    resource: usize,
}

/// The text is not an exact ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an exact ARN: {why}")]
pub struct ArnError {
    text: String,
    why: &'static str,
}

impl Arn {
    /// The partition: `aws`, `aws-cn`, `aws-us-gov`.
    #[must_use]
    pub fn partition(&self) -> &str {
        self.part(self.partition)
    }

    /// The service prefix, e.g. `s3`.
    #[must_use]
    pub fn service(&self) -> &str {
        self.part(self.service)
    }

    /// The region; empty for global things.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(self.region)
    }

    /// The account id; empty for S3 buckets and the like.
    #[must_use]
    pub fn account(&self) -> &str {
        self.part(self.account)
    }

    /// What comes after the fifth colon.
    #[must_use]
    pub fn resource(&self) -> &str {
        self.text.get(self.resource..).unwrap_or_default()
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The last segment of the resource: the name of a role or policy without its path.
    #[must_use]
    pub fn name(&self) -> &str {
        self.resource().rsplit('/').next().unwrap_or_default()
    }

    fn part(&self, (start, end): (usize, usize)) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }
}

impl FromStr for Arn {
    type Err = ArnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| ArnError { text: text.chars().take(64).collect(), why };
        if text.len() > 1_600 {
            return Err(wrong("it is longer than 1600 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong("it holds a character that no ARN has"));
        }
        if text.contains(['*', '?', '$', '{', '}', '"', '\\']) {
            return Err(wrong("a wildcard, variable or quote would name more than one thing"));
        }
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") {
            return Err(wrong("it starts with \"arn:\""));
        }
        let mut at = 4_usize;
        let mut next = || {
            let part = parts.next()?;
            let span = (at, at.saturating_add(part.len()));
            at = span.1.saturating_add(1);
            Some((part, span))
        };
        let word = |s: &str| s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let shape = "it looks like arn:partition:service:region:account:resource";
        let (Some(partition), Some(service), Some(region), Some(account), Some(resource)) =
            (next(), next(), next(), next(), next())
        else {
            return Err(wrong(shape));
        };
        if partition.0.is_empty() || !word(partition.0) || service.0.is_empty() || !word(service.0) {
            return Err(wrong(shape));
        }
        if !word(region.0) || resource.0.is_empty() {
            return Err(wrong(shape));
        }
        if !account.0.is_empty() && !is_account_id(account.0) {
            return Err(wrong("its account is not twelve digits"));
        }
        Ok(Self {
            text: text.to_owned(),
            partition: partition.1,
            service: service.1,
            region: region.1,
            account: account.1,
            resource: resource.1.0,
        })
    }
}

impl fmt::Display for Arn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether `text` is twelve digits.
pub(crate) fn is_account_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_has_six_parts_and_the_last_may_hold_colons() {
        let arn: Arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db/pass-AbCdEf".parse().unwrap();
        assert_eq!(
            (arn.partition(), arn.service(), arn.region(), arn.account(), arn.resource(), arn.name()),
            ("aws", "secretsmanager", "eu-west-1", "123456789012", "secret:db/pass-AbCdEf", "pass-AbCdEf")
        );
        let bucket: Arn = "arn:aws:s3:::alpha".parse().unwrap();
        assert_eq!((bucket.region(), bucket.account(), bucket.resource()), ("", "", "alpha"));
    }

    #[test]
    fn what_names_more_than_one_thing_is_no_exact_arn() {
        for bad in [
            "",
            "arn",
            "arn:aws:s3:::",
            "arn:aws:s3::alpha",
            "arn:aws:s3:::*",
            "arn:aws:s3:::a?",
            "arn:aws:s3:::${aws:username}",
            "arn:aws:s3:::a b",
            "arn:aws:s3:::\u{e9}",
            "arn:AWS:s3:::a",
            "arn:aws:s3:::a\"b",
            "arn:aws:sqs:eu-west-1:1234:q",
            "ARN:aws:s3:::a",
        ] {
            assert!(bad.parse::<Arn>().is_err(), "{bad:?} was taken");
        }
    }
}

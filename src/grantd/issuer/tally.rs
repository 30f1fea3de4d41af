//! How many tokens an issuer signed, by what they are for. Neither an audience nor a subject is in it: whoever may read the
//! metrics learns how the issuer is, and of nobody whom its tokens are about.

use std::sync::atomic::{AtomicU64, Ordering};

use grantd_model::KeyRing;
use jiff::Timestamp;

/// How an issuer stands.
#[derive(Debug, Clone)]
pub struct IssuerFigures {
    /// Its name.
    pub issuer: &'static str,
    /// How many tokens it signed since the start, by the kind of their audience.
    pub minted: [(&'static str, u64); 4],
    /// How many it was asked for and could not give.
    pub errors: u64,
    /// Since when its key signs, if one does.
    pub signs_since: Option<Timestamp>,
    /// Whether that key was never published.
    pub signs_unknown: bool,
    /// Whether a rotation waits for somebody to publish the next key.
    pub waits: bool,
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Tally {
    minted: [AtomicU64; 4],
    errors: AtomicU64,
}

/// For whom a token is: a cloud's federation, or somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Aws,
    Azure,
    Gcp,
    Other,
}

impl Kind {
    const NAMES: [&str; 4] = ["aws", "azure", "gcp", "other"];

    /// By what the clouds have tokens say (IAM User Guide, "Create an OpenID Connect identity provider"; Microsoft Entra
    /// workload ID, "Important considerations for federated identity credentials"; Google Cloud IAM, "Workload Identity
    /// Federation", allowed audiences). One that was configured otherwise is another's.
    fn of(audience: &str) -> Self {
        let host = audience.strip_prefix("https:").unwrap_or(audience);
        if matches!(audience, "sts.amazonaws.com" | "sts.amazonaws.com.cn") {
            Self::Aws
        } else if audience.starts_with("api://AzureADTokenExchange") {
            Self::Azure
        } else if host.starts_with("//iam.googleapis.com/") {
            Self::Gcp
        } else {
            Self::Other
        }
    }
}

impl Tally {
    /// Counts an answer to somebody who asked for a token for `audience`.
    pub fn count(&self, audience: &str, signed: bool) {
        let [aws, azure, gcp, other] = &self.minted;
        let counter = match (signed, Kind::of(audience)) {
            (false, _) => &self.errors,
            (true, Kind::Aws) => aws,
            (true, Kind::Azure) => azure,
            (true, Kind::Gcp) => gcp,
            (true, Kind::Other) => other,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// The figures, with those of the keys.
    pub fn figures(&self, issuer: &'static str, ring: &KeyRing) -> IssuerFigures {
        let [aws, azure, gcp, other] = &self.minted;
        let mut counts = [aws, azure, gcp, other].into_iter().map(|counter| counter.load(Ordering::Relaxed));
        IssuerFigures {
            issuer,
            minted: Kind::NAMES.map(|name| (name, counts.next().unwrap_or_default())),
            errors: self.errors.load(Ordering::Relaxed),
            signs_since: ring.signs_since(),
            signs_unknown: ring.signs_unknown(),
            waits: ring.waits_for_publishing(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_counted_by_whom_it_is_for() {
        for (audience, kind) in [
            ("sts.amazonaws.com", Kind::Aws),
            ("sts.amazonaws.com.cn", Kind::Aws),
            ("api://AzureADTokenExchange", Kind::Azure),
            ("api://AzureADTokenExchangeUSGov", Kind::Azure),
            ("https://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q", Kind::Gcp),
            ("//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q", Kind::Gcp),
            ("https://iam.googleapis.com.example.com/", Kind::Other),
            ("https://registry.example.com", Kind::Other),
        ] {
            assert_eq!(Kind::of(audience), kind, "{audience}");
        }
        let tally = Tally::default();
        tally.count("sts.amazonaws.com", true);
        tally.count("sts.amazonaws.com", false);
        tally.count("https://registry.example.com", true);
        let figures = tally.figures("federation", &KeyRing::default());
        assert_eq!(figures.minted, [("aws", 1), ("azure", 0), ("gcp", 0), ("other", 1)]);
        assert_eq!((figures.errors, figures.signs_since, figures.waits), (1, None, false));
    }
}

//! What is measured of the issuers of tokens. They count themselves where they sign; it is told here.

use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::families::Adder;
use super::seconds;
use crate::issuer::IssuerFigures;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issuer {
    issuer: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Minted {
    issuer: &'static str,
    audience: &'static str,
}

/// All of it. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct IssuerFamilies {
    minted: Family<Minted, Counter>,
    errors: Family<Issuer, Counter>,
    age: Family<Issuer, Gauge<f64, AtomicU64>>,
    unknown: Family<Issuer, Gauge>,
    waits: Family<Issuer, Gauge>,
}

impl IssuerFamilies {
    /// Each under its name and with its meaning.
    pub fn registered(add: &mut Adder<'_>) -> Self {
        let all = Self::default();
        let minted = "Tokens that an issuer signed since the start, by the kind of audience: a cloud, or other";
        add.one("issuer_tokens_minted", minted, &all.minted);
        add.one("issuer_signing_errors", "Tokens that an issuer was asked for and could not sign", &all.errors);
        add.time("issuer_key_age", "For how long the key that signs does so; absent when none does", &all.age);
        add.one("issuer_key_unpublished", "1 while the key that signs was never published", &all.unknown);
        add.one("issuer_rotation_waits", "1 while a new key waits for somebody to publish it", &all.waits);
        all
    }

    /// Sets everything as it stands.
    pub fn stand(&self, issuers: &[IssuerFigures], now: Timestamp) {
        for figures in issuers {
            let issuer = Issuer { issuer: figures.issuer };
            for (audience, count) in figures.minted {
                let minted = self.minted.get_or_create(&Minted { issuer: figures.issuer, audience });
                minted.inner().store(count, Ordering::Relaxed);
            }
            self.errors.get_or_create(&issuer).inner().store(figures.errors, Ordering::Relaxed);
            match figures.signs_since {
                Some(since) => drop(self.age.get_or_create(&issuer).set(seconds(since, now))),
                None => drop(self.age.remove(&issuer)),
            }
            self.unknown.get_or_create(&issuer).set(figures.signs_unknown.into());
            self.waits.get_or_create(&issuer).set(figures.waits.into());
        }
    }
}

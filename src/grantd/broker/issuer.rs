//! The keys of the daemon's own issuers: each change is on record before it is made, so no token is signed by a key that the
//! audit does not know.

use std::sync::Arc;
use std::time::Duration;

use grantd_model::Actor;
use grantd_provider_api::{Finding, Standing};

use super::{Broker, BrokerError, daemon};
use crate::attest::Caller;
use crate::failpoint;
use crate::issuer::{Change, Issuer, IssuerError};

/// How often is looked whether something is due.
const PERIOD: Duration = Duration::from_secs(60);

impl Broker {
    /// Does whatever is due for the keys, now.
    ///
    /// # Errors
    /// When no key can be made, recorded or kept.
    pub(super) async fn tend_issuers(&self) -> Result<(), BrokerError> {
        for issuer in &self.inner.issuers {
            self.tend_issuer(issuer).await?;
        }
        Ok(())
    }

    /// The same every minute, for ever.
    pub(super) async fn tend_issuers_for_ever(self) {
        while self.pause(PERIOD).await {
            if let Err(error) = self.tend_issuers().await {
                tracing::error!(%error, "a key of an issuer that is due is not made, used or retired: tried again in a minute");
            }
        }
    }

    /// What is wrong with the issuers, in words.
    #[must_use]
    pub fn issuer_alarms(&self) -> Vec<String> {
        self.inner.issuers.iter().flat_map(|issuer| issuer.alarms()).collect()
    }

    /// The issuers, for whoever may see everything.
    ///
    /// # Errors
    /// When the caller may not.
    pub fn see_issuers(&self, caller: &Caller) -> Result<Vec<Arc<Issuer>>, BrokerError> {
        self.must_be_auditor(caller, "the issuers of tokens")?;
        Ok(self.inner.issuers.clone())
    }

    /// The issuer whose documents an administrator is to publish.
    ///
    /// # Errors
    /// When the caller is none, or there is no such issuer.
    pub fn issuer_to_publish(&self, caller: &Caller, name: &str) -> Result<Arc<Issuer>, BrokerError> {
        self.must_be_administrator(caller, "publishing the keys of an issuer")?;
        self.issuer(name)
    }

    /// A new key for an issuer; with `leaked`, it signs at once, and the one before is published no more.
    ///
    /// # Errors
    /// When the caller is no administrator, a new key waits already, or it cannot be made, recorded or kept.
    pub async fn rotate_issuer(&self, caller: &Caller, name: &str, leaked: bool) -> Result<Arc<Issuer>, BrokerError> {
        let name = name.to_owned();
        self.on_record(caller, "issuer.refused", (None, None), move |broker, caller| async move {
            broker.must_be_administrator(&caller, "the keys of an issuer")?;
            let issuer = broker.issuer(&name)?;
            let _one_at_a_time = broker.inner.keys.lock().await;
            // One that waits for its time takes the place of one that leaked, too.
            if !leaked || issuer.ring().next().next().is_none() {
                let change = blocking({
                    let issuer = Arc::clone(&issuer);
                    move || issuer.rotate()
                });
                broker.change_keys(&issuer, change.await?, caller.actor()).await?;
            }
            if leaked {
                broker.change_keys(&issuer, issuer.drop_signing()?, caller.actor()).await?;
            }
            Ok(issuer)
        })
        .await
    }

    /// An administrator says that exactly these keys are published.
    ///
    /// # Errors
    /// When the caller is none, other keys are to be published by now, or it cannot be recorded or kept.
    pub async fn issuer_published(
        &self,
        caller: &Caller,
        name: &str,
        keys: Vec<String>,
    ) -> Result<Arc<Issuer>, BrokerError> {
        let name = name.to_owned();
        self.on_record(caller, "issuer.refused", (None, None), move |broker, caller| async move {
            let issuer = broker.issuer_to_publish(&caller, &name)?;
            {
                let _one_at_a_time = broker.inner.keys.lock().await;
                broker.change_keys(&issuer, issuer.published(keys)?, caller.actor()).await?;
            }
            broker.tend_issuer(&issuer).await?;
            Ok(issuer)
        })
        .await
    }

    /// How the keys stand, for the doctor.
    pub(super) fn look_over_issuers(&self) -> Vec<Finding> {
        self.inner.issuers.iter().map(|issuer| look_over(issuer)).collect()
    }

    async fn tend_issuer(&self, issuer: &Arc<Issuer>) -> Result<(), BrokerError> {
        let _one_at_a_time = self.inner.keys.lock().await;
        loop {
            let looking = Arc::clone(issuer);
            let Some(change) = blocking(move || looking.due()).await? else { return Ok(()) };
            self.change_keys(issuer, change, daemon("issuer")).await?;
        }
    }

    async fn change_keys(&self, issuer: &Arc<Issuer>, change: Change, actor: Actor) -> Result<(), BrokerError> {
        self.record(change.kind(), actor, (None, None), change.detail(issuer)).await?;
        failpoint::hit("keys.recorded");
        tracing::info!(issuer = issuer.name(), change = change.kind(), "the keys of an issuer change");
        let applying = Arc::clone(issuer);
        blocking(move || applying.apply(change)).await?;
        failpoint::hit("keys.written");
        Ok(())
    }

    fn issuer(&self, name: &str) -> Result<Arc<Issuer>, BrokerError> {
        let found = self.inner.issuers.iter().find(|issuer| issuer.name() == name);
        found.cloned().ok_or_else(|| {
            let shown: String = name.chars().take(32).collect();
            BrokerError::NotFound(format!("there is no issuer \"{shown}\": grantd.toml has no table for it"))
        })
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, IssuerError> + Send + 'static,
) -> Result<T, BrokerError> {
    let died = |error| BrokerError::Internal(format!("a change of keys died inside the daemon: {error}"));
    Ok(tokio::task::spawn_blocking(work).await.map_err(died)??)
}

impl From<IssuerError> for BrokerError {
    fn from(error: IssuerError) -> Self {
        match error {
            IssuerError::State { .. } => Self::State(error.to_string()),
            IssuerError::Keys { .. } => Self::Internal(error.to_string()),
        }
    }
}

fn look_over(issuer: &Issuer) -> Finding {
    const CHECK: &str = "issuer.published";
    let (about, ring) = (format!("issuer {}", issuer.name()), issuer.ring());
    let publish = format!("grantctl issuer publish DIR --issuer {}, into what {} serves", issuer.name(), issuer.url());
    let unpublished: Vec<&str> = ring.unpublished().map(|key| key.id.as_str()).collect();
    if ring.signs_unknown() {
        let found = "the key that signs was never published, so nobody can verify what it signs";
        return Finding::bad(about, CHECK, Standing::Problem, found, publish);
    }
    if !unpublished.is_empty() {
        let found = format!("a new key waits to be published before it signs: {}", unpublished.join(", "));
        return Finding::bad(about, CHECK, Standing::Warning, found, publish);
    }
    if !ring.is_published() {
        let found = "a key is published that is none of its own any more";
        return Finding::bad(about, CHECK, Standing::Warning, found, publish);
    }
    Finding::ok(about, CHECK, format!("its {} keys were published, as an administrator said", ring.keys().len()))
}

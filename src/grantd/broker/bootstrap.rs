//! What sets up the accounts that are configured, with the rights that the catalogue and the map call for and no more.

use std::collections::BTreeSet;

use grantd_provider_api::{AccountNeeds, CapabilityMap, Cloud, Entitlement, Narrowing, Need, Provider};
use serde_json::json;

use super::{Broker, BrokerError};
use crate::attest::Caller;
use crate::policy::Bundle;

impl Broker {
    /// The text that sets up one account of `cloud`, or all of them. `base` names the daemon's identity there.
    ///
    /// # Errors
    /// When the caller is no administrator, the account is not configured, or the adapter cannot do it.
    pub async fn bootstrap(
        &self,
        caller: &Caller,
        cloud: Cloud,
        account: Option<String>,
        base: Option<String>,
    ) -> Result<String, BrokerError> {
        self.on_record(caller, "bootstrap.refused", (None, None), move |broker, caller| async move {
            broker.must_be_administrator(&caller, "the set-up of accounts")?;
            let (bundle, provider) = (broker.bundle(), broker.provider(cloud)?);
            let accounts: Vec<String> = broker.accounts_of(cloud, account.as_deref())?.into_iter().collect();
            if base.is_some() && accounts.len() != 1 {
                let text = "a base identity belongs to one account: say which with --account NAME".to_owned();
                return Err(BrokerError::BadRequest(text));
            }
            let needs = |account: &String| AccountNeeds {
                account: account.clone(),
                base: base.clone(),
                needs: needs(&bundle, provider.as_ref(), account),
            };
            let text = provider.bootstrap(&accounts.iter().map(needs).collect::<Vec<_>>())?;
            let detail = json!({ "cloud": cloud, "accounts": accounts, "policy": bundle.version });
            broker.record("bootstrap.print", caller.actor(), (None, None), detail).await?;
            Ok(text)
        })
        .await
    }

    /// The configured accounts of `cloud`, or the one that is named.
    pub(super) fn accounts_of(&self, cloud: Cloud, named: Option<&str>) -> Result<BTreeSet<String>, BrokerError> {
        let health = self.provider(cloud)?.health();
        let mut accounts: BTreeSet<String> = health.into_iter().map(|health| health.account).collect();
        let Some(name) = named else { return Ok(accounts) };
        if !accounts.contains(name) {
            let known = accounts.into_iter().collect::<Vec<_>>().join(", ");
            let text = format!("no account of {cloud} is configured under the name \"{name}\": there are {known}");
            return Err(BrokerError::NotFound(text));
        }
        accounts.retain(|account| account == name);
        Ok(accounts)
    }
}

/// Everything that can be asked for in an account. A capability that cannot be planned on a resource cannot be asked
/// for on it either.
pub(super) fn needs(bundle: &Bundle, provider: &dyn Provider, account: &str) -> Vec<Need> {
    let empty = CapabilityMap::default();
    let map = bundle.maps.get(&provider.cloud()).unwrap_or(&empty);
    let mut needs = Vec::new();
    for resource in bundle.catalog.iter().filter(|r| r.cloud == provider.cloud() && r.account == account) {
        for capability in map.capability.keys().filter(|capability| capability.resource_type() == resource.kind) {
            let entitlement = Entitlement {
                capability: capability.clone(),
                resource: resource.resource_ref(),
                narrowing: Narrowing::default(),
            };
            if let Ok(plan) = provider.plan(&entitlement, map) {
                needs.push(Need { resource: resource.name.clone(), capability: capability.clone(), plan });
            }
        }
    }
    needs
}

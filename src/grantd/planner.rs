//! What a configuration plans for a request, without a daemon: for an approver elsewhere, who has the organisation's own
//! catalogue, maps and accounts and need not believe what a daemon says. Plans are pure, so nothing is asked of a cloud, and
//! no secret that the configuration names has to be there.

use std::cell::RefCell;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantd::config::{Host, Settings, resolve_credentials};
use grantd::startup;
use grantd::sys::files::{self, Owners};
use grantd_model::{Request, request_digest};
use grantd_provider_api::{CapabilityMap, Clock, SystemClock};
use serde::Deserialize;

use crate::adapters::{self, Secrets};

/// The largest request that is read, in bytes.
const LARGEST: u64 = 1024 * 1024;

/// Where credentials of systemd would be: there are none here, and none is read.
const NO_CREDENTIALS: &str = "/nonexistent";

/// What of a request file matters here.
#[derive(Deserialize)]
struct File {
    request: Request,
}

/// Reads a request file on standard input, and prints what this host would plan for it: `plan`, `tier` and `digest`.
///
/// # Errors
/// In words: what cannot be read, or is not in the catalogue or the maps.
pub fn plan(config: &Path, policy: Option<&PathBuf>) -> Result<(), String> {
    let owners = Owners::root_and_self();
    // The users of another host: each name is somebody, and nobody is told apart by it here.
    let seen = RefCell::new(Vec::new());
    let user = |name: &str| {
        let mut seen = seen.borrow_mut();
        let at = seen.iter().position(|known| known == name).unwrap_or_else(|| {
            seen.push(name.to_owned());
            seen.len().saturating_sub(1)
        });
        u32::try_from(at).ok()?.checked_add(1_000_000)
    };
    let text = files::read_trusted(config, &owners, LARGEST).map_err(|error| error.to_string())?;
    let mut settings = Settings::parse(&text, &user).map_err(|error| error.to_string())?;
    for (cloud, table) in &mut settings.providers {
        resolve_credentials(cloud, table, Some(Path::new(NO_CREDENTIALS))).map_err(|error| error.to_string())?;
    }
    for issuer in [&mut settings.issuer, &mut settings.oidc_issuer].into_iter().flatten() {
        issuer.keys.clear();
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let issuers = startup::issuers(&settings, &owners, &clock)?;
    let providers = adapters::providers(&settings, &owners, &clock, &issuers, Secrets::Absent)?;
    let host = Host { user: &user, group: &|_, _| Some(true) };
    let bundle = startup::read_bundle_of(policy.unwrap_or(&settings.policy_dir), &owners, host)?;

    let mut text = String::new();
    std::io::stdin().lock().take(LARGEST).read_to_string(&mut text).map_err(|error| error.to_string())?;
    let file: File =
        serde_json::from_str(&text).map_err(|error| format!("standard input is no request file: {error}"))?;
    let mut request = file.request;
    let name = &request.resource;
    let resource = bundle.catalog.get(name).ok_or_else(|| format!("\"{name}\" is not in the catalogue"))?;
    request.entitlement.resource = resource.resource_ref();
    let provider = providers.get(&resource.cloud);
    let provider = provider.ok_or_else(|| format!("grantd.toml has no account of {}", resource.cloud))?;
    let empty = CapabilityMap::default();
    let map = bundle.maps.get(&resource.cloud).unwrap_or(&empty);
    let plan = provider.plan(&request.entitlement, map).map_err(|error| error.to_string())?;
    let digest = request_digest(&request, &plan, resource.tier).map_err(|error| error.to_string())?;
    println!("{}", serde_json::json!({ "plan": plan, "tier": resource.tier, "digest": digest }));
    Ok(())
}

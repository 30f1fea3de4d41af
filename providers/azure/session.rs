//! One session: what it will be, computed before anything exists, and the calls that make it.
//!
//! Tokens come first. A token of a slot to which nothing is assigned opens nothing, so whatever goes wrong up to there
//! leaves nothing behind; and a token that came before its role assignment is as good as one that came after, because
//! Azure looks assignments up at each request.

use std::collections::BTreeSet;
use std::time::Duration;

use azure_core::credentials::TokenCredential;
use grantd_provider_api::{
    AzureToken, Cloud, Credential, ErrorKind, IssueRequest, Issued, Placement, ProviderError, Secret, Trial,
};
use jiff::{SignedDuration, Timestamp};

use crate::account::Account;
use crate::arm::{Assignment, Wanted};
use crate::config::SlotConfig;
use crate::credential::{claims, scope_of, slot as slot_credential};
use crate::error::{Call, certain};
use crate::limits::LONGEST_TOKEN;
use crate::names::{assignment, mark, request as schedule_request, session_name};
use crate::pim::{self, SHORTEST};
use crate::plan::Native;
use crate::probe;

/// How often to look whether the assignment is felt.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A session that was checked against every limit, and can be made.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub slot: &'a SlotConfig,
    pub native: Native,
    pub wanted: Vec<Wanted>,
    pub token_until: Timestamp,
    /// When Azure ends the assignments, should the daemon not.
    pub backstop: Option<Timestamp>,
}

/// Computes the session of `request`. Pure.
pub(crate) fn prepare<'a>(account: &'a Account, request: &IssueRequest<'_>) -> Result<Prepared<'a>, ProviderError> {
    let config = &account.config;
    let native = Native::of(request.plan)?;
    let gone = || {
        let text = format!("slot {} of account \"{}\" is not configured any more", request.target, config.name);
        ProviderError::new(ErrorKind::Config, text)
    };
    let known = request.plan.cloud == Cloud::Azure && request.plan.targets.iter().any(|t| t == request.target);
    let slot = account.slot(request.target).filter(|_| known).ok_or_else(gone)?;
    let asked = Duration::try_from(request.access_until.duration_since(request.now)).unwrap_or_default();
    if asked.is_zero() || asked > config.max_session {
        let (asked, most) = (asked.as_secs(), config.max_session.as_secs());
        let text =
            format!("{asked} s is not a length of a session in account \"{}\": ask for {most} s or less", config.name);
        return Err(ProviderError::new(ErrorKind::Unsupported, text));
    }
    let wanted = native.assignments.iter().enumerate().map(|(index, grant)| Wanted {
        id: match native.backstop {
            false => assignment(&grant.scope, request.lease, index),
            true => schedule_request(&grant.scope, request.lease, index),
        },
        role_definition_id: grant.role_definition_id.clone(),
        principal_id: slot.object_id,
        condition: grant.condition.clone(),
        description: mark(request.lease),
    });
    let wanted = wanted.collect();
    // Each call may take its whole time before the last token is made.
    let calls = u32::try_from(native.audiences.len()).unwrap_or(u32::MAX);
    let slack = account.timeouts.operation.saturating_mul(calls).saturating_add(config.token_lifetime);
    let too_far = |_| ProviderError::new(ErrorKind::Unsupported, "the session would end beyond all calendars");
    let token_until = request.now.checked_add(slack).map_err(too_far)?;
    let shortest = request.now.checked_add(SHORTEST).map_err(too_far)?;
    let backstop = native.backstop.then(|| request.access_until.max(shortest));
    Ok(Prepared { slot, native, wanted, token_until, backstop })
}

impl Prepared<'_> {
    /// What is known of the session before it exists.
    pub fn placement(&self) -> Placement {
        let ids: Vec<String> = self.wanted.iter().map(|wanted| wanted.id.clone()).collect();
        Placement { session_name: session_name(&ids), token_until: self.token_until }
    }
}

/// Makes the session.
pub(crate) async fn issue(account: &Account, request: &IssueRequest<'_>) -> Result<Issued, ProviderError> {
    let prepared = prepare(account, request)?;
    let (tokens, token_until) = tokens(account, &prepared, request).await?;
    must_be_alone(account, &prepared).await.map_err(|error| ProviderError::new(certain(error.kind), error.message))?;
    let mut made = false;
    for wanted in &prepared.wanted {
        let assigned = match prepared.backstop {
            None => account.arm.assign(wanted).await,
            Some(until) => pim::assign(&account.arm, wanted, request.now, until).await,
        };
        // What was made before stands there now.
        assigned.map_err(|error| if made { unknown(error) } else { error })?;
        made = true;
    }
    // Whoever else thought the slot was free has written by now, or will see ours.
    must_be_alone(account, &prepared).await.map_err(unknown)?;
    let credential = Credential::Azure {
        tenant: account.config.tenant.to_string(),
        client_id: prepared.slot.client_id.to_string(),
        subscription: prepared.native.subscription.to_string(),
        tokens,
    };
    let (notes, felt) = readiness(account, &prepared.native, &credential).await;
    let ids: Vec<&str> = prepared.wanted.iter().map(|wanted| wanted.id.as_str()).collect();
    let roles: BTreeSet<&str> = prepared.wanted.iter().map(|wanted| wanted.role_definition_id.as_str()).collect();
    let facts = vec![
        ("slot_client_id".to_owned(), prepared.slot.client_id.to_string()),
        ("role_assignments".to_owned(), ids.join(" ")),
        ("role_definitions".to_owned(), roles.into_iter().collect::<Vec<_>>().join(" ")),
        ("felt_at_release".to_owned(), felt.to_owned()),
    ];
    let ends = prepared.backstop.map(|until| ("azure_ends_it".to_owned(), until.to_string()));
    let facts = facts.into_iter().chain(ends).collect();
    let native_id = prepared.placement().session_name;
    Ok(Issued { credential, token_until, native_id, origin: None, facts, notes })
}

/// A token for each audience, and when the last of them dies.
async fn tokens(
    account: &Account,
    prepared: &Prepared<'_>,
    request: &IssueRequest<'_>,
) -> Result<(Vec<AzureToken>, Timestamp), ProviderError> {
    let (config, slot) = (&account.config, prepared.slot);
    let credential = slot_credential(config, slot.client_id, &slot.subject, &account.http, &account.assertions)?;
    let words = format!("slot {}", slot.client_id);
    let mut tokens = Vec::new();
    let mut last = request.access_until;
    let mut first_death = Timestamp::MAX;
    for audience in &prepared.native.audiences {
        let call = Call { account: &config.name, action: "get a token for", on: audience, caller: &words };
        let (token, until) = token(account, credential.as_ref(), slot, audience, &call).await?;
        last = last.max(until);
        first_death = first_death.min(until);
        tokens.push(AzureToken { audience: audience.clone(), token });
    }
    if first_death < request.access_until {
        let most = first_death.duration_since(request.now).as_secs();
        let text = format!(
            "account \"{}\": the tokens live for {most} s, which is less than the session: ask for less, and set \
             max_session to that",
            config.name
        );
        return Err(ProviderError::new(ErrorKind::Unsupported, text));
    }
    Ok((tokens, last))
}

async fn token(
    account: &Account,
    credential: &dyn TokenCredential,
    slot: &SlotConfig,
    audience: &str,
    call: &Call<'_>,
) -> Result<(Secret, Timestamp), ProviderError> {
    let scope = scope_of(audience);
    let scopes = [scope.as_str()];
    let asked = tokio::time::timeout(account.timeouts.operation, credential.get_token(&scopes, None)).await;
    let late = || call.error(ErrorKind::Unreachable, "no answer in time");
    let made = asked.map_err(|_| late())?.map_err(|error| call.no_token(&error))?;
    let token = Secret::new(made.token.secret().to_owned());
    // Whoever is named in it gets what is assigned to the slot: were that another principal, the session would have that
    // one's rights, at which nobody looked.
    let opaque = || call.error(ErrorKind::Config, "the token does not tell whose it is, so it is not handed out");
    let claims = claims(&token).ok_or_else(opaque)?;
    if claims.oid != slot.object_id || claims.tid != account.config.tenant {
        let text = format!(
            "the token is principal {}'s of tenant {}, not slot {}'s of tenant {}: client_id and object_id belong \
             together, as az ad sp show --id CLIENT_ID --query id tells",
            claims.oid, claims.tid, slot.object_id, account.config.tenant
        );
        return Err(call.error(ErrorKind::Config, text));
    }
    let says = Timestamp::from_second(made.expires_on.unix_timestamp()).unwrap_or(Timestamp::MAX);
    let until = says.max(Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX));
    let slack = SignedDuration::try_from(LONGEST_TOKEN.saturating_add(Duration::from_secs(300))).unwrap_or_default();
    if account.clock.now().checked_add(slack).is_ok_and(|most| until > most) {
        let text =
            format!("the token lives until {until}, longer than any that Entra makes: is this machine's clock right?");
        return Err(call.error(ErrorKind::Config, text));
    }
    Ok((token, until))
}

/// Looks whether anything but this lease's is assigned to the slot, in any configured subscription or above it.
async fn must_be_alone(account: &Account, prepared: &Prepared<'_>) -> Result<(), ProviderError> {
    let slot = prepared.slot;
    for subscription in &account.config.subscriptions {
        let found = account.arm.assignments(*subscription, slot.object_id).await?;
        let mut others: Vec<&Assignment> = found.iter().filter(|one| !is_wanted(&prepared.wanted, one)).collect();
        if prepared.backstop.is_some() && !others.is_empty() {
            // What Azure made of a request of ours has a name of Azure's.
            let standing = pim::standing(&account.arm, *subscription, slot.object_id).await?;
            others.retain(|one| {
                let request = standing.get(&one.id.to_ascii_lowercase());
                !request.is_some_and(|request| prepared.wanted.iter().any(|wanted| pim::is(request, wanted)))
            });
        }
        if let Some(foreign) = others.first() {
            account.avoid(slot.object_id);
            let text = format!(
                "account \"{}\": slot {} has a role assignment that is not this lease's, so a session on it could do more \
                 than was approved: {}: remove it, unless grantd does so by itself, being an earlier lease's",
                account.config.name,
                slot.client_id,
                shown(&foreign.id)
            );
            return Err(ProviderError::new(ErrorKind::Refused, text));
        }
    }
    Ok(())
}

fn is_wanted(wanted: &[Wanted], found: &Assignment) -> bool {
    wanted.iter().any(|wanted| wanted.is(found))
}

/// A native name from an answer, if it can be nothing else (promise P9).
pub(crate) fn shown(id: &str) -> &str {
    let plain = id.len() <= 1_024 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.()$/".contains(&b));
    if plain { id } else { "one with a name that is not shown" }
}

/// Waits, but not for long, until the assignment is felt; tells what is known, and in one word for the record.
async fn readiness(account: &Account, native: &Native, credential: &Credential) -> (Vec<String>, &'static str) {
    let expected = account.config.propagation.expected.as_secs();
    if probe::harmless(native).is_none() {
        let note = format!(
            "whether azure lets this session in already is not known: a new role assignment can take {expected} s and more \
             to be felt; try again when access is refused"
        );
        return (vec![note], "unknown");
    }
    let look = async {
        loop {
            if matches!(probe::try_session(account, native, credential).await, Ok(Trial::Allowed)) {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    if tokio::time::timeout(account.readiness, look).await.is_ok() {
        return (Vec::new(), "yes");
    }
    let note = format!(
        "azure does not let this session in yet: a new role assignment can take {expected} s and more to be felt; try again \
         when access is refused"
    );
    (vec![note], "not yet")
}

fn unknown(error: ProviderError) -> ProviderError {
    ProviderError::new(ErrorKind::Unknown, error.message)
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

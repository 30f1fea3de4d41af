//! One session: what it will be, computed before anything exists, and the call that makes it.

use std::collections::BTreeSet;
use std::time::Duration;

use aws_sdk_sts::types::{AssumedRoleUser, Credentials, Tag};
use aws_smithy_types::error::operation::BuildError;
use grantd_provider_api::{
    Cloud, Credential, ErrorKind, IssueRequest, Issued, Origin, Placement, ProviderError, Secret,
};
use jiff::{SignedDuration, Timestamp, TimestampRound, Unit};
use serde_json::{Value, json};

use crate::account::Account;
use crate::config::{AccountConfig, Config, RoleConfig, WebIdentity};
use crate::denials::is_role_id;
use crate::error::Call;
use crate::federation;
use crate::limits::{
    MIN_SESSION, SESSION_NAME_CHARACTERS, SESSION_POLICY_CHARACTERS, SESSION_TAGS, SUFFIX_CHARACTERS,
    TAG_KEY_CHARACTERS, TAG_VALUE_CHARACTERS,
};
use crate::names::valid_session_name;

/// The readable part of a session name is cut to this.
const SLUG_CHARACTERS: usize = SESSION_NAME_CHARACTERS - SUFFIX_CHARACTERS - 1;

/// A session that was checked against every documented limit, and can be asked for.
#[derive(Debug)]
pub(crate) struct Prepared<'a> {
    pub role: &'a RoleConfig,
    pub name: String,
    pub seconds: i32,
    pub policy: String,
    pub tags: Vec<Tag>,
    pub source_identity: Option<String>,
    pub token_until: Timestamp,
}

/// Computes the session of `request`. Pure.
pub(crate) fn prepare<'a>(
    config: &Config,
    account: &'a AccountConfig,
    request: &IssueRequest<'_>,
) -> Result<Prepared<'a>, ProviderError> {
    let role = role_of(account, request)?;
    // A statement of a policy compares whole seconds: rounding up would give a second too much.
    let down = TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor);
    let access_until = request.access_until.round(down).unwrap_or(request.access_until);
    let session = session_length(role, account.chained, request.now, access_until)?;
    let mut policy = request.plan.native.clone();
    check_policy_size(&policy, access_until)?;
    let statements = policy.get_mut("Statement").and_then(Value::as_array_mut);
    let Some(statements) = statements.filter(|list| list.iter().any(|one| one.get("NotAction").is_some())) else {
        return Err(ProviderError::new(
            ErrorKind::Config,
            "the plan is not one that the aws adapter made: ask again, so that it is planned anew",
        ));
    };
    statements.push(end_statement(access_until));
    let slack = config.timeouts.operation.saturating_add(config.clock_skew).saturating_add(session);
    let too_far = |_| ProviderError::new(ErrorKind::Unsupported, "the session would end beyond all calendars");
    Ok(Prepared {
        role,
        name: session_name(request.slug, &request.lease.suffix()),
        seconds: i32::try_from(session.as_secs()).unwrap_or(i32::MAX),
        policy: policy.to_string(),
        tags: if role.tags { checked_tags(request.tags)? } else { Vec::new() },
        source_identity: if role.source_identity {
            Some(checked_source_identity(request.source_identity)?)
        } else {
            None
        },
        token_until: request.now.checked_add(slack).map_err(too_far)?,
    })
}

impl Prepared<'_> {
    /// What is known of the session before it exists.
    pub fn placement(&self) -> Placement {
        Placement { session_name: self.name.clone(), token_until: self.token_until }
    }
}

/// Makes the session. The SDK never repeats this call by itself: after a lost answer a second call would make a
/// second session. The same deny would cover it, having the same name, but it could outlive the time that was
/// written down before, and nobody would hold its credential. So the error is reported, the caller revokes the name
/// and asks again under a new one. Nothing that the role's trust policy forbids is left out and tried without.
pub(crate) async fn issue(
    config: &Config,
    account: &Account,
    request: &IssueRequest<'_>,
) -> Result<Issued, ProviderError> {
    let prepared = prepare(config, &account.config, request)?;
    let role = prepared.role;
    if let Some(web) = &account.config.web_identity {
        return issue_with_token(config, account, &prepared, web).await;
    }
    let caller = account.base.words();
    let call = Call { account: &account.config.name, action: "sts:AssumeRole", on: role.arn.as_str(), caller };
    account.base.refresh().await?;
    let tags = (!prepared.tags.is_empty()).then(|| prepared.tags.clone());
    let before = account.clock.now();
    let sent = account
        .sts
        .assume_role()
        .role_arn(role.arn.as_str())
        .role_session_name(&prepared.name)
        .duration_seconds(prepared.seconds)
        .policy(&prepared.policy)
        .set_tags(tags)
        .set_source_identity(prepared.source_identity.clone())
        .set_external_id(role.external_id.clone())
        .send()
        .await;
    let after = account.clock.now();
    let out = sent.map_err(|error| call.sdk(&error))?;
    #[expect(deprecated, reason = "its successor is not answered everywhere yet; both are kept")]
    let sizes = (out.packed_policy_size, out.session_token_utilization);
    let made = Made { user: out.assumed_role_user, credentials: out.credentials, sizes };
    accept(&call, &account.config, &prepared, made, (before, after), config.clock_skew)
}

/// The same with a token of the daemon's own, straight to the role: no identity of AWS stands on the host, and the session is
/// no chain. The token is made for this one call, and neither kept nor handed on.
async fn issue_with_token(
    config: &Config,
    account: &Account,
    prepared: &Prepared<'_>,
    web: &WebIdentity,
) -> Result<Issued, ProviderError> {
    let (role, caller) = (prepared.role, "the daemon's own token");
    let call = Call { account: &account.config.name, action: federation::ACTION, on: role.arn.as_str(), caller };
    let source_identity = prepared.source_identity.as_deref();
    let token =
        federation::token(account.assertions.as_ref(), &web.audience, &web.subject, &prepared.tags, source_identity)?;
    let before = account.clock.now();
    let sent = account
        .unsigned_sts
        .assume_role_with_web_identity()
        .role_arn(role.arn.as_str())
        .role_session_name(&prepared.name)
        .duration_seconds(prepared.seconds)
        .policy(&prepared.policy)
        .web_identity_token(token.expose())
        .send()
        .await;
    let after = account.clock.now();
    let out = sent.map_err(|error| call.sdk(&error))?;
    #[expect(deprecated, reason = "its successor is not answered everywhere yet; both are kept")]
    let sizes = (out.packed_policy_size, out.session_token_utilization);
    let made = Made { user: out.assumed_role_user, credentials: out.credentials, sizes };
    accept(&call, &account.config, prepared, made, (before, after), config.clock_skew)
}

/// What either call answers.
struct Made {
    user: Option<AssumedRoleUser>,
    credentials: Option<Credentials>,
    sizes: (Option<i32>, Option<i32>),
}

/// Checks that the answer is the session that was asked for, and takes the secrets out of it without copying them.
fn accept(
    call: &Call<'_>,
    account: &AccountConfig,
    prepared: &Prepared<'_>,
    out: Made,
    (before, after): (Timestamp, Timestamp),
    skew: Duration,
) -> Result<Issued, ProviderError> {
    let senseless = |what: &str| call.error(ErrorKind::Unknown, format!("the answer {what}; a session may exist"));
    let sizes = [("packed_policy_size_percent", out.sizes.0), ("session_token_utilization_percent", out.sizes.1)];
    let user = out.user.ok_or_else(|| senseless("names no session"))?;
    let taken = out.credentials.ok_or_else(|| senseless("has no credentials"))?;
    let (partition, id, role) = (&account.partition, &account.id, prepared.role.arn.name());
    let expected = format!("arn:{partition}:sts::{id}:assumed-role/{role}/{}", prepared.name);
    if user.arn != expected {
        return Err(senseless(&format!("is for another session than {expected}")));
    }
    if taken.secret_access_key.is_empty() || taken.session_token.is_empty() || !plain(&taken.access_key_id) {
        return Err(senseless("has incomplete credentials"));
    }
    let token_until =
        Timestamp::from_second(taken.expiration.secs()).map_err(|_| senseless("has no usable expiration"))?;
    let length = SignedDuration::from_secs(i64::from(prepared.seconds));
    let within = |at: Timestamp, by: Duration, early: bool| {
        let by = SignedDuration::try_from(by).unwrap_or_default();
        let edge = if early { at.checked_sub(by) } else { at.checked_add(by) };
        edge.unwrap_or(at)
    };
    let issued_at = token_until.checked_sub(length).unwrap_or(token_until);
    if issued_at < within(before, skew, true) || issued_at > within(after, skew, false) {
        let off = issued_at.duration_since(before);
        return Err(call.error(
            ErrorKind::ClockSkew,
            format!("the cloud's clock and ours differ by {off:#}, more than clock_skew: check time synchronisation"),
        ));
    }
    let mut facts = vec![
        ("access_key_id".to_owned(), taken.access_key_id.clone()),
        ("duration_seconds".to_owned(), prepared.seconds.to_string()),
        ("session_policy_characters".to_owned(), prepared.policy.chars().count().to_string()),
    ];
    // A session that does not say under which role id it runs can be denied by its own name alone.
    let role_id = user.assumed_role_id.strip_suffix(&format!(":{}", prepared.name)).filter(|id| is_role_id(id));
    let origin = role_id.map(|id| Origin { identity: id.to_owned(), issued_at });
    if plain(user.assumed_role_id.replace(':', "").as_str()) {
        facts.push(("assumed_role_id".to_owned(), user.assumed_role_id));
    }
    for (name, percent) in sizes {
        facts.extend(percent.map(|percent| (name.to_owned(), percent.to_string())));
    }
    Ok(Issued {
        credential: Credential::Aws {
            access_key_id: taken.access_key_id,
            secret_access_key: Secret::new(taken.secret_access_key),
            session_token: Secret::new(taken.session_token),
            region: account.region.clone(),
        },
        token_until,
        native_id: expected,
        origin,
        facts,
        notes: Vec::new(),
    })
}

/// The statement that makes access end to the second, however long the token lives.
fn end_statement(access_until: Timestamp) -> Value {
    json!({
        "Effect": "Deny", "Action": "*", "Resource": "*",
        "Condition": { "DateGreaterThanEquals": { "aws:CurrentTime": access_until.to_string() } }
    })
}

/// Refuses a policy that will be too long once its end is in it.
pub(crate) fn check_policy_size(policy: &Value, access_until: Timestamp) -> Result<(), ProviderError> {
    let own = policy.to_string().chars().count();
    let size = own.saturating_add(end_statement(access_until).to_string().chars().count()).saturating_add(1);
    if size <= SESSION_POLICY_CHARACTERS {
        return Ok(());
    }
    let over = size.saturating_sub(SESSION_POLICY_CHARACTERS);
    Err(ProviderError::new(
        ErrorKind::Unsupported,
        format!(
            "the session policy has {size} characters, {over} more than the {SESSION_POLICY_CHARACTERS} that AWS takes: \
             use a shorter prefix or fewer networks, or split the capability in the entitlement map"
        ),
    ))
}

fn role_of<'a>(account: &'a AccountConfig, request: &IssueRequest<'_>) -> Result<&'a RoleConfig, ProviderError> {
    if request.plan.cloud != Cloud::Aws || request.plan.account != account.name {
        return Err(ProviderError::new(ErrorKind::Config, "the plan is for another account"));
    }
    let planned = request.plan.targets.iter().any(|target| target == request.target);
    let configured = account.roles.iter().find(|role| role.arn.as_str() == request.target);
    match configured {
        Some(role) if planned => Ok(role),
        _ => Err(ProviderError::new(
            ErrorKind::Config,
            format!("account \"{}\": {} is not both in the plan and configured", account.name, request.target),
        )),
    }
}

/// The smallest `DurationSeconds` that covers the access.
fn session_length(
    role: &RoleConfig,
    chained: bool,
    now: Timestamp,
    access_until: Timestamp,
) -> Result<Duration, ProviderError> {
    let unsupported = |text: String| Err(ProviderError::new(ErrorKind::Unsupported, text));
    let ttl = access_until.duration_since(now);
    let whole = ttl.as_secs().saturating_add(i64::from(ttl.subsec_nanos() > 0));
    let Some(ttl) = u64::try_from(whole).ok().filter(|seconds| *seconds > 0).map(Duration::from_secs) else {
        return unsupported("access would end before it begins: ask for at least one whole second".to_owned());
    };
    if ttl > role.max_session {
        let why = if chained { " (its base is an assumed role: no more than 1h)" } else { "" };
        return unsupported(format!(
            "{} s of access is more than the {} s that {} allows{why}: ask for {} s or less",
            ttl.as_secs(),
            role.max_session.as_secs(),
            role.arn,
            role.max_session.as_secs(),
        ));
    }
    Ok(ttl.max(MIN_SESSION))
}

/// `<slug>-<suffix>`: the slug is for people, the suffix is what a deny matches.
fn session_name(slug: &str, suffix: &str) -> String {
    let mut word = String::new();
    for c in slug.chars().map(|c| c.to_ascii_lowercase()) {
        let keep = c.is_ascii_lowercase() || c.is_ascii_digit();
        if keep {
            word.push(c);
        } else if !word.ends_with('-') && !word.is_empty() {
            word.push('-');
        }
    }
    word.truncate(SLUG_CHARACTERS);
    let word = word.trim_matches('-');
    format!("{}-{suffix}", if word.is_empty() { "grantd" } else { word })
}

/// A source identity is evidence: one that cannot be said as it is, is not said at all.
fn checked_source_identity(name: &str) -> Result<String, ProviderError> {
    if valid_session_name(name) && !name.to_ascii_lowercase().starts_with("aws:") {
        return Ok(name.to_owned());
    }
    Err(ProviderError::new(
        ErrorKind::Unsupported,
        format!("subject name {name:?} cannot be a source identity: 2 to 64 letters, digits and +=,.@-_"),
    ))
}

/// Tags within AWS's limits (IAM User Guide, "Pass session tags in AWS STS").
fn checked_tags(tags: &[(String, String)]) -> Result<Vec<Tag>, ProviderError> {
    let wrong = |text: String| ProviderError::new(ErrorKind::Unsupported, text);
    let text_ok = |text: &str| text.chars().all(|c| c.is_alphanumeric() || c == ' ' || "_.:/=+-@".contains(c));
    if tags.len() > SESSION_TAGS {
        return Err(wrong(format!("{} session tags are more than the {SESSION_TAGS} that AWS takes", tags.len())));
    }
    let mut seen = BTreeSet::new();
    let mut checked = Vec::new();
    for (key, value) in tags {
        let lower = key.to_lowercase();
        let key_ok = (1..=TAG_KEY_CHARACTERS).contains(&key.chars().count()) && !lower.starts_with("aws:");
        if !key_ok || value.chars().count() > TAG_VALUE_CHARACTERS || !text_ok(key) || !text_ok(value) {
            return Err(wrong(format!("session tag {key:?} has a name or value that AWS does not take")));
        }
        if !seen.insert(lower) {
            return Err(wrong(format!("session tag {key:?} is given twice: AWS ignores case in tag names")));
        }
        let tag = Tag::builder().key(key).value(value).build();
        checked.push(tag.map_err(|error: BuildError| wrong(format!("session tag {key:?}: {error}")))?);
    }
    Ok(checked)
}

fn plain(text: &str) -> bool {
    (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

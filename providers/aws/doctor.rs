//! `doctor`: whether an account is as the configuration says and as revocation needs it. It changes nothing: of what it
//! calls only `AssumeRole` makes something, a session that is denied everything and ends after 15 minutes.
//!
//! What may not be looked at is told as not checked, with the right that is missing; it is never taken for good.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::types::PolicyUsageType;
use aws_sdk_sts::types::Tag;
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::Intercept;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::ConfigBag;
use grantd_provider_api::{ErrorKind, Finding, ProviderError, Standing};
use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

use crate::account::Account;
use crate::arn::Arn;
use crate::base::Base;
use crate::config::RoleConfig;
use crate::document::{Document, Kind};
use crate::error::Call;
use crate::federation;
use crate::limits::MIN_SESSION;
use crate::trust::{self, Expected};

/// The name of the sessions by which roles are tried.
const SESSION: &str = "grantd-doctor";

/// The policy of those sessions.
const NOTHING: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}"#;

/// Looks an account over.
pub(crate) async fn examine(account: &Account, skew: Duration) -> Vec<Finding> {
    let mut findings = Vec::new();
    let base = base(account, skew, &mut findings).await;
    for role in &account.config.roles {
        assume(account, role, &mut findings).await;
        role_itself(account, role, base.as_deref(), &mut findings).await;
    }
    let mut boundaries: Vec<&Arn> = account.config.roles.iter().filter_map(RoleConfig::boundary).collect();
    boundaries.sort();
    boundaries.dedup();
    for boundary in boundaries {
        attached(account, boundary, &mut findings).await;
        versions(account, boundary, &mut findings).await;
    }
    findings
}

/// Who the base is, and what time the cloud has. Returns the base's ARN.
async fn base(account: &Account, skew: Duration, findings: &mut Vec<Finding>) -> Option<String> {
    let about = format!("account \"{}\"", account.config.name);
    let call = call(account, "sts:GetCallerIdentity", "itself", &account.base);
    let date = Date::default();
    let answer = async {
        account.base.refresh().await?;
        let sent = account.sts.get_caller_identity().customize().interceptor(date.clone()).send().await;
        sent.map_err(|error| call.sdk(&error))
    };
    let answer = answer.await;
    let now = account.clock.now();
    findings.push(clock(&about, date.take(), now, skew));
    let out = match answer {
        Ok(out) => out,
        Err(error) => {
            let fix = "make the base's credentials usable: see [aws.account.base] in grantd.toml";
            findings.push(Finding::bad(&about, "base.identity", Standing::Problem, error.message, fix));
            return None;
        }
    };
    let (id, arn) = (out.account.unwrap_or_default(), out.arn.unwrap_or_default());
    let known: Result<Arn, _> = arn.parse();
    findings.push(match known {
        Err(_) => Finding::not_checked(&about, "base.identity", "the cloud's answer names no identity"),
        Ok(_) if id != account.config.id => Finding::bad(
            &about,
            "base.identity",
            Standing::Problem,
            format!("{} is {arn}, which is not in account {}", account.base.words(), account.config.id),
            "give the account a base of its own, or correct its id in grantd.toml",
        ),
        Ok(arn) if arn.resource() == "root" => Finding::bad(
            &about,
            "base.identity",
            Standing::Problem,
            format!("{} is the root user of the account", account.base.words()),
            "make an identity that can do nothing but become the roles: grantctl bootstrap aws prints one",
        ),
        Ok(arn)
            if arn.resource().starts_with("assumed-role/")
                && !account.config.chained
                && account.config.web_identity.is_none() =>
        {
            Finding::bad(
                &about,
                "base.identity",
                Standing::Problem,
                format!("{} is the session {arn}, so no session of it lasts longer than an hour", account.base.words()),
                "write chained = true under the account in grantd.toml",
            )
        }
        Ok(arn) => Finding::ok(&about, "base.identity", format!("{} is {arn}", account.base.words())),
    });
    Some(arn)
}

fn clock(about: &str, date: Option<String>, now: Timestamp, skew: Duration) -> Finding {
    let date = date.and_then(|text| rfc2822::parse(&text).ok()).map(|date| date.timestamp());
    let Some(date) = date else {
        return Finding::not_checked(about, "clock", "the cloud's answer has no date");
    };
    let off = now.duration_since(date);
    // The header is cut to the second, and the answer takes its time.
    let off = off.abs().saturating_sub(SignedDuration::from_secs(1)).max(SignedDuration::ZERO);
    let off_whole = SignedDuration::from_secs(off.as_secs());
    if off > SignedDuration::try_from(skew).unwrap_or(SignedDuration::MAX) {
        return Finding::bad(
            about,
            "clock",
            Standing::Problem,
            format!("this machine's clock and the cloud's differ by {off_whole:#}, more than clock_skew"),
            "switch time synchronisation on: sessions are refused until the clocks agree",
        );
    }
    if off > SignedDuration::from_secs(5) {
        let found = format!("this machine's clock and the cloud's differ by {off_whole:#}");
        return Finding::bad(about, "clock", Standing::Warning, found, "look after time synchronisation");
    }
    Finding::ok(about, "clock", "this machine's clock and the cloud's agree")
}

/// Becomes the role, as far as the configuration says that it can be.
async fn assume(account: &Account, role: &RoleConfig, findings: &mut Vec<Finding>) {
    let about = role.arn.as_str();
    if role.arn.name().starts_with("AWSReservedSSO_") || role.arn.name().starts_with("AWSServiceRoleFor") {
        findings.push(Finding::bad(
            about,
            "role.name",
            Standing::Problem,
            "the role belongs to AWS: it keeps no boundary, so its sessions could not be revoked",
            "configure a role of your own: grantctl bootstrap aws prints one",
        ));
        return;
    }
    if let Err(error) = session(account, role, false, false).await {
        let fix = "let the role trust the base, and the base assume the role: compare with grantctl bootstrap aws";
        findings.push(Finding::bad(about, "role.assume", Standing::Problem, error.message, fix));
        return;
    }
    findings.push(Finding::ok(about, "role.assume", "the base can become it, with nothing allowed"));
    if role.tags {
        findings.push(extra(
            about,
            "role.tags",
            "sessions of it can be tagged",
            session(account, role, true, false).await,
        ));
    }
    if role.source_identity {
        let found = session(account, role, false, true).await;
        findings.push(extra(about, "role.source_identity", "sessions of it can carry a source identity", found));
    }
}

fn extra(about: &str, check: &'static str, good: &str, outcome: Result<(), ProviderError>) -> Finding {
    match outcome {
        Ok(()) => Finding::ok(about, check, good),
        // The message itself says what to allow and what to configure otherwise.
        Err(error) => Finding::bad(
            about,
            check,
            Standing::Problem,
            error.message,
            "no session can be issued like this: allow it, or switch it off in grantd.toml",
        ),
    }
}

/// A session that is denied everything.
async fn session(account: &Account, role: &RoleConfig, tag: bool, name: bool) -> Result<(), ProviderError> {
    let tags = Tag::builder().key("grantd-doctor").value("1").build().ok().filter(|_| tag).map(|tag| vec![tag]);
    if let Some(web) = &account.config.web_identity {
        let (on, caller) = (role.arn.as_str(), "the daemon's own token");
        let call = Call { account: &account.config.name, action: federation::ACTION, on, caller };
        let (tags, source) = (tags.unwrap_or_default(), name.then_some(SESSION));
        let token = federation::token(account.assertions.as_ref(), &web.audience, &web.subject, &tags, source)?;
        let sent = account
            .unsigned_sts
            .assume_role_with_web_identity()
            .role_arn(on)
            .role_session_name(SESSION)
            .duration_seconds(i32::try_from(MIN_SESSION.as_secs()).unwrap_or(900))
            .policy(NOTHING)
            .web_identity_token(token.expose())
            .send()
            .await;
        return sent.map(drop).map_err(|error| call.sdk(&error));
    }
    let call = call(account, "sts:AssumeRole", role.arn.as_str(), &account.base);
    account.base.refresh().await?;
    let sent = account
        .sts
        .assume_role()
        .role_arn(role.arn.as_str())
        .role_session_name(SESSION)
        .duration_seconds(i32::try_from(MIN_SESSION.as_secs()).unwrap_or(900))
        .policy(NOTHING)
        .set_tags(tags)
        .set_source_identity(name.then(|| SESSION.to_owned()))
        .set_external_id(role.external_id.clone())
        .send()
        .await;
    sent.map(drop).map_err(|error| call.sdk(&error))
}

/// What `GetRole` tells: boundary, longest session, trust.
async fn role_itself(account: &Account, role: &RoleConfig, base: Option<&str>, findings: &mut Vec<Finding>) {
    const CHECKS: [&str; 3] = ["role.boundary", "role.max_session", "role.trust"];
    let about = role.arn.as_str();
    let (iam, credentials) = account.iam();
    let call = call(account, "iam:GetRole", about, credentials);
    let answer = async {
        credentials.refresh().await?;
        iam.get_role().role_name(role.arn.name()).send().await.map_err(|error| call.sdk(&error))
    };
    let found = match answer.await {
        Ok(out) => out.role,
        Err(error) => {
            findings.extend(CHECKS.map(|check| unseen(about, check, "iam:GetRole", credentials, &error)));
            return;
        }
    };
    let Some(found) = found.filter(|found| found.arn == about) else {
        findings
            .extend(CHECKS.map(|check| Finding::not_checked(about, check, "the cloud's answer is of another role")));
        return;
    };
    let boundary = found.permissions_boundary.and_then(|boundary| boundary.permissions_boundary_arn);
    findings.push(match (boundary, role.boundary()) {
        (_, None) => Finding::bad(
            about,
            "role.boundary",
            Standing::Warning,
            "its sessions are revoked in an inline policy: whoever may write that can also widen the role",
            "give it a permissions boundary and name that in grantd.toml in place of revocation = \"inline\"",
        ),
        (Some(arn), Some(wanted)) if arn == wanted.as_str() => {
            Finding::ok(about, "role.boundary", format!("its permissions boundary is {arn}"))
        }
        (other, Some(wanted)) => Finding::bad(
            about,
            "role.boundary",
            Standing::Problem,
            match other {
                Some(_) => {
                    "its permissions boundary is another policy than the configured one: revocations are not felt"
                }
                None => "it has no permissions boundary: no session of it can be revoked",
            },
            format!("attach {wanted} as its permissions boundary"),
        ),
    });
    findings.push(longest(role, found.max_session_duration));
    let provider = federation::provider_arn(&account.config, account.assertions.issuer());
    let expected = match &account.config.web_identity {
        Some(web) => Some(Expected::Token {
            provider: &provider,
            host: federation::host(account.assertions.issuer()),
            audience: &web.audience,
            subject: &web.subject,
        }),
        None => base.map(Expected::Base),
    };
    let trust = found.assume_role_policy_document.as_deref().zip(expected);
    let trust = trust.map(|(text, expected)| trust::read(text, &expected));
    findings.push(match trust {
        None => Finding::not_checked(about, "role.trust", "the trust policy or the base identity is not known"),
        Some(Err(why)) => {
            Finding::not_checked(about, "role.trust", format!("the trust policy is not understood: {why}"))
        }
        Some(Ok(trust)) => trusted(about, &trust),
    });
}

fn longest(role: &RoleConfig, found: Option<i32>) -> Finding {
    let about = role.arn.as_str();
    // A role that says nothing allows an hour (IAM API Reference, `Role`).
    let seconds = u64::try_from(found.unwrap_or(3_600)).unwrap_or_default();
    let wanted = role.max_session.as_secs();
    if seconds < wanted {
        return Finding::bad(
            about,
            "role.max_session",
            Standing::Problem,
            format!("its MaxSessionDuration is {seconds} s, less than the configured max_session of {wanted} s"),
            format!("raise it to {wanted} s, or write max_session = \"{seconds}s\" in grantd.toml"),
        );
    }
    Finding::ok(about, "role.max_session", format!("its MaxSessionDuration is {seconds} s, enough for {wanted} s"))
}

fn trusted(about: &str, trust: &trust::Trust) -> Finding {
    let fix = "let its trust policy name the base identity alone: grantctl bootstrap aws prints one";
    if trust.everybody {
        let found = "its trust policy admits everybody";
        return Finding::bad(about, "role.trust", Standing::Problem, found, fix);
    }
    if trust.unclear {
        let found = "its trust policy says whom it does not mean, or which actions: who may become it cannot be told";
        return Finding::bad(about, "role.trust", Standing::Problem, found, fix);
    }
    if trust.loose {
        let found = "its trust policy admits tokens of the issuer whatever their audience or subject, those of other \
                     accounts and of the revoker too";
        let fix = "let its trust policy demand both by StringEquals: grantctl bootstrap aws prints one";
        return Finding::bad(about, "role.trust", Standing::Problem, found, fix);
    }
    if !trust.foreign.is_empty() {
        let names: Vec<String> = trust.foreign.iter().map(|name| shown(name)).collect();
        let found = format!("others may become it, past grantd: {}", names.join(", "));
        return Finding::bad(about, "role.trust", Standing::Warning, found, fix);
    }
    Finding::ok(about, "role.trust", "it trusts the daemon and nobody else")
}

/// A principal as it may be shown: one of IAM's own characters, and not for ever.
fn shown(name: &str) -> String {
    name.chars().filter(|c| c.is_ascii_alphanumeric() || " :/_+=,.@*-".contains(*c)).take(256).collect()
}

/// Whether the boundary is attached as what it must never be.
async fn attached(account: &Account, boundary: &Arn, findings: &mut Vec<Finding>) {
    const CHECK: &str = "boundary.attached";
    let about = boundary.as_str();
    let (iam, credentials) = account.iam();
    let call = call(account, "iam:ListEntitiesForPolicy", about, credentials);
    let answer = async {
        credentials.refresh().await?;
        let request = iam.list_entities_for_policy().policy_arn(about);
        let request = request.policy_usage_filter(PolicyUsageType::PermissionsPolicy);
        let mut pages = request.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|error| call.sdk(&error))?;
            names.extend(page.policy_roles().iter().filter_map(|role| role.role_name()).map(|n| format!("role {n}")));
            names.extend(page.policy_users().iter().filter_map(|user| user.user_name()).map(|n| format!("user {n}")));
            names.extend(page.policy_groups().iter().filter_map(|g| g.group_name()).map(|n| format!("group {n}")));
        }
        Ok::<_, ProviderError>(names)
    };
    findings.push(match answer.await {
        Err(error) => unseen(about, CHECK, "iam:ListEntitiesForPolicy", credentials, &error),
        Ok(names) if names.is_empty() => Finding::ok(about, CHECK, "it is nobody's permissions policy"),
        Ok(names) => Finding::bad(
            about,
            CHECK,
            Standing::Problem,
            format!(
                "it is attached as a permissions policy, and so allows everything, to {}",
                names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
            ),
            "detach it there: it is a boundary and nothing else",
        ),
    });
}

/// Whether every stored version is one that grantd could have written.
async fn versions(account: &Account, boundary: &Arn, findings: &mut Vec<Finding>) {
    const CHECK: &str = "boundary.document";
    let about = boundary.as_str();
    let (iam, credentials) = account.iam();
    let answer = async {
        credentials.refresh().await?;
        let list = call(account, "iam:ListPolicyVersions", about, credentials);
        let pages = iam.list_policy_versions().policy_arn(about).into_paginator().items().send();
        let listed = pages.collect::<Result<Vec<_>, _>>().await.map_err(|error| list.sdk(&error))?;
        let get = call(account, "iam:GetPolicyVersion", about, credentials);
        let (mut foreign, mut in_force) = (Vec::new(), false);
        for version in &listed {
            let Some(id) = version.version_id.as_deref() else { continue };
            let out = iam.get_policy_version().policy_arn(about).version_id(id).send().await;
            let found = out.map_err(|error| get.sdk(&error))?.policy_version.and_then(|version| version.document);
            let ours = found
                .is_some_and(|text| Document::parse(Kind::Boundary, &text).is_ok_and(|document| document.is_ours()));
            if !ours {
                foreign.push(shown(id));
                in_force |= version.is_default_version;
            }
        }
        Ok::<_, ProviderError>((listed.len(), foreign, in_force))
    };
    let answer: Result<_, ProviderError> = answer.await;
    findings.push(match answer {
        Err(error) if error.kind == ErrorKind::NotFound => Finding::bad(
            about,
            CHECK,
            Standing::Problem,
            "the boundary policy does not exist: nothing can be revoked",
            "make it, and attach it to its roles: grantctl bootstrap aws prints both",
        ),
        // Without these rights the daemon cannot work either.
        Err(error) if error.kind == ErrorKind::Refused => {
            let fix = "allow the four version actions on it: without them nothing can be revoked";
            Finding::bad(about, CHECK, Standing::Problem, error.message, fix)
        }
        Err(error) => Finding::not_checked(about, CHECK, error.message),
        Ok((count, foreign, _)) if foreign.is_empty() => {
            let found = format!("it allows everything but ended sessions, in each of its {count} stored versions");
            Finding::ok(about, CHECK, found)
        }
        Ok((_, foreign, in_force)) => Finding::bad(
            about,
            CHECK,
            if in_force { Standing::Problem } else { Standing::Warning },
            format!("somebody else wrote {}{}", foreign.join(", "), if in_force { ", which is in force" } else { "" }),
            "look in CloudTrail who called iam:CreatePolicyVersion, and take that right away from everybody but the revoker",
        ),
    });
}

/// What could not be looked at.
fn unseen(about: &str, check: &'static str, right: &str, who: &Base, error: &ProviderError) -> Finding {
    match error.kind {
        ErrorKind::Refused => Finding::not_checked(about, check, format!("needs {right} for {}", who.words())),
        ErrorKind::NotFound => Finding::bad(
            about,
            check,
            Standing::Problem,
            "it does not exist",
            "make it: grantctl bootstrap aws prints it",
        ),
        _ => Finding::not_checked(about, check, error.message.clone()),
    }
}

fn call<'a>(account: &'a Account, action: &'static str, on: &'a str, who: &'a Base) -> Call<'a> {
    Call { account: &account.config.name, action, on, caller: who.words() }
}

/// Keeps the `Date` header of an answer.
#[derive(Debug, Clone, Default)]
struct Date(Arc<Mutex<Option<String>>>);

impl Date {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Intercept for Date {
    fn name(&self) -> &'static str {
        "Date"
    }

    fn read_after_transmit(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let date = context.response().headers().get("date").map(str::to_owned);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = date;
        Ok(())
    }
}

#[cfg(test)]
#[path = "doctor_tests.rs"]
mod tests;

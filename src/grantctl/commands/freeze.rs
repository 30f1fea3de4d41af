//! `freeze`, `thaw`, `freezes`, and `revoke` of many at once.

use grantd_wire::{CoverBody, CoverRequest, FreezeList, FreezeQuery, FreezeView, MassRevoked, ThawRequest};
use jiff::Timestamp;

use super::Context;
use crate::cover::{Cover, FreezeName};
use crate::exit::Failure;
use crate::print::{Facts, Table, absolute, count};

/// Stops vending, and with `revoke` ends what was vended too.
pub(super) async fn freeze(
    context: &mut Context<'_>,
    cover: Cover,
    reason: String,
    revoke: bool,
) -> Result<(), Failure> {
    let request = CoverRequest { cover: body(cover), reason };
    let answer = context.client.post::<_, FreezeView>("/v1/freezes", &request).await?;
    context.answer(&answer, shown)?;
    if revoke {
        return end(context, &request).await;
    }
    if !context.json {
        context.note("sessions that were handed out live on: grantctl revoke with the same words ends them");
    }
    Ok(())
}

/// Speaks for lifting a freeze.
pub(super) async fn thaw(context: &mut Context<'_>, freeze: &FreezeName, reason: String) -> Result<(), Failure> {
    let path = format!("/v1/freezes/{freeze}/thaw");
    let answer = context.client.post::<_, FreezeView>(&path, &ThawRequest { reason }).await?;
    context.answer(&answer, shown)
}

/// Lists freezes.
pub(super) async fn list(context: &mut Context<'_>, lifted: bool) -> Result<(), Failure> {
    let answer = context.client.get::<_, FreezeList>("/v1/freezes", &FreezeQuery { lifted }).await?;
    context.answer(&answer, |list, now| {
        if list.freezes.is_empty() {
            return "nothing is frozen that you could see\n".to_owned();
        }
        let mut table = Table::new(["FREEZE", "COVERS", "STATE", "CAN THAW", "SINCE", "BY", "REASON"]);
        for freeze in &list.freezes {
            let row = [
                freeze.id.clone(),
                freeze.covers.clone(),
                state(freeze, now),
                if freeze.stands && freeze.can_thaw.is_empty() {
                    "nobody".to_owned()
                } else {
                    freeze.can_thaw.join(", ")
                },
                absolute(&freeze.at, now),
                freeze.by.clone(),
                freeze.reason.clone(),
            ];
            table.row(row);
        }
        table.text("")
    })
}

/// Revokes every grant and ends every session that is covered.
pub(super) async fn revoke(context: &mut Context<'_>, cover: Cover, reason: String) -> Result<(), Failure> {
    end(context, &CoverRequest { cover: body(cover), reason }).await
}

async fn end(context: &mut Context<'_>, request: &CoverRequest) -> Result<(), Failure> {
    let answer = context.client.post::<_, MassRevoked>("/v1/revocations", request).await?;
    context.answer(&answer, |ended, _| {
        let mut facts = Facts::titled("revoked");
        facts.fact("grants", ended.grants.to_string());
        facts.fact("sessions", format!("{}, in {}", ended.leases, count(ended.scopes, "deny document")));
        facts.fact("next", "grantctl status shows how many revocations are unconfirmed");
        facts.text()
    })
}

fn shown(freeze: &FreezeView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&freeze.id);
    facts.fact("covers", &freeze.covers);
    facts.fact("state", state(freeze, now));
    facts.fact("reason", &freeze.reason);
    facts.fact("set by", format!("{}, {}", freeze.by, absolute(&freeze.at, now)));
    let thaws: Vec<String> = freeze
        .thaws
        .iter()
        .map(|thaw| format!("{}, {}: {}", thaw.person, absolute(&thaw.at, now), thaw.reason))
        .collect();
    facts.each("thawed by", &thaws, "nobody yet");
    if freeze.stands {
        facts.each("can thaw it", &freeze.can_thaw, "nobody: make two people administrators in grantd.toml");
        facts.fact("next", format!("grantctl thaw {} --reason TEXT", freeze.id));
    }
    facts.text()
}

fn state(freeze: &FreezeView, now: Timestamp) -> String {
    match (&freeze.lifted_at, freeze.thaws_missing) {
        (Some(at), _) => format!("lifted {}", absolute(at, now)),
        (None, missing) => format!("stands; {missing} more to thaw it"),
    }
}

fn body(cover: Cover) -> CoverBody {
    CoverBody { all: cover.all, host: cover.host, subject: cover.subject, resource: cover.resource }
}

//! `delegate`: lending one's voice while away, listing what is lent, taking it back.

use grantd_wire::{DelegationCreate, DelegationList, DelegationQuery, DelegationView};
use jiff::Timestamp;

use super::Context;
use crate::absence::{Delegate, Delegation};
use crate::exit::{Exit, Failure};
use crate::print::{Facts, Table, absolute};

/// Does what is asked of delegations.
pub(super) async fn delegate(context: &mut Context<'_>, asked: Delegate) -> Result<(), Failure> {
    match (asked.what, asked.to, asked.until) {
        (Some(Delegation::List { over }), ..) => list(context, over).await,
        (Some(Delegation::Revoke { id }), ..) => {
            let path = format!("/v1/delegations/{id}/revoke");
            let answer = context.client.post::<_, DelegationView>(&path, &serde_json::json!({})).await?;
            context.answer(&answer, shown)
        }
        (None, Some(to), Some(until)) => {
            let body = DelegationCreate { to, until: until.to_string(), resource: asked.resource };
            let answer = context.client.post::<_, DelegationView>("/v1/delegations", &body).await?;
            context.answer(&answer, shown)
        }
        (None, ..) => Err(Failure::new(Exit::Usage, "say --to whom and --until when")),
    }
}

async fn list(context: &mut Context<'_>, over: bool) -> Result<(), Failure> {
    let answer = context.client.get::<_, DelegationList>("/v1/delegations", &DelegationQuery { over }).await?;
    context.answer(&answer, |list, now| {
        if list.delegations.is_empty() {
            return "nothing is lent that you could see\n".to_owned();
        }
        let mut table = Table::new(["DELEGATION", "FROM", "TO", "ON", "STATE", "UNTIL"]);
        for one in &list.delegations {
            let until = absolute(&one.until, now);
            table.row([one.id.clone(), one.from.clone(), one.to.clone(), on(one), state(one, now), until]);
        }
        table.text("")
    })
}

fn shown(one: &DelegationView, now: Timestamp) -> String {
    let mut facts = Facts::titled(&one.id);
    facts.fact("from", &one.from);
    facts.fact("to", &one.to);
    facts.fact("on", on(one));
    facts.fact("state", state(one, now));
    facts.fact("until", absolute(&one.until, now));
    if one.state == "standing" {
        facts.fact("next", format!("grantctl delegate revoke {}", one.id));
    }
    facts.text()
}

fn on(one: &DelegationView) -> String {
    one.resource.clone().unwrap_or_else(|| "everything".to_owned())
}

fn state(one: &DelegationView, now: Timestamp) -> String {
    match (&one.revoked_at, &one.revoked_by) {
        (Some(at), Some(by)) => format!("revoked by {by}, {}", absolute(at, now)),
        _ => one.state.clone(),
    }
}

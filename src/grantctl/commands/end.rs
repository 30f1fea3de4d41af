//! `complete`, `revoke`: of a grant with its leases, or of one lease.

use grantd_wire::{EndRequest, GrantView, LeaseView};

use super::{Context, grant, lease};
use crate::exit::Failure;
use crate::print::Facts;
use crate::words::Thing;

/// Says that the work is done.
pub(super) async fn complete(context: &mut Context<'_>, thing: &Thing) -> Result<(), Failure> {
    end(context, thing, "complete", &EndRequest::default()).await
}

/// Takes it away.
pub(super) async fn revoke(context: &mut Context<'_>, thing: &Thing, reason: String) -> Result<(), Failure> {
    end(context, thing, "revoke", &EndRequest { reason: Some(reason) }).await
}

async fn end(context: &mut Context<'_>, thing: &Thing, how: &str, request: &EndRequest) -> Result<(), Failure> {
    match thing {
        Thing::Grant(id) => {
            let answer = context.client.post::<_, GrantView>(&format!("/v1/grants/{id}/{how}"), request).await?;
            context.answer(&answer, |view, now| {
                let mut facts = Facts::titled(&view.id);
                facts.fact("state", grant::state(view, now));
                facts.fact("leases", format!("grantctl leases --grant {} --ended shows how far they are", view.id));
                facts.text()
            })
        }
        Thing::Lease(id) => {
            let answer = context.client.post::<_, LeaseView>(&format!("/v1/leases/{id}/{how}"), request).await?;
            context.answer(&answer, |view, now| {
                let mut facts = Facts::titled(&view.id);
                facts.fact("state", lease::state(view, now));
                facts.maybe("cloud said", view.error.as_ref());
                facts.text()
            })
        }
    }
}

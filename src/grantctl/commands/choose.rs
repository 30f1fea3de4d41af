//! `auto` in place of a grant's id, where the daemon itself does not know it: the caller's one active grant.

use grantd_wire::{GrantList, GrantQuery};

use super::Context;
use crate::exit::{Exit, Failure};
use crate::words::{AUTO, Thing};

/// The grant that is meant.
pub(super) async fn grant(context: &Context<'_>, id: String) -> Result<String, Failure> {
    if id != AUTO {
        return Ok(id);
    }
    let query = GrantQuery { state: Some("active".to_owned()), limit: Some(100), ..GrantQuery::default() };
    let mut grants = context.client.get::<_, GrantList>("/v1/grants", &query).await?.value.grants;
    match (grants.pop(), grants.as_slice()) {
        (Some(only), []) => Ok(only.id),
        (None, _) => Err(Failure::new(Exit::NotFound, "you have no active grant (next: grantctl request)")),
        (Some(last), rest) => {
            let ids: Vec<&str> = rest.iter().chain([&last]).map(|grant| grant.id.as_str()).collect();
            let line = format!("{} active grants of yours match: name one of {}", ids.len(), ids.join(", "));
            Err(Failure::new(Exit::State, line))
        }
    }
}

/// The grant or lease that is meant.
pub(super) async fn thing(context: &Context<'_>, thing: Thing) -> Result<Thing, Failure> {
    match thing {
        Thing::Grant(id) => grant(context, id).await.map(Thing::Grant),
        lease @ Thing::Lease(_) => Ok(lease),
    }
}

//! `attach`, `detach`.

use grantd_wire::{AnchorCreate, AnchorView};

use super::Context;
use crate::exit::Failure;
use crate::print::clean;
use crate::words::AnchorName;

/// Has a process watched. Standard output is the anchor alone, for `ANCHOR=$(grantctl attach)`.
pub(super) async fn attach(context: &mut Context<'_>, pid: Option<i32>) -> Result<(), Failure> {
    let answer = context.client.post::<_, AnchorView>("/v1/anchors", &AnchorCreate { pid }).await?;
    context.answer(&answer, |anchor, _| format!("{}\n", clean(&anchor.id)))?;
    if !context.json {
        let pid = answer.value.pid;
        context.note(&format!("leases taken by process {pid}, or by what it starts, end when it exits"));
    }
    Ok(())
}

/// Stops watching it. There is nothing to print: the daemon answers with nothing.
pub(super) async fn detach(context: &mut Context<'_>, anchor: &AnchorName) -> Result<(), Failure> {
    context.client.delete(&format!("/v1/anchors/{}", anchor.0)).await?;
    if context.json { Ok(()) } else { context.say(&format!("{} is no longer watched\n", anchor.0)) }
}

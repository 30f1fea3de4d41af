//! `grant export`, `grant import`, `grant schema`: grants that go from one host to another as signed documents.

use grantd_wire::{ExportRequest, ExportView, GrantView, ImportRequest};

use super::{Context, approvals, grant, signing};
use crate::client::Answer;
use crate::elsewhere::Grant;
use crate::exit::Failure;
use crate::print::Facts;

/// The schema of what a grant document holds.
const SCHEMA: &str = include_str!("../../../config/grant-document.schema.json");

/// Does what is asked of documents.
pub(super) async fn document(context: &mut Context<'_>, asked: Grant) -> Result<(), Failure> {
    match asked {
        Grant::Export { grant, hosts } => {
            let path = format!("/v1/grants/{}/export", grant.0);
            let answer: Answer<ExportView> = context.client.post(&path, &ExportRequest { hosts }).await?;
            context.answer(&answer, |made, _| format!("{}\n", made.document))
        }
        Grant::Import { file } => {
            let body = ImportRequest { document: signing::read(&file)?.trim().to_owned() };
            let answer: Answer<GrantView> = context.client.post("/v1/documents", &body).await?;
            context.answer(&answer, |view, now| {
                let mut facts = Facts::titled(&view.id);
                facts.fact("state", grant::state(view, now));
                approvals::way(&mut facts, view, now);
                facts.text()
            })
        }
        Grant::Schema => context.say(SCHEMA),
    }
}

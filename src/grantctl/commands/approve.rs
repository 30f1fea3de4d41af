//! `approve`, `deny`, `cancel`, `extend`: the way of a request to its decision.
//!
//! An approval is sent with the digest of exactly what was shown, so that nothing can be approved that the approver did
//! not see (promise P12).

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use grantd_model::statement::Word;
use grantd_wire::{ApproveRequest, DenyRequest, ExtendRequest, GrantView, RequestFile, SignedBody};

use super::elsewhere::Review;
use super::{Context, approvals, grant, signing};
use crate::asking::{Approve, Extend};
use crate::client::Answer;
use crate::exit::{Exit, Failure};
use crate::print::{Facts, clean, span};

/// Shows what waits, asks, and approves it; or hands in what somebody signed.
pub(super) async fn approve(context: &mut Context<'_>, asked: Approve) -> Result<(), Failure> {
    if let Some(file) = &asked.signature {
        return hand_in(context, &asked.grant.0, signing::signed(file)?).await;
    }
    if let Some(key) = asked.key.clone() {
        return sign_and_hand_in(context, &asked, &key).await;
    }
    let id = asked.grant.0;
    let interactive = !asked.yes && asked.digest.is_none();
    if interactive && !io::stdin().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "there is no terminal to ask on: look with grantctl show {id}, then approve exactly that with --digest \
                 DIGEST, or whatever waits with --yes"
            ),
        ));
    }
    let seen: Answer<GrantView> = context.client.get(&format!("/v1/grants/{id}"), &()).await?;
    let Some(digest) = approvals::digest(&seen.value) else {
        let words = grant::state(&seen.value, context.now);
        return Err(Failure::new(Exit::State, format!("{id} is {words}: nothing of it waits for approval")));
    };
    let shown = approvals::to_approve(&seen.value, context.now, asked.native);
    // With --json standard output is what the daemon answers to the approval; what is approved is shown all the same.
    if context.json {
        context.err_text(&shown)
    } else {
        context.say(&shown)?
    }
    if asked.digest.as_ref().is_some_and(|wanted| wanted != digest) {
        return Err(Failure::new(
            Exit::State,
            format!("what waits on {id} has the digest {digest}, and not the one you gave: nothing was approved"),
        ));
    }
    if interactive && !confirmed("Approve exactly this?", &mut io::stdin().lock(), &mut io::stderr())? {
        return Err(Failure::new(Exit::Usage, format!("nothing was approved; to refuse it, grantctl deny {id}")));
    }
    let (digest, comment, capacity) = (Some(digest.to_owned()), asked.comment, asked.capacity);
    send(context, &id, &ApproveRequest { digest, comment, capacity, signed: None }).await
}

/// Shows what waits with its digest recomputed, asks, signs and hands it in.
async fn sign_and_hand_in(context: &mut Context<'_>, asked: &Approve, key: &Path) -> Result<(), Failure> {
    let id = &asked.grant.0;
    let seen: Answer<RequestFile> = context.client.get(&format!("/v1/grants/{id}/request-file"), &()).await?;
    let review = Review::of(seen.value)?;
    context.err_text(&review.text(context.now));
    review.agreed(asked.digest.as_deref(), asked.yes, Word::Approve)?;
    let statement = review.statement(Word::Approve, asked.capacity.as_deref(), asked.valid_for, context.now)?;
    hand_in(context, id, signing::with_key(&statement, key)?).await
}

async fn hand_in(context: &mut Context<'_>, id: &str, signed: SignedBody) -> Result<(), Failure> {
    let body = ApproveRequest { digest: None, comment: None, capacity: None, signed: Some(signed) };
    send(context, id, &body).await
}

async fn send(context: &mut Context<'_>, id: &str, body: &ApproveRequest) -> Result<(), Failure> {
    let answer = context.client.post::<_, GrantView>(&format!("/v1/grants/{id}/approve"), body).await?;
    context.answer(&answer, |view, now| {
        let mut facts = Facts::titled(&format!("approved {}", view.id));
        facts.fact("state", grant::state(view, now));
        approvals::way(&mut facts, view, now);
        facts.text()
    })
}

/// Denies what waits; with a file it is whoever signed that who does.
pub(super) async fn deny(
    context: &mut Context<'_>,
    id: &str,
    reason: String,
    signature: Option<PathBuf>,
) -> Result<(), Failure> {
    let signed = signature.as_deref().map(signing::signed).transpose()?;
    let answer = context.client.post(&format!("/v1/grants/{id}/deny"), &DenyRequest { reason, signed }).await?;
    stands(context, &answer)
}

/// Takes back what waits.
pub(super) async fn cancel(context: &mut Context<'_>, id: &str) -> Result<(), Failure> {
    let answer = context.client.post(&format!("/v1/grants/{id}/cancel"), &serde_json::json!({})).await?;
    stands(context, &answer)
}

/// Asks for more time.
pub(super) async fn extend(context: &mut Context<'_>, asked: Extend) -> Result<(), Failure> {
    let id = asked.grant.0;
    let body = ExtendRequest { duration_seconds: asked.duration_seconds, reason: asked.why };
    let answer: Answer<GrantView> = context.client.post(&format!("/v1/grants/{id}/extend"), &body).await?;
    stands(context, &answer)?;
    match approvals::waits_for(&answer.value, context.now) {
        Some(waits) => Err(Failure::new(
            Exit::Pending,
            format!(
                "{} more for {id} wait for approval: {waits} (next: grantctl show {id})",
                span(asked.duration_seconds)
            ),
        )),
        None => Ok(()),
    }
}

fn stands(context: &mut Context<'_>, answer: &Answer<GrantView>) -> Result<(), Failure> {
    context.answer(answer, |view, now| {
        let mut facts = Facts::titled(&view.id);
        facts.fact("state", grant::state(view, now));
        approvals::way(&mut facts, view, now);
        facts.text()
    })
}

/// Asks `[y/N]`. Anything but yes is no.
pub(super) fn confirmed(question: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> Result<bool, Failure> {
    write!(out, "{question} [y/N] ").and_then(|()| out.flush()).map_err(Failure::output)?;
    let mut line = String::new();
    input
        .read_line(&mut line)
        .map_err(|error| Failure::new(Exit::Unexpected, format!("no answer could be read: {error}")))?;
    Ok(["y", "yes"].contains(&clean(line.trim()).to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_yes_is_a_yes() {
        for (said, means) in
            [("y\n", true), ("YES\n", true), ("n\n", false), ("\n", false), ("", false), ("yy\n", false)]
        {
            let mut asked = Vec::new();
            assert_eq!(confirmed("Approve exactly this?", &mut said.as_bytes(), &mut asked), Ok(means), "{said:?}");
            assert_eq!(asked, b"Approve exactly this? [y/N] ");
        }
    }
}

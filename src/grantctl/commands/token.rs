//! `token`: a token of the daemon's own, for whoever reads one, and for Google's libraries, which start a command to get one.

use std::env;

use grantd_wire::{AnchorChoice, Vended};

use super::Context;
use super::kubectl::hand_out;
use super::vend::request;
use crate::cli::Wanted;
use crate::exit::{Exit, Failure};
use crate::fetch::{Token, TokenFormat};
use crate::forms::token::executable_refusal;
use crate::secret::{Cloud, OtherCloud, Secret};

/// In which Google's libraries say which type of token they want (AIP-4117).
const ASKED: &str = "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE";

/// Takes a token and prints it.
pub(super) async fn token(context: &mut Context<'_>, wanted: Token) -> Result<(), Failure> {
    match wanted.format {
        TokenFormat::Bare => bare(context, wanted.what).await,
        TokenFormat::Executable => match executable(context, wanted.what).await {
            // What went wrong is told in the answer: of a command that fails the libraries show no reason.
            Err(failure) => {
                let line = failure.line().unwrap_or("there is no token");
                let refusal = executable_refusal(failure.exit().code(), line)?;
                context.out.write_all(&refusal).and_then(|()| context.out.flush()).map_err(|_| failure)
            }
            done => done,
        },
    }
}

/// The token alone, and a line break; not to a terminal, in whose history it would stay.
async fn bare(context: &mut Context<'_>, what: Wanted) -> Result<(), Failure> {
    if context.out_is_terminal {
        let line = "standard output is a terminal, and a token would stay in its history: redirect it";
        return Err(Failure::new(Exit::Usage, line));
    }
    let vended = vended(context, what).await?;
    hand_out(context, vended, |secret, grant| match secret {
        Secret::Token(token) => Ok(token.line()),
        other => Err(OtherCloud { is: other.cloud(), wanted: Cloud::Oidc }.failure(grant, "token")),
    })
    .await
}

async fn executable(context: &mut Context<'_>, what: Wanted) -> Result<(), Failure> {
    let mut vended = vended(context, what).await?;
    let asked = env::var(ASKED).ok();
    // The libraries read standard error as part of the answer, so nothing is said there.
    vended.notes.clear();
    hand_out(context, vended, |secret, grant| match secret {
        Secret::Token(token) => token.executable_json(asked.as_deref()),
        other => Err(OtherCloud { is: other.cloud(), wanted: Cloud::Oidc }.failure(grant, "token --format executable")),
    })
    .await
}

async fn vended(context: &Context<'_>, what: Wanted) -> Result<Vended, Failure> {
    let request = request(what, AnchorChoice::Parent)?;
    Ok(context.client.post::<_, Vended>("/v1/leases", &request).await?.value)
}

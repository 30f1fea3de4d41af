//! What was signed elsewhere: whose word it is, and whether it still holds. Pure.
//!
//! A signature is looked at twice: when it is handed in, and whenever its approval is judged, at every issue anew. Nobody
//! who can write to the store can thereby make an approval that was never signed.

use grantd_model::statement::Word;
use grantd_model::{Approval, Capacity, Grant, Refusal, Signed, Statement, Subject};
use jiff::Timestamp;

use super::quorum::{Ground, What};
use crate::config::{People, SSH};

/// The rule of a refusal because a signature does not hold, or is missing.
pub const SIGNATURE: &str = "signature";

/// A decision as it was handed in.
#[derive(Debug, Clone)]
pub struct SignedWord {
    /// What the text says.
    pub statement: Statement,
    /// The text, byte for byte.
    pub text: String,
    /// The signature of it.
    pub signature: String,
}

impl SignedWord {
    /// To be kept with the approval; `carrier` handed it in.
    pub fn kept(&self, carrier: Option<Subject>) -> Box<Signed> {
        Box::new(Signed { statement: self.text.clone(), signature: self.signature.clone(), carrier })
    }
}

/// Who signed `word`, if it is `decision` on `grant` and may still be handed in at `now`. That its digest is that of what
/// waits is for the caller to see.
pub fn signer(
    word: &SignedWord,
    decision: Word,
    grant: &Grant,
    people: &People,
    now: Timestamp,
) -> Result<Subject, Refusal> {
    let said = &word.statement;
    let (id, node) = (grant.id, &grant.node);
    let reason = if said.request != id {
        format!("it was signed for {}, and not for {id}", said.request)
    } else if said.installation != *node {
        format!("it was signed for the installation {}, and {id} was requested on {node}", said.installation)
    } else if said.decision != decision {
        format!("what was signed is to {} {id}, and not to {} it", said.decision.as_str(), decision.as_str())
    } else if now >= said.expiry {
        format!("it was to be handed in before {}", said.expiry)
    } else {
        match people.signer(word.text.as_bytes(), &word.signature, now) {
            Ok(signer) => return Ok(signer),
            Err(why) => why,
        }
    };
    Err(Refusal {
        rule: SIGNATURE.to_owned(),
        reason: format!("the signature does not count: {reason}"),
        who_can_fix:
            "whoever signed it; for a key that is missing, whoever maintains allowed_signers of the policy bundle"
                .to_owned(),
        next: format!("have it signed anew: grantctl request-file {id}, then grantctl review-request where the key is"),
    })
}

/// What policy asks to be signed was not.
pub fn unsigned(grant: &Grant, person: &str) -> Refusal {
    let id = grant.id;
    Refusal {
        rule: SIGNATURE.to_owned(),
        reason: format!("policy asks for signed approvals of {id}, and {person} signed nothing"),
        who_can_fix: format!("{person}, with the SSH key that allowed_signers of the policy bundle has"),
        next: format!(
            "sign it here with grantctl approve {id} --key ~/.ssh/id_ed25519, or where the key is: grantctl request-file \
             {id}, then grantctl review-request"
        ),
    }
}

/// Whether what was signed for a kept approval is still that approval, of this, by a key that counts now. When it had to be
/// handed in does not matter any more: the grant has its own end.
pub fn still_holds(approval: &Approval, signed: &Signed, what: What<'_>, ground: Ground<'_>) -> Result<(), String> {
    let person = &approval.person;
    let said: Statement = signed.statement.parse().map_err(|error| format!("{person}: {error}"))?;
    let same = said.request == what.request
        && said.installation == *what.installation
        && said.digest == what.digest
        && said.decision == Word::Approve
        && said.capacity == approval.capacity
        && approval.also.is_empty()
        && approval.identity.issuer == SSH;
    if !same {
        return Err(format!("{person} signed something else than this"));
    }
    let signer = ground.people.signer(signed.statement.as_bytes(), &signed.signature, ground.now);
    match signer {
        Ok(signer) if signer.same_identity(&approval.identity) && signer.name == *person => Ok(()),
        Ok(_) => Err(format!("what is kept as signed by {person} was signed by somebody else")),
        Err(why) => Err(format!("the signature of {person} does not count: {why}")),
    }
}

/// The capacities in which an approval may count that nobody signed and that a grant document told: those of its issuer,
/// whose key still counts.
pub fn still_told<'a>(approval: &Approval, ground: Ground<'a>) -> Result<&'a [Capacity], String> {
    let person = &approval.person;
    let Some(told) = approval.attested.as_ref().filter(|told| told.iss == approval.identity.issuer) else {
        return Err(format!("nobody's word is kept for what {person} approved elsewhere"));
    };
    let issuer = ground.people.grant_issuer(&told.iss);
    match issuer.filter(|issuer| issuer.keys.iter().any(|key| key.id == told.kid)) {
        Some(issuer) => Ok(&issuer.capacities),
        None => {
            Err(format!("{} and its key {} are not in people.toml any more, who told of {person}", told.iss, told.kid))
        }
    }
}

#[cfg(test)]
#[path = "signed_tests.rs"]
mod tests;

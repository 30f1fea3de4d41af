//! Whose word a signature is: one decision of one person, on one request of one installation, by a key that counts now.

use grantd_model::{Digest, NodeId};

use super::*;
use crate::config::Host;
use crate::store::contract::samples;

const STATEMENT: &str = include_str!("../../model/testdata/statement-v1.txt");
const SIGNATURE_OF_IT: &str = include_str!("../../model/testdata/statement-v1.sig");
const SIGNERS: &str = include_str!("../../model/testdata/allowed_signers");

fn people(signers: &str) -> People {
    let text = "[[person]]\nname = \"olga\"\nunix = [1007]\n[[person]]\nname = \"otto\"\nunix = []\n\
                [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = 1001\n";
    People::parse(text, Host::users(&|_| None)).unwrap().with_signers(signers).unwrap()
}

fn word(text: &str) -> SignedWord {
    SignedWord { statement: text.parse().unwrap(), text: text.to_owned(), signature: SIGNATURE_OF_IT.to_owned() }
}

fn grant() -> Grant {
    let said: Statement = STATEMENT.parse().unwrap();
    Grant { id: said.request, node: said.installation, digest: said.digest, ..samples::grant(1) }
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const BEFORE: &str = "2027-01-15T07:59:59Z";

fn refused(word: &SignedWord, decision: Word, grant: &Grant, signers: &str, now: &str, words: &str) {
    let refusal = signer(word, decision, grant, &people(signers), at(now)).unwrap_err();
    assert_eq!(refusal.rule, SIGNATURE);
    assert!(refusal.reason.contains(words) && refusal.next.contains("request-file"), "{refusal:?}");
}

#[test]
fn a_signature_of_ssh_keygen_makes_the_signer_the_person() {
    let people = people(SIGNERS);
    let olga = signer(&word(STATEMENT), Word::Approve, &grant(), &people, at(BEFORE)).unwrap();
    assert_eq!((olga.name.as_str(), olga.issuer.as_str()), ("olga", SSH));
    assert!(olga.id.starts_with("SHA256:"));
    assert_eq!(people.known(&olga), Some(&olga));
    assert_eq!(people.get("olga").unwrap().keys, std::slice::from_ref(&olga.id));
}

#[test]
fn p12_a_signature_is_for_one_request_one_installation_one_decision_and_a_time() {
    let (good, grant) = (word(STATEMENT), grant());
    let other = Grant { id: samples::grant(2).id, ..grant.clone() };
    refused(&good, Word::Approve, &other, SIGNERS, BEFORE, "was signed for grant-");
    let other = Grant { node: NodeId("node-2".to_owned()), ..grant.clone() };
    refused(&good, Word::Approve, &other, SIGNERS, BEFORE, "installation node-1");
    refused(&good, Word::Deny, &grant, SIGNERS, BEFORE, "to approve");
    refused(&good, Word::Approve, &grant, SIGNERS, "2027-01-15T08:00:00Z", "before 2027-01-15T08:00:00Z");
}

#[test]
fn p12_no_byte_of_what_was_signed_can_be_changed() {
    let grant = grant();
    for (from, to) in
        [("capacity: owner", "capacity: security"), ("2027-01-15T08", "2027-01-16T08"), ("digest: 62f", "digest: 62e")]
    {
        refused(&word(&STATEMENT.replace(from, to)), Word::Approve, &grant, SIGNERS, BEFORE, "not over this text");
    }
}

#[test]
fn p12_a_key_that_is_nobodys_or_for_something_else_or_over_signs_nothing() {
    let (good, grant) = (word(STATEMENT), grant());
    refused(&good, Word::Approve, &grant, "", BEFORE, "no signer on the list");
    let other = SIGNERS.replace("grantd-approval", "git");
    refused(&good, Word::Approve, &grant, &other, BEFORE, "may not sign");
    let over = SIGNERS.replace("namespaces=", "valid-before=\"20270101Z\",namespaces=");
    refused(&good, Word::Approve, &grant, &over, BEFORE, "until 2027-01-01");
    let workload = People::parse("[[person]]\nname = \"otto\"\nunix = []\n", Host::users(&|_| None)).unwrap();
    let error = workload.with_signers(SIGNERS).unwrap_err().to_string();
    assert!(error.contains("allowed_signers") && error.contains("\"olga\" is no person"), "{error}");
}

#[test]
fn p12_what_is_kept_is_verified_again_whenever_it_is_judged() {
    let (people, grant) = (people(SIGNERS), grant());
    let olga = signer(&word(STATEMENT), Word::Approve, &grant, &people, at(BEFORE)).unwrap();
    let kept = Approval {
        person: "olga".to_owned(),
        identity: olga,
        uid: 7,
        capacity: Capacity::Owner,
        also: Vec::new(),
        on_behalf_of: None,
        at: at(BEFORE),
        digest: grant.digest,
        comment: None,
        signed: Some(word(STATEMENT).kept(None)),
        attested: None,
    };
    let holds = |approval: &Approval, grant: &Grant, people: &People| {
        // After the time until which it could be handed in.
        let ground = Ground { people, delegations: &[], now: at("2027-01-15T09:00:00Z"), signed: true };
        still_holds(approval, approval.signed.as_ref().unwrap(), What::of(grant, grant.digest), ground)
    };
    assert_eq!(holds(&kept, &grant, &people), Ok(()));
    let broken = |change: &dyn Fn(&mut Approval), words: &str| {
        let mut other = kept.clone();
        change(&mut other);
        let why = holds(&other, &grant, &people).unwrap_err();
        assert!(why.contains(words), "{why}");
    };
    // Whoever can write to the store cannot make an approval of it.
    broken(&|a| a.capacity = Capacity::Security, "something else");
    broken(&|a| a.also = vec![Capacity::Security], "something else");
    broken(&|a| a.person = "otto".to_owned(), "by somebody else");
    broken(&|a| a.identity.id = "SHA256:other".to_owned(), "by somebody else");
    let text = STATEMENT.replace("capacity: owner", "capacity: security");
    broken(
        &|a| {
            a.capacity = Capacity::Security;
            a.signed.as_mut().unwrap().statement = text.clone();
        },
        "not over this text",
    );
    broken(&|a| a.signed.as_mut().unwrap().signature = String::new(), "no SSH signature");
    let same_text = Grant { id: samples::grant(2).id, ..grant.clone() };
    assert!(holds(&kept, &same_text, &people).unwrap_err().contains("something else"), "two requests of one digest");
    assert!(holds(&kept, &Grant { digest: Digest::ZERO, ..grant.clone() }, &people).is_err());
    assert!(holds(&kept, &grant, &self::people("")).unwrap_err().contains("does not count"), "the key was taken away");
}

//! The brake: stop vending at once for everything, this host, one subject or one resource. Anybody in charge can pull
//! it alone; it takes two people to let it go.

use grantd_model::{
    Freeze, FreezeId, FreezeTarget, Grant, Refusal, Subject, SubjectKind, THAW_QUORUM, Thaw, ThawError, freeze_epoch,
};
use serde_json::json;

use super::{Broker, BrokerError, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::policy::Bundle;
use crate::store::{Guard, StoreError, Transaction, Write};

/// How often a thaw is tried again that another person's got in the way of.
const ATTEMPTS: usize = 16;

/// What somebody wants to freeze, or to end the sessions of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cover {
    /// Everything.
    All,
    /// Whatever this daemon vends.
    Host,
    /// A person or a workload, by its configured name.
    Subject(String),
    /// A resource, by its name in the catalogue.
    Resource(String),
}

/// The freezes as they were read last.
#[derive(Debug, Clone, Default)]
pub struct Board {
    /// Their [epoch](freeze_epoch).
    pub epoch: u64,
    standing: Vec<Freeze>,
}

impl Board {
    /// Of every freeze there ever was.
    fn of(freezes: Vec<Freeze>) -> Self {
        let epoch = freeze_epoch(&freezes);
        Self { epoch, standing: freezes.into_iter().filter(Freeze::stands).collect() }
    }
}

impl Broker {
    /// Stops vending for `cover` at once. What was handed out lives on until it is revoked.
    ///
    /// # Errors
    /// When the caller may not, the subject or resource is not known, or nothing can be written.
    pub async fn freeze(&self, caller: &Caller, cover: Cover, reason: String) -> Result<Freeze, BrokerError> {
        self.on_record(caller, "freeze.refused", (None, None), move |broker, caller| async move {
            let bundle = broker.bundle();
            let target = broker.target_of(&bundle, &cover)?;
            broker.may_freeze(&bundle, &caller, &target)?;
            let freeze = Freeze {
                id: FreezeId::new(broker.inner.ids.fresh()),
                target,
                reason,
                by: caller.actor(),
                at: broker.now(),
                thaws: Vec::new(),
                lifted_at: None,
                version: 0,
            };
            let audit = vec![draft(freeze.at, "freeze.set", caller.actor(), (None, None), json!(freeze))];
            let writes = vec![Write::InsertFreeze(freeze.clone())];
            broker.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
            failpoint::hit("freeze.written");
            broker.read_freezes().await?;
            Ok(freeze)
        })
        .await
    }

    /// One person's voice for lifting a freeze; the second person's lifts it.
    ///
    /// # Errors
    /// When the caller is no person who may, has said so already, the freeze is lifted, or nothing can be written.
    pub async fn thaw(&self, caller: &Caller, id: FreezeId, reason: String) -> Result<Freeze, BrokerError> {
        self.on_record(caller, "thaw.refused", (None, None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                let freeze = broker.freeze_or_missing(id).await?;
                let person = broker.may_thaw(&broker.bundle(), &caller, &freeze)?;
                let (at, reason) = (broker.now(), reason.clone());
                let thaw = Thaw { person: person.name.clone(), subject: person, at, reason };
                let after = freeze.thawed(thaw).map_err(|error| match error {
                    ThawError::Lifted(_) | ThawError::Again { .. } => BrokerError::State(error.to_string()),
                })?;
                let kind = if after.stands() { "freeze.thaw" } else { "freeze.lifted" };
                let audit = vec![draft(at, kind, caller.actor(), (None, None), json!(after))];
                let writes = vec![Write::UpdateFreeze(after.clone())];
                match broker.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
                    Ok(_) => {
                        failpoint::hit("thaw.written");
                        broker.read_freezes().await?;
                        return Ok(after);
                    }
                    Err(StoreError::Stale { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    /// Freezes, newest first: all that stand, and with `lifted` those that do not any more. Administrators and auditors
    /// see each, everybody else those that cover them or that they could thaw.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn see_freezes(&self, caller: &Caller, lifted: bool) -> Result<Vec<Freeze>, BrokerError> {
        let bundle = self.bundle();
        let mut freezes = self.store().freezes().await?;
        freezes.retain(|freeze| {
            let concerns = caller.subject.as_ref().is_some_and(|subject| {
                freeze.target.covers_all_of(self.store().node(), subject)
                    || self.may_freeze(&bundle, caller, &freeze.target).is_ok()
            });
            (lifted || freeze.stands()) && (concerns || self.is_auditor(caller))
        });
        Ok(freezes)
    }

    /// The people who could still thaw `freeze`.
    #[must_use]
    pub fn can_thaw(&self, freeze: &Freeze) -> Vec<String> {
        let bundle = self.bundle();
        let mut people: Vec<String> = self.in_charge_of(&bundle, &freeze.target);
        people.retain(|person| freeze.thaws.iter().all(|thaw| thaw.person != *person));
        people
    }

    /// The standing freezes that this daemon goes by.
    #[must_use]
    pub fn standing_freezes(&self) -> Vec<Freeze> {
        self.inner.freezes.load().standing.clone()
    }

    /// Reads the freezes anew. At start, after each change, and from time to time: another node may have set one.
    pub(super) async fn read_freezes(&self) -> Result<(), BrokerError> {
        let board = Board::of(self.store().freezes().await?);
        // Two reads may overtake each other: an older view never replaces a newer one.
        self.inner.freezes.rcu(|known| if known.epoch > board.epoch { known.as_ref().clone() } else { board.clone() });
        Ok(())
    }

    /// What must hold so that a credential may be vended: no freeze covers it, as far as is known here, and what is
    /// known here is what is in the store when this guard is checked.
    pub(super) fn unfrozen(&self, subject: &Subject, grant: &Grant) -> Result<Guard, BrokerError> {
        let board = self.inner.freezes.load();
        let node = self.store().node();
        let resource = &grant.request.resource;
        match board.standing.iter().find(|freeze| freeze.target.covers(node, subject, resource)) {
            Some(freeze) => Err(BrokerError::Frozen(self.refusal(freeze))),
            None => Ok(Guard::FreezesAt { epoch: board.epoch }),
        }
    }

    fn refusal(&self, freeze: &Freeze) -> Refusal {
        let people = self.can_thaw(freeze);
        let who =
            if people.is_empty() { "nobody at present: see grantctl freezes".to_owned() } else { people.join(", ") };
        let missing = THAW_QUORUM.saturating_sub(freeze.thaws.len());
        Refusal {
            rule: freeze.id.to_string(),
            reason: format!("{} is frozen since {:.0}: {}", freeze.target, freeze.at, freeze.reason),
            who_can_fix: format!("{missing} of {who}"),
            next: format!("once it is safe, have them run grantctl thaw {} --reason TEXT", freeze.id),
        }
    }

    pub(super) fn target_of(&self, bundle: &Bundle, cover: &Cover) -> Result<FreezeTarget, BrokerError> {
        Ok(match cover {
            Cover::All => FreezeTarget::All,
            Cover::Host => FreezeTarget::Host { node: self.store().node().clone() },
            Cover::Subject(name) => {
                let identities = bundle.people.identities(name);
                if bundle.people.get(name).is_none() {
                    return Err(BrokerError::NotFound(format!(
                        "\"{name}\" is nobody in people.toml: name a person or a workload, or use --all"
                    )));
                }
                FreezeTarget::Subject { name: name.clone(), identities }
            }
            Cover::Resource(name) => {
                if bundle.catalog.get(name).is_none() {
                    return Err(BrokerError::NotFound(format!(
                        "\"{name}\" is not in the catalogue: name a resource of catalog.toml, or use --all"
                    )));
                }
                FreezeTarget::Resource { name: name.clone() }
            }
        })
    }

    /// Administrators may stop anything, owners and stewards their resource, and everybody themselves.
    pub(super) fn may_freeze(
        &self,
        bundle: &Bundle,
        caller: &Caller,
        target: &FreezeTarget,
    ) -> Result<(), BrokerError> {
        if self.is_administrator(caller) {
            return Ok(());
        }
        let subject = Self::known_subject(caller)?;
        let may = match target {
            FreezeTarget::All | FreezeTarget::Host { .. } => false,
            FreezeTarget::Subject { .. } => target.covers_all_of(self.store().node(), subject),
            FreezeTarget::Resource { name } => {
                subject.kind == SubjectKind::Human && answers_for(bundle, name).contains(&subject.name)
            }
        };
        if may {
            return Ok(());
        }
        let owner = match target {
            FreezeTarget::Resource { name } => format!("{} and administrators", answers_for(bundle, name).join(", ")),
            _ => "administrators".to_owned(),
        };
        Err(BrokerError::NotYours { what: format!("the brake on {target}"), owner, you: subject.to_string() })
    }

    /// The person who calls, if that person may lift `freeze`: one of those in charge, and not the one whom it stops.
    fn may_thaw(&self, bundle: &Bundle, caller: &Caller, freeze: &Freeze) -> Result<Subject, BrokerError> {
        let in_charge = self.in_charge_of(bundle, &freeze.target);
        let not_yours = |you: String| BrokerError::NotYours {
            what: format!("lifting {}", freeze.id),
            owner: if in_charge.is_empty() {
                "nobody at present: make two people of people.toml administrators in grantd.toml".to_owned()
            } else {
                in_charge.join(", ")
            },
            you,
        };
        match &caller.subject {
            Some(person) if in_charge.contains(&person.name) && person.kind == SubjectKind::Human => Ok(person.clone()),
            Some(other) => Err(not_yours(other.to_string())),
            None => Err(not_yours(format!("uid {}, who is no person in people.toml", caller.uid()))),
        }
    }

    /// The people who may lift a freeze of `target`: administrators who are people, and those who answer for a
    /// resource; never the person whom it stops.
    fn in_charge_of(&self, bundle: &Bundle, target: &FreezeTarget) -> Vec<String> {
        let administrators = self.inner.settings.administrators.iter().filter_map(|uid| bundle.people.by_uid(*uid));
        let mut people: Vec<String> = administrators
            .filter(|subject| subject.kind == SubjectKind::Human)
            .filter(|subject| {
                !matches!(target, FreezeTarget::Subject { .. }) || !target.covers_all_of(self.store().node(), subject)
            })
            .map(|subject| subject.name)
            .collect();
        if let FreezeTarget::Resource { name } = target {
            people.extend(answers_for(bundle, name));
        }
        people.sort();
        people.dedup();
        people
    }

    async fn freeze_or_missing(&self, id: FreezeId) -> Result<Freeze, BrokerError> {
        let found = self.store().freezes().await?.into_iter().find(|freeze| freeze.id == id);
        found.ok_or_else(|| BrokerError::NotFound(format!("there is no {id}: see grantctl freezes")))
    }
}

/// The people who answer for a resource.
fn answers_for(bundle: &Bundle, resource: &str) -> Vec<String> {
    let resource = bundle.catalog.get(resource);
    resource.map(|resource| [resource.owners.clone(), resource.stewards.clone()].concat()).unwrap_or_default()
}

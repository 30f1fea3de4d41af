//! Reviews: opened with each use of break-glass and for what is granted again and again, noted when they are overdue,
//! completed by somebody who had no part in what is looked at.

use std::collections::BTreeSet;
use std::time::Duration;

use grantd_model::{
    Action, Grant, Justification, Outcome, Refusal, Review, ReviewAbout, ReviewError, ReviewEvent, ReviewId,
    ReviewState, Subject, Verdict,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::glass_rules::once;
use super::quorum::{OWN_REQUEST, Requesters, person};
use super::{Broker, BrokerError, after, daemon, draft, facts};
use crate::attest::Caller;
use crate::config::ReviewSettings;
use crate::policy::{Bundle, Facts, Question};
use crate::store::{GrantFilter, Guard, GuardFailure, Repeated, ReviewFilter, StoreError, Transaction, Write};

/// How often it is looked for what is granted again and again.
const WATCH: Duration = Duration::from_secs(5);

/// How many overdue reviews are noted in one round.
const AT_ONCE: u32 = 100;

/// How many of the latest reviews a list looks through.
const LOOKED_AT: u32 = 2000;

/// Whose part in how many grants keeps them from reviewing what was granted again and again.
const REPEATED: u32 = 1000;

/// How often a completion is tried again that others got in the way of.
const ATTEMPTS: usize = 16;

/// When what is granted again and again is reviewed.
#[derive(Debug, Clone, Copy)]
pub struct Repeats {
    /// More grants than this are reviewed; 0 for never.
    pub above: u32,
    /// Within so much time.
    pub window: Duration,
    /// How long reviewers have.
    pub within: Duration,
}

impl From<ReviewSettings> for Repeats {
    fn from(settings: ReviewSettings) -> Self {
        Self { above: settings.repeats, window: settings.window, within: settings.within }
    }
}

/// What a reviewer says.
#[derive(Debug, Clone)]
pub struct CompleteAsk {
    /// What came of it.
    pub outcome: Outcome,
    /// What was found.
    pub findings: Justification,
}

impl Broker {
    /// Completes a review.
    ///
    /// # Errors
    /// When there is none, it is completed, the caller had a part in what it looks at, or policy says no; a refusal is on
    /// record when this returns.
    pub async fn complete_review(
        &self,
        caller: &Caller,
        id: ReviewId,
        ask: CompleteAsk,
    ) -> Result<Review, BrokerError> {
        self.on_record(caller, "review.refused", (None, None), move |broker, caller| async move {
            for _ in 0..ATTEMPTS {
                if let Some(review) = broker.complete_review_once(&caller, id, &ask).await? {
                    return Ok(review);
                }
            }
            Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
        })
        .await
    }

    async fn complete_review_once(
        &self,
        caller: &Caller,
        id: ReviewId,
        ask: &CompleteAsk,
    ) -> Result<Option<Review>, BrokerError> {
        let bundle = self.bundle();
        let review = self.review_or_missing(id).await?;
        let grant = self.grant_or_missing(review.grant).await?;
        let now = self.now();
        let reviewer = match person(&bundle.people, caller) {
            Ok(reviewer) => reviewer,
            Err(refusal) => return self.review_refused(caller, &review, refusal, Value::Null).await,
        };
        if is_party(&review, &bundle, &reviewer) {
            return self.review_refused(caller, &review, own(&review, &reviewer.name), Value::Null).await;
        }
        let event = ReviewEvent::Complete {
            at: now,
            person: reviewer.name.clone(),
            by: reviewer.clone(),
            outcome: ask.outcome,
            findings: ask.findings.clone(),
        };
        let completed = match review.after(event) {
            Ok(completed) => completed,
            Err(ReviewError::Own { .. }) => {
                return self.review_refused(caller, &review, own(&review, &reviewer.name), Value::Null).await;
            }
            Err(error) => return Err(BrokerError::State(error.to_string())),
        };
        let decision = self.decide_review(&bundle, &review, &grant, &reviewer, caller.uid())?;
        if let Verdict::Deny { refusal } = &decision.verdict {
            return self.review_refused(caller, &review, refusal.clone(), json!(decision)).await;
        }
        let detail = json!({
            "review": completed,
            "outcome": ask.outcome,
            "reason": ask.findings,
            "overdue": review.is_overdue(now),
            "decision": decision,
        });
        let audit = vec![draft(now, "review.complete", caller.actor(), (Some(review.grant), None), detail)];
        let writes = vec![Write::PutReview(completed.clone())];
        match self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
            Ok(_) => Ok(Some(completed)),
            Err(StoreError::Stale { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reviews, newest first: those that are open, and with `completed` the others. Administrators and auditors see each,
    /// everybody else those of their own use and those that they could complete.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn see_reviews(
        &self,
        caller: &Caller,
        completed: bool,
        limit: u32,
    ) -> Result<(Vec<Review>, Timestamp), BrokerError> {
        if caller.subject.is_none() && !self.is_auditor(caller) {
            return Ok((Vec::new(), self.now()));
        }
        let filter = ReviewFilter { open: !completed, limit: Some(LOOKED_AT), ..ReviewFilter::default() };
        let mut seen = Vec::new();
        for review in self.store().reviews(filter).await? {
            if self.may_see(caller, &review).await? {
                seen.push(review);
            }
            if seen.len() >= usize::try_from(limit).unwrap_or(usize::MAX) {
                break;
            }
        }
        Ok((seen, self.now()))
    }

    /// One review, for those who would see it in the list.
    ///
    /// # Errors
    /// When there is none, or it is not for the caller to see.
    pub async fn see_review(&self, caller: &Caller, id: ReviewId) -> Result<(Review, Timestamp), BrokerError> {
        let review = self.review_or_missing(id).await?;
        if self.may_see(caller, &review).await? {
            return Ok((review, self.now()));
        }
        let you = caller.subject.as_ref().map_or_else(|| format!("uid {}", caller.uid()), ToString::to_string);
        let owner = format!("{}, who had the access, and {}", review.person, review.reviewers.join(", "));
        Err(BrokerError::NotYours { what: id.to_string(), owner, you })
    }

    /// The review of a use of break-glass, if it is one and began.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn review_of(&self, grant: &Grant) -> Result<Option<Review>, BrokerError> {
        if grant.request.break_glass.is_none() {
            return Ok(None);
        }
        let filter = ReviewFilter { break_glass: true, grant: Some(grant.id), ..ReviewFilter::default() };
        Ok(self.store().reviews(filter).await?.pop())
    }

    /// How many reviews are open, and those of them that are overdue.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open_reviews(&self) -> Result<(usize, Vec<Review>), BrokerError> {
        let open = self.store().reviews(ReviewFilter { open: true, ..ReviewFilter::default() }).await?;
        let (number, now) = (open.len(), self.now());
        Ok((number, open.into_iter().filter(|review| review.is_overdue(now)).collect()))
    }

    /// The present moment, as everything here is judged by.
    #[must_use]
    pub fn present(&self) -> Timestamp {
        self.now()
    }

    async fn may_see(&self, caller: &Caller, review: &Review) -> Result<bool, BrokerError> {
        let name = caller.subject.as_ref().map(|subject| subject.name.as_str());
        if self.is_auditor(caller) || name == Some(review.person.as_str()) {
            return Ok(true);
        }
        let bundle = self.bundle();
        let Ok(reviewer) = person(&bundle.people, caller) else { return Ok(false) };
        let Some(grant) = self.store().grant(review.grant).await? else { return Ok(false) };
        let decided = self.decide_review(&bundle, review, &grant, &reviewer, caller.uid());
        Ok(decided.is_ok_and(|decision| matches!(decision.verdict, Verdict::Allow { .. })))
    }

    fn decide_review(
        &self,
        bundle: &Bundle,
        review: &Review,
        grant: &Grant,
        reviewer: &Subject,
        uid: u32,
    ) -> Result<grantd_model::Decision, BrokerError> {
        // A profile may have changed or gone since: what was used is looked at all the same.
        let name = &grant.request.resource;
        let resource = bundle.catalog.of_request(&grant.request).or_else(|| bundle.catalog.get(name));
        let resource = resource.ok_or_else(|| {
            BrokerError::State(format!(
                "\"{name}\" is no longer in the catalogue, so who may review its use is not known: have it put back"
            ))
        })?;
        let today = resource.glass.as_ref().map(|profile| profile.reviewers.contains(&reviewer.name));
        let asked = today.unwrap_or_else(|| review.reviewers.contains(&reviewer.name));
        Ok(bundle.decide(&Question {
            action: Action::Review,
            at: self.now(),
            principal: reviewer,
            uid,
            resource,
            facts: Facts { asked_to_review: asked, ..facts::of_request(&grant.request, &grant.plan) },
        }))
    }

    /// Puts on record which reviews are overdue, each once: whoever is told of reviews is told of that.
    pub(super) async fn note_overdue(&self) -> Result<(), BrokerError> {
        let now = self.now();
        let filter =
            ReviewFilter { overdue_at: Some(now), not_noted: true, limit: Some(AT_ONCE), ..ReviewFilter::default() };
        for review in self.store().reviews(filter).await? {
            let Ok(noted) = review.after(ReviewEvent::Overdue { at: now }) else { continue };
            let detail = json!({ "review": noted, "can_review": noted.reviewers });
            let audit = vec![draft(now, "review.overdue", daemon("reaper"), (Some(noted.grant), None), detail)];
            let writes = vec![Write::PutReview(noted)];
            match self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await {
                Ok(_) | Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Opens reviews of what is granted again and again.
    pub(super) async fn watch_repeats_for_ever(self) {
        while self.pause(WATCH).await {
            if let Err(error) = self.review_repeats().await {
                tracing::warn!(%error, "it could not be looked for what is granted again and again; trying again");
            }
        }
    }

    async fn review_repeats(&self) -> Result<(), BrokerError> {
        let repeats = self.inner.settings.repeats;
        if repeats.above == 0 {
            return Ok(());
        }
        let now = self.now();
        let window = SignedDuration::try_from(repeats.window).unwrap_or(SignedDuration::MAX);
        let since = now.checked_sub(window).unwrap_or(Timestamp::MIN);
        for repeated in self.store().repeated(since, repeats.above).await? {
            self.review_repeat(&repeated, since).await?;
        }
        Ok(())
    }

    /// Opens a review of what was granted so often, unless one covers this stretch of time.
    async fn review_repeat(&self, repeated: &Repeated, since: Timestamp) -> Result<(), BrokerError> {
        let topic = Some(repeated.topic.clone());
        let filter = GrantFilter { topic, since: Some(since), limit: Some(REPEATED), ..GrantFilter::default() };
        let grants = self.store().grants(filter).await?;
        let Some(last) = grants.first() else { return Ok(()) };
        let bundle = self.bundle();
        let Some(resource) = bundle.catalog.get(&last.request.resource) else { return Ok(()) };
        let parties = grants.iter().flat_map(|grant| [&grant.request.subject, &grant.request.requested_by]);
        let parties: Vec<Subject> = once(parties.cloned().collect());
        let requesters = Requesters::of_parties(&parties, &bundle.people);
        let asked: BTreeSet<&String> = resource.owners.iter().chain(&resource.stewards).collect();
        let reviewers = asked.into_iter().filter(|name| !requesters.include(name, None)).cloned().collect();
        let now = self.now();
        let review = Review {
            id: ReviewId::new(self.inner.ids.fresh()),
            node: self.store().node().clone(),
            about: ReviewAbout::Repeat { grants: repeated.grants, since },
            grant: last.id,
            resource: last.request.resource.clone(),
            capability: last.request.entitlement.capability.clone(),
            person: last.request.subject.name.clone(),
            parties,
            reviewers,
            opened_at: now,
            due_at: after(now, self.inner.settings.repeats.within),
            overdue_noted_at: None,
            state: ReviewState::Open,
            version: 0,
        };
        let audit = vec![draft(
            now,
            "review.open",
            daemon("reviews"),
            (Some(last.id), None),
            json!({ "review": review, "can_review": review.reviewers }),
        )];
        let guards = vec![Guard::NotReviewed { topic: repeated.topic.clone(), since }];
        let writes = vec![Write::PutReview(review)];
        match self.store().commit(Transaction { guards, writes, audit }).await {
            // There is one, or another node was quicker.
            Ok(_) | Err(StoreError::Stale { .. } | StoreError::Guard(GuardFailure::Reviewed)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    async fn review_or_missing(&self, id: ReviewId) -> Result<Review, BrokerError> {
        let missing = || BrokerError::NotFound(format!("there is no {id}: see grantctl review list"));
        self.store().review(id).await?.ok_or_else(missing)
    }

    async fn review_refused<T>(
        &self,
        caller: &Caller,
        review: &Review,
        refusal: Refusal,
        decision: Value,
    ) -> Result<T, BrokerError> {
        let detail = json!({ "review": review.id, "refusal": refusal, "decision": decision });
        self.record("review.refused", caller.actor(), (Some(review.grant), None), detail).await?;
        Err(BrokerError::Denied(refusal))
    }
}

/// Whether a person had a part in what is reviewed, by the names of then or of today.
fn is_party(review: &Review, bundle: &Bundle, reviewer: &Subject) -> bool {
    let today = Requesters::of_parties(&review.parties, &bundle.people);
    review.is_party(&reviewer.name, reviewer) || today.include(&reviewer.name, Some(reviewer))
}

fn own(review: &Review, person: &str) -> Refusal {
    let others: Vec<&str> = review.reviewers.iter().filter(|name| *name != person).map(String::as_str).collect();
    let others = if others.is_empty() { "somebody else".to_owned() } else { others.join(" or ") };
    Refusal {
        rule: OWN_REQUEST.to_owned(),
        reason: format!(
            "{person} had a part in what {} looks at, and nobody reviews their own use under any identity",
            review.id
        ),
        who_can_fix: others.clone(),
        next: format!("ask {others} to run grantctl review complete {}", review.id),
    }
}

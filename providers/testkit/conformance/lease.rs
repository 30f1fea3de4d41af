//! A lease as the suite holds it, without a broker.

use std::time::Duration;

use grantd_provider_api::{
    Bearer, Clock, DenyEntry, DenyForm, Entitlement, Id, IdSource, IssueRequest, Issued, LeaseId, Placement, Plan,
    ProviderError, RandomIds, Target,
};
use jiff::Timestamp;

use super::Stage;

/// The readable word in session names.
pub const SLUG: &str = "deploy";

/// Everything about a session before and after it exists, as the broker would keep it.
#[derive(Debug)]
pub struct Held {
    /// The lease.
    pub lease: LeaseId,
    /// Its plan.
    pub plan: Plan,
    /// Where it is carried and revoked.
    pub target: Target,
    /// When access must end.
    pub access_until: Timestamp,
    /// What was known before.
    pub placement: Placement,
}

impl Held {
    /// An intent for `entitlement` on the `nth` target, for so long.
    pub fn intent(stage: &dyn Stage, entitlement: &Entitlement, nth: usize, ttl: Duration) -> Self {
        let provider = stage.provider();
        let plan = provider.plan(entitlement, stage.map()).expect("it can be planned");
        let target = provider.targets(&plan).expect("its targets are configured").remove(nth);
        let now = stage.clock().now();
        // As the broker does: clouds know no fractions of a second, and access is never longer than asked.
        let access_until = Timestamp::from_second(now.checked_add(ttl).expect("a time").as_second()).expect("a time");
        let lease: LeaseId = Id::new(RandomIds.fresh());
        let request = request(lease, &plan, &target, now, access_until);
        let placement = provider.place(&request).expect("it can be placed");
        Self { lease, plan, target, access_until, placement }
    }

    /// Makes the session.
    pub async fn issue(&self, stage: &dyn Stage) -> Result<Issued, ProviderError> {
        let request = request(self.lease, &self.plan, &self.target, stage.clock().now(), self.access_until);
        stage.provider().issue(&request).await
    }

    /// The entry by which the cloud is to refuse it.
    pub fn entry(&self) -> DenyEntry {
        DenyEntry {
            lease: self.lease,
            session_name: self.placement.session_name.clone(),
            target: self.target.name.clone(),
            origin: None,
            form: DenyForm::Single,
        }
    }
}

fn request<'a>(
    lease: LeaseId,
    plan: &'a Plan,
    target: &'a Target,
    now: Timestamp,
    access_until: Timestamp,
) -> IssueRequest<'a> {
    let target = target.name.as_str();
    IssueRequest {
        lease,
        slug: SLUG,
        plan,
        target,
        now,
        access_until,
        tags: &[],
        source_identity: SLUG,
        bearer: Bearer { kind: "pipeline", name: SLUG, ..Bearer::default() },
    }
}

/// The clock's time as a moment on the suite's own patience.
pub(super) fn deadline(clock: &dyn Clock, patience: Duration) -> Timestamp {
    clock.now().checked_add(patience).expect("a time")
}

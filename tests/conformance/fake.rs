//! The cloud in memory: that the suite is passed by an adapter that keeps its promises, and by no other.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, LeaseId, Narrowing, Provider, ResourceRef, SystemClock,
};
use grantd_testkit::conformance::{self, Stage};
use grantd_testkit::{FakeCloud, Fault, Flaw};

const MAP: &str = "[capability.\"object-storage:read\"]\nsummary = \"read\"\nrevocation = \"eventual\"\npersistence = \
                   \"none\"\nexpiry = \"daemon\"\n";

pub struct FakeStage {
    cloud: FakeCloud,
    clock: Arc<dyn Clock>,
    map: CapabilityMap,
}

impl FakeStage {
    pub fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        Self { cloud: FakeCloud::new(Arc::clone(&clock), 3), clock, map: toml::from_str(MAP).unwrap() }
    }

    fn with(flaw: Flaw) -> Self {
        let whole = Self::new();
        Self { cloud: whole.cloud.with(flaw), ..whole }
    }
}

#[async_trait]
impl Stage for FakeStage {
    fn provider(&self) -> &dyn Provider {
        &self.cloud
    }

    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn map(&self) -> &CapabilityMap {
        &self.map
    }

    fn entitlements(&self) -> [Entitlement; 2] {
        ["alpha", "beta"].map(|native| Entitlement {
            capability: "object-storage:read".parse().unwrap(),
            resource: ResourceRef {
                cloud: Cloud::Azure,
                account: "main".to_owned(),
                kind: "object-storage".to_owned(),
                native: native.to_owned(),
            },
            narrowing: Narrowing::default(),
        })
    }

    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool {
        self.cloud.allows(credential, &on.resource.native)
    }

    async fn stands(&self, lease: LeaseId) -> bool {
        self.cloud.stands(lease)
    }

    async fn foreign(&self) -> String {
        self.cloud.foreign()
    }

    fn requests(&self) -> usize {
        self.cloud.requests()
    }

    fn trouble(&self, fault: Fault, skip: usize) {
        self.cloud.trouble(fault, skip);
    }

    fn late(&self, by: Duration) {
        self.cloud.late(by);
    }

    fn calm(&self) {
        self.cloud.calm();
    }
}

/// Each flaw is noticed by the case that is there for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_suite_fails_an_adapter_that_breaks_its_promises() {
    macro_rules! noticed {
        ($flaw:ident by $case:ident) => {
            let stage = FakeStage::with(Flaw::$flaw);
            let outcome = AssertUnwindSafe(conformance::$case(&stage)).catch_unwind().await;
            assert!(outcome.is_err(), "{:?} was not noticed", Flaw::$flaw);
        };
    }
    noticed!(TrustsTrouble by p4_no_trouble_is_taken_for_a_confirmation);
    noticed!(ConfirmsUnseen by p4_a_late_effect_is_not_confirmed_meanwhile);
    noticed!(EndsNeighbours by p10_a_neighbour_is_not_touched);
    noticed!(DeniesDoubt by p2_an_issue_that_breaks_off_leaves_nothing_that_a_denial_does_not_end);
    noticed!(GivesMore by p3_a_session_can_do_what_was_asked_and_nothing_else);
    noticed!(LosesMarks by p2_what_bears_the_mark_is_found_and_removed_and_nothing_else_is);
    noticed!(RemovesForeign by p2_what_bears_the_mark_is_found_and_removed_and_nothing_else_is);
}

//! One suite over every adapter: what the broker relies on, whatever the cloud. A [`Stage`] puts one adapter before one
//! cloud; each case is a function of a fresh stage, and [`conformance!`] makes a test of each.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a case that does not hold fails its test"
)]

mod cases;
mod lease;

use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{CapabilityMap, Clock, Credential, Entitlement, LeaseId, Provider};

pub use cases::*;
pub use lease::{Held, SLUG};

use crate::faultproxy::Fault;

/// An adapter before a cloud in which something can be reached.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The adapter.
    fn provider(&self) -> &dyn Provider;

    /// Its clock, which is the cloud's as well.
    fn clock(&self) -> &dyn Clock;

    /// Its entitlement map.
    fn map(&self) -> &CapabilityMap;

    /// Two entitlements of which neither includes the other.
    fn entitlements(&self) -> [Entitlement; 2];

    /// Whether the cloud lets the holder do what `on` gives, asked as a client would ask, and not by the adapter.
    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool;

    /// Whether anything that was made for the lease still gives access, by the cloud's own books.
    async fn stands(&self, lease: LeaseId) -> bool;

    /// Everything in the cloud that is not grantd's and that the adapter could reach, as text.
    async fn foreign(&self) -> String;

    /// How many requests the adapter has sent so far.
    fn requests(&self) -> usize;

    /// Makes one request of the adapter go wrong, after `skip` others.
    fn trouble(&self, fault: Fault, skip: usize);

    /// Makes every write of the adapter succeed at once and take effect late.
    fn late(&self, by: Duration);

    /// From here on nothing goes wrong; what is delayed already stays delayed.
    fn calm(&self);
}

/// The suite as tests of the runtime: `conformance!(name, expression that makes a fresh stage)`.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $stage:expr) => {
        mod $name {
            #![allow(clippy::wildcard_imports, reason = "the stage's own names")]
            use super::*;

            $crate::conformance_cases! { $stage;
                p8_the_same_request_is_planned_the_same_way
                p8_what_cannot_be_expressed_is_refused_before_anything_is_asked
                p2_what_a_session_is_called_is_known_before_it_exists
                p3_a_session_can_do_what_was_asked_and_nothing_else
                p3_access_ends_when_its_time_is_up
                p4_a_revocation_is_confirmed_when_it_is_in_force_and_not_before
                p4_no_trouble_is_taken_for_a_confirmation
                p4_a_revocation_gets_through_whatever_went_wrong_before
                p4_a_late_effect_is_not_confirmed_meanwhile
                p10_a_neighbour_is_not_touched
                p2_an_issue_that_breaks_off_leaves_nothing_that_a_denial_does_not_end
                p2_what_bears_the_mark_is_found_and_removed_and_nothing_else_is
            }
        }
    };
}

/// A test for each named case.
#[macro_export]
macro_rules! conformance_cases {
    ($stage:expr; $($case:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                $crate::conformance::$case(&$stage).await;
            }
        )+
    };
}

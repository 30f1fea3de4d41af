//! What every store has to keep: one suite, run over each of them.

mod guards;
mod reviews;
pub(crate) mod samples;
mod state;
mod views;

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

pub(super) use guards::*;
pub(super) use reviews::*;
pub(super) use samples::{at, audited, delegation, draft, extension, freeze, grant, insert_grant, lease, thaw};
pub(super) use state::*;
pub(super) use views::*;

use super::Store;

/// One kind of store, made ready for one test.
#[async_trait]
pub(super) trait Stage: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes it - nobody else may hold it any more - and opens it again.
    async fn restart(&mut self);

    /// Claims `name` for a node called `other`.
    async fn claim_for_other(&self, name: &str, now: Timestamp, until: Timestamp) -> bool;
}

/// Makes a test of each function of the suite, over what `$stage` makes.
macro_rules! contract {
    ($stage:path) => {
        $crate::store::contract::contract!($stage:
            p1_state_and_its_record_are_written_together,
            p1_a_refused_transaction_writes_nothing_and_records_nothing,
            p13_the_chain_is_whole_under_64_committers,
            p13_everything_survives_a_restart,
            p13_a_healthy_store_can_be_opened_anew,
            p11_a_store_that_does_not_hang_answers,
            what_changed_meanwhile_is_stale,
            an_id_and_a_session_name_are_used_once,
            a_lease_belongs_to_a_grant_that_exists,
            a_bundle_is_kept_as_it_was_first,
            p12_what_was_accepted_is_kept_and_its_place_only_rises,
            p3_only_an_active_grant_that_is_not_over_passes,
            a_task_counts_once_however_many_leases_it_holds,
            a_counter_counts_each_member_once,
            a_counter_never_passes_its_limit_under_contention,
            p2_a_place_is_taken_from_the_intent_until_the_token_is_dead,
            p11_a_share_counts_one_users_places_in_all_scopes_together,
            p4_what_is_refused_together_takes_no_place_and_stays_refused,
            places_never_pass_their_limit_under_contention,
            an_anchor_that_is_gone_holds_nothing,
            nothing_is_written_on_an_old_view_of_the_freezes,
            what_was_measured_is_kept_and_no_measurement_is_lost,
            p13_a_cursor_is_kept_and_never_goes_back,
            a_voice_that_was_lent_is_taken_back_once,
            a_document_is_used_once_and_remembered_for_longer_than_it_is_good,
            one_node_at_a_time_holds_a_claim,
            p4_what_must_be_denied_is_denied_until_the_token_is_dead,
            p10_scopes_do_not_mix,
            grants_are_found_by_every_filter,
            leases_are_found_by_every_filter,
            uses_of_break_glass_are_counted_by_person_resource_and_in_all,
            a_limit_of_break_glass_holds_when_many_come_at_once,
            a_review_is_completed_once_and_blocks_while_it_is_overdue,
            what_is_granted_again_and_again_is_found_and_reviewed_once,
            audit_is_read_in_pages,
        );
    };
    ($stage:path: $($name:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut stage = $stage().await;
                $crate::store::contract::$name(&mut stage).await;
            }
        )+
    };
}
pub(super) use contract;

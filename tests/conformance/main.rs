//! One suite over every adapter, each before the cloud that it is tested with: what the broker relies on holds on all of
//! them. The cases are in the testkit.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod aws;
mod azure;
mod calls;
mod fake;
mod gcp;
mod oidc;

grantd_testkit::conformance!(on_aws, aws::AwsStage::new());
grantd_testkit::conformance!(on_a_cloud_in_memory, fake::FakeStage::new());
grantd_testkit::conformance!(on_azure, azure::AzureStage::new());
grantd_testkit::conformance!(on_azure_with_a_backstop, azure::AzureStage::with_backstop());
grantd_testkit::conformance!(on_google_cloud, gcp::GcpStage::new());
grantd_testkit::conformance!(on_google_cloud_by_impersonation, gcp::GcpStage::impersonating());

// Nobody can take a token back, so the cases of denials are not for it but one: that none is ever confirmed.
mod on_tokens {
    use super::*;

    grantd_testkit::conformance_cases! { oidc::OidcStage::new();
        p8_the_same_request_is_planned_the_same_way
        p8_what_cannot_be_expressed_is_refused_before_anything_is_asked
        p2_what_a_session_is_called_is_known_before_it_exists
        p3_a_session_can_do_what_was_asked_and_nothing_else
        p3_access_ends_when_its_time_is_up
        p4_no_trouble_is_taken_for_a_confirmation
        p2_what_bears_the_mark_is_found_and_removed_and_nothing_else_is
    }
}

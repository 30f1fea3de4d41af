//! One suite over every adapter, each before the cloud that it is tested with: what the broker relies on holds on all of
//! them. The cases are in the testkit.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

mod aws;
mod azure;
mod calls;
mod fake;
mod gcp;

grantd_testkit::conformance!(on_aws, aws::AwsStage::new());
grantd_testkit::conformance!(on_a_cloud_in_memory, fake::FakeStage::new());
grantd_testkit::conformance!(on_azure, azure::AzureStage::new());
grantd_testkit::conformance!(on_azure_with_a_backstop, azure::AzureStage::with_backstop());
grantd_testkit::conformance!(on_google_cloud, gcp::GcpStage::new());
grantd_testkit::conformance!(on_google_cloud_by_impersonation, gcp::GcpStage::impersonating());

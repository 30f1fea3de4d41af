//! `bootstrap` and `doctor`.

use grantd_wire::BootstrapQuery;

use super::Context;
use crate::cli::Bootstrap;
use crate::exit::Failure;

/// Prints what sets a cloud up. It is meant for a file, so it comes as the daemon wrote it, with --json too.
pub(super) async fn bootstrap(context: &mut Context<'_>, wanted: Bootstrap) -> Result<(), Failure> {
    let query = BootstrapQuery { account: wanted.account, base: wanted.base };
    let text = context.client.text(&format!("/v1/bootstrap/{}", wanted.cloud.as_str()), &query).await?;
    context.raw(&text)
}

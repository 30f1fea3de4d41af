//! `drain`: nothing is vended on this host any more, and its leases end; waits until the cloud took that.

use std::time::Duration;

use jiff::Timestamp;

use grantd_wire::DrainView;

use super::Context;
use crate::client::Answer;
use crate::exit::{Exit, Failure};
use crate::print::{Facts, absolute, count};

/// How long to wait before looking again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// Begins, waits for the end as long as for any answer, and says how far it came.
pub(super) async fn drain(context: &mut Context<'_>) -> Result<(), Failure> {
    let limit = context.client.timeout();
    let mut last: Answer<DrainView> = context.client.post("/v1/drain", &serde_json::json!({})).await?;
    let waited = tokio::time::timeout(limit, async {
        while !last.value.complete {
            tokio::time::sleep(LOOK_AGAIN).await;
            last = context.client.get("/v1/drain", &()).await?;
        }
        Ok::<(), Failure>(())
    });
    // That the time is over is told by what was seen last.
    let looked = waited.await.unwrap_or(Ok(()));
    context.answer(&last, shown)?;
    looked?;
    if last.value.complete {
        return Ok(());
    }
    let open = last.value.live.saturating_add(last.value.unaccepted);
    let until = last.value.worst_case_until.as_deref().unwrap_or("their TTL is over");
    Err(Failure::new(
        Exit::Cloud,
        format!(
            "the cloud has not taken the revocation of {} within {}s: it could act until {until}; grantd goes on \
             trying (next: grantctl drain --timeout 5m)",
            count(open, "lease"),
            limit.as_secs()
        ),
    ))
}

fn shown(view: &DrainView, now: Timestamp) -> String {
    let mut facts = Facts::titled(if view.complete { "drained" } else { "draining" });
    facts.fact("since", absolute(&view.since, now));
    facts.fact("leases", count(view.leases, "lease"));
    facts.fact("settled", format!("{} (revocation accepted, or over)", view.settled));
    facts.fact("expiring", view.expiring.to_string());
    facts.fact("not accepted", view.unaccepted.to_string());
    facts.fact("live", view.live.to_string());
    facts.maybe("worst case", view.worst_case_until.as_ref().map(|until| absolute(until, now)));
    facts.fact("vends", "none until grantd is started again");
    facts.text()
}

//! Deadlines: leases whose access is over, grants whose time is up or has come, requests that nobody approved in time.

use std::time::Duration;

use grantd_model::{EndReason, Grant, GrantEvent, GrantPhase, LeaseEvent, LeaseId, LeaseState};
use serde_json::json;

use super::{Broker, BrokerError, after, daemon, draft};
use crate::failpoint;
use crate::store::{GrantFilter, Transaction, Write};

/// How often deadlines are looked at.
const TICK: Duration = Duration::from_millis(500);

/// How many grants are turned in one round, so that many of them delay no lease.
const AT_ONCE: u32 = 100;

/// How long to wait before looking again at a deadline that could not be written.
const AGAIN: Duration = Duration::from_secs(5);

impl Broker {
    pub(super) async fn reap_for_ever(self) {
        while self.pause(TICK).await {
            for lease in self.inner.live.due(self.now()) {
                if let Err(error) = self.expire_lease(lease).await {
                    tracing::warn!(%lease, %error, "the expiry of a lease could not be written; trying again");
                    self.inner.live.set_deadline(lease, after(self.now(), AGAIN));
                }
            }
            if let Err(error) = self.note_overdue().await {
                tracing::warn!(%error, "overdue reviews could not be looked at; trying again");
            }
            if let Err(error) = self.turn_grants().await {
                tracing::warn!(%error, "grants could not be looked at; trying again");
            }
        }
    }

    async fn expire_lease(&self, id: LeaseId) -> Result<(), BrokerError> {
        let lease = self.lease_or_missing(id).await?;
        let now = self.now();
        if now < lease.access_until {
            self.inner.live.set_deadline(id, lease.access_until);
            return Ok(());
        }
        failpoint::hit("expire.due");
        if !lease.ending.is_exact() && matches!(lease.state, LeaseState::Active) {
            // Nobody but us ends it.
            self.end_lease(id, EndReason::TimeUp, daemon("reaper")).await?;
            return Ok(());
        }
        let event = LeaseEvent::Expire { at: now };
        if lease.after(&event).is_err() {
            // It is over already - or its intent is still open, and what becomes of that is looked at again.
            if lease.state == LeaseState::Issuing {
                self.inner.live.set_deadline(id, after(now, AGAIN));
            } else {
                self.inner.live.forget(id);
            }
            return Ok(());
        }
        let detail = json!({ "served": self.inner.live.served(id), "access_until": lease.access_until });
        self.advance(&lease, &event, daemon("reaper"), detail).await?;
        failpoint::hit("expire.written");
        self.inner.live.forget(id);
        Ok(())
    }

    /// Ends active grants whose time is up, activates scheduled ones whose time has come, lapses what nobody approved in
    /// time, and has stewards asked for what no owner approved by half of it.
    async fn turn_grants(&self) -> Result<(), BrokerError> {
        let now = self.now();
        let over = GrantFilter {
            phases: Some(vec![GrantPhase::Active]),
            due_at: Some(now),
            limit: Some(AT_ONCE),
            ..GrantFilter::default()
        };
        for grant in self.store().grants(over).await? {
            if grant.state.active_until(now).is_some() {
                self.lapse(&grant).await?;
                continue;
            }
            self.end_grant(grant.id, GrantEvent::Expire { at: now }, daemon("reaper"), EndReason::GrantEnded).await?;
        }
        let waited = GrantFilter {
            phases: Some(vec![GrantPhase::Pending]),
            due_at: Some(now),
            limit: Some(AT_ONCE),
            ..GrantFilter::default()
        };
        for grant in self.store().grants(waited).await? {
            self.lapse(&grant).await?;
            self.escalate_without_delay(grant).await?;
        }
        let due = GrantFilter {
            phases: Some(vec![GrantPhase::Scheduled]),
            due_at: Some(now),
            limit: Some(AT_ONCE),
            ..GrantFilter::default()
        };
        for grant in self.store().grants(due).await? {
            self.activate(&grant).await?;
        }
        Ok(())
    }

    async fn activate(&self, grant: &Grant) -> Result<(), BrokerError> {
        let now = self.now();
        let active =
            grant.after(&GrantEvent::Activate { at: now }).map_err(|error| BrokerError::State(error.to_string()))?;
        let audit = vec![draft(now, "grant.activate", daemon("reaper"), (Some(grant.id), None), json!(active.state))];
        self.store()
            .commit(Transaction { guards: Vec::new(), writes: vec![Write::UpdateGrant(active)], audit })
            .await?;
        Ok(())
    }
}

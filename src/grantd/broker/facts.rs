//! The facts that policy is told, from what was asked and planned.

use std::time::Duration;

use grantd_model::{Anchor, Quorum, Request, Signals};
use grantd_provider_api::Plan;

use crate::policy::{AnchorKind, Facts, Isolation, Timing};

/// For a request, or for the end of a grant.
pub fn of_request(request: &Request, plan: &Plan) -> Facts {
    Facts {
        capability: request.entitlement.capability.clone(),
        duration_seconds: request.duration_seconds,
        timing: Timing {
            not_before: request.not_before,
            recurs_over: request.recurrence.is_some().then(|| request.span_seconds()),
        },
        // Policy is told of a use of break-glass how long its leases could be.
        ttl_seconds: request.break_glass.as_ref().map(|_| request.duration_seconds),
        justification_length: request.justification.as_str().chars().count(),
        ticket: request.ticket.clone(),
        subject: request.subject.clone(),
        requester: request.requested_by.clone(),
        anchor: AnchorKind::None,
        isolation: Isolation::Uid,
        persistence: plan.persistence,
        widens: !plan.widens.is_empty(),
        revocation: plan.revocation.clone(),
        outlives_seconds: plan.ending.outlives(),
        approvals: Quorum::new(),
        capacity: None,
        on_behalf_of: None,
        asked_to_review: false,
        signals: Signals::new(),
    }
}

/// For the issue of a lease of the usual length on a watched process, where nobody asks for one now.
pub fn of_usual_issue(request: &Request, plan: &Plan, ttl: Duration, approvals: Quorum) -> Facts {
    Facts { ttl_seconds: Some(ttl.as_secs()), anchor: AnchorKind::Process, approvals, ..of_request(request, plan) }
}

/// For the issue of a lease.
pub fn of_issue(request: &Request, plan: &Plan, ttl: Duration, anchor: &Anchor) -> Facts {
    Facts { ttl_seconds: Some(ttl.as_secs()), anchor: anchor.into(), ..of_request(request, plan) }
}

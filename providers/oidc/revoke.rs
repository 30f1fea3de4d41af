//! Taking tokens back, which nobody can: whoever verifies one asks nobody. Nothing here says otherwise.

use grantd_provider_api::{Confirmation, DenyEntry, ErrorKind, ProviderError, RevokeReceipt};

/// Accepts that there is nothing to deny, and no denial.
pub(crate) fn deny(entries: &[DenyEntry]) -> Result<RevokeReceipt, ProviderError> {
    if let Some(entry) = entries.first() {
        let text = format!("the token of {} cannot be taken back: it is good until its end", entry.lease);
        return Err(ProviderError::new(ErrorKind::Unsupported, text));
    }
    Ok(RevokeReceipt { version: "none".to_owned(), unchanged: true, collapsed: Vec::new(), collapse_at: None })
}

/// Nothing is refused.
pub(crate) fn confirm(entries: &[DenyEntry]) -> Vec<Confirmation> {
    entries.iter().map(|_| Confirmation::Absent).collect()
}

//! The end of an audit chain, as it is checked whenever a store is opened. Pure.

use grantd_model::{AuditRecord, ChainHead, NodeId, verify_chain};

use super::StoreError;

/// How many records at the end of the chain are checked at opening. `grantctl audit verify` checks all of them.
pub(super) const LENGTH: u64 = 10_000;

/// Checks that `records` - the last ones, oldest first - hold together and end where the store says that the chain
/// ends.
///
/// # Errors
/// `Damaged`, naming the first record that does not hold.
pub(super) fn check(node: &NodeId, head: ChainHead, records: &[AuditRecord]) -> Result<(), StoreError> {
    // What came before the first of them is not looked at: it is taken at its word.
    let before = match records.first() {
        Some(first) if first.seq > 1 => ChainHead { seq: first.seq.saturating_sub(1), hash: first.prev },
        _ => ChainHead::EMPTY,
    };
    let end = verify_chain(node, before, records).map_err(|error| StoreError::Damaged(error.to_string()))?;
    if end == head {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "the audit chain of {node} ends at record {}, but record {} was the last one written",
        end.seq, head.seq
    )))
}

/// Checks that what was acknowledged before is still there: the chain is at least as long as `acknowledged`, and
/// `record`, which has its number, has its hash.
///
/// # Errors
/// `Damaged` when acknowledged records are gone or were replaced.
pub(super) fn check_kept(
    acknowledged: ChainHead,
    head: ChainHead,
    record: Option<&AuditRecord>,
) -> Result<(), StoreError> {
    let kept = acknowledged == ChainHead::EMPTY || record.is_some_and(|record| record.head() == acknowledged);
    if kept && head.seq >= acknowledged.seq {
        return Ok(());
    }
    Err(StoreError::Damaged(format!("audit record {} was acknowledged, but is not there any more", acknowledged.seq)))
}

#[cfg(test)]
mod tests {
    use grantd_model::{Actor, AuditDraft};
    use jiff::Timestamp;

    use super::*;

    fn chain(length: usize) -> (NodeId, Vec<AuditRecord>) {
        let node = NodeId("n".to_owned());
        let draft = AuditDraft {
            at: Timestamp::UNIX_EPOCH,
            kind: "test".to_owned(),
            actor: Actor::Daemon { part: "main".to_owned() },
            grant: None,
            lease: None,
            detail: serde_json::Value::Null,
        };
        let mut head = ChainHead::EMPTY;
        let mut records = Vec::new();
        for _ in 0..length {
            let record = AuditRecord::chain(&node, head, draft.clone()).unwrap();
            head = record.head();
            records.push(record);
        }
        (node, records)
    }

    #[test]
    fn a_whole_tail_holds_wherever_it_starts() {
        let (node, records) = chain(5);
        let head = records[4].head();
        assert!(check(&node, head, &records).is_ok());
        assert!(check(&node, head, &records[3..]).is_ok());
        assert!(check(&node, ChainHead::EMPTY, &[]).is_ok());
    }

    #[test]
    fn p13_records_missing_at_the_end_are_noticed() {
        let (node, records) = chain(5);
        let error = check(&node, records[4].head(), &records[..4]).unwrap_err().to_string();
        assert!(error.contains("ends at record 4") && error.contains("record 5 was the last"), "{error}");
        assert!(check(&node, records[4].head(), &[]).is_err());
        assert!(check(&node, records[3].head(), &records).is_err());
    }

    #[test]
    fn p13_acknowledged_records_that_are_gone_are_noticed() {
        let (_, records) = chain(5);
        let (acknowledged, head) = (records[3].head(), records[4].head());
        assert!(check_kept(acknowledged, head, Some(&records[3])).is_ok());
        assert!(check_kept(ChainHead::EMPTY, ChainHead::EMPTY, None).is_ok());
        assert!(check_kept(acknowledged, records[2].head(), None).is_err());
        assert!(check_kept(acknowledged, head, Some(&records[4])).is_err());
    }
}

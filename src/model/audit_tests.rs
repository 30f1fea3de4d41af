//! The chain: a fixed vector, and random tampering that must be found.

use proptest::prelude::*;

use super::*;

fn chain(length: u64) -> (NodeId, Vec<AuditRecord>) {
    let node = NodeId("node-1".to_owned());
    let mut head = ChainHead::EMPTY;
    let records = (0..length)
        .map(|n| {
            let draft = AuditDraft {
                at: Timestamp::from_second(1_800_000_000).unwrap(),
                kind: "lease.issued".to_owned(),
                actor: Actor::Daemon { part: "main".to_owned() },
                grant: None,
                lease: None,
                detail: serde_json::json!({ "n": n, "why": "é\u{1f600}" }),
            };
            let record = AuditRecord::chain(&node, head, draft).unwrap();
            head = record.head();
            record
        })
        .collect();
    (node, records)
}

#[test]
fn the_hash_of_the_first_record_is_fixed() {
    let (_, records) = chain(1);
    assert_eq!(records[0].hash.to_string(), include_str!("testdata/audit-v1.sha256").trim());
}

#[test]
fn a_chain_survives_being_written_and_read() {
    let (node, records) = chain(5);
    let text = serde_json::to_string(&records).unwrap();
    let read: Vec<AuditRecord> = serde_json::from_str(&text).unwrap();
    assert_eq!(verify_chain(&node, ChainHead::EMPTY, &read).unwrap(), records[4].head());
}

#[test]
fn a_chain_is_continued_from_where_it_was_left() {
    let (node, records) = chain(5);
    let middle = verify_chain(&node, ChainHead::EMPTY, &records[..3]).unwrap();
    assert_eq!(verify_chain(&node, middle, &records[3..]).unwrap(), records[4].head());
}

proptest! {
    /// Any one change, removal, swap or doubling in the middle of a chain is found.
    #[test]
    fn tampering_with_the_chain_is_found(victim in 0..9_usize, how in 0..6_u8) {
        let (node, mut records) = chain(10);
        match how {
            0 => records[victim].draft.kind.push('x'),
            1 => records[victim].draft.detail = serde_json::json!({ "n": 99 }),
            2 => records[victim].draft.at += jiff::SignedDuration::from_millis(1),
            3 => { records.remove(victim); }
            4 => records.swap(victim, victim + 1),
            _ => { let copy = records[victim].clone(); records.insert(victim, copy); }
        }
        prop_assert!(verify_chain(&node, ChainHead::EMPTY, &records).is_err());
    }

    /// A changed record with its hash recomputed still breaks the record after it.
    #[test]
    fn a_rehashed_record_is_found(victim in 0..9_usize) {
        let (node, mut records) = chain(10);
        records[victim].draft.kind.push('x');
        records[victim].hash = records[victim].computed_hash().unwrap();
        let found = verify_chain(&node, ChainHead::EMPTY, &records);
        let next = u64::try_from(victim).unwrap() + 2;
        prop_assert_eq!(found, Err(ChainError::Link { seq: next }));
    }
}

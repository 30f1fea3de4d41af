use grantd_provider_api::RandomIds;

use super::*;
use crate::store::SqliteStore;
use crate::store::contract::samples;

#[tokio::test]
async fn every_record_about_a_use_or_its_leases_is_marked_and_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let open = || -> Arc<dyn Store> {
        Arc::new(Marked::new(Arc::new(SqliteStore::open(directory.path(), &RandomIds).unwrap())))
    };
    let mut glass = samples::grant(1);
    glass.request.break_glass = Some(BreakGlass { profile: "repair".to_owned(), incident: "INC-1".to_owned() });
    let plain = samples::grant(2);
    let lease = samples::lease(10, &glass);
    let draft = |grant, lease, detail| AuditDraft { grant, lease, detail, ..samples::draft("x") };
    let mut store = open();
    let commit = async |store: &Arc<dyn Store>, writes, audit| {
        store.commit(Transaction { guards: Vec::new(), writes, audit }).await.unwrap();
    };
    let drafts = vec![draft(Some(glass.id), None, json!({ "a": 1 })), draft(Some(plain.id), None, json!({}))];
    commit(&store, vec![Write::InsertGrant(glass.clone()), Write::InsertGrant(plain.clone())], drafts).await;
    commit(&store, vec![Write::InsertLease(lease.clone())], vec![draft(None, Some(lease.id), Value::Null)]).await;
    // What was learnt is not needed for it.
    drop(store);
    store = open();
    let drafts = vec![
        draft(None, Some(lease.id), json!({})),
        draft(Some(glass.id), Some(lease.id), json!("text")),
        draft(Some(plain.id), None, json!({})),
        draft(None, None, json!({})),
    ];
    commit(&store, Vec::new(), drafts).await;
    let records = store.audit(0, 100).await.unwrap();
    let mark = json!({ "profile": "repair", "incident": "INC-1" });
    let marked: Vec<bool> = records.iter().map(|record| record.draft.detail.get(MARK) == Some(&mark)).collect();
    assert_eq!(marked, [true, false, true, true, true, false, false]);
    assert_eq!(records[0].draft.detail["a"], 1);
    assert_eq!(records[4].draft.detail["detail"], "text");
}

//! Tests of what is asked of the daemon and what is served from memory, with a scripted daemon and a clock that is moved.

use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::testserver::{Reply, SECRETS, TestServer, vended};

fn at(seconds: i64) -> Timestamp {
    let start: Timestamp = "2026-11-22T09:00:00Z".parse().unwrap();
    start.checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

/// The first lease lives from 08:59:12 to 09:04:12: it is due for renewal 50 s before its end.
fn due() -> Timestamp {
    at(210)
}

fn fresh() -> Timestamp {
    at(0)
}

fn after() -> Timestamp {
    at(600)
}

fn second() -> Value {
    let mut body = vended();
    body["lease"]["id"] = json!("lease-cccc");
    for (name, time) in [("created_at", "2026-11-22T09:03:30Z"), ("access_until", "2026-11-22T09:18:30Z")] {
        body["lease"][name] = json!(time);
    }
    body["credential"]["access_key_id"] = json!("ASIASECOND");
    body
}

fn problem(kind: &str, status: u16, more: Value) -> Reply {
    let mut body =
        json!({ "type": format!("urn:grantd:problem:{kind}"), "title": "t", "status": status, "detail": "no" });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Reply::Json(status, body)
}

async fn keeper(
    replies: Vec<Reply>,
    now: Clock,
    ttl: Option<u64>,
) -> (TestServer, Arc<Keeper>, UnboundedReceiver<News>) {
    let server = TestServer::new(replies);
    let client = Client::new(server.path.clone(), Duration::from_secs(5));
    let (say, news) = unbounded_channel();
    let which = ("auto".to_owned(), Some("reports".to_owned()));
    let (keeper, first) =
        Keeper::start(client, which, ttl, Renewal::WhenAsked, (now, say)).await.map_err(|f| format!("{f:?}")).unwrap();
    assert_eq!((keeper.grant(), first.lease.as_str()), ("grant-aaaa", "lease-bbbb"));
    (server, keeper, news)
}

fn vends(server: &TestServer) -> Vec<String> {
    server.asked().into_iter().filter(|line| line.starts_with("POST /v1/leases ")).collect()
}

fn notes(news: &mut UnboundedReceiver<News>) -> Vec<String> {
    let mut notes = Vec::new();
    while let Ok(fresh) = news.try_recv() {
        if let News::Note(text) = fresh {
            notes.push(text);
        }
    }
    notes
}

#[tokio::test]
async fn a_fresh_credential_is_served_from_memory() {
    let (server, keeper, _news) = keeper(vec![Reply::Json(201, vended())], fresh, None).await;
    for _ in 0..3 {
        assert_eq!(keeper.credential().await.ok().unwrap().lease, "lease-bbbb");
    }
    assert_eq!(vends(&server).len(), 1);
    assert!(vends(&server)[0].contains(r#""anchor":"caller""#), "{:?}", server.asked());
}

#[tokio::test]
async fn one_that_is_due_is_renewed_once_while_the_old_one_serves() {
    let (server, keeper, mut news) =
        keeper(vec![Reply::Json(201, vended()), Reply::Json(201, second())], due, None).await;
    assert_eq!(keeper.credential().await.ok().unwrap().lease, "lease-bbbb");
    assert_eq!(keeper.credential().await.ok().unwrap().lease, "lease-bbbb");
    loop {
        if let News::Renewed(current) = news.recv().await.unwrap() {
            assert_eq!(current.lease, "lease-cccc");
            break;
        }
    }
    assert_eq!(keeper.credential().await.ok().unwrap().lease, "lease-cccc");
    assert_eq!(vends(&server).len(), 2);
    // The grant that auto found is named from then on.
    assert!(vends(&server)[1].contains(r#""grant":"grant-aaaa""#), "{:?}", server.asked());
}

#[tokio::test]
async fn a_dead_one_is_never_served_and_a_refusal_is_not_asked_for_again_at_once() {
    let refused = problem("denied", 403, json!({ "rule": "freeze" }));
    let (server, keeper, mut news) = keeper(vec![Reply::Json(201, vended()), refused], after, None).await;
    for _ in 0..3 {
        let refusal = keeper.credential().await.err().unwrap();
        assert_eq!((refusal.retryable, refusal.code), (false, "denied"));
        assert!(refusal.message.contains("rule: freeze"), "{refusal:?}");
    }
    assert_eq!(vends(&server).len(), 2);
    let said: Vec<String> = notes(&mut news).into_iter().filter(|text| text.contains("cannot be renewed")).collect();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(SECRETS.iter().all(|secret| !said.concat().contains(secret)));
}

#[tokio::test]
async fn a_daemon_that_is_away_is_worth_another_try() {
    let (_server, keeper, _news) = keeper(vec![Reply::Json(201, vended()), Reply::Raw(Vec::new())], after, None).await;
    let refusal = keeper.credential().await.err().unwrap();
    assert_eq!((refusal.retryable, refusal.code), (true, "unreachable"));
}

#[tokio::test]
async fn near_the_end_of_the_grant_as_much_is_asked_for_as_there_is() {
    let limit = problem("limit", 422, json!({ "limit": 120 }));
    let replies = vec![Reply::Json(201, vended()), limit, Reply::Json(201, second())];
    let (server, keeper, _news) = keeper(replies, due, Some(300)).await;
    assert!(keeper.renewed().await.is_ok());
    let asked = vends(&server);
    assert!(asked[1].contains(r#""ttl_seconds":300"#) && asked[2].contains(r#""ttl_seconds":120"#), "{asked:?}");
}

#[tokio::test]
async fn a_lease_that_was_taken_away_is_not_served_any_more_and_nothing_is_when_the_grant_is_over() {
    let revoked = |body: Value, id: &str| {
        let mut view = body;
        view["id"] = json!(id);
        view["state"] = json!("revoked");
        view["reason"] = json!("laptop lost");
        Reply::Json(200, view)
    };
    let replies = vec![
        Reply::Json(201, vended()),
        Reply::Json(200, crate::testserver::grant()),
        revoked(crate::testserver::lease(), "lease-bbbb"),
        Reply::Json(201, second()),
        revoked(crate::testserver::grant(), "grant-aaaa"),
    ];
    let (server, keeper, mut news) = keeper(replies, fresh, None).await;
    let mut notice = Notice::default();
    keeper.look(&mut notice).await;
    assert!(notes(&mut news).concat().contains("lease-bbbb ended: laptop lost"));
    assert_eq!(keeper.credential().await.ok().unwrap().lease, "lease-cccc");
    keeper.look(&mut notice).await;
    assert!(notes(&mut news).concat().contains("access is over: grant-aaaa is revoked: laptop lost"));
    let refusal = keeper.credential().await.err().unwrap();
    assert_eq!((refusal.retryable, refusal.code), (false, "over"));
    assert_eq!(vends(&server).len(), 2);
}

#[tokio::test]
async fn every_lease_that_may_live_is_given_back_and_an_end_that_came_first_is_no_failure() {
    let replies = vec![
        Reply::Json(201, vended()),
        Reply::Json(201, second()),
        problem("state", 409, json!({})),
        Reply::Raw(Vec::new()),
        Reply::Json(200, crate::testserver::lease()),
    ];
    let (server, keeper, mut news) = keeper(replies, due, None).await;
    assert!(keeper.renewed().await.is_ok());
    keeper.end(false).await;
    let ended: Vec<String> = server.asked().into_iter().filter(|line| line.contains("/complete")).collect();
    let targets: Vec<&str> = ended.iter().filter_map(|line| line.split(' ').nth(1)).collect();
    let [first, second] = ["/v1/leases/lease-bbbb/complete", "/v1/leases/lease-cccc/complete"];
    assert_eq!(targets, [first, second, second]);
    let failed: Vec<String> = notes(&mut news).into_iter().filter(|text| text.contains("did not")).collect();
    assert_eq!(failed.len(), 0, "{failed:?}");
}

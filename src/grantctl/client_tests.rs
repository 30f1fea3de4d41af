//! The client against a daemon that behaves, misbehaves, and is not there.

use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use grantd_wire::{GrantQuery, GrantView, ProblemKind, Status};

use super::*;
use crate::testserver::{Reply, SECRETS, TestServer, grant, vended};

fn client(server: &TestServer) -> Client {
    Client::new(server.path.clone(), Duration::from_secs(10))
}

fn vend() -> Vend {
    Vend { grant: "auto".to_owned(), ttl_seconds: None, anchor: Default::default(), resource: None }
}

async fn status_after(reply: Reply) -> ClientError {
    let server = TestServer::new(vec![reply]);
    client(&server).get::<_, Status>("/v1/status", &()).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_comes_as_a_value_and_as_it_was() {
    let server = TestServer::new(vec![Reply::Json(200, grant())]);
    let answer: Answer<GrantView> = client(&server).get("/v1/grants/grant-aaaa", &()).await.unwrap();
    assert_eq!(answer.value.id, "grant-aaaa");
    assert_eq!(serde_json::from_slice::<Value>(&answer.raw).unwrap(), grant());
    assert_eq!(server.asked(), ["GET /v1/grants/grant-aaaa"]);
}

#[tokio::test]
async fn a_problem_arrives_whole() {
    let mut problem = Problem::new(ProblemKind::Limit, "90m asked, 30m allowed");
    problem.limit = Some(1800);
    let error = status_after(Reply::Json(422, serde_json::to_value(&problem).unwrap())).await;
    assert!(matches!(&error, ClientError::Problem(found) if **found == problem), "{error:?}");
}

#[tokio::test]
async fn a_refusal_without_a_problem_gives_its_status() {
    let error = status_after(Reply::Raw(b"HTTP/1.1 502 Bad\r\ncontent-length: 4\r\n\r\noops".to_vec())).await;
    assert!(matches!(error, ClientError::Unexplained { status: 502 }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_http_or_not_the_expected_json_is_not_understood() {
    let wrong = json!({ "version": 7 });
    for reply in [Reply::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()), Reply::Json(200, wrong)] {
        let error = status_after(reply).await;
        assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn p9_an_answer_that_is_not_understood_is_not_repeated() {
    let mut body = vended();
    body["credential"] = json!(SECRETS[0]);
    let mut kind = vended();
    kind["credential"]["type"] = json!(SECRETS[0]);
    for body in [body, kind] {
        let server = TestServer::new(vec![Reply::Json(200, body)]);
        let error = client(&server).post::<_, Vended>("/v1/leases", &vend()).await.unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(matches!(error, ClientError::NotUnderstood { .. }) && !shown.contains(SECRETS[0]), "{shown}");
    }
}

#[tokio::test]
async fn p9_debug_of_an_answer_does_not_show_it() {
    let server = TestServer::new(vec![Reply::Json(200, vended())]);
    let answer: Answer<Vended> = client(&server).post("/v1/leases", &vend()).await.unwrap();
    let shown = format!("{answer:?}");
    assert!(SECRETS.iter().all(|secret| !shown.contains(secret)), "{shown}");
}

#[tokio::test]
async fn a_daemon_that_closes_early_is_said_so() {
    let cut_off = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"version\"".to_vec();
    for bytes in [Vec::new(), b"HTTP/1.1 20".to_vec(), cut_off] {
        let error = status_after(Reply::Raw(bytes)).await;
        assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn a_daemon_that_stalls_hits_the_time_limit() {
    let half = Reply::Hold { first: json!({}), later: Vec::new(), close: false };
    for reply in [Reply::Stall, half] {
        let server = TestServer::new(vec![reply]);
        let client = Client::new(server.path.clone(), Duration::from_millis(100));
        let error = client.get::<_, Status>("/v1/status", &()).await.unwrap_err();
        assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_answer_is_read_up_to_its_bound_and_no_further() {
    let error = status_after(Reply::Huge(MAX_BODY + (1 << 20))).await;
    assert!(matches!(error, ClientError::TooLarge), "{error:?}");
    let blank = status_after(Reply::Huge(MAX_BODY)).await;
    assert!(matches!(blank, ClientError::NotUnderstood { .. }), "{blank:?}");
}

#[tokio::test]
async fn a_socket_that_is_not_there_or_dead_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grantd.sock");
    let client = Client::new(path.clone(), Duration::from_secs(10));
    let error = client.get::<_, Status>("/v1/status", &()).await.unwrap_err();
    assert!(matches!(error, ClientError::NoSocket { .. }) && error.to_string().contains(path.to_str().unwrap()));
    drop(UnixListener::bind(&path).unwrap());
    let error = client.get::<_, Status>("/v1/status", &()).await.unwrap_err();
    assert!(matches!(error, ClientError::NobodyListens { .. }) && error.to_string().contains(path.to_str().unwrap()));
    let error = refused(&path, io::ErrorKind::PermissionDenied.into());
    assert!(matches!(error, ClientError::NotAllowed { .. }) && error.to_string().contains(path.to_str().unwrap()));
}

#[tokio::test]
async fn a_daemon_of_the_wrong_user_is_sent_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grantd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Client::new(path, Duration::from_secs(10)).expect_owner(Some(4_242));
    let error = client.get::<_, Status>("/v1/status", &()).await.unwrap_err();
    assert!(matches!(error, ClientError::WrongOwner { expected: 4_242, .. }), "{error:?}");
    let (mut stream, _) = listener.accept().unwrap();
    let mut sent = Vec::new();
    io::Read::read_to_end(&mut stream, &mut sent).unwrap();
    assert!(sent.is_empty(), "{sent:?}");
}

#[tokio::test]
async fn a_full_queue_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grantd.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut queue = Vec::new();
    let full = loop {
        match tokio::net::UnixStream::connect(&path).await {
            Ok(stream) => queue.push(stream),
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let knocking = tokio::spawn(async move { connect(&path).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!knocking.is_finished());
    listener.accept().unwrap();
    knocking.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_held_lease_tells_its_end() {
    let later = vec![
        "\n".to_owned(),
        "{\"event\":\"renewed\"}\n{\"event\":\"en".to_owned(),
        "ded\",\"reason\":\"revoked\"}\n".to_owned(),
    ];
    let server = TestServer::new(vec![Reply::Hold { first: vended(), later, close: false }]);
    let (answer, mut held) = client(&server).hold(&vend()).await.unwrap();
    assert_eq!(answer.value.lease.id, "lease-bbbb");
    assert_eq!(held.ended().await.unwrap(), "revoked");
    assert!(!server.gone());
    drop(held);
    for _ in 0..500 {
        if server.gone() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the connection is still open");
}

#[tokio::test]
async fn a_held_lease_whose_connection_breaks_has_no_known_end() {
    let server = TestServer::new(vec![Reply::Hold { first: vended(), later: Vec::new(), close: true }]);
    let (_, mut held) = client(&server).hold(&vend()).await.unwrap();
    assert!(matches!(held.ended().await, Err(ClientError::Closed { .. })));
}

#[tokio::test]
async fn an_answer_that_does_not_hold_is_no_held_lease() {
    let server = TestServer::new(vec![Reply::Json(200, vended())]);
    let error = client(&server).hold(&vend()).await.unwrap_err();
    assert!(matches!(error, ClientError::NotUnderstood { .. }), "{error:?}");
}

#[test]
fn a_query_is_encoded_and_what_is_not_set_is_left_out() {
    assert_eq!(with_query("/v1/grants", &GrantQuery::default()).unwrap(), "/v1/grants");
    let query = GrantQuery {
        state: Some("active,pending".to_owned()),
        resource: Some("a b&all=é".to_owned()),
        all: true,
        limit: Some(5),
        approvable: false,
    };
    assert_eq!(
        with_query("/v1/grants", &query).unwrap(),
        "/v1/grants?all=true&limit=5&resource=a%20b%26all%3D%C3%A9&state=active%2Cpending"
    );
}

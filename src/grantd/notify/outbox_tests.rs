use std::path::Path;
use std::sync::Mutex;

use grantd_provider_api::{RandomIds, SystemClock};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::config::{NotifySettings, NotifyWay, Place};
use crate::store::SqliteStore;
use crate::store::contract::samples;

/// A receiver that answers as it is told to, and keeps what it was told.
#[derive(Clone)]
struct Receiver {
    url: String,
    /// The statuses that it answers with, in turn; 204 when there are no more.
    answers: Arc<Mutex<Vec<u16>>>,
    heard: Arc<Mutex<Vec<Value>>>,
}

impl Receiver {
    async fn start(answers: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let answers: Vec<u16> = answers.iter().rev().copied().collect();
        let receiver = Self { url, answers: Arc::new(Mutex::new(answers)), heard: Arc::default() };
        let it = receiver.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut read = Vec::new();
                let body = loop {
                    let mut part = [0; 4096];
                    let length = stream.read(&mut part).await.unwrap();
                    read.extend_from_slice(&part[..length]);
                    let text = String::from_utf8_lossy(&read).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let head = head.to_ascii_lowercase();
                        let length = head.split_once("content-length: ").unwrap().1;
                        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                        if body.len() >= length {
                            break body.to_owned();
                        }
                    }
                };
                it.heard.lock().unwrap().push(serde_json::from_str(&body).unwrap());
                let status = it.answers.lock().unwrap().pop().unwrap_or(204);
                let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        receiver
    }

    fn target(&self, name: &str) -> Target {
        let settings = NotifySettings {
            name: name.to_owned(),
            way: NotifyWay::Webhook { url: Place::Url(self.url.clone()), secret: None },
            events: vec!["freeze.*".to_owned(), "break_glass.*".to_owned()],
            named_only: false,
            timeout: Duration::from_secs(5),
        };
        Target::new(settings, &|path: &Path| Err(path.display().to_string())).unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }
}

async fn store(directory: &TempDir) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(directory.path(), &RandomIds).unwrap())
}

async fn happened(store: &Arc<dyn Store>, kinds: &[&str]) {
    let audit = kinds.iter().map(|kind| AuditDraft { grant: None, ..samples::draft(kind) }).collect();
    store.commit(Transaction { audit, ..Transaction::default() }).await.unwrap();
}

fn outbox(store: &Arc<dyn Store>, targets: Vec<Target>) -> Outbox {
    Outbox::new(Arc::clone(store), Arc::new(SystemClock::new()), targets)
}

/// Takes steps until the end of the chain, or `most`.
async fn steps(outbox: &Outbox, walk: &mut Option<Walk>, refusals: &mut u32, most: usize) {
    for _ in 0..most {
        if outbox.step(&outbox.0.targets[0], walk, refusals).await == Ok(false) {
            return;
        }
    }
}

#[tokio::test]
async fn everything_is_told_once_and_in_order_from_when_it_was_configured() {
    let (directory, receiver) = (TempDir::new().unwrap(), Receiver::start(&[]).await);
    let store = store(&directory).await;
    happened(&store, &["freeze.set"]).await;
    let outbox = outbox(&store, vec![receiver.target("siem")]);
    let (mut walk, mut refusals) = (None, 0);
    steps(&outbox, &mut walk, &mut refusals, 9).await;
    assert_eq!(receiver.ids(), Vec::<String>::new(), "what was before is not told");
    happened(&store, &["freeze.set", "lease.issued", "freeze.lift"]).await;
    steps(&outbox, &mut walk, &mut refusals, 9).await;
    let node = store.node();
    assert_eq!(receiver.ids(), [format!("{node}/2"), format!("{node}/4")]);
    steps(&outbox, &mut walk, &mut refusals, 9).await;
    assert_eq!(receiver.ids().len(), 2, "nothing is told twice");
}

#[tokio::test]
async fn p13_what_was_not_told_is_told_after_a_restart() {
    let (directory, receiver) = (TempDir::new().unwrap(), Receiver::start(&[503, 204, 503]).await);
    let store = store(&directory).await;
    let first = outbox(&store, vec![receiver.target("siem")]);
    let (mut walk, mut refusals) = (None, 0);
    steps(&first, &mut walk, &mut refusals, 1).await;
    happened(&store, &["freeze.set", "freeze.lift"]).await;
    // Refused, told, refused; then the process is gone.
    steps(&first, &mut walk, &mut refusals, 3).await;
    assert!(first.health()[0].failing.as_ref().is_some_and(|(_, why)| why.contains("503")));
    drop((first, walk));
    let second = outbox(&store, vec![receiver.target("siem")]);
    steps(&second, &mut None, &mut 0, 9).await;
    let node = store.node();
    assert_eq!(receiver.ids(), [1, 1, 2, 2].map(|seq| format!("{node}/{seq}")));
    assert_eq!(second.health()[0].failing, None);
}

#[tokio::test]
async fn what_a_target_will_not_have_is_passed_over_on_record_and_break_glass_is_not() {
    let (directory, receiver) = (TempDir::new().unwrap(), Receiver::start(&[400; 40]).await);
    let store = store(&directory).await;
    let outbox = outbox(&store, vec![receiver.target("siem")]);
    let (mut walk, mut refusals) = (None, 0);
    steps(&outbox, &mut walk, &mut refusals, 1).await;
    happened(&store, &["freeze.set", "break_glass.opened"]).await;
    steps(&outbox, &mut walk, &mut refusals, 30).await;
    let node = store.node().clone();
    let ids = receiver.ids();
    assert_eq!(ids.iter().filter(|id| **id == format!("{node}/1")).count(), 8);
    assert_eq!(ids.iter().filter(|id| **id == format!("{node}/2")).count(), 22, "it is told until it is taken");
    let passed = store.audit(2, 9).await.unwrap();
    assert_eq!(passed.len(), 1);
    assert_eq!(
        (passed[0].draft.kind.as_str(), &passed[0].draft.detail["target"]),
        ("notify.passed_over", &json!("siem"))
    );
}

#[tokio::test]
async fn p11_one_that_is_away_keeps_nobody_else_waiting() {
    let (directory, receiver) = (TempDir::new().unwrap(), Receiver::start(&[]).await);
    let store = store(&directory).await;
    let mut away = receiver.clone();
    away.url = "http://127.0.0.1:1/".to_owned();
    let outbox = outbox(&store, vec![away.target("away"), receiver.target("siem")]);
    let stopping = CancellationToken::new();
    let running = tokio::spawn(outbox.clone().run(stopping.clone()));
    while store.cursor(&outbox.cursor(&outbox.0.targets[1])).await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    happened(&store, &["freeze.set"]).await;
    while receiver.ids().is_empty() || outbox.health()[0].failing.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(outbox.health()[1].failing, None);
    stopping.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn p11_one_that_hangs_does_not_hold_up_a_stop_and_is_told_by_the_next_run() {
    let directory = TempDir::new().unwrap();
    let store = store(&directory).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut hanging = Receiver::start(&[]).await;
    hanging.url = format!("http://{}/hook", silent.local_addr().unwrap());
    let mut target = hanging.target("siem");
    target.be_patient(Duration::from_secs(3_600));
    let outbox = outbox(&store, vec![target]);
    steps(&outbox, &mut None, &mut 0, 1).await;
    happened(&store, &["freeze.set"]).await;
    let stopping = CancellationToken::new();
    let running = tokio::spawn(outbox.clone().run(stopping.clone()));
    let _connection = silent.accept().await.unwrap();
    stopping.cancel();
    tokio::time::timeout(Duration::from_secs(60), running).await.unwrap().unwrap();
    assert_eq!(store.cursor(&outbox.cursor(&outbox.0.targets[0])).await.unwrap(), Some(0));
}

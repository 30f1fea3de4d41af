//! Sources that are slow, dead or wrong, asked over real connections.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use grantd_model::TicketState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::super::breaker::BREAK_AFTER;
use super::*;
use crate::config::Settings;

/// Time as the test sets it.
#[derive(Debug)]
struct SetClock(Mutex<Timestamp>);

impl SetClock {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new("2026-06-01T10:00:00Z".parse().unwrap())))
    }

    fn go(&self, seconds: i64) {
        let mut now = self.0.lock().unwrap();
        *now += jiff::SignedDuration::from_secs(seconds);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }
}

/// A server that answers each request with what it is set to, and keeps the requests.
struct Server {
    address: String,
    answer: Arc<Mutex<Option<String>>>,
    requests: Arc<Mutex<Vec<String>>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    /// Without an answer it never answers.
    async fn start(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answer = Arc::new(Mutex::new(answer));
        let (requests, asked) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (answers, kept, count) = (Arc::clone(&answer), Arc::clone(&requests), Arc::clone(&asked));
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answers, kept, count) = (Arc::clone(&answers), Arc::clone(&kept), Arc::clone(&count));
                tokio::spawn(async move {
                    let mut request = vec![0; 8192];
                    let length = stream.read(&mut request).await.unwrap_or(0);
                    kept.lock().unwrap().push(String::from_utf8_lossy(&request[..length]).into_owned());
                    count.fetch_add(1, Ordering::SeqCst);
                    let answer = answers.lock().unwrap().clone();
                    match answer {
                        Some(answer) => drop(stream.write_all(answer.as_bytes()).await),
                        None => std::future::pending::<()>().await,
                    }
                });
            }
        });
        Self { address, answer, requests, asked }
    }

    fn answers(&self, answer: Option<String>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn answer(status: &str, kind: &str, body: &str) -> Option<String> {
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

fn ticket(state: &str) -> Option<String> {
    let body = format!(r#"{{"key":"OPS-17","fields":{{"status":{{"name":"{state}"}}}}}}"#);
    answer("200 OK", "application/json;charset=UTF-8", &body)
}

fn lookout(text: &str, clock: &Arc<SetClock>) -> Lookout {
    let settings = Settings::parse(text, &|name| (name == "root").then_some(0)).unwrap();
    let clock: Arc<dyn Clock> = Arc::<SetClock>::clone(clock);
    let secret = |path: &Path| {
        assert_eq!(path, PathBuf::from("/etc/token"));
        Ok(Secret::new("Bearer hunter2\n".to_owned()))
    };
    let file: Reader = Arc::new(|path: &Path| Err(format!("{}: gone", path.display())));
    Lookout::new(settings.signals, clock, &secret, &file).unwrap()
}

fn tickets(address: &str) -> String {
    format!(
        "[[signal]]\nname = \"jira\"\ntype = \"ticket\"\ncontact = \"the desk\"\ntimeout = \"1s\"\nsecret = \"/etc/token\"\n\
         url = \"http://{address}/issue/{{ticket}}?fields=status\"\nids = \"OPS-{{digits}}\"\nid = \"/key\"\n\
         state = \"/fields/status/name\"\nstates = {{ active = [\"Doing\"], closed = [\"Done\"] }}\n"
    )
}

fn about(ticket: Option<&str>) -> About<'_> {
    let party = Party { name: "anna", human: true };
    About { resource: "orders", environment: "prod", ticket, subject: party, requester: party }
}

fn wanted(signal: Signal, max_age: u64, last_good: Option<u64>) -> Wanted {
    let last_good = last_good.map(Duration::from_secs);
    Wanted { signals: BTreeSet::from([signal]), max_age: Duration::from_secs(max_age), last_good }
}

async fn state(lookout: &Lookout, max_age: u64, last_good: Option<u64>) -> Result<(TicketState, u64), Missing> {
    let signals = lookout.look(&wanted(Signal::Ticket, max_age, last_good), &about(Some("OPS-17"))).await;
    match &signals[&Signal::Ticket] {
        Looked::Had { age_seconds, facts, .. } => match facts[&SignalFact::TicketState] {
            FactValue::Ticket(state) => Ok((state, *age_seconds)),
            FactValue::Bool(_) => panic!("no state"),
        },
        Looked::Missing(missing) => Err(missing.clone()),
    }
}

#[tokio::test]
async fn p6_a_fact_is_looked_up_again_when_it_is_older_than_policy_allows() {
    let (clock, server) = (SetClock::new(), Server::start(ticket("Doing")).await);
    let lookout = lookout(&tickets(&server.address), &clock);
    assert_eq!(state(&lookout, 60, None).await, Ok((TicketState::Active, 0)));
    server.answers(ticket("Done"));
    clock.go(60);
    assert_eq!(state(&lookout, 60, None).await, Ok((TicketState::Active, 60)));
    assert_eq!(server.asked(), 1);
    clock.go(1);
    assert_eq!(state(&lookout, 60, None).await, Ok((TicketState::Closed, 0)));
    clock.go(-3600);
    server.answers(ticket("Doing"));
    assert_eq!(state(&lookout, 60, None).await, Ok((TicketState::Active, 0)), "a clock that jumped back");
    let request = server.requests.lock().unwrap()[0].to_lowercase();
    assert!(request.starts_with("get /issue/ops-17?fields=status http/1.1\r\n"), "{request}");
    assert!(request.contains("\r\nauthorization: bearer hunter2\r\n"), "{request}");
}

#[tokio::test]
async fn p6_what_cannot_be_had_is_missing_by_name_whatever_is_answered() {
    for (served, word) in [
        (answer("200 OK", "text/html", "<html>log in</html>"), "not of type application/json"),
        (answer("200 OK", "application/json", "<html>log in</html>"), "not JSON"),
        (answer("500 Internal Server Error", "application/json", "{}"), "500"),
        (answer("401 Unauthorized", "application/json", "{}"), "may not ask"),
        (answer("404 Not Found", "application/json", "{}"), "404"),
        (answer("200 OK", "application/json", &format!("\"{}\"", "x".repeat(http::LARGEST))), "larger"),
        (answer("204 No Content", "application/json", ""), "204"),
        (Some("no HTTP at all\r\n\r\n".to_owned()), "connection broke"),
        (None, "no answer in 1 s"),
    ] {
        let (clock, server) = (SetClock::new(), Server::start(served).await);
        let lookout = lookout(&tickets(&server.address), &clock);
        let missing = state(&lookout, 60, None).await.unwrap_err();
        assert!(missing.why.contains(word) && missing.why.contains("\"jira\""), "{word}: {missing:?}");
        assert_eq!(missing.who_can_fix, "the desk");
        assert!(!missing.why.contains("hunter2") && !missing.why.contains(&server.address), "{missing:?}");
        assert_eq!(lookout.standings()[0].failed, 1);
    }
}

#[tokio::test]
async fn no_redirect_is_followed_and_no_secret_goes_with_it() {
    let elsewhere = Server::start(ticket("Doing")).await;
    let to = format!("HTTP/1.1 302 Found\r\nlocation: http://{}/x\r\ncontent-length: 0\r\n\r\n", elsewhere.address);
    let server = Server::start(Some(to)).await;
    let lookout = lookout(&tickets(&server.address), &SetClock::new());
    assert!(state(&lookout, 60, None).await.unwrap_err().why.contains("no redirect"));
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn p6_a_running_lease_may_rest_on_the_last_good_value_and_not_on_one_that_was_taken_back() {
    let (clock, server) = (SetClock::new(), Server::start(ticket("Doing")).await);
    let lookout = lookout(&tickets(&server.address), &clock);
    state(&lookout, 60, None).await.unwrap();
    clock.go(300);
    server.answers(answer("503 Service Unavailable", "text/plain", "later"));
    assert!(state(&lookout, 60, None).await.is_err(), "an issue needs a fresh one");
    assert_eq!(state(&lookout, 60, Some(900)).await, Ok((TicketState::Active, 300)));
    clock.go(601);
    assert!(state(&lookout, 60, Some(900)).await.is_err(), "too old for a renewal");
    clock.go(-300);
    server.answers(answer("404 Not Found", "application/json", "{}"));
    assert!(
        state(&lookout, 60, Some(900)).await.unwrap_err().next.contains("anew"),
        "there is no such ticket any more"
    );
    server.answers(answer("503 Service Unavailable", "text/plain", "later"));
    assert!(state(&lookout, 60, Some(900)).await.is_err(), "and it was forgotten");
}

#[tokio::test]
async fn p11_a_dead_source_is_left_alone_and_the_others_are_asked() {
    let (clock, dead, alive) = (SetClock::new(), Server::start(None).await, Server::start(ticket("Doing")).await);
    let other = tickets(&dead.address).replace("jira", "slow").replace("OPS-", "CHG-");
    let lookout = lookout(&(other + &tickets(&alive.address)), &clock);
    dead.answers(answer("500 Internal Server Error", "text/plain", ""));
    let slow = async || {
        let signals = lookout.look(&wanted(Signal::Ticket, 0, None), &about(Some("CHG-1"))).await;
        matches!(&signals[&Signal::Ticket], Looked::Missing(missing) if missing.why.contains("\"slow\""))
    };
    for _ in 0..BREAK_AFTER + 4 {
        assert!(slow().await);
        assert!(state(&lookout, 0, None).await.is_ok());
    }
    assert_eq!(dead.asked(), usize::try_from(BREAK_AFTER).unwrap(), "it is left alone");
    let standings = lookout.standings();
    assert!(standings[0].error.as_ref().is_some_and(|error| error.contains("500")), "{standings:?}");
    assert_eq!((&standings[1].error, standings[1].failed), (&None, 0));
}

#[tokio::test]
async fn p6_p11_a_ticket_that_cannot_be_used_speaks_neither_for_who_named_it_nor_against_its_source() {
    let (clock, server) = (SetClock::new(), Server::start(ticket("Doing")).await);
    let lookout = lookout(&tickets(&server.address), &clock);
    state(&lookout, 60, None).await.unwrap();
    let other = ticket("Doing").map(|text| text.replace("OPS-17", "OPS-18"));
    let stateless = ticket("Doing").map(|text| text.replace("\"status\"", "\"statuz\""));
    let larger = format!("\"{}\"", "x".repeat(http::LARGEST));
    let moved = Some("HTTP/1.1 301 Moved Permanently\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n".to_owned());
    for served in [ticket("Nowhere"), other, stateless, moved, answer("200 OK", "application/json", &larger)] {
        server.answers(ticket("Doing"));
        clock.go(300);
        state(&lookout, 60, None).await.unwrap();
        server.answers(served.clone());
        clock.go(300);
        for _ in 0..BREAK_AFTER + 1 {
            // Whoever can write it could keep a lease alive with it, or have break-glass do without it.
            let missing = state(&lookout, 60, Some(900)).await.unwrap_err();
            assert!(!missing.away && missing.next.contains("the desk"), "{served:?}: {missing:?}");
            assert_eq!(lookout.standings()[0].error, None, "the source is well");
        }
        // What was said before does not come back with the silence.
        server.answers(answer("503 Service Unavailable", "text/plain", "later"));
        assert!(state(&lookout, 60, Some(900)).await.is_err(), "{served:?}");
    }
    server.answers(ticket("Doing"));
    assert_eq!(state(&lookout, 60, None).await, Ok((TicketState::Active, 0)), "nobody is kept from asking it");
    server.answers(answer("503 Service Unavailable", "text/plain", "later"));
    clock.go(300);
    assert!(state(&lookout, 60, None).await.unwrap_err().away, "silence is something else");
}

#[tokio::test]
async fn an_id_that_does_not_fit_is_never_asked_for() {
    let server = Server::start(ticket("Doing")).await;
    let lookout = lookout(&tickets(&server.address), &SetClock::new());
    for id in ["OPS-1/../../admin", "ops-17", "OPS-17?x", "OPS-", "\r\nX: y"] {
        let signals = lookout.look(&wanted(Signal::Ticket, 60, None), &about(Some(id))).await;
        let Looked::Missing(missing) = &signals[&Signal::Ticket] else { panic!("{signals:?}") };
        assert!(missing.why.contains("no ticket system"), "{missing:?}");
    }
    let none = lookout.look(&wanted(Signal::Ticket, 60, None), &about(None)).await;
    assert_eq!(SignalFact::TicketState.of(&none), Some(FactValue::Ticket(TicketState::None)));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn what_nobody_is_configured_for_is_missing() {
    let clock = SetClock::new();
    let text = "[[signal]]\nname = \"f\"\ntype = \"freeze\"\ncontact = \"ops\"\nfile = \"/etc/f.ics\"\nenvironments = [\"test\"]\n\
                [[signal]]\nname = \"w\"\ntype = \"change_window\"\ncontact = \"ops\"\nfile = \"/etc/w.ics\"";
    let lookout = lookout(text, &clock);
    for (signal, word) in
        [(Signal::Freeze, "\"prod\""), (Signal::OnCall, "no source"), (Signal::ChangeWindow, "/etc/w.ics: gone")]
    {
        let signals = lookout.look(&wanted(signal, 60, None), &about(None)).await;
        let Looked::Missing(missing) = &signals[&signal] else { panic!("{signals:?}") };
        assert!(missing.why.contains(word), "{missing:?}");
    }
}

#[tokio::test]
async fn one_freeze_of_several_is_a_freeze_and_none_may_be_unknown() {
    let event = |day: &str| {
        let text = format!(
            "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTART;VALUE=DATE:{day}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        );
        answer("200 OK", "text/calendar; charset=utf-8", &text)
    };
    let (one, other) = (Server::start(event("20260601")).await, Server::start(event("20260701")).await);
    let source = |name: &str, server: &Server| {
        let address = &server.address;
        format!(
            "[[signal]]\nname = \"{name}\"\ntype = \"freeze\"\ncontact = \"ops\"\nurl = \"http://{address}/x.ics\"\n"
        )
    };
    let clock = SetClock::new();
    let lookout = lookout(&(source("a", &one) + &source("b", &other)), &clock);
    let frozen = async || {
        clock.go(1);
        let signals = lookout.look(&wanted(Signal::Freeze, 0, None), &about(None)).await;
        SignalFact::InFreeze.of(&signals)
    };
    assert_eq!(frozen().await, Some(FactValue::Bool(true)));
    one.answers(event("20260801"));
    assert_eq!(frozen().await, Some(FactValue::Bool(false)));
    other.answers(answer("200 OK", "text/html", "<html>"));
    assert_eq!(frozen().await, None);
}

#[tokio::test]
async fn p11_looks_for_the_same_at_the_same_time_are_one_and_later_ones_are_not() {
    let (clock, server) = (SetClock::new(), Server::start(None).await);
    let lookout = lookout(&tickets(&server.address), &clock);
    let (one, other, fresh) = tokio::join!(state(&lookout, 60, None), state(&lookout, 60, None), async {
        // Who wants nothing older than this moment does not take part in a look that began before.
        clock.go(1);
        state(&lookout, 0, None).await
    });
    assert!(one.is_err() && one == other && fresh.is_err());
    assert_eq!(server.asked(), 2);
    server.answers(ticket("Doing"));
    clock.go(60);
    let (one, other) = tokio::join!(state(&lookout, 60, None), state(&lookout, 60, None));
    assert_eq!((one, other), (Ok((TicketState::Active, 0)), Ok((TicketState::Active, 0))));
    assert_eq!(server.asked(), 3);
}

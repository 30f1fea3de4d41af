//! How each source answers, for whoever looks the host over: asked now, aside from what decisions rest on.

use futures_util::future::join_all;
use grantd_provider_api::{Finding, Standing};
use jiff::Timestamp;

use super::source::{Source, Told};
use super::{Failure, FailureKind, Lookout};
use crate::config::SignalSource;

const CHECK: &str = "signal.answers";

impl Lookout {
    /// How each source answers just now. Nothing is remembered of it, and no failure counted.
    pub async fn examine(&self) -> Vec<Finding> {
        let now = self.now();
        join_all(self.sources().iter().map(|source| source.examine(now))).await
    }
}

impl Source {
    async fn examine(&self, now: Timestamp) -> Finding {
        let settings = self.settings();
        let newest = self.newest();
        let key = match (&settings.source, &newest) {
            (SignalSource::Ticket { .. }, Some((last, _))) => last.clone(),
            (SignalSource::Ticket { ids, .. }, None) => ids.first(),
            _ => String::new(),
        };
        let asked = tokio::time::timeout(settings.timeout, async {
            let _place = self.places.acquire().await.map_err(|_| Failure::away("it is not asked any more"))?;
            self.fetch(&key, now).await
        });
        let late = |_| Err(Failure::away(format!("no answer in {} s", settings.timeout.as_secs())));
        let told = asked.await.unwrap_or_else(late);
        let age = match newest.map(|(_, at)| now.duration_since(at).as_secs()) {
            Some(seconds) => format!("what it told last for a decision is {seconds} s old"),
            None => "it has told nothing for a decision yet".to_owned(),
        };
        finding(&settings.name, &settings.contact, &key, told, &age, now)
    }
}

fn finding(name: &str, contact: &str, key: &str, told: Result<Told, Failure>, age: &str, now: Timestamp) -> Finding {
    let about = format!("signal \"{name}\"");
    match told {
        Ok(Told::Calendar(calendar)) if calendar.covers(now).is_none() => {
            let found = format!("its calendar does not tell of this moment; {age}");
            Finding::bad(about, CHECK, Standing::Problem, found, format!("set this host's clock, or ask {contact}"))
        }
        Ok(told) => {
            let what = match told {
                Told::Ticket(_) => format!("{key} is a ticket as its settings read it"),
                Told::OnCall(_) => "it tells who is on call as its settings read it".to_owned(),
                Told::Calendar(_) => "its calendar is whole".to_owned(),
            };
            Finding::ok(about, CHECK, format!("it answers, and {what}; {age}"))
        }
        // What it does not have, or does not show: neither its secret nor its settings were tried on a ticket.
        Err(failure) if failure.kind == FailureKind::Gone => Finding::not_checked(
            about,
            CHECK,
            format!(
                "it answers, and has no {key} to see whether it shows tickets, and whether they are read: {}; {age}",
                failure.why
            ),
        ),
        Err(failure) => Finding::bad(
            about,
            CHECK,
            Standing::Problem,
            format!("{}; {age}", failure.why),
            format!("have it mended by {contact}, or put its [[signal]] in grantd.toml right: what needs it is denied"),
        ),
    }
}

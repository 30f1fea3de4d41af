//! Asking one source, with all questions that belong to one look.

use std::sync::Arc;

use grantd_model::Signal;
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::calendar::{self, Count};
use super::http::{self, Form};
use super::source::{Source, Told};
use super::{Failure, FailureKind, on_call, ticket};
use crate::config::{CalendarPlace, Changes, DIGITS, MovedBy, SINCE, SignalSource, TICKET, UNTIL};

/// One segment of a path, or one value of a query: nothing in it means anything (RFC 3986, "Unreserved Characters").
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

impl Source {
    /// Asks it about `key`, and reads what it says. Whoever calls sets the time limit.
    pub(super) async fn fetch(&self, key: &str, now: Timestamp) -> Result<Told, Failure> {
        match &self.settings.source {
            SignalSource::Ticket { endpoint, ids, map } => {
                let digits = ids.digits(key).ok_or_else(|| Failure::gone("it has no tickets like this"))?;
                let id = utf8_percent_encode(key, SEGMENT).to_string();
                let url = endpoint.url.replace(TICKET, &id).replace(DIGITS, digits);
                let answer = self.get(&url, Form::Json).await?;
                let mut ticket = ticket::read(&answer, map, key, digits)?;
                if let Some(MovedBy::Changes(changes @ Changes { url: Some(url), .. })) = &map.moved_by {
                    let url = url.replace(TICKET, &id).replace(DIGITS, digits);
                    let answer = self.get(&url, Form::Json).await;
                    answer
                        .and_then(|answer| ticket.moved(&answer, changes))
                        .map_err(|failure| failure.beside("who moved the ticket last cannot be told"))?;
                }
                Ok(Told::Ticket(ticket))
            }
            SignalSource::OnCall { endpoint, list, person, more, overrides, .. } => {
                let answer = self.get(&endpoint.url, Form::Json).await?;
                let mut on_call = on_call::read(&answer, list, person, more)?;
                let (since, until) = on_call::around(now);
                let time = |time: Timestamp| {
                    let text = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                    utf8_percent_encode(&text, SEGMENT).to_string()
                };
                for told in overrides {
                    let url = told.url.replace(SINCE, &time(since)).replace(UNTIL, &time(until));
                    let answer = self.get(&url, Form::Json).await;
                    answer
                        .and_then(|answer| on_call.except(&answer, told, now))
                        .map_err(|failure| failure.beside("who is on call by an override cannot be told"))?;
                }
                Ok(Told::OnCall(on_call))
            }
            SignalSource::Calendar { signal, place, time_zone, .. } => {
                let fetched = match place {
                    CalendarPlace::Url(endpoint) => Some(self.get(&endpoint.url, Form::Calendar).await?),
                    CalendarPlace::File(_) => None,
                };
                let count = if *signal == Signal::Freeze { Count::Tentative } else { Count::Settled };
                let (file, place, time_zone) = (Arc::clone(&self.file), place.clone(), time_zone.clone());
                // Laying out a calendar is work, and a disk can be slow: neither holds up others.
                let read = tokio::task::spawn_blocking(move || {
                    let text = match (fetched, place) {
                        (Some(text), _) => text,
                        (None, CalendarPlace::File(path)) => file(&path).map_err(Failure::away)?,
                        (None, CalendarPlace::Url(_)) => return Err(Failure::away("nothing was fetched")),
                    };
                    calendar::read(&text, &time_zone, count, now)
                });
                read.await.map_err(|_| Failure::away("its calendar could not be read to the end"))?.map(Told::Calendar)
            }
        }
    }

    async fn get(&self, url: &str, form: Form) -> Result<String, Failure> {
        let proof = self.proof.as_ref().map(|(name, secret)| (name, secret));
        http::get(&self.client, url, proof, form).await.map_err(|failure| match (&self.settings.source, failure.kind) {
            // Only of a ticket can a source say that it does not have it.
            (SignalSource::OnCall { .. } | SignalSource::Calendar { .. }, FailureKind::Gone) => {
                Failure::away(failure.why)
            }
            _ => failure,
        })
    }
}

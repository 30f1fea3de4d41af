//! `bootstrap` and `doctor`.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use grantd_wire::{BootstrapQuery, DoctorEvent, DoctorQuery, FindingView, ProofView, ProveRequest};

use super::Context;
use super::status::seconds;
use crate::cli::{Bootstrap, Doctor};
use crate::client::{ClientError, Lines};
use crate::exit::{Exit, Failure};
use crate::print::{clean, count};

/// How long to knock at instance metadata.
const KNOCK: Duration = Duration::from_secs(2);

/// Prints what sets a cloud up. It is meant for a file, so it comes as the daemon wrote it, with --json too.
pub(super) async fn bootstrap(context: &mut Context<'_>, wanted: Bootstrap) -> Result<(), Failure> {
    let query = BootstrapQuery { account: wanted.account, base: wanted.base };
    let text = context.client.text(&format!("/v1/bootstrap/{}", wanted.cloud.as_str()), &query).await?;
    context.raw(&text)
}

/// Looks over the host and the accounts, or proves revocation.
pub(super) async fn doctor(context: &mut Context<'_>, wanted: Doctor) -> Result<(), Failure> {
    let Some(cloud) = wanted.prove else {
        let lines = context.client.get_lines("/v1/doctor", &DoctorQuery { account: wanted.account }).await?;
        return told(context, lines, Some(wanted.metadata)).await;
    };
    let ask = ProveRequest {
        cloud: cloud.as_str().to_owned(),
        account: wanted.account,
        resource: wanted.resource,
        capability: wanted.capability,
    };
    let lines = context.client.post_lines("/v1/doctor/prove", &ask).await?;
    told(context, lines, None).await
}

/// Prints what is told as it comes, and ends with what it comes to.
async fn told(context: &mut Context<'_>, mut lines: Lines, metadata: Option<SocketAddr>) -> Result<(), Failure> {
    let mut own_problems = 0_u64;
    if let Some(address) = metadata {
        let finding = reachable(address).await;
        own_problems = u64::from(finding.standing == "problem");
        let event = DoctorEvent::Finding(finding);
        if context.json {
            let line = serde_json::to_vec(&event)
                .map_err(|error| Failure::new(Exit::Unexpected, format!("a finding cannot be written: {error}")))?;
            context.raw(&line)?;
        } else {
            context.say(&shown(&event))?;
        }
    }
    while let Some(line) = lines.next::<DoctorEvent>().await? {
        if context.json {
            context.raw(&line.raw)?;
        } else {
            context.say(&shown(&line.value))?;
        }
        match line.value {
            DoctorEvent::Finding(_) | DoctorEvent::Step { .. } => {}
            DoctorEvent::Proof(_) => return Ok(()),
            DoctorEvent::Done(tally) => {
                return match tally.problems.saturating_add(own_problems) {
                    0 => Ok(()),
                    problems => Err(Failure::new(Exit::Unhealthy, format!("{} found", count(problems, "problem")))),
                };
            }
            DoctorEvent::Failed { problem } => {
                let why = Failure::from(ClientError::Problem(problem));
                return Err(Failure::new(Exit::Unhealthy, why.line().unwrap_or("it did not come to its end")));
            }
        }
    }
    Err(lines.cut_off().into())
}

/// Whether this command, as a user like any other, reaches what gives out the host's role. The daemon cannot see that:
/// it may be the one user for whom it is open. Asks for nothing but a sign of life.
async fn reachable(address: SocketAddr) -> FindingView {
    let answers = tokio::time::timeout(KNOCK, speaks_http(address)).await.is_ok_and(|spoke| spoke.unwrap_or(false));
    let (standing, found, fix) = if answers {
        let found = format!("{address} answers this user: if the host has a role, any job here can take it");
        ("problem", found, Some("block it for every user but the daemon's, or take the role from the host".to_owned()))
    } else {
        ("ok", format!("{address} does not answer this user; other users are not tried"), None)
    };
    let check = "host.metadata_from_here".to_owned();
    FindingView { about: "host".to_owned(), check, standing: standing.to_owned(), found, fix }
}

/// Whether a web server answers there. That a connection is made proves nothing: a firewall may make it.
async fn speaks_http(address: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("HEAD / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut begin = [0; 5];
    stream.read_exact(&mut begin).await?;
    Ok(&begin == b"HTTP/")
}

fn shown(event: &DoctorEvent) -> String {
    match event {
        DoctorEvent::Finding(finding) => {
            let standing = clean(&finding.standing.replace('_', " "));
            let mut text = format!(
                "{standing:<12} {:<20} {}: {}\n",
                clean(&finding.check),
                clean(&finding.about),
                clean(&finding.found)
            );
            if let Some(fix) = &finding.fix {
                text.push_str(&format!("{:<12} {:<20} {}\n", "", "what to change", clean(fix)));
            }
            text
        }
        DoctorEvent::Step { text } => format!("{}\n", clean(text)),
        DoctorEvent::Proof(proof) => proved(proof),
        DoctorEvent::Done(tally) => format!(
            "{} ok, {}, {}, {} not checked\n",
            tally.ok,
            count(tally.warnings, "warning"),
            count(tally.problems, "problem"),
            tally.not_checked
        ),
        // It becomes the one line on standard error.
        DoctorEvent::Failed { .. } => String::new(),
    }
}

fn proved(proof: &ProofView) -> String {
    let mut text = format!(
        "revocation works: {} on \"{}\" was refused {} after the decision",
        clean(&proof.action),
        clean(&proof.resource),
        seconds(proof.felt_milliseconds)
    );
    if let Some(accepted) = proof.accepted_milliseconds {
        text.push_str(&format!("; the cloud had accepted the deny after {}", seconds(accepted)));
    }
    text.push('\n');
    if let Some(reckoned) = &proof.propagation {
        text.push_str(&format!(
            "the daemon now reckons with {}, and {} at worst ({} in account \"{}\")\n",
            seconds(reckoned.expected_milliseconds),
            seconds(reckoned.worst_milliseconds),
            count(proof.samples, "measurement"),
            clean(&proof.account)
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn metadata_that_answers_is_a_problem_and_a_firewall_is_none() {
        for (answer, standing) in [("HTTP/1.1 401 Unauthorized\r\n\r\n", "problem"), ("nobody", "ok"), ("", "ok")] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let served = tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            });
            assert_eq!(reachable(address).await.standing, standing, "{answer}");
            served.await.unwrap();
        }
    }
}

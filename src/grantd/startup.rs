//! What is read once before the daemon runs, and again at a reload: files that only trusted users can write.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantd_provider_api::{Clock, Cloud, RandomIds, Secret};
use jiff::Timestamp;
use tokio::net::{TcpListener, UnixListener};
use tracing_subscriber::EnvFilter;

use crate::api::Limits;
use crate::broker::{Broker, Exporter};
use crate::config::{self, Host, LogFormat, LogSettings, Settings, SocketGroup};
use crate::document::SigningKey;
use crate::issuer::{FEDERATION, Ground, Issuer, LONGEST_ASSERTION, LONGEST_PASSPORT, OIDC};
use crate::metrics::{self, Metrics};
use crate::notify::Target;
use crate::policy::{Bundle, Signers};
use crate::signal::{Lookout, Reader};
use crate::sshsig::AllowedSigners;
use crate::sys::fdstore::{self, FdStore};
use crate::sys::files::{self, Owners};
use crate::sys::listen::{self, SocketSettings};
use crate::sys::notify::{NamedFd, Notifier};
use crate::sys::users;

/// The largest configuration or policy file, in bytes.
const LARGEST: u64 = 4 * 1024 * 1024;

/// The largest file with an address or a key, in bytes.
const LARGEST_SECRET: u64 = 16 * 1024;

/// The socket unit whose descriptor is the listening socket.
const SOCKET: &str = "grantd.socket";

/// Reads `grantd.toml`, with the credentials that systemd handed over in their places.
///
/// # Errors
/// In words: who else could write it, or what is wrong in it.
pub fn read_settings(path: &Path, owners: &Owners) -> Result<Settings, String> {
    let text = files::read_trusted(path, owners, LARGEST).map_err(|error| error.to_string())?;
    let mut settings = Settings::parse(&text, &|name| users::uid(name).ok()).map_err(|error| error.to_string())?;
    let handed_over = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    for (cloud, table) in &mut settings.providers {
        config::resolve_credentials(cloud, table, handed_over.as_deref()).map_err(|error| error.to_string())?;
    }
    for target in &mut settings.notify {
        target.resolve(handed_over.as_deref()).map_err(|error| error.to_string())?;
    }
    for signal in &mut settings.signals {
        signal.resolve(handed_over.as_deref()).map_err(|error| error.to_string())?;
    }
    if let Some(export) = &mut settings.grant_export {
        export.resolve(handed_over.as_deref()).map_err(|error| error.to_string())?;
    }
    for (table, issuer) in [("issuer", &mut settings.issuer), ("oidc.issuer", &mut settings.oidc_issuer)] {
        if let Some(issuer) = issuer {
            issuer.resolve(table, handed_over.as_deref()).map_err(|error| error.to_string())?;
        }
    }
    Ok(settings)
}

/// The daemon's own issuers of tokens, with the keys that come from files.
///
/// # Errors
/// In words: a file that is no key, or that others could read or write.
pub fn issuers(settings: &Settings, owners: &Owners, clock: &Arc<dyn Clock>) -> Result<Vec<Arc<Issuer>>, String> {
    let ground = Ground {
        state_dir: settings.state_dir.clone(),
        owners: owners.clone(),
        clock: Arc::clone(clock),
        ids: Arc::new(RandomIds),
    };
    let federation = settings.issuer.as_ref().map(|issuer| (FEDERATION, issuer, LONGEST_ASSERTION));
    let oidc = settings.oidc_issuer.as_ref().map(|issuer| (OIDC, issuer, LONGEST_PASSPORT));
    let all = federation.into_iter().chain(oidc);
    let made = all.map(|(name, issuer, longest)| Issuer::new(name, issuer, longest, ground.clone()));
    let made: Result<Vec<_>, _> = made.map(|issuer| issuer.map(Arc::new).map_err(|error| error.to_string())).collect();
    let made = made?;
    keep_apart(&made)?;
    Ok(made)
}

/// That no token of one issuer can pass for one of another. Once they are opened, this looks at the keys that are made
/// here, too.
///
/// # Errors
/// In words: they have the same URL, or a key in common.
pub fn keep_apart(issuers: &[Arc<Issuer>]) -> Result<(), String> {
    for (at, issuer) in issuers.iter().enumerate() {
        for other in issuers.iter().take(at) {
            issuer.is_apart_from(other).map_err(|error| format!("grantd.toml: {error}"))?;
        }
    }
    Ok(())
}

/// How grants are handed to other hosts, with the key that signs them.
///
/// # Errors
/// In words: a file that is no key, or that others could read or write.
pub fn exporter(settings: &Settings, owners: &Owners) -> Result<Option<Exporter>, String> {
    let Some(export) = &settings.grant_export else { return Ok(None) };
    let bytes = files::read_secret_file(&export.key, owners, LARGEST_SECRET).map_err(|error| error.to_string())?;
    let wrong = |why: String| format!("grantd.toml: grant_export.key: {}: {why}", export.key.display());
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("it is not text".to_owned()))?;
    let key = SigningKey::parse(&Secret::new(text.to_owned())).map_err(wrong)?;
    let (iss, audience) = (export.iss.clone(), export.audience.clone());
    Ok(Some(Exporter { iss, audience, longest: export.longest, key }))
}

/// Those who are told what happens, with the secrets that come from files.
///
/// # Errors
/// In words: a file that is no address or no key, or that others could read or write.
pub fn notified(settings: &Settings, owners: &Owners) -> Result<Vec<Target>, String> {
    let read = |path: &Path| {
        let bytes = files::read_secret_file(path, owners, LARGEST_SECRET).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not text", path.display()))?;
        Ok(Secret::new(text.to_owned()))
    };
    settings.notify.iter().map(|target| Target::new(target.clone(), &read)).collect()
}

/// Where facts are looked up that policy rests on, with the secrets that come from files.
///
/// # Errors
/// In words: a file that others could read or write, or a time zone that is not known.
pub fn lookout(settings: &Settings, owners: &Owners, clock: &Arc<dyn Clock>) -> Result<Lookout, String> {
    let secret = |path: &Path| {
        let bytes = files::read_secret_file(path, owners, LARGEST_SECRET).map_err(|error| error.to_string())?;
        let text = std::str::from_utf8(&bytes).map_err(|_| format!("{} is not text", path.display()))?;
        Ok(Secret::new(text.to_owned()))
    };
    let trusted = owners.clone();
    let file: Reader =
        Arc::new(move |path| files::read_trusted(path, &trusted, LARGEST).map_err(|error| error.to_string()));
    Lookout::new(settings.signals.clone(), Arc::clone(clock), &secret, &file)
}

/// Sets up what is told to standard error, and so to the journal.
///
/// # Errors
/// In words: the filter is not valid.
pub fn log(settings: &LogSettings) -> Result<(), String> {
    let filter = EnvFilter::try_new(&settings.filter)
        .map_err(|error| format!("grantd.toml: log.filter \"{}\" is not valid: {error}", settings.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Text => builder.with_ansi(false).init(),
    }
    Ok(())
}

/// Reads and checks the whole policy bundle.
///
/// # Errors
/// In words: who else could write it, or what is wrong in it.
pub fn read_bundle(dir: &Path, owners: &Owners) -> Result<Bundle, String> {
    let host = Host { user: &|name| users::uid(name).ok(), group: &|name, uid| users::is_member(name, uid).ok() };
    read_bundle_of(dir, owners, host)
}

/// The same of another host.
///
/// # Errors
/// In words: who else could write it, or what is wrong in it.
pub fn read_bundle_of(dir: &Path, owners: &Owners, host: Host<'_>) -> Result<Bundle, String> {
    files::trusted_dir(dir, owners).map_err(|error| error.to_string())?;
    let read = |path: &Path| files::read_trusted(path, owners, LARGEST).map_err(|error| error.to_string());
    let list = |path: &Path| {
        files::trusted_dir(path, owners).map_err(|error| error.to_string())?;
        let entries = std::fs::read_dir(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let names: Result<Vec<String>, std::io::Error> =
            entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect();
        names.map_err(|error| format!("{}: {error}", path.display()))
    };
    Bundle::load(dir, &read, &list, host).map_err(|error| error.to_string())
}

/// Who may sign bundles, where that is configured.
///
/// # Errors
/// In words: who else could write the list, what is wrong in it, or that there are fewer on it than have to sign.
pub fn signers(settings: &Settings, owners: &Owners) -> Result<Option<Signers>, String> {
    let Some(policy) = &settings.policy else { return Ok(None) };
    let text = files::read_trusted(&policy.signers, owners, LARGEST).map_err(|error| error.to_string())?;
    let named = |problem: String| format!("{}: {problem}", policy.signers.display());
    let allowed = AllowedSigners::parse(&text).map_err(|error| named(error.to_string()))?;
    let (there, threshold) = (allowed.principals().len(), usize::try_from(policy.threshold).unwrap_or(usize::MAX));
    if there < threshold {
        return Err(named(format!(
            "{there} can sign, and policy.threshold of grantd.toml asks for {threshold}: list more people, each with their \
             own key"
        )));
    }
    Ok(Some(Signers { allowed, threshold }))
}

/// What there is to say of a configuration that is good. Whether a bundle was accepted before, only a start can tell.
#[must_use]
pub fn checked<'a>(
    bundle: &Bundle,
    signers: Option<&Signers>,
    now: Timestamp,
    clouds: impl Iterator<Item = &'a Cloud>,
) -> String {
    let seal = match signers.map(|signers| bundle.seal.hold(signers, now)) {
        None => "no signatures are asked for".to_owned(),
        Some(Ok(sealed)) => {
            let signers: Vec<String> = sealed.signers.into_iter().collect();
            format!("sequence {}, signed by {}", sealed.sequence, signers.join(", "))
        }
        Some(Err(problem)) => format!("good only if it was accepted here before: {problem}"),
    };
    let clouds: Vec<String> = clouds.map(ToString::to_string).collect();
    format!("ok: policy {} ({seal}), clouds: {}", bundle.version, clouds.join(", "))
}

/// Checks files that an adapter reads by itself: base credentials, certificate authorities.
///
/// # Errors
/// In words: who else could write one.
pub fn check_files<'a>(paths: impl Iterator<Item = &'a Path>, owners: &Owners) -> Result<(), String> {
    for path in paths {
        files::trusted_file(path, owners).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// What systemd handed over: the socket of its socket unit, and a store with what it kept of an earlier run.
///
/// # Errors
/// In words.
pub fn fd_store(notifier: &Notifier, fds: Vec<NamedFd>) -> Result<(Vec<NamedFd>, FdStore), String> {
    let (sockets, kept) = fds.into_iter().partition(|fd| fd.name == SOCKET);
    let store = FdStore::new(notifier.clone(), fdstore::capacity(), kept);
    Ok((sockets, store.map_err(|error| format!("systemd's fd store cannot be used: {error}"))?))
}

/// The socket that systemd passed, or one of our own. Called last: from then on clients wait for an answer.
///
/// # Errors
/// In words.
pub fn listener(settings: &config::SocketSettings, fds: Vec<NamedFd>, owners: &Owners) -> Result<UnixListener, String> {
    let listener = match fds.into_iter().find(|fd| fd.name == SOCKET) {
        Some(passed) => listen::adopt(passed.fd),
        None => {
            let group = match &settings.group {
                None => None,
                Some(SocketGroup::Gid(gid)) => Some(*gid),
                Some(SocketGroup::Name(name)) => Some(users::gid(name).map_err(|error| error.to_string())?),
            };
            let own = SocketSettings { path: settings.path.clone(), owner: None, group, mode: settings.mode };
            listen::bind(&own, owners)
        }
    };
    let listener = listener.map_err(|error| error.to_string())?;
    UnixListener::from_std(listener).map_err(|error| format!("the socket cannot be watched: {error}"))
}

/// Serves the metrics over TCP, where that is configured.
///
/// # Errors
/// In words: the address cannot be had.
pub async fn serve_metrics(address: Option<SocketAddr>, metrics: &Metrics, broker: &Broker) -> Result<(), String> {
    let Some(address) = address else { return Ok(()) };
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| format!("grantd.toml: metrics.listen: {address} cannot be had: {error}"))?;
    tokio::spawn(metrics::serve(listener, metrics.clone(), broker.clone(), broker.stopping()));
    Ok(())
}

impl From<&config::Limits> for Limits {
    fn from(limits: &config::Limits) -> Self {
        Self {
            connections: usize::try_from(limits.connections).unwrap_or(usize::MAX),
            connections_per_uid: usize::try_from(limits.connections_per_uid).unwrap_or(usize::MAX),
            requests_per_second: limits.requests_per_second,
            burst: limits.burst,
            body_bytes: usize::try_from(limits.body_bytes).unwrap_or(usize::MAX),
            header_timeout: limits.header_timeout,
            request_timeout: limits.request_timeout,
        }
    }
}

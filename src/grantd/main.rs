//! The daemon's program: harden, configure, wire, run.

mod adapters;
mod planner;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use adapters::Secrets;
use clap::Parser;
use grantd::api::{self, Api};
use grantd::broker::{self, Broker, Exporter};
use grantd::config::Settings;
use grantd::doctor::Host;
use grantd::issuer::Issuer;
use grantd::metrics::Metrics;
use grantd::notify::{Outbox, Target};
use grantd::offline::{self, Offline};
use grantd::policy::{Bundle, Signers};
use grantd::pulse;
use grantd::signal::Lookout;
use grantd::store::{Marked, SqliteStore};
use grantd::sys::files::{self, Owners};
use grantd::sys::harden::{self, Hardening};
use grantd::sys::notify::{self, NamedFd, Notifier};
use grantd::{run, startup, watchdog};
use grantd_provider_api::{Clock, Cloud, Provider, RandomIds, SystemClock};
use zeroizing_alloc::ZeroAlloc;

/// Wipes memory when it is freed, for the copies of a secret that libraries make (promise P9).
#[global_allocator]
static ALLOCATOR: ZeroAlloc<std::alloc::System> = ZeroAlloc(std::alloc::System);

/// Turns approved grants into short-lived cloud credentials over a local socket, and takes them back.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The configuration.
    #[arg(long, default_value = "/etc/grantd/grantd.toml", env = "GRANTD_CONFIG")]
    config: PathBuf,
    /// Read and check everything that is configured, say what is wrong, and stop.
    #[arg(long)]
    check: bool,
    /// What to do instead, without a daemon.
    #[command(subcommand)]
    offline: Option<Offline>,
    /// Read a request file on standard input, print what this configuration plans for it, and stop. Needs no secret.
    #[arg(long, conflicts_with = "check")]
    plan: bool,
    /// With --plan: the policy bundle's directory, in place of the one that is configured.
    #[arg(long, requires = "plan", value_name = "DIR")]
    policy: Option<PathBuf>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match &cli.offline {
        Some(command) => offline::run(command),
        None if cli.plan => run::exit(planner::plan(&cli.config, cli.policy.as_ref())),
        None => run::exit(start(&cli)),
    }
}

fn start(cli: &Cli) -> Result<(), String> {
    let hardening = harden::harden().map_err(|error| error.to_string())?;
    let fds = notify::take_fds().map_err(|error| format!("the descriptors from systemd cannot be taken: {error}"))?;
    let owners = Owners::root_and_self();
    let settings = startup::read_settings(&cli.config, &owners)?;
    let bundle = startup::read_bundle(&settings.policy_dir, &owners)?;
    let signers = startup::signers(&settings, &owners)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let issuers = startup::issuers(&settings, &owners, &clock)?;
    let providers = adapters::providers(&settings, &owners, &clock, &issuers, Secrets::Checked)?;
    let targets = startup::notified(&settings, &owners)?;
    let lookout = startup::lookout(&settings, &owners, &clock)?;
    let exporter = startup::exporter(&settings, &owners)?;
    if cli.check {
        println!("{}", startup::checked(&bundle, signers.as_ref(), clock.now(), providers.keys()));
        return Ok(());
    }
    startup::log(&settings.log)?;
    tracing::info!(%hardening, removed = ?hardening.removed_variables, "hardened");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot start: {error}"))?;
    let ready = Ready {
        settings,
        bundle,
        signers,
        issuers,
        targets,
        lookout,
        exporter,
        providers,
        clock,
        owners,
        hardening,
        fds,
    };
    runtime.block_on(serve(ready))
}

/// Everything that was read and found good.
struct Ready {
    settings: Settings,
    bundle: Bundle,
    signers: Option<Signers>,
    issuers: Vec<Arc<Issuer>>,
    targets: Vec<Target>,
    lookout: Lookout,
    exporter: Option<Exporter>,
    providers: BTreeMap<Cloud, Arc<dyn Provider>>,
    clock: Arc<dyn Clock>,
    owners: Owners,
    hardening: Hardening,
    fds: Vec<NamedFd>,
}

async fn serve(ready: Ready) -> Result<(), String> {
    let Ready {
        settings,
        bundle,
        signers,
        issuers,
        targets,
        lookout,
        exporter,
        providers,
        clock,
        owners,
        hardening,
        fds,
    } = ready;
    files::private_dir(&settings.state_dir, &owners).map_err(|error| error.to_string())?;
    issuers.iter().try_for_each(|issuer| issuer.open()).map_err(|error| error.to_string())?;
    startup::keep_apart(&issuers)?;
    let store = SqliteStore::open(&settings.state_dir, &RandomIds).map_err(|error| error.to_string())?;
    let metrics = Metrics::new(Arc::clone(&clock));
    let notifier = Notifier::from_env();
    let (sockets, fd_store) = startup::fd_store(&notifier, fds)?;
    let store = metrics.over_store(Arc::new(Marked::new(Arc::new(store))));
    let outbox = Outbox::new(Arc::clone(&store), Arc::clone(&clock), targets);
    let broker = Broker::new(broker::Parts {
        store,
        providers: metrics.over_providers(providers),
        bundle: Arc::new(bundle),
        clock,
        ids: Arc::new(RandomIds),
        fd_store,
        issuers,
        lookout,
        exporter,
        settings: broker::Settings {
            default_ttl: settings.default_ttl,
            administrators: settings.roles.administrators.iter().copied().collect(),
            auditors: settings.roles.auditors.iter().copied().collect(),
            repeats: settings.review.into(),
            signers,
        },
    });
    let mut signals = run::Signals::catch().map_err(|error| format!("signals cannot be caught: {error}"))?;
    broker.start().await.map_err(|error| format!("cannot start: {error}"))?;
    broker.keep_running("the outbox", outbox.clone().run(broker.stopping()));
    let listener = startup::listener(&settings.socket, sockets, &owners)?;
    let limits = api::Limits::from(&settings.limits);
    startup::serve_metrics(settings.metrics, &metrics, &broker).await?;
    let words = Arc::new(vec![hardening.to_string()]);
    let host = Arc::new(Host { state_dir: settings.state_dir.clone(), owners: owners.clone(), hardening });
    let api = Api { broker: broker.clone(), hardening: words, host, limits, metrics, outbox };
    let (pulse, beats) = pulse::pulse();
    let mut server = tokio::spawn(api::serve(listener, api, broker.stopping(), beats));
    watchdog::start(&notifier, &broker, pulse);
    tokio::select! {
        () = run::until_told(&mut signals, &broker, &settings.policy_dir, &owners, &notifier) => {}
        ended = &mut server => return Err(format!("the server ended by itself: {ended:?}")),
    }
    broker.begin_stop();
    let served = server.await;
    broker.finish(run::PATIENCE).await;
    served.map_err(|error| format!("the server ended badly: {error}"))
}

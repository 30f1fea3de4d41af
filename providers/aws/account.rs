//! One account's clients, health and breaker. Accounts share the HTTP connector and nothing else: what goes wrong in
//! one does not touch another (promise P11).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_iam::config::IdentityCache as IamIdentityCache;
use aws_sdk_sts::config::{BehaviorVersion, IdentityCache, Region};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use grantd_provider_api::{AccountHealth, Assertions, Breaker, Clock, Cloud, ErrorKind, ProviderError, Purpose};

use crate::arn::Arn;
use crate::base::Base;
use crate::boundary::Boundary;
use crate::config::{AccountConfig, BaseConfig, Config, RevocationConfig};
use crate::http::Http;
use crate::inline::Inline;
use crate::revoke::{Backend, Iam, Revoker};

/// One account at work.
#[derive(Debug)]
pub(crate) struct Account {
    pub config: AccountConfig,
    pub clock: Arc<dyn Clock>,
    pub base: Base,
    /// Signed with the base; never retries by itself.
    pub sts: aws_sdk_sts::Client,
    /// Signed with nothing, for calls that carry a token; never retries by itself.
    pub unsigned_sts: aws_sdk_sts::Client,
    /// Mints the daemon's own tokens.
    pub assertions: Arc<dyn Assertions>,
    iam: Iam,
    write_interval: Duration,
    clock_skew: Duration,
    revokers: Mutex<BTreeMap<String, Arc<Revoker>>>,
    breaker: Breaker,
}

impl Account {
    /// Sets up the clients. Sends nothing.
    pub fn new(
        config: AccountConfig,
        all: &Config,
        http: &Http,
        clock: &Arc<dyn Clock>,
        assertions: &Arc<dyn Assertions>,
    ) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(all.timeouts.connect)
            .read_timeout(all.timeouts.read)
            .operation_attempt_timeout(all.timeouts.attempt)
            .operation_timeout(all.timeouts.operation)
            .build();
        let sts = || {
            aws_sdk_sts::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new(config.region.clone()))
                .endpoint_url(sts_endpoint(&config))
                .http_client(http.client())
                .timeout_config(timeouts.clone())
                .identity_cache(IdentityCache::no_cache())
        };
        // Sessions of our own may be asked for twice: they are no lease's, and bounded by the base's own power.
        let unsigned = aws_sdk_sts::Client::from_conf(sts().retry_config(retries(2)).build());
        let unsigned_sts = aws_sdk_sts::Client::from_conf(sts().retry_config(RetryConfig::disabled()).build());
        let base = Base::new(&config, http, unsigned, clock, all.timeouts, assertions);
        let signed = |retry| {
            aws_sdk_sts::Client::from_conf(sts().credentials_provider(base.clone()).retry_config(retry).build())
        };
        let iam_credentials = match &config.revoker {
            // The base is the revoker already.
            Some(_) if matches!(config.base, BaseConfig::Issuer) => base.clone(),
            Some(role) => {
                Base::revoker(&config.name, role.clone(), signed(retries(2)), base.clone(), clock, all.timeouts)
            }
            None => base.clone(),
        };
        let (iam_url, iam_region) = iam_endpoint(&config);
        let iam = aws_sdk_iam::Config::builder()
            .behavior_version(aws_sdk_iam::config::BehaviorVersion::latest())
            .region(aws_sdk_iam::config::Region::new(iam_region))
            .endpoint_url(iam_url)
            .http_client(http.client())
            .timeout_config(timeouts.clone())
            .identity_cache(IamIdentityCache::no_cache())
            .credentials_provider(iam_credentials.clone())
            .retry_config(RetryConfig::disabled())
            .build();
        Self {
            sts: signed(RetryConfig::disabled()),
            unsigned_sts,
            assertions: Arc::clone(assertions),
            iam: Iam {
                account: config.name.clone(),
                client: aws_sdk_iam::Client::from_conf(iam),
                credentials: iam_credentials,
                clock: Arc::clone(clock),
            },
            base,
            clock: Arc::clone(clock),
            write_interval: all.write_interval,
            clock_skew: all.clock_skew,
            revokers: Mutex::default(),
            breaker: Breaker::default(),
            config,
        }
    }

    /// The writer of the deny document `name`: configured, or once configured and still needed to revoke what was
    /// issued under it. A policy is a boundary, a role has an inline policy.
    ///
    /// # Errors
    /// `Config` when it is no policy or role of this account.
    pub fn revoker(&self, name: &str) -> Result<Arc<Revoker>, ProviderError> {
        let mut revokers = self.revokers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = revokers.get(name) {
            return Ok(Arc::clone(known));
        }
        let foreign = || {
            let text =
                format!("account \"{}\": {name:?} is no managed policy and no role of this account", self.config.name);
            ProviderError::new(ErrorKind::Config, text)
        };
        let arn: Arn = name.parse().map_err(|_| foreign())?;
        let own = arn.service() == "iam" && arn.partition() == self.config.partition && arn.account() == self.config.id;
        if !own {
            return Err(foreign());
        }
        let iam = self.iam.clone();
        let sharing = self.config.roles.iter().filter(|role| role.scope_name() == name);
        let backend: Box<dyn Backend> = if arn.resource().starts_with("policy/") {
            Box::new(Boundary { iam, arn: arn.clone(), roles: sharing.count() })
        } else if arn.resource().starts_with("role/") {
            let set_aside = sharing.map(|role| match role.revocation {
                RevocationConfig::Inline { characters } => characters,
                RevocationConfig::Boundary(_) => 0,
            });
            Box::new(Inline::new(iam, arn.clone(), set_aside.max().unwrap_or_default()))
        } else {
            return Err(foreign());
        };
        let revoker = Arc::new(Revoker::new(self.iam.clone(), arn, backend, self.write_interval, self.clock_skew));
        revokers.insert(name.to_owned(), Arc::clone(&revoker));
        Ok(revoker)
    }

    /// The IAM client, and whose credentials it signs with: refresh those before each use.
    pub fn iam(&self) -> (&aws_sdk_iam::Client, &Base) {
        (&self.iam.client, &self.iam.credentials)
    }

    /// Refuses at once while the account is known to be silent. Revoking is never refused.
    ///
    /// # Errors
    /// `Unreachable`: nothing is sent.
    pub fn admit(&self) -> Result<(), ProviderError> {
        self.breaker.admit(&self.config.name, self.clock.now())
    }

    /// Keeps what a call said about the account.
    pub fn record<T>(&self, purpose: Purpose, outcome: &Result<T, ProviderError>) {
        self.breaker.record(purpose, outcome, self.clock.now());
    }

    /// How the account is doing.
    pub fn health(&self) -> AccountHealth {
        let (account, last_error) = (self.config.name.clone(), self.breaker.last_error());
        AccountHealth { cloud: Cloud::Aws, account, last_error }
    }
}

fn retries(attempts: u32) -> RetryConfig {
    RetryConfig::standard().with_max_attempts(attempts).with_initial_backoff(Duration::from_millis(100))
}

/// Always given to the SDK in so many words, so that no environment variable can name another one.
fn sts_endpoint(config: &AccountConfig) -> String {
    match &config.endpoint {
        Some(endpoint) => endpoint.as_str().to_owned(),
        None => {
            let suffix = if config.partition == "aws-cn" { "amazonaws.com.cn" } else { "amazonaws.com" };
            format!("https://sts.{}.{suffix}", config.region)
        }
    }
}

/// IAM is global, and signed for one region of each partition (AWS General Reference, "IAM endpoints and quotas").
fn iam_endpoint(config: &AccountConfig) -> (String, &'static str) {
    let (url, region) = match config.partition.as_str() {
        "aws-cn" => ("https://iam.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        "aws-us-gov" => ("https://iam.us-gov.amazonaws.com", "us-gov-west-1"),
        _ => ("https://iam.amazonaws.com", "us-east-1"),
    };
    (config.endpoint.as_ref().map_or(url, |endpoint| endpoint.as_str()).to_owned(), region)
}

#[cfg(test)]
mod tests {
    use grantd_provider_api::{BREAK_AFTER, PAUSE};

    use super::*;
    use crate::testing;

    #[test]
    fn endpoints_follow_the_partition() {
        let mut config = testing::config("").accounts.remove("prod").unwrap();
        assert_eq!(sts_endpoint(&config), "https://sts.eu-west-1.amazonaws.com");
        assert_eq!(iam_endpoint(&config), ("https://iam.amazonaws.com".to_owned(), "us-east-1"));
        config.partition = "aws-cn".to_owned();
        config.region = "cn-north-1".to_owned();
        assert_eq!(sts_endpoint(&config), "https://sts.cn-north-1.amazonaws.com.cn");
        assert_eq!(iam_endpoint(&config).1, "cn-north-1");
    }

    #[test]
    fn p11_a_silent_account_is_not_asked_again_at_once() {
        let clock = testing::TestClock::at("2026-11-21T12:00:00Z");
        let account = testing::account(&testing::config(""), &clock);
        let silent: Result<(), _> = Err(ProviderError::new(ErrorKind::Unknown, "no answer"));
        for _ in 0..BREAK_AFTER {
            account.admit().unwrap();
            account.record(Purpose::Issue, &silent);
        }
        assert_eq!(account.admit().unwrap_err().kind, ErrorKind::Unreachable);
        clock.advance(PAUSE);
        account.admit().unwrap();
        assert!(account.admit().is_err(), "only one call may try");
        account.record(Purpose::Issue, &Ok(()));
        account.admit().unwrap();
        assert_eq!(account.health().last_error, None);
    }

    #[test]
    fn a_request_that_cannot_be_met_says_nothing_of_the_account() {
        let account = testing::account(&testing::config(""), &testing::TestClock::at("2026-11-21T12:00:00Z"));
        account.record::<()>(Purpose::Revoke, &Err(ProviderError::new(ErrorKind::Refused, "no")));
        account.record::<()>(Purpose::Revoke, &Err(ProviderError::new(ErrorKind::Capacity, "full")));
        assert_eq!(account.health().last_error.as_deref(), Some("no"));
        account.record(Purpose::Issue, &Ok(()));
        assert_eq!(account.health().last_error.as_deref(), Some("no"));
    }

    #[test]
    fn only_policies_and_roles_of_the_account_have_deny_documents() {
        let account = testing::account(&testing::config(""), &testing::TestClock::at("2026-11-21T12:00:00Z"));
        for once in ["policy/old-boundary", "role/grantd/once-inline"] {
            assert!(account.revoker(&format!("arn:aws:iam::123456789012:{once}")).is_ok());
        }
        for bad in ["arn:aws:iam::210987654321:policy/x", "arn:aws:iam::123456789012:user/x", "x"] {
            assert_eq!(account.revoker(bad).unwrap_err().kind, ErrorKind::Config);
        }
    }
}

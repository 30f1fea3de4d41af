//! The adapter of tokens before somebody who verifies them: PyJWT, with nothing but the issuer's key set.

use std::collections::BTreeMap;
use std::fmt;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use grantd_provider_api::{
    CapabilityMap, Clock, Cloud, Credential, Entitlement, LeaseId, Narrowing, Passport, Passports, Provider,
    ProviderError, ResourceRef, Secret, Signed, SystemClock,
};
use grantd_provider_oidc::OidcProvider;
use grantd_testkit::conformance::Stage;
use grantd_testkit::{Fault, TestIssuer, azure_environment, repository_root};
use jiff::Timestamp;
use serde_json::json;

const URL: &str = "https://tokens.test";

const AUDIENCES: [&str; 2] = ["https://billing.test", "https://reports.test"];

/// Whether a token is for an audience, by what a verifier needs: key set, issuer, audience, token.
const VERIFY: &str = "
import json, jwt, sys
keys, issuer, audience, token = sys.argv[1:]
key = jwt.PyJWK(json.loads(keys)['keys'][0])
try:
    jwt.decode(token, key, algorithms=['ES256'], issuer=issuer, audience=audience,
               options={'require': ['exp', 'iat', 'nbf', 'iss', 'aud', 'sub', 'jti']})
except (jwt.InvalidAudienceError, jwt.ExpiredSignatureError):
    print('no')
else:
    print('yes')
";

/// The daemon's issuer as the adapter sees it, with a key of the test's.
struct Mint {
    issuer: TestIssuer,
    clock: Arc<dyn Clock>,
    signed: Mutex<BTreeMap<String, Timestamp>>,
}

impl fmt::Debug for Mint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mint")
    }
}

impl Passports for Mint {
    fn url(&self) -> &str {
        URL
    }

    fn longest(&self) -> Duration {
        Duration::from_secs(3_600)
    }

    fn sign(&self, passport: &Passport<'_>) -> Result<Signed, ProviderError> {
        let now = self.clock.now().as_second();
        let mut claims = json!({
            "iss": URL, "aud": passport.audience, "sub": passport.subject, "jti": passport.id,
            "iat": now, "nbf": now, "exp": passport.until.as_second(),
        });
        for (name, value) in passport.claims {
            claims[*name] = value.clone();
        }
        self.signed.lock().unwrap().insert(passport.id.to_owned(), passport.until);
        Ok(Signed { token: Secret::new(self.issuer.sign(&claims)), key: "test".to_owned() })
    }
}

pub struct OidcStage {
    provider: OidcProvider,
    map: CapabilityMap,
    clock: Arc<dyn Clock>,
    mint: Arc<Mint>,
}

impl OidcStage {
    pub fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let mint = Mint { issuer: TestIssuer::new(URL), clock: Arc::clone(&clock), signed: Mutex::default() };
        let mint = Arc::new(mint);
        let [one, other] = AUDIENCES;
        let config =
            format!("[[account]]\nname = \"services\"\nmax_lifetime = \"1h\"\naudiences = [\"{one}\", \"{other}\"]");
        let provider = OidcProvider::new(toml::from_str(&config).unwrap(), Arc::<Mint>::clone(&mint)).unwrap();
        let map = std::fs::read_to_string(repository_root().join("config/entitlements/oidc.toml")).unwrap();
        Self { provider, map: toml::from_str(&map).unwrap(), clock, mint }
    }
}

#[async_trait]
impl Stage for OidcStage {
    fn provider(&self) -> &dyn Provider {
        &self.provider
    }

    fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    fn map(&self) -> &CapabilityMap {
        &self.map
    }

    fn entitlements(&self) -> [Entitlement; 2] {
        AUDIENCES.map(|audience| Entitlement {
            capability: "oidc-audience:token".parse().unwrap(),
            resource: ResourceRef {
                cloud: Cloud::Oidc,
                account: "services".to_owned(),
                kind: "oidc-audience".to_owned(),
                native: audience.to_owned(),
            },
            narrowing: Narrowing::default(),
        })
    }

    async fn allows(&self, credential: &Credential, on: &Entitlement) -> bool {
        let Credential::Token { token, .. } = credential else { panic!("no token") };
        let python = azure_environment().unwrap().join("bin/python");
        let keys = self.mint.issuer.key_set().to_string();
        let told = Command::new(python)
            .args(["-W", "ignore", "-c", VERIFY, &keys, URL, &on.resource.native, token.expose()])
            .output()
            .unwrap();
        match String::from_utf8_lossy(&told.stdout).trim() {
            "yes" => true,
            "no" => false,
            _ => panic!("{told:?}"),
        }
    }

    /// By the issuer's books, which nobody else keeps.
    async fn stands(&self, lease: LeaseId) -> bool {
        let until = self.mint.signed.lock().unwrap().get(&lease.to_string()).copied();
        until.is_some_and(|until| self.clock.now() < until)
    }

    async fn foreign(&self) -> String {
        String::new()
    }

    fn requests(&self) -> usize {
        0
    }

    fn trouble(&self, _: Fault, _: usize) {}

    fn late(&self, _: Duration) {}

    fn calm(&self) {}
}

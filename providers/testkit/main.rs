//! The proxy and the fake as programs, for the demo, benchmarks and tests in other languages.
//!
//! `grantd-testkit proxy UPSTREAM [LISTEN [ADMIN]]`, `grantd-testkit fakests [LISTEN]`, `grantd-testkit fakeazure
//! [LISTEN]` and `grantd-testkit fakegoogle`, addresses as `127.0.0.1:PORT`. Prints one line of JSON with the URLs, and of
//! Azure with whom to trust and the key that its applications take the word of, then runs until its standard input ends.
//!
//! `grantd-testkit fakeazure for URL DIRECTORY MAP` and `grantd-testkit fakegoogle for URL DIRECTORY` have a tenant and a
//! project that trust the issuer at URL, and look up what it publishes in DIRECTORY, where `grantctl issuer publish` puts
//! it. The tenant has the roles of the entitlement map MAP.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;

use grantd_testkit::{FakeAzure, FakeAzureSettings, FakeGoogle, FakeSts, FakeStsSettings, FaultProxy, TestIssuer};
use serde_json::json;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["proxy", upstream, rest @ ..] if rest.len() <= 2 => {
            let (listen, admin) = (address(rest.first())?, address(rest.get(1))?);
            let proxy = FaultProxy::start_on(upstream.parse()?, listen, admin)?;
            announce(&json!({ "url": proxy.url(), "admin_url": proxy.admin_url() }))
        }
        ["fakests", rest @ ..] if rest.len() <= 1 => {
            let fake = FakeSts::start_on(FakeStsSettings::default(), address(rest.first())?)?;
            announce(&json!({ "url": fake.url() }))
        }
        ["fakegoogle", "for", issuer, directory] => {
            let fake = FakeGoogle::with_account_of(issuer, Path::new(directory))?;
            announce(&json!({ "url": fake.url() }))
        }
        ["fakeazure", "for", issuer, directory, map] => {
            let map = toml::from_str(&std::fs::read_to_string(map)?)?;
            let settings = FakeAzureSettings::sample(&TestIssuer::new(issuer)).granting(&map);
            let fake = FakeAzure::start(settings)?;
            fake.publish_from(issuer, Path::new(directory));
            announce(&json!({ "url": fake.url(), "ca": fake.authority_pem() }))
        }
        ["fakegoogle"] => {
            let fake = FakeGoogle::start()?;
            announce(&json!({ "url": fake.url() }))
        }
        ["fakeazure", rest @ ..] if rest.len() <= 1 => {
            let issuer = TestIssuer::new("https://issuer.test");
            let fake = FakeAzure::start_on(FakeAzureSettings::sample(&issuer), address(rest.first())?)?;
            announce(&json!({ "url": fake.url(), "ca": fake.authority_pem(), "issuer_key": issuer.key_pem() }))
        }
        _ => Err("usage: grantd-testkit proxy UPSTREAM [LISTEN [ADMIN]] | grantd-testkit fakests [LISTEN] \
                  | grantd-testkit fakeazure [LISTEN | for URL DIRECTORY MAP] \
                  | grantd-testkit fakegoogle [for URL DIRECTORY]"
            .into()),
    }
}

fn address(given: Option<&&str>) -> Result<SocketAddr, Box<dyn Error>> {
    Ok(given.copied().unwrap_or("127.0.0.1:0").parse()?)
}

/// Tells where the server is and keeps it until standard input ends.
fn announce(urls: &serde_json::Value) -> Result<(), Box<dyn Error>> {
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{urls}")?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

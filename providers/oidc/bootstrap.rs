//! What whoever verifies tokens has to be told: there is no tool that all of them have in common, so it is a page of text.

use std::collections::BTreeMap;
use std::fmt::Write;

use grantd_provider_api::AccountNeeds;

use crate::config::{AccountConfig, Taker};
use crate::plan::Native;

/// The page for some accounts.
pub(crate) fn page(accounts: &[(&AccountConfig, &AccountNeeds)], issuer: &str) -> String {
    let mut text = format!(
        "# What a verifier of tokens has to be told. First publish the keys: grantctl issuer publish DIR --issuer oidc,\n\
         # and have DIR served at the issuer's URL.\n\n\
         issuer     {issuer}\n\
         discovery  {issuer}/.well-known/openid-configuration\n\
         keys       {issuer}/.well-known/jwks.json\n\n\
         # Check the signature by those keys, iss, aud and exp, each to the letter; take no other algorithm than the keys have.\n\
         # Decide by sub. Allow for clocks that differ by no more than needed: so much longer is a token good.\n"
    );
    for (account, needs) in accounts {
        let mut wanted: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        let plans = needs.needs.iter().filter_map(|need| Some((need.resource.as_str(), Native::of(&need.plan).ok()?)));
        for (resource, native) in plans {
            let audience = account.audiences.get_key_value(&native.audience);
            wanted.entry(audience.map_or("", |(audience, _)| audience)).or_default().push(resource);
        }
        // Writing to a String does not fail.
        let _ = write!(
            text,
            "\naccount    {}\nsub        {}:KIND:NAME, of whoever uses the token as people.toml has them\nlifetime   {} s at most\n",
            account.name,
            account.prefix,
            account.max_lifetime.as_secs()
        );
        for (audience, taker) in &account.audiences {
            let of = wanted.get(audience.as_str()).map(|names| names.join(", ")).unwrap_or_default();
            let of = if of.is_empty() { "not in the catalogue".to_owned() } else { of };
            let how = match taker {
                Taker::Service => "",
                Taker::TokenService => ", exchanged there: keep what it gives short, narrow, and for one sub",
            };
            let _ = writeln!(text, "aud        {audience}  # {of}{how}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{ISSUER, config, entitlement, shipped_map};

    #[test]
    fn a_verifier_is_told_all_that_it_has_to_check() {
        let config = config();
        let account = &config.accounts["services"];
        let asked = entitlement("oidc-audience:token", "https://billing.example.com");
        let plan = crate::plan::plan(account, ISSUER, &asked, &shipped_map()).unwrap();
        let need = grantd_provider_api::Need { resource: "billing".to_owned(), capability: asked.capability, plan };
        let needs = AccountNeeds { account: "services".to_owned(), base: None, needs: vec![need] };
        let page = page(&[(account, &needs)], ISSUER);
        for line in [
            "issuer     https://tokens.example.com/grantd-oidc\n",
            "keys       https://tokens.example.com/grantd-oidc/.well-known/jwks.json\n",
            "sub        acme:KIND:NAME",
            "lifetime   300 s at most\n",
            "aud        https://billing.example.com  # billing\n",
            "aud        sts.amazonaws.com  # not in the catalogue, exchanged there",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
    }
}

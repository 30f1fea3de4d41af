//! What an entitlement may be narrowed by. Pure.

use std::net::IpAddr;

use grantd_provider_api::{ErrorKind, ProviderError};

/// A key prefix that means itself in a policy: no wildcard, no variable, only characters that a policy may hold
/// (STS API Reference, `AssumeRole`, `Policy`: U+0020 to U+00FF).
pub(crate) fn checked_prefix(prefix: &str) -> Result<&str, ProviderError> {
    let wrong = |why: &str| Err(ProviderError::new(ErrorKind::Invalid, format!("prefix {prefix:?} {why}")));
    if prefix.is_empty() {
        return wrong("narrows nothing: leave it out");
    }
    if prefix.chars().count() > 512 {
        return wrong("is longer than 512 characters");
    }
    if prefix.contains(['*', '?', '$', '{', '}']) {
        return wrong("holds a character that means more than itself in a policy: * ? $ { }");
    }
    if !prefix.chars().all(|c| ('\u{20}'..='\u{ff}').contains(&c) && !c.is_control()) {
        return wrong("holds a character that a session policy cannot");
    }
    Ok(prefix)
}

/// Networks in their one written form, sorted.
pub(crate) fn checked_networks(networks: &[String]) -> Result<Vec<String>, ProviderError> {
    let mut checked = networks.iter().map(|text| checked_network(text)).collect::<Result<Vec<_>, _>>()?;
    checked.sort();
    checked.dedup();
    Ok(checked)
}

fn checked_network(text: &str) -> Result<String, ProviderError> {
    let wrong = |why: &str| ProviderError::new(ErrorKind::Invalid, format!("source network {text:?} {why}"));
    let not_cidr = || wrong("is not an address and a prefix length, such as 192.0.2.0/24");
    let (address, length) = text.split_once('/').ok_or_else(not_cidr)?;
    let address: IpAddr = address.parse().map_err(|_| not_cidr())?;
    let length: u32 = length.parse().map_err(|_| not_cidr())?;
    let (bits, host_bits) = match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    if length > bits {
        return Err(not_cidr());
    }
    if length == 0 {
        return Err(wrong("is everywhere and narrows nothing"));
    }
    let mask = 1_u128.checked_shl(bits.saturating_sub(length)).map_or(u128::MAX, |bit| bit.saturating_sub(1));
    if host_bits & mask != 0 {
        return Err(wrong("has bits set behind its prefix length"));
    }
    Ok(format!("{address}/{length}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_means_itself() {
        assert_eq!(checked_prefix("logs/2026-11/").unwrap(), "logs/2026-11/");
        for bad in ["", "*", "a?b", "${aws:username}", "a{b", "a\nb", "\u{141}", "\u{80}"] {
            assert!(checked_prefix(bad).is_err(), "{bad:?} was taken");
        }
        assert!(checked_prefix(&"a".repeat(513)).is_err());
    }

    #[test]
    fn networks_have_one_written_form() {
        let of = |texts: &[&str]| checked_networks(&texts.iter().map(|&t| t.to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["192.0.2.0/24", "10.0.0.0/8", "10.0.0.0/8"]).unwrap(), ["10.0.0.0/8", "192.0.2.0/24"]);
        assert_eq!(of(&["2001:DB8:0::/32"]).unwrap(), ["2001:db8::/32"]);
        for bad in ["10.0.0.1/8", "0.0.0.0/0", "::/0", "10.0.0.0", "10.0.0.0/33", "host/8", "", "10.0.0.0/-1"] {
            assert!(of(&[bad]).is_err(), "{bad:?} was taken");
        }
    }
}

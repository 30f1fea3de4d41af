//! Tests of what Azure's clients read.

use super::*;

pub(crate) fn azure() -> Azure {
    let token =
        |audience: &str, token: &str| Token { audience: audience.to_owned(), token: Zeroizing::new(token.to_owned()) };
    Azure {
        tenant: "tenant-1".to_owned(),
        client_id: "slot-1".to_owned(),
        subscription: "sub-1".to_owned(),
        tokens: vec![token("https://storage.azure.com", "t-storage"), token("https://vault.azure.net/", "t-vault")],
        expiration: "2026-11-22T09:05:00Z".to_owned(),
    }
}

#[test]
fn an_audience_is_the_same_however_a_client_writes_it() {
    let azure = azure();
    for (resource, token) in [
        ("https://storage.azure.com", "t-storage"),
        ("https://storage.azure.com/", "t-storage"),
        ("https://storage.azure.com/.default", "t-storage"),
        ("https://storage.azure.com//.default", "t-storage"),
        ("https://Storage.Azure.com", "t-storage"),
        ("https://vault.azure.net", "t-vault"),
    ] {
        assert_eq!(azure.token_for(resource).map(|found| found.token.as_str()).ok(), Some(token), "{resource}");
    }
    for resource in ["https://storage.azure.com.evil.example", "storage.azure.com", "https://management.azure.com/", ""]
    {
        let said = azure.token_for(resource).err().unwrap();
        assert!(said.contains("it has https://storage.azure.com, https://vault.azure.net/"), "{said}");
        assert!(!said.contains("t-storage"), "{said}");
    }
}

#[test]
fn the_older_name_of_resource_manager_is_the_same_audience() {
    let mut azure = azure();
    assert!(azure.token_for("https://management.core.windows.net/").is_err());
    azure.tokens[1].audience = "https://management.azure.com".to_owned();
    for resource in ["https://management.core.windows.net/", "https://management.azure.com/.default"] {
        assert_eq!(azure.token_for(resource).ok().unwrap().token.as_str(), "t-vault", "{resource}");
    }
}

#[test]
fn p3_what_a_client_is_told_of_the_end_is_the_end_of_the_lease() {
    let (azure, now) = (azure(), "2026-11-22T09:00:30.9Z".parse().unwrap());
    let json = azure.identity_json(&azure.tokens[0], "https://storage.azure.com/", now).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    assert_eq!((&json["expires_in"], &json["expires_on"]), (&"270".into(), &"1795338300".into()));
    assert_eq!((&json["resource"], &json["token_type"]), (&"https://storage.azure.com/".into(), &"Bearer".into()));
    let late = azure.identity_json(&azure.tokens[0], "x", "2026-11-22T10:00:00Z".parse().unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&late).unwrap()["expires_in"], "0");
}

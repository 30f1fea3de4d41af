//! `[[grant_issuer]]` of `people.toml`: whose grant documents are believed, and in which capacity.

use grantd_model::Capacity;
use serde::Deserialize;

use super::raw::{ConfigError, seconds};
use crate::document::VerifyingKey;

const FILE: &str = "people.toml";

/// How long a document may be good for where nothing is said, in seconds, and the most that can be said.
const LONGEST: (u64, u64) = (3_600, 24 * 3_600);

/// Somebody elsewhere who tells by signed documents what was approved there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrantIssuer {
    /// Its name, letter by letter as its documents have it.
    pub iss: String,
    /// Whom its documents have to be for.
    pub audience: String,
    /// The capacities in which an approval counts on its word.
    pub capacities: Vec<Capacity>,
    /// How long a document may be good for, in seconds.
    pub longest: u64,
    /// Its keys.
    pub keys: Vec<VerifyingKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawGrantIssuer {
    iss: String,
    audience: String,
    capacities: Vec<String>,
    longest: Option<String>,
    keys: Vec<RawKey>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    kid: Option<String>,
    pem: Option<String>,
    jwk: Option<String>,
}

impl RawGrantIssuer {
    pub fn parse(self) -> Result<GrantIssuer, ConfigError> {
        let table = format!("grant_issuer {:?}", self.iss);
        let wrong = |key: &str, problem: String| ConfigError::new(FILE, format!("{table}.{key}"), problem);
        for (key, text) in [("iss", &self.iss), ("audience", &self.audience)] {
            if text.is_empty() || text.len() > 255 || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
                return Err(wrong(key, "write 1 to 255 bytes without white space".to_owned()));
            }
        }
        // These are the issuers of identities that are proved here.
        if ["unix", "ssh"].contains(&self.iss.as_str()) {
            return Err(wrong(
                "iss",
                "this name means identities of this host: choose another, such as a URL".to_owned(),
            ));
        }
        let capacities: Result<Vec<Capacity>, String> = self.capacities.iter().map(|name| name.parse()).collect();
        let capacities = capacities.map_err(|problem| wrong("capacities", problem))?;
        if capacities.is_empty() {
            return Err(wrong("capacities", "name at least one, or nothing that it tells counts".to_owned()));
        }
        if capacities.contains(&Capacity::Enrolled) {
            let problem =
                "a use of break-glass is confirmed by an enrolled person, and by no document: leave \"enrolled\" out";
            return Err(wrong("capacities", problem.to_owned()));
        }
        let longest =
            self.longest.as_deref().map_or(Ok(LONGEST.0), seconds).map_err(|problem| wrong("longest", problem))?;
        if longest > LONGEST.1 {
            return Err(wrong("longest", "write 24h or less: nothing takes a document back".to_owned()));
        }
        let mut keys: Vec<VerifyingKey> = Vec::new();
        for raw in self.keys {
            let text = match (raw.pem, raw.jwk) {
                (Some(text), None) | (None, Some(text)) => text,
                _ => {
                    return Err(wrong(
                        "keys",
                        "write each as { pem = … } or as { jwk = … }, with a kid or without".to_owned(),
                    ));
                }
            };
            let key = VerifyingKey::parse(&text, raw.kid).map_err(|problem| wrong("keys", problem))?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(wrong("keys", format!("the key {:?} stands twice", key.id)));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(wrong("keys", "write at least one".to_owned()));
        }
        Ok(GrantIssuer { iss: self.iss, audience: self.audience, capacities, longest, keys })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Host, People};

    const ED25519: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAMjfbXF3s1CBRWlMgT3C4U4xSlHrkWZhWEIysl3stx4Y=\n\
                           -----END PUBLIC KEY-----\n";
    const P384: &str = "-----BEGIN PUBLIC KEY-----\n\
                        MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEDSzGDArziL5mKveBqmAkjHJXJjvQxij7\n\
                        vk84G4TXlAuvFjklcPo+ciISj554aZcr705cnhaubF13Po2TSogOZVgh3MXzCb5/\n\
                        Y4a5UeJY3PzMS04Bbi8/1KwQ9n+DDNc5\n-----END PUBLIC KEY-----\n";

    fn people(issuer: &str) -> Result<People, String> {
        let text = format!(
            "[[person]]\nname = \"olga\"\nunix = []\n[[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = 7\n{issuer}"
        );
        People::parse(&text, Host::users(&|_| None)).map_err(|error| error.to_string())
    }

    fn issuer(iss: &str, capacities: &str, more: &str, key: &str) -> String {
        format!(
            "[[grant_issuer]]\niss = \"{iss}\"\naudience = \"fleet\"\ncapacities = [{capacities}]\n{more}\n\
             keys = [{{ {key} }}]\n"
        )
    }

    #[test]
    fn an_issuer_tells_of_people_and_of_nobody_else() {
        let people = people(&issuer("urn:a", "\"owner\"", "", &format!("pem = \"\"\"{ED25519}\"\"\""))).unwrap();
        let found = people.grant_issuer("urn:a").unwrap();
        assert_eq!((found.longest, found.keys.len(), found.audience.as_str()), (3600, 1, "fleet"));
        assert!(people.grant_issuer("urn:b").is_none());
        let subject = |kind, id: &str| grantd_model::Subject {
            kind,
            issuer: "urn:a".to_owned(),
            id: id.to_owned(),
            name: id.to_owned(),
        };
        assert!(people.known(&subject(grantd_model::SubjectKind::Human, "olga")).is_some());
        assert!(people.known(&subject(grantd_model::SubjectKind::Human, "otto")).is_none());
        assert!(people.known(&subject(grantd_model::SubjectKind::Pipeline, "deploy")).is_none());
    }

    #[test]
    fn what_would_be_believed_too_much_is_refused() {
        let key = format!("pem = \"\"\"{ED25519}\"\"\"");
        let refused = |text: String, word: &str| {
            let error = people(&text).unwrap_err();
            assert!(error.contains(word), "{error}");
        };
        for iss in ["unix", "ssh"] {
            refused(issuer(iss, "\"owner\"", "", &key), "identities of this host");
        }
        refused(issuer("urn a", "\"owner\"", "", &key), "white space");
        refused(issuer("urn:a", "", "", &key), "at least one");
        refused(issuer("urn:a", "\"boss\"", "", &key), "boss");
        refused(issuer("urn:a", "\"owner\", \"enrolled\"", "", &key), "no document");
        refused(issuer("urn:a", "\"owner\"", "longest = \"25h\"", &key), "24h or less");
        refused(issuer("urn:a", "\"owner\"", "", "kid = \"k\""), "{ pem = … }");
        refused(issuer("urn:a", "\"owner\"", "", &format!("pem = \"\"\"{P384}\"\"\"")), "P-256 or Ed25519");
        refused(issuer("urn:a", "\"owner\"", "", "jwk = '{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}'"), "P-256 or Ed25519");
        let one = issuer("urn:a", "\"owner\"", "", &key);
        refused(format!("{one}{one}"), "stands twice");
        refused(issuer("urn:a", "\"owner\"", "", &format!("{key} }}, {{ {key}")), "stands twice");
    }
}

//! What AWS takes for the names that are given to it. Pure.

use crate::limits::SESSION_NAME_CHARACTERS;

/// `RoleSessionName` and `SourceIdentity`: `[\w+=,.@-]{2,64}` (STS API Reference, `AssumeRole`).
pub(crate) fn valid_session_name(name: &str) -> bool {
    (2..=SESSION_NAME_CHARACTERS).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-".contains(&b))
}

/// `ExternalId`: `[\w+=,.@:\/-]{2,1224}` (STS API Reference, `AssumeRole`).
pub(crate) fn valid_external_id(id: &str) -> bool {
    (2..=1_224).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+=,.@:/-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_hold_to_their_patterns() {
        for good in ["ab", "A_1+=,.@-", &"x".repeat(64)] {
            assert!(valid_session_name(good) && valid_external_id(good), "{good}");
        }
        for bad in ["", "a", "a b", "a:b", "\u{e9}2", &"x".repeat(65)] {
            assert!(!valid_session_name(bad), "{bad}");
        }
        assert!(valid_external_id("a:b/c") && valid_external_id(&"x".repeat(1_224)));
        for bad in ["a", "a b", &"x".repeat(1_225)] {
            assert!(!valid_external_id(bad), "{bad}");
        }
    }
}

//! The words that the map's templates may hold, and what is put in their places. Pure.
//!
//! Conditions have braces of their own (`ActionMatches{'...'}`), so only the known words are words.

use grantd_provider_api::{ErrorKind, ProviderError};

use crate::limits::PREFIX_CHARACTERS;
use crate::names::ResourceId;

/// What a template is filled with.
#[derive(Debug)]
pub(crate) struct Values<'a> {
    /// The catalogue's native name.
    pub native: &'a ResourceId<'a>,
    /// The key prefix, if it is narrowed to one.
    pub prefix: Option<&'a str>,
}

/// The words of a scope.
pub(crate) const SCOPE_WORDS: [&str; 4] = ["{native}", "{name}", "{subscription}", "{resource_group}"];

/// The words of a condition.
pub(crate) const CONDITION_WORDS: [&str; 2] = ["{name}", "{prefix}"];

impl Values<'_> {
    /// Fills `template`. Values were checked before, so none of them can hold a word, a quote or a wildcard.
    ///
    /// # Errors
    /// `Unsupported` when the resource has no such part.
    pub fn fill(&self, template: &str) -> Result<String, ProviderError> {
        let missing = |what: &str| {
            let text =
                format!("{} has no {what}, which {template:?} of the entitlement map asks for", self.native.text);
            ProviderError::new(ErrorKind::Unsupported, text)
        };
        let mut filled = template.to_owned();
        let subscription = self.native.subscription.to_string();
        for (word, value) in [
            ("{native}", Some(self.native.text)),
            ("{name}", Some(self.native.name())),
            ("{subscription}", Some(subscription.as_str())),
            ("{resource_group}", self.native.segment("resourceGroups")),
            ("{prefix}", self.prefix),
        ] {
            if filled.contains(word) {
                filled = filled.replace(word, value.ok_or_else(|| missing(word))?);
            }
        }
        Ok(filled)
    }
}

/// A key prefix that means itself in a condition and in a path: no quote, no wildcard, no escape.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(crate) fn checked_prefix(prefix: &str) -> Result<&str, ProviderError> {
    let wrong = |why: &str| Err(ProviderError::new(ErrorKind::Invalid, format!("prefix {prefix:?} {why}")));
    if prefix.is_empty() {
        return wrong("narrows nothing: leave it out");
    }
    if prefix.chars().count() > PREFIX_CHARACTERS {
        return wrong("is longer than 512 characters");
    }
    if prefix.starts_with('/') || prefix.split('/').any(|part| part == "." || part == "..") {
        return wrong("begins with / or holds a part . or .., which no key does");
    }
    if prefix.contains(['*', '?', '\'', '"', '\\', '{', '}', '$', '%', '#']) {
        return wrong("holds a character that means more than itself in a condition: * ? ' \" \\ { } $ % #");
    }
    if prefix.chars().any(|c| c.is_control() || !(' '..='~').contains(&c)) {
        return wrong("holds a character that is not printable ASCII");
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_means_itself() {
        assert_eq!(checked_prefix("logs/2026-11/").unwrap(), "logs/2026-11/");
        for bad in ["", "*", "a?b", "a'b", "a\"b", "a\\b", "a{b", "a\nb", "\u{e9}", "/a", "a/../b", "./a", "a%2f"] {
            assert_eq!(checked_prefix(bad).unwrap_err().kind, ErrorKind::Invalid, "{bad:?} was taken");
        }
        assert!(checked_prefix(&"a".repeat(513)).is_err());
    }

    #[test]
    fn only_known_words_are_filled() {
        let text = "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/rg/providers/M.S/a/x";
        let native = ResourceId::parse(text).unwrap();
        let values = Values { native: &native, prefix: Some("logs/") };
        assert_eq!(
            values.fill("!(ActionMatches{'a/b'}) '{prefix}' {name}").unwrap(),
            "!(ActionMatches{'a/b'}) 'logs/' x"
        );
        assert_eq!(values.fill("{native}/y {resource_group}").unwrap(), format!("{text}/y rg"));
        let subscription = ResourceId::parse("/subscriptions/11111111-1111-1111-1111-111111111111").unwrap();
        let whole = Values { native: &subscription, prefix: None };
        assert_eq!(whole.fill("{resource_group}").unwrap_err().kind, ErrorKind::Unsupported);
    }
}

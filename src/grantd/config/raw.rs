//! The steps from text to types that settings, catalogue and people share.

use std::time::Duration;

use jiff::SignedDuration;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// How a Unix user name becomes a uid on this host (`getpwnam(3)`); `None` when there is no such user.
pub type UserLookup<'a> = &'a dyn Fn(&str) -> Option<u32>;

/// Whether the user of a uid is in a Unix group of this host, as its first group or as one of its others; `None` when
/// there is no such group, or the host cannot say.
pub type GroupLookup<'a> = &'a dyn Fn(&str, u32) -> Option<bool>;

/// What is asked of this host when people are read.
#[derive(Clone, Copy)]
pub struct Host<'a> {
    /// Its users.
    pub user: UserLookup<'a>,
    /// Its groups.
    pub group: GroupLookup<'a>,
}

impl<'a> Host<'a> {
    /// A host that has users and no group.
    #[must_use]
    pub fn users(user: UserLookup<'a>) -> Self {
        Self { user, group: &|_, _| None }
    }
}

/// The kernel's overflow uid: whoever cannot be named. It proves nothing about anybody (user_namespaces(7)).
const OVERFLOW_UID: u32 = 65534;

/// `(uid_t) -1`, which means "no user" to the kernel (credentials(7)).
const NO_UID: u32 = u32::MAX;

/// Something in a configuration file is wrong: where, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {key}: {problem}")]
pub struct ConfigError {
    /// The file's name, e.g. `grantd.toml`.
    pub file: &'static str,
    /// The key at fault, e.g. `limits.connections`; for text that is not TOML at all, the line.
    pub key: String,
    /// What is wrong with it and what to write.
    pub problem: String,
}

impl ConfigError {
    pub(super) fn new(file: &'static str, key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { file, key: key.into(), problem: problem.into() }
    }
}

/// Reads TOML. The error tells the line and never quotes it, because a cloud's table may hold a secret.
pub(crate) fn from_toml<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count().saturating_add(1);
        ConfigError::new(file, format!("line {line}"), error.message().trim_end().replace('\n', ", "))
    })
}

/// A user as written: a name of this host, or a uid.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum RawUser {
    Uid(u32),
    Name(String),
}

impl RawUser {
    /// The uid.
    pub(super) fn resolve(&self, file: &'static str, key: &str, lookup: UserLookup<'_>) -> Result<u32, ConfigError> {
        let wrong = |problem: String| Err(ConfigError::new(file, key, problem));
        let (uid, written) = match self {
            Self::Uid(uid) => (*uid, uid.to_string()),
            Self::Name(name) if name.starts_with(['%', '@', '&']) || name.contains(':') => {
                return wrong(format!("\"{name}\" looks like a group or team: name one Unix user, never a group"));
            }
            Self::Name(name) => match lookup(name) {
                Some(uid) => (uid, name.clone()),
                None => {
                    return wrong(format!(
                        "this host has no Unix user \"{name}\": create it, correct the name, or write its uid as a \
                         number; a group or team cannot stand here"
                    ));
                }
            },
        };
        if uid == OVERFLOW_UID || uid == NO_UID {
            return wrong(format!(
                "\"{written}\" is uid {uid}, which the kernel shows for users it cannot name: write a real user"
            ));
        }
        Ok(uid)
    }
}

/// A duration as people write it, such as `30m` or `1h 30m`, in whole seconds and more than none.
///
/// # Errors
/// What to write instead.
pub fn seconds(text: &str) -> Result<u64, String> {
    let wrong =
        || format!("\"{text}\" is not a duration: write whole seconds, minutes or hours, such as 45s, 30m or 8h");
    let duration: SignedDuration = text.parse().map_err(|_| wrong())?;
    match u64::try_from(duration.as_secs()) {
        Ok(seconds) if seconds > 0 && duration.subsec_nanos() == 0 => Ok(seconds),
        _ => Err(wrong()),
    }
}

/// A duration between two bounds, both allowed.
pub(super) fn bounded_duration(text: &str, least: &str, most: &str) -> Result<Duration, String> {
    let (value, low, high) = (seconds(text)?, seconds(least)?, seconds(most)?);
    if value < low || value > high {
        return Err(format!("{text} is out of bounds: write a duration from {least} to {most}"));
    }
    Ok(Duration::from_secs(value))
}

/// A name that is safe in messages, file names and cloud-side names: letters, digits, `.`, `_`, `-`, at most 64.
pub(super) fn plain_name(text: &str) -> Result<(), String> {
    let inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let good =
        text.len() <= 64 && text.bytes().all(inside) && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        let shown: String = text.chars().take(64).collect();
        Err(format!("{shown:?} is not a name: write 1 to 64 letters, digits, '.', '_' or '-', a letter or digit first"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_whole_seconds_and_more_than_none() {
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h 30m"), Ok(5400));
        for bad in ["", "0s", "-5m", "1.5s", "500ms", "5", "soon", "1 month"] {
            assert!(seconds(bad).is_err_and(|e| e.contains("30m")), "{bad}");
        }
        assert_eq!(bounded_duration("5s", "1s", "1m"), Ok(Duration::from_secs(5)));
        assert!(bounded_duration("61s", "1s", "1m").is_err_and(|e| e.contains("1s to 1m")));
    }

    #[test]
    fn a_user_is_one_user_of_this_host_and_never_a_group() {
        let lookup = |name: &str| match name {
            "ana" => Some(1001),
            "nobody" => Some(65534),
            _ => None,
        };
        let resolve = |user: RawUser| user.resolve("people.toml", "person.ana.unix", &lookup);
        assert_eq!(resolve(RawUser::Name("ana".to_owned())), Ok(1001));
        assert_eq!(resolve(RawUser::Uid(1002)), Ok(1002));
        let says = |name: &str, words: &str| {
            let error = resolve(RawUser::Name(name.to_owned())).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(name), "{error}");
        };
        says("ghost", "no Unix user");
        says("%developers", "never a group");
        says("@developers", "never a group");
        says("group:developers", "never a group");
        says("nobody", "cannot name");
        assert!(resolve(RawUser::Uid(65534)).is_err());
        assert!(resolve(RawUser::Uid(u32::MAX)).is_err());
    }

    #[test]
    fn an_error_in_the_text_names_the_line_and_quotes_nothing() {
        let error =
            from_toml::<toml::Table>("grantd.toml", "a = 1\nsecret_access_key = \"hunter2\nb = 2\n").unwrap_err();
        assert_eq!(error.key, "line 2");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

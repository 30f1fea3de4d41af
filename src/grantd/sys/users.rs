//! Names of users and groups, looked up in the host's own databases. A plain number is taken as it is.
//!
//! Lookups may ask a directory over the network (NSS): they block, so they belong to start and reload, never to a
//! request.

use nix::unistd::{Group, Uid, User};

/// Why a user or group could not be found.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// No user of that name.
    #[error("no user named {0:?} on this host: create it or correct the name")]
    NoUser(String),
    /// No group of that name.
    #[error("no group named {0:?} on this host: create it or correct the name")]
    NoGroup(String),
    /// The user or group database did not answer.
    #[error("cannot look up {name:?} in the host's user database: {source}")]
    Lookup {
        /// What was looked up.
        name: String,
        /// The system's answer.
        source: nix::Error,
    },
}

/// The uid of a user given by name or by number.
///
/// # Errors
/// [`UserError`] if no such user exists or the database does not answer.
pub fn uid(name: &str) -> Result<u32, UserError> {
    if let Some(number) = plain_number(name) {
        return Ok(number);
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        Ok(None) => Err(UserError::NoUser(name.to_owned())),
        Err(source) => Err(UserError::Lookup { name: name.to_owned(), source }),
    }
}

/// The gid of a group given by name or by number.
///
/// # Errors
/// [`UserError`] if no such group exists or the database does not answer.
pub fn gid(name: &str) -> Result<u32, UserError> {
    if let Some(number) = plain_number(name) {
        return Ok(number);
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        Ok(None) => Err(UserError::NoGroup(name.to_owned())),
        Err(source) => Err(UserError::Lookup { name: name.to_owned(), source }),
    }
}

/// Whether a user is in a group, as its first group or as one of its others. A uid that the host knows no user of is in
/// none.
///
/// # Errors
/// [`UserError`] if no such group exists or a database does not answer.
pub fn is_member(name: &str, uid: u32) -> Result<bool, UserError> {
    let lookup = |source| UserError::Lookup { name: name.to_owned(), source };
    let group = Group::from_name(name).map_err(lookup)?.ok_or_else(|| UserError::NoGroup(name.to_owned()))?;
    let user = User::from_uid(Uid::from_raw(uid)).map_err(lookup)?;
    Ok(user.is_some_and(|user| user.gid == group.gid || group.mem.contains(&user.name)))
}

/// The name of a uid, if the host knows one. For people to read; never for a decision.
#[must_use]
pub fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// A number as `useradd` would print it. `u32::MAX` means "no change" to chown(2), so it is not a number here.
fn plain_number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_understood() {
        assert_eq!(uid("root").unwrap(), 0);
        assert_eq!(gid("root").unwrap(), 0);
        assert_eq!(uid("1234").unwrap(), 1234);
        assert_eq!(gid("0").unwrap(), 0);
        assert_eq!(is_member("root", 0).ok(), Some(true), "by its first group");
        assert_eq!(is_member("root", 3_999_999_999).ok(), Some(false));
        assert!(matches!(is_member("no-such-group", 0), Err(UserError::NoGroup(_))));
        assert_eq!(user_name(0).as_deref(), Some("root"));
        assert_eq!(user_name(3_999_999_999), None);
    }

    #[test]
    fn an_unknown_name_is_named_in_the_error() {
        assert!(uid("no-such-user").unwrap_err().to_string().contains("\"no-such-user\""));
        assert!(gid("no-such-group").unwrap_err().to_string().contains("\"no-such-group\""));
    }

    #[test]
    fn what_only_looks_like_a_number_is_a_name() {
        for text in ["", "-1", "+1", "4294967295", "99999999999", "0x0", " 0"] {
            assert!(uid(text).is_err(), "{text:?} was taken for a uid");
        }
    }
}

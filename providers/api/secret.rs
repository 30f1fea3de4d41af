//! The one type that holds a secret: it never prints, never serialises by itself, and is wiped when dropped.

use std::fmt;

use zeroize::Zeroizing;

/// A secret string, wiped on drop. It leaves only through [`Secret::expose`].
///
/// There is no `Clone`, `PartialEq`, `Serialize` or `Display`: each would be a way to copy or print it by accident.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of `value` without copying its bytes.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The secret itself. Every caller of this is a place where it can leak: keep them few.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_debug_never_shows_the_secret() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?} {secret:#?}"), "[secret] [secret]");
        assert_eq!(secret.expose(), "hunter2");
    }
}

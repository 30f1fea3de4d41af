//! Where `grantctl` takes the time from; everything else takes it as a parameter.

use jiff::Timestamp;

/// The present moment by this machine's clock. Only for what people read (`in 4m`): nothing is decided by it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

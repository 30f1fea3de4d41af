//! Looking the host over: what the daemon rests on and cannot mend by itself. Reads only.

mod host;

pub use host::Host;

//! What the administrator wrote, parsed once: settings, catalogue, people. Text comes in, types go out; no file is
//! opened and no user is looked up here except through what the caller passes in.

mod catalog;
mod credential;
mod glass;
mod grant_export;
mod grant_issuer;
mod groups;
mod issuer;
mod notify;
mod people;
mod raw;
mod review;
mod settings;
mod signal;
mod signal_moves;
mod signal_overrides;
mod signal_raw;
mod socket;

pub use catalog::{Catalog, Resource};
pub use credential::resolve as resolve_credentials;
pub use glass::{Access, GlassLimits, Profile};
pub use grant_export::GrantExportSettings;
pub use grant_issuer::GrantIssuer;
pub use issuer::IssuerSettings;
pub use notify::{NotifySettings, NotifyWay, Place, address as notify_address};
pub use people::{ALLOWED_SIGNERS, Identity, People, SSH, UNIX};
pub(crate) use raw::from_toml;
pub use raw::{ConfigError, GroupLookup, Host, UserLookup, seconds};
pub use review::ReviewSettings;
pub use settings::{Limits, LogFormat, LogSettings, PolicySettings, Roles, Settings};
pub use signal::{
    CalendarPlace, Changes, DIGITS, Endpoint, IdPattern, MovedBy, Overrides, SINCE, SignalSettings, SignalSource,
    TICKET, TicketMap, UNTIL,
};
pub use socket::{SocketGroup, SocketSettings};

//! Living as a service: logs that journald understands, readiness, the signals to stop, the store's upkeep, the
//! watch over its space, and the scrub.

mod catalog_copy;
mod logs;
mod notify;
mod reach;
mod scrub;
mod signals;
mod space;
mod upkeep;

pub use catalog_copy::keep_catalog_copy;
pub use logs::init as init_logs;
pub use notify::Notifier;
pub use reach::told_addresses;
pub use scrub::Scrubber;
pub use signals::StopSignals;
pub use space::{Listeners, SpaceLevels, data_bytes_left, watch_space};
pub use upkeep::upkeep;

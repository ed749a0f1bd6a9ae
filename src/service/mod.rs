//! Living as a service: logs that journald understands, readiness, the signals to stop, and the store's upkeep.

mod logs;
mod notify;
mod reach;
mod signals;
mod upkeep;

pub use logs::init as init_logs;
pub use notify::Notifier;
pub use reach::told_addresses;
pub use signals::StopSignals;
pub use upkeep::upkeep;

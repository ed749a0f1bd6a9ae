//! Living as a service: logs that journald understands, readiness, the signals to stop, and the store's upkeep.

mod logs;
mod notify;
mod signals;
mod upkeep;

pub use logs::init as init_logs;
pub use notify::Notifier;
pub use signals::StopSignals;
pub use upkeep::upkeep;

//! Living under a service manager: logs that journald understands, readiness, and the signals to stop.

mod logs;
mod notify;
mod signals;

pub use logs::init as init_logs;
pub use notify::Notifier;
pub use signals::stop_requested;

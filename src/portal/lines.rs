//! Lines of the log that peers cause, each kind within bounds.

use super::limits::{FAULT_LINES, FAULT_LINES_EVERY, SESSION_LINES, SESSION_LINES_EVERY};
use crate::seldom::Seldom;

/// Sessions that come and go.
pub(super) static SESSIONS: Seldom = Seldom::new(SESSION_LINES, SESSION_LINES_EVERY);

/// Logins that are refused, sessions that break the protocol, volumes that do not open.
pub(super) static FAULTS: Seldom = Seldom::new(FAULT_LINES, FAULT_LINES_EVERY);

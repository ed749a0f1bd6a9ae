//! The connection machine against a small strict initiator, in memory and virtual time.

mod commands;
mod hostile;
mod keys;
mod login;
mod model;
mod pair;
mod pinned;
mod refusals;
mod regressions;
mod session;
mod task_management;
mod transitions;
mod writes;

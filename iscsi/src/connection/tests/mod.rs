//! The connection machine against a small strict initiator, in memory and virtual time.

mod commands;
mod hostile;
mod login;
mod model;
mod pair;
mod session;
mod task_management;
mod writes;

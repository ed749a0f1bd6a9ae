//! Personalization: plan scripts are run on a fresh volume, before anybody boots from it.
//!
//! ```text
//!                       ┌─ every command is understood, every file system is FAT ──► builtin: in this process, milliseconds
//!  Job ──► Deployer ────┤
//!                       └─ else ──► guestfish in a sandbox ── NBD on a Unix socket ──► door ──► the volume
//! ```
//! A job has succeeded only if guestfish ended with 0, the door saw no error, a flush followed the last write, and the
//! client disconnected cleanly. Otherwise whoever asked throws the volume away.

mod builtin;
mod guestfish;
mod job;
mod log;
mod service;

pub use guestfish::{Guestfish, Readiness};
pub use job::{Ended, Engine, Event, Failure, Job, Report, StepTime, Stop, Told};
pub use service::{Deployer, Personalize};

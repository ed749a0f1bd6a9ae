//! The life of a profile's volume: rules, proceed or cancel, and the operations that follow.
//!
//! ```text
//!  request ─► prepare (what would happen: rules, impact, what stands in the way)      reads the catalog, changes nothing
//!               │ dry run ─► the impact, with a token
//!               │ lossy and not confirmed ─► refused, with the impact and a token
//!               ▼
//!             begin     one transaction: the task, its journal, its holds
//!             create    the new volume is made in the store, and personalized: ready before anything goes
//!             withdraw  the old export is closed, and its sessions are over
//!             commit    one transaction: profile, volumes, journal: from here on it has happened
//!             publish   the new export
//!             dispose   doomed volumes leave the store, then the catalog
//!             finish    one transaction: the task is done, its holds are free
//! ```
//! A crash before `commit` is undone at the next start, one after it is carried on: [`recovery`]. What is exported is
//! never written down: it follows from the catalog ([`access`]).

pub mod access;
mod chap;
pub mod failpoint;
pub mod guard;
mod impact;
mod journal;
mod personalize;
mod placement;
mod prepare;
mod recovery;
pub mod rules;
mod run;
mod scratch;
mod seeds;
mod service;
pub mod tasks;
mod token;

pub use scratch::{Beginning, Scratch};
pub use service::{Answer, Ask, Consent, Lifecycle, ProfileSpec, Request, VolumeNames};

#[cfg(test)]
mod tests;

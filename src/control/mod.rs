//! The control API: HTTP/1.1 and JSON on a Unix socket, in Image Streamer's style.
//!
//! A request goes `peer` (may this process ask at all?) → `routes` → `images`, `volumes`, `snapshots`, `scrub` or `status` (decide and do)
//! → `resources` (what the store knows, as JSON). Every refusal is an [`api::Refusal`].

mod actor;
mod answer;
mod attempts;
mod auth;
mod captures;
mod connections;
mod content;
mod conventions;
mod endpoint;
mod events;
mod exports;
mod images;
mod known;
mod login;
mod names;
mod passwords;
mod peer;
pub(crate) mod refusals;
mod resources;
mod routes;
mod scrub;
mod serve;
mod sessions;
mod snapshots;
mod socket;
mod state;
mod status;
mod tasks;
mod users;
mod volumes;

pub use exports::{Exports, Withdrawal};
pub use routes::router;
pub use socket::ControlSocket;
pub use state::Control;

//! The control API: HTTP/1.1 and JSON on a Unix socket, in Image Streamer's style.
//!
//! A request goes `peer` (may this process ask at all?) → `routes` → `images`, `volumes`, `snapshots`, `scrub` or `status` (decide and do)
//! → `resources` (what the store knows, as JSON). Every refusal is an [`api::Refusal`].

mod actor;
mod answer;
mod auth;
mod captures;
mod content;
mod conventions;
mod endpoint;
mod exports;
mod images;
mod known;
mod names;
mod peer;
pub(crate) mod refusals;
mod resources;
mod routes;
mod scrub;
mod snapshots;
mod socket;
mod state;
mod status;
mod volumes;

pub use exports::{Exports, Withdrawal};
pub use routes::router;
pub use socket::ControlSocket;
pub use state::Control;

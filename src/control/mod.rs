//! The control API: HTTP/1.1 and JSON on a Unix socket, in Image Streamer's style.
//!
//! A request goes `peer` (may this process ask at all?) → `routes` → `images`, `volumes`, `snapshots`, `scrub` or `status` (decide and do)
//! → `resources` (what the store knows, as JSON). Every refusal is an [`api::Refusal`].

mod actor;
mod answer;
mod artifacts;
mod asking;
mod attempts;
mod auth;
mod boot;
mod build_plans;
mod bundle_room;
mod bundles;
mod captures;
mod claims;
mod connections;
mod content;
mod conventions;
mod deployment_groups;
mod deployment_plans;
mod enclosure_groups;
mod endpoint;
mod events;
mod exports;
mod hardware;
mod hardware_types;
mod image_adding;
mod image_progress;
mod images;
mod known;
mod listener;
mod logical_enclosures;
mod login;
mod names;
mod openapi;
mod passwords;
mod peer;
mod placement;
mod plan_scripts;
mod profile_resource;
mod profile_spec;
mod profiles;
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
mod tls;
mod unread;
mod users;
mod volume_log;
mod volumes;

pub use boot::boot_router;
pub use exports::{Exports, Withdrawal};
pub use listener::HttpListener;
pub use openapi::openapi;
pub(crate) use resources::check_sum;
pub use routes::router;
pub use socket::ControlSocket;
pub use state::Control;

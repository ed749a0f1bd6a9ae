//! The daemon: the only place with sockets, clocks and signals.
mod bundles;
pub mod catalog;
pub mod control;
pub mod daemon;
pub mod deploy;
pub mod door;
pub mod exports;
pub mod images;
pub mod lifecycle;
pub mod lun;
pub mod portal;
pub mod seed;
mod seldom;
pub mod service;
pub mod settings;

//! The daemon: the only place with sockets, clocks and signals.
pub mod control;
pub mod daemon;
pub mod images;
pub mod lun;
pub mod service;

//! The daemon: the only place with sockets, clocks and signals.

//! The NBD protocol, server side, as a machine: bytes in, requests out, replies to bytes. No socket, clock or file.
//!
//! Source: the NBD protocol document of the NetworkBlockDevice project (doc/proto.md).

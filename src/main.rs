//! osvold: a user-space iSCSI target daemon for copy-on-write OS volumes.

fn main() {}

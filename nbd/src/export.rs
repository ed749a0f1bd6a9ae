//! What is exported.

use crate::wire::transmission_flags as flags;

/// The one export of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name. The empty name, which clients give that give none, always means it too.
    pub name: String,
    /// A line for people.
    pub description: String,
    /// Size, a multiple of 512.
    pub size_bytes: u64,
    /// Nothing can be written.
    pub read_only: bool,
    /// Clients may connect more than once. All connections share one volume without a cache of their own, so a flush on
    /// any of them covers what all have been answered.
    pub multi_conn: bool,
}

impl Export {
    pub(crate) fn is_named(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.name.as_bytes()
    }

    /// What a client is told that it can do.
    pub(crate) fn transmission_flags(&self, structured: bool) -> u16 {
        let both = flags::HAS_FLAGS | flags::SEND_FLUSH | flags::SEND_FUA;
        let access = match self.read_only {
            true => flags::READ_ONLY,
            false => flags::SEND_TRIM | flags::SEND_WRITE_ZEROES,
        };
        let if_set = |set: bool, flag| if set { flag } else { 0 };
        both | access | if_set(structured, flags::SEND_DF) | if_set(self.multi_conn, flags::CAN_MULTI_CONN)
    }
}

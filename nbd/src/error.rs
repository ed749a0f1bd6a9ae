//! Errors: what ends a connection, and what a request is answered.

use thiserror::Error;

/// What a peer said that no connection goes on after.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProtocolError {
    /// The client's flags have a bit that the greeting did not offer.
    #[error("the client wants flags {0:#x}, which were not offered")]
    ClientFlags(u32),
    /// An option does not begin as one.
    #[error("an option begins with {0:#018x} instead of IHAVEOPT")]
    OptionMagic(u64),
    /// An option has more data than we take.
    #[error("option {option} announces {bytes} bytes, more than {}", crate::limits::OPTION_BYTES_MAX)]
    OptionTooLong {
        /// The option.
        option: u32,
        /// What it announces.
        bytes: u32,
    },
    /// The handshake has no end.
    #[error("more than {} options in one handshake", crate::limits::OPTIONS_MAX)]
    TooManyOptions,
    /// EXPORT_NAME with a name that is not ours: the protocol has no other answer than the end.
    #[error("EXPORT_NAME names no export that is here")]
    UnknownExport,
    /// A request does not begin as one.
    #[error("a request begins with {0:#010x} instead of the magic of requests")]
    RequestMagic(u32),
    /// A write announces more than we take: it could only be skipped by reading all of it.
    #[error("a write announces {bytes} bytes, more than {}", crate::limits::PAYLOAD_BYTES_MAX)]
    PayloadTooLong {
        /// What it announces.
        bytes: u32,
    },
}

/// Error numbers of replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// EPERM: the export is read-only.
    NotPermitted = 1,
    /// EIO.
    Io = 5,
    /// EINVAL: the request makes no sense.
    Invalid = 22,
    /// ESHUTDOWN: the server ends.
    Shutdown = 108,
}

impl ErrorCode {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u32 {
        self as u32
    }
}

//! Errors of three kinds: the peer's fault (each knows its answer on the wire), and refusals of names.

use std::fmt;
use thiserror::Error;

/// Why a text is no iSCSI name.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NameError {
    /// Nothing there.
    #[error("the name is empty")]
    Empty,
    /// More than 223 bytes.
    #[error("the name is longer than 223 bytes")]
    TooLong,
    /// Not `iqn.`, `eui.` or `naa.`.
    #[error("the name does not begin with iqn., eui. or naa.")]
    Kind,
    /// A blank, a comma or a control character.
    #[error("the name holds a blank, a comma or a control character")]
    Character,
}

/// Status class and detail of a login response (RFC 7143 §11.13.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LoginStatus {
    /// 00 00.
    #[error("success")]
    Success,
    /// 01 01.
    #[error("target moved temporarily")]
    TargetMovedTemporarily,
    /// 01 02.
    #[error("target moved permanently")]
    TargetMovedPermanently,
    /// 02 00.
    #[error("initiator error")]
    InitiatorError,
    /// 02 01.
    #[error("authentication failed")]
    AuthenticationFailure,
    /// 02 02.
    #[error("not allowed access")]
    AuthorizationFailure,
    /// 02 03.
    #[error("no such target")]
    NotFound,
    /// 02 04.
    #[error("target removed")]
    TargetRemoved,
    /// 02 05.
    #[error("unsupported version")]
    UnsupportedVersion,
    /// 02 06.
    #[error("too many connections")]
    TooManyConnections,
    /// 02 07.
    #[error("missing parameter")]
    MissingParameter,
    /// 02 08.
    #[error("cannot include the connection in this session")]
    CannotInclude,
    /// 02 09.
    #[error("session type not supported")]
    SessionTypeNotSupported,
    /// 02 0a.
    #[error("session does not exist")]
    SessionDoesNotExist,
    /// 02 0b.
    #[error("invalid during login")]
    InvalidDuringLogin,
    /// 03 00.
    #[error("target error")]
    TargetError,
    /// 03 01.
    #[error("service unavailable")]
    ServiceUnavailable,
    /// 03 02.
    #[error("out of resources")]
    OutOfResources,
}

impl LoginStatus {
    /// Status-Class and Status-Detail.
    #[must_use]
    pub const fn class_and_detail(self) -> [u8; 2] {
        match self {
            Self::Success => [0, 0],
            Self::TargetMovedTemporarily => [1, 1],
            Self::TargetMovedPermanently => [1, 2],
            Self::InitiatorError => [2, 0],
            Self::AuthenticationFailure => [2, 1],
            Self::AuthorizationFailure => [2, 2],
            Self::NotFound => [2, 3],
            Self::TargetRemoved => [2, 4],
            Self::UnsupportedVersion => [2, 5],
            Self::TooManyConnections => [2, 6],
            Self::MissingParameter => [2, 7],
            Self::CannotInclude => [2, 8],
            Self::SessionTypeNotSupported => [2, 9],
            Self::SessionDoesNotExist => [2, 10],
            Self::InvalidDuringLogin => [2, 11],
            Self::TargetError => [3, 0],
            Self::ServiceUnavailable => [3, 1],
            Self::OutOfResources => [3, 2],
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer logged out.
    Logout,
    /// Its login was refused with this status.
    LoginRefused(LoginStatus),
    /// It did not log in in time.
    LoginTimeout,
    /// It did not answer a ping although it has answered one before.
    PingTimeout,
    /// It broke the protocol in a way that only ending the session repairs at ErrorRecoveryLevel 0.
    Protocol(&'static str),
    /// The driver asked for it.
    Requested,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logout => f.write_str("logged out"),
            Self::LoginRefused(status) => write!(f, "login refused: {status}"),
            Self::LoginTimeout => f.write_str("no login in time"),
            Self::PingTimeout => f.write_str("no answer to a ping"),
            Self::Protocol(what) => write!(f, "protocol error: {what}"),
            Self::Requested => f.write_str("closed by the target"),
        }
    }
}

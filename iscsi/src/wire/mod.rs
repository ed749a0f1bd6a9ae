//! The PDUs of RFC 7143 §11: parse and emit side by side, one PDU a file.
//!
//! A header is a fixed array of 48 bytes, read and written at constant offsets: nothing here can panic on bytes of a
//! peer. Reserved fields are written as zero and not looked at when read (§11: "ignored by the receiver").
//! Data segments never pass through this module's types: they stay slices of the receive buffer.

mod ahs;
mod async_message;
mod bhs;
mod data_in;
mod data_out;
mod deframer;
mod login;
mod logout;
mod nop;
mod r2t;
mod reject;
mod scsi_command;
mod scsi_response;
mod task_management;
mod text;

pub use ahs::{AdditionalHeaders, AhsError};
pub use async_message::{AsyncEvent, AsyncMessage};
pub use bhs::{Bhs, Opcode, Sequence, data_segment_bytes, is_immediate, padding, with_data_segment};
pub use data_in::DataIn;
pub use data_out::DataOut;
pub use deframer::{Deframer, FrameError, Pdu};
pub use login::{LoginRequest, LoginResponse, Stage};
pub use logout::{LogoutRequest, LogoutResponse};
pub use nop::{NopIn, NopOut};
pub use r2t::ReadyToTransfer;
pub use reject::{Reject, RejectReason};
pub use scsi_command::ScsiCommand;
pub use scsi_response::{Residual, ScsiResponsePdu};
pub use task_management::{TaskManagementRequestPdu, TaskManagementResponsePdu};
pub use text::{TextRequest, TextResponse};

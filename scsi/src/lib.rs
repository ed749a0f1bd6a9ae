//! The SCSI command set of a thin-provisioned disk (SAM-5, SPC-4, SBC-3), decided without I/O.
//!
//! `LogicalUnit::start` takes a CDB and its data-out and gives a [`Plan`]: a [`Response`], or a [`Task`] whose
//! [`Action`] somebody else performs. `Task::finish` turns what came of it into the response.
//! Nothing here blocks, reads a clock or knows a transport; a peer's bytes never panic it.

mod alua;
mod attention;
mod cdb;
mod command;
mod commands;
mod config;
mod copy;
mod decode;
mod defects;
mod emit;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
mod inquiry;
pub mod limits;
mod log;
mod luns;
mod medium;
mod mode;
mod nexus;
mod opcodes;
mod provisioning;
mod reservations;
mod resets;
mod response;
mod sanitize;
mod sense;
mod table;
mod task;
mod thresholds;
mod unit;
mod vpd;

pub use attention::Attention;
pub use commands::COMMANDS;
pub use config::{BlockSize, ConfigError, TargetPort, UnitConfig};
pub use log::Usage;
pub use luns::{Address, absent_unit};
pub use nexus::{InitiatorPort, NexusId};
pub use response::{Response, Status};
pub use sense::{Asc, Sense, SenseFormat, SenseKey};
pub use table::{Allowed, CommandInfo, Medium};
pub use task::{Action, Compare, Failure, Outcome, Plan, Range, Sanitize, StatusRun, Task};
pub use unit::LogicalUnit;

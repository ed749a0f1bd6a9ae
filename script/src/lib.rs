//! The language of plan scripts, as guestfish reads it, with custom attributes filled in. Pure: text in, text out.
//!
//! ```text
//!  steps + values ──► expand ──► Expanded ──► session ──► what guestfish is given, and where each line of it comes from
//! ```

pub mod builtin;
pub mod commands;
mod expand;
mod fit;
mod lint;
mod mask;
mod parse;
mod place;
pub mod placeholder;
mod session;
mod shell_echo;
mod values;

pub use expand::{EXPANDED_BYTES_MAX, Expanded, Fault, Step, expand};
pub use fit::{Unfit, fit};
pub use lint::{Finding, Severity, lint};
pub use parse::{Argument, Call, Command, Heredoc, Kind, parse};
pub use session::{Origin, Session};
pub use values::{Value, Values};

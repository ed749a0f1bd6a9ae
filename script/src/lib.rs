//! The language of plan scripts, as guestfish reads it, with custom attributes filled in. Pure: text in, text out.
//!
//! ```text
//!  steps + values ──► expand ──► Expanded ──► session ──► what guestfish is given, and where each line of it comes from
//! ```

mod expand;
mod heredoc;
mod place;
pub mod placeholder;
mod session;
mod values;

pub use expand::{Expanded, Fault, Step, expand};
pub use session::{Origin, Session};
pub use values::{Value, Values};

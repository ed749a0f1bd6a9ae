//! Text negotiation (RFC 7143 §6): `key=value` pairs, the one table of keys, and the rules that settle them.

mod negotiate;
mod pairs;
mod table;
mod values;

pub use negotiate::{Negotiation, Parameters, ValueError};
pub use pairs::{Pairs, TextError, append_pair};
pub use table::{KEYS, Key, KeyRow, Rule, Scope, Senders};
pub use values::{binary_to_hex, decode_binary, parse_number};

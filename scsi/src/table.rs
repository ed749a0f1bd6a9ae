//! The one table of commands (its rows are in `commands`). Parsing, REPORT SUPPORTED OPERATION CODES, reservation conflicts and docs/SCSI.md all
//! come from it.

use crate::cdb::Cdb;
use crate::command::Command;
use crate::commands::COMMANDS;
use crate::sense::Sense;

/// Under which reservations of somebody else a command is still allowed (SPC-4, SBC-3, SPC-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Under every reservation.
    Always,
    /// Under every persistent reservation, but not under RESERVE.
    AnyPersistent,
    /// Under Write Exclusive persistent reservations only.
    Reads,
    /// Only for those whom the reservation does not exclude.
    HolderOnly,
}

/// What a command does to the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Medium {
    /// Nothing: it works whatever state the medium is in.
    Untouched,
    /// It needs the medium, and is refused while SANITIZE runs.
    Reading,
    /// It changes the medium as well, and is refused when that is write protected.
    Writing,
}

/// One row: a command, or one service action of it.
#[derive(Debug)]
pub struct CommandInfo {
    /// The standard's name.
    pub name: &'static str,
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, for operation codes that have them.
    pub service_action: Option<u8>,
    /// CDB usage: the operation code, then for each byte the bits that may be set. Others are refused.
    pub usage: &'static [u8],
    /// Reservations of others under which it is allowed.
    pub allowed: Allowed,
    /// What it does to the medium.
    pub medium: Medium,
    /// Recommended command timeout.
    pub timeout_seconds: u32,
    /// The standard that specifies it.
    pub standard: &'static str,
    /// The bits that may not be set, out of `usage`.
    pub(crate) unknown: u128,
    pub(crate) decode: fn(&Cdb) -> Command,
}

/// A row of the table.
#[expect(clippy::too_many_arguments, reason = "the columns of a table")]
pub(crate) const fn command(
    name: &'static str,
    (opcode, service_action): (u8, Option<u8>),
    allowed: Allowed,
    medium: Medium,
    timeout_seconds: u32,
    standard: &'static str,
    usage: &'static [u8],
    decode: fn(&Cdb) -> Command,
) -> CommandInfo {
    let unknown = unknown(usage);
    CommandInfo {
        name,
        opcode,
        service_action,
        usage,
        allowed,
        medium,
        timeout_seconds,
        standard,
        unknown,
        decode,
    }
}

/// Every bit of the CDB that `usage` does not name. Bytes past its end are not part of the command.
const fn unknown(usage: &[u8]) -> u128 {
    let mut bytes = [0; Cdb::LEN];
    let mut at = 1;
    while at < usage.len() {
        bytes[at] = !usage[at];
        at += 1;
    }
    u128::from_be_bytes(bytes)
}

/// No row has this operation code.
const ABSENT: u8 = u8::MAX;

/// First row of each operation code.
static FIRST_ROW: [u8; 256] = first_rows();

const fn first_rows() -> [u8; 256] {
    let mut rows = [ABSENT; 256];
    let mut row = 0;
    while row < COMMANDS.len() {
        let opcode = COMMANDS[row].opcode as usize;
        if rows[opcode] == ABSENT {
            #[expect(clippy::cast_possible_truncation, reason = "the table is far shorter than 255 rows")]
            let first = row as u8;
            rows[opcode] = first;
        }
        row += 1;
    }
    rows
}

/// What looking a CDB up gave.
pub(crate) enum Lookup {
    Found(&'static CommandInfo),
    UnknownOpcode,
    UnknownServiceAction,
}

/// Finds the row of a CDB.
pub(crate) fn lookup(cdb: &Cdb) -> Lookup {
    let mut rows = rows(cdb.opcode()).iter();
    let Some(first) = rows.next() else { return Lookup::UnknownOpcode };
    let Some(action) = first.service_action else { return Lookup::Found(first) };
    if action == cdb.service_action() {
        return Lookup::Found(first);
    }
    match rows.find(|info| info.service_action == Some(cdb.service_action())) {
        Some(info) => Lookup::Found(info),
        None => Lookup::UnknownServiceAction,
    }
}

/// All rows of one operation code.
pub(crate) fn rows(opcode: u8) -> &'static [CommandInfo] {
    let first = usize::from(FIRST_ROW.get(usize::from(opcode)).copied().unwrap_or(ABSENT));
    let rest = COMMANDS.get(first..).unwrap_or_default();
    let len = rest.iter().position(|info| info.opcode != opcode).unwrap_or(rest.len());
    rest.get(..len).unwrap_or_default()
}

impl CommandInfo {
    /// The typed command, or the first bit that this command does not know (SPC-4 field pointer).
    pub(crate) fn parse(&self, cdb: &Cdb) -> Result<Command, Sense> {
        let unknown = cdb.as_u128() & self.unknown;
        if unknown != 0 {
            let (at, bit) = (unknown.leading_zeros() / 8, 7 - unknown.leading_zeros() % 8);
            return Err(Sense::cdb_field(u16::try_from(at).unwrap_or(u16::MAX), u8::try_from(bit).ok()));
        }
        Ok((self.decode)(cdb))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_ascending_and_shaped_like_their_group() {
        let keys: Vec<_> = COMMANDS.iter().map(|c| (c.opcode, c.service_action)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b), "rows of one operation code must stand together, in order");
        for info in COMMANDS {
            let len = match info.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                5 => 12,
                group => panic!("{}: group {group}", info.name),
            };
            assert_eq!((info.usage.len(), info.usage[0]), (len, info.opcode), "{}", info.name);
        }
    }

    #[test]
    fn every_row_is_found_by_its_own_cdb() {
        for info in COMMANDS {
            let mut cdb = vec![0; info.usage.len()];
            cdb[0] = info.opcode;
            cdb[1] = info.service_action.unwrap_or(0);
            match lookup(&Cdb::new(&cdb)) {
                Lookup::Found(found) => assert!(std::ptr::eq(found, info), "{}", info.name),
                _ => panic!("{} not found", info.name),
            }
        }
    }

    #[test]
    fn a_reserved_bit_is_refused_with_a_pointer_to_it() {
        let Lookup::Found(info) = lookup(&Cdb::new(&[0x28])) else { panic!("READ(10)") };
        let cdb = Cdb::new(&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(info.parse(&cdb), Err(Sense::cdb_field(1, Some(5))));
    }
}

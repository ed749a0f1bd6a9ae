//! One CDB of any length: found in the table or refused; what is found is parsed or refused with the bit to blame.

use crate::cdb::Cdb;
use crate::command::Command;
use crate::luns::{Address, absent_unit};
use crate::response::Status;
use crate::sense::{SenseKey, Specific};
use crate::table::{self, Lookup};

pub(super) fn run(input: &[u8]) {
    let cdb = Cdb::new(input);
    let opcode = input.first().copied().unwrap_or(0);
    let known = table::rows(opcode);
    match table::lookup(&cdb) {
        Lookup::Found(info) => {
            assert_eq!(info.opcode, opcode);
            assert!(info.service_action.is_none_or(|action| action == cdb.service_action()));
            let unknown = first_unknown(input, info.usage);
            match info.parse(&cdb) {
                Ok(command) => {
                    assert_eq!(unknown, None, "{}: a bit that it does not know", info.name);
                    check(&command, input);
                }
                Err(sense) => {
                    assert_eq!(sense.key, SenseKey::IllegalRequest);
                    let Some(Specific::Field(field)) = sense.specific else {
                        unreachable!("{}: no field is blamed", info.name)
                    };
                    assert_eq!(
                        Some((usize::from(field.byte), field.bit)),
                        unknown.map(|(at, bit)| (at, Some(bit)))
                    );
                }
            }
        }
        Lookup::UnknownOpcode => assert!(known.is_empty()),
        Lookup::UnknownServiceAction => {
            assert!(!known.is_empty());
            assert!(known.iter().all(|info| info.service_action != Some(cdb.service_action())));
        }
    }
    absent(input);
}

/// The first bit that is set and not in the usage, from the standard's end: byte by byte, bit 7 first.
fn first_unknown(cdb: &[u8], usage: &[u8]) -> Option<(usize, u8)> {
    let past = cdb.iter().zip(usage).enumerate().skip(1);
    past.map(|(at, (byte, usage))| (at, byte & !usage))
        .find(|(_, bits)| *bits != 0)
        .and_then(|(at, bits)| Some((at, u8::try_from(7 - bits.leading_zeros()).ok()?)))
}

/// Lengths and addresses come from the CDB, and from nowhere else: a short CDB has zeros there.
fn check(command: &Command, cdb: &[u8]) {
    let transfer = match command {
        Command::Read(transfer)
        | Command::Write(transfer)
        | Command::WriteAtomic(transfer)
        | Command::OrWrite(transfer)
        | Command::CompareAndWrite(transfer)
        | Command::WriteAndVerify { transfer, .. } => Some((transfer.lba, transfer.blocks)),
        Command::Verify { lba, blocks, .. }
        | Command::WriteSame { lba, blocks, .. }
        | Command::SynchronizeCache { lba, blocks, .. }
        | Command::Prefetch { lba, blocks, .. } => Some((*lba, *blocks)),
        _ => None,
    };
    let Some((lba, blocks)) = transfer else { return };
    let at = |from: usize, bytes: usize| {
        (from..from + bytes).fold(0_u64, |sum, at| sum << 8 | u64::from(cdb.get(at).copied().unwrap_or(0)))
    };
    let expected = match (cdb.first().copied().unwrap_or(0), at(0, 1) >> 5) {
        // READ(6) and WRITE(6): 21 bits of address, and a length in which zero means 256.
        (0x08 | 0x0A, _) => (at(1, 3) & 0x1F_FFFF, if at(4, 1) == 0 { 256 } else { at(4, 1) }),
        (0x89, _) => (at(2, 8), at(13, 1)),
        (0x9C, _) => (at(2, 8), at(12, 2)),
        (_, 1 | 2) => (at(2, 4), at(7, 2)),
        (_, 4) => (at(2, 8), at(10, 4)),
        _ => (at(2, 4), at(6, 4)),
    };
    assert_eq!((lba, u64::from(blocks)), expected, "{cdb:02x?}");
}

/// The same where there is no unit.
fn absent(input: &[u8]) {
    let lun = match input.last().map_or(0, |last| last & 3) {
        0 => [0xC1, 1, 0, 0, 0, 0, 0, 0],
        1 => [0x40, 9, 0, 0, 0, 0, 0, 0],
        _ => [0x80, 0, 0, 0, 0, 0, 0, 1],
    };
    let response = absent_unit(Address::parse(lun), input, &[0, 1]);
    assert_eq!(response.status == Status::CheckCondition, !response.sense.is_empty());
    assert_eq!(response.transfer_bytes, response.data_in.len() as u64);
}

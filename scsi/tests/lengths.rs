//! Every command with CDBs and data of every length: no panic, no answer longer than asked for, and nothing in an answer
//! that the command did not bring: two units that are told the same, but for bytes that are none of the command's
//! business, answer the same.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "small numbers of a test")]

mod support;

use bytes::Bytes;
use scsi::{Action, COMMANDS, CommandInfo, Outcome, Plan, Response, Status, StatusRun, Task};
use support::{Random, Rig};

/// CDBs of each length for each command; `CDBS=1000` for more of them.
const CDBS: usize = 4;
const CDB_BYTES: [usize; 14] = [0, 1, 2, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 260];
/// Around every length that a command knows: headers, descriptors, blocks.
const DATA_BYTES: [usize; 24] =
    [0, 1, 3, 4, 5, 7, 8, 9, 12, 16, 23, 24, 25, 32, 40, 44, 100, 511, 512, 513, 1024, 4096, 8191, 9000];

/// PARAMETER LIST LENGTH of the commands that have one.
fn list_length(info: &CommandInfo, cdb: &[u8]) -> Option<usize> {
    let field = match info.opcode {
        0x15 => 4..5,
        0x1D => 3..5,
        0x42 | 0x48 | 0x55 => 7..9,
        0x5F => 5..9,
        0x83 => 10..14,
        0xA4 => 6..10,
        _ => return None,
    };
    Some(number(cdb, field))
}

fn allocation_length(info: &CommandInfo, cdb: &[u8]) -> Option<usize> {
    let field = match info.opcode {
        0x03 | 0x1A => 4..5,
        0x12 => 3..5,
        0x37 | 0x4D | 0x5A | 0x5E => 7..9,
        0x84 | 0x9E => 10..14,
        0xA0 | 0xA3 | 0xB7 => 6..10,
        _ => return None,
    };
    Some(number(cdb, field))
}

/// What is past the end of a CDB reads as zero.
fn number(cdb: &[u8], field: std::ops::Range<usize>) -> usize {
    field.fold(0, |sum, at| sum << 8 | usize::from(cdb.get(at).copied().unwrap_or(0)))
}

/// A CDB of this command, cut off or padded to `length`; fields are small, or anything.
fn cdb(random: &mut Random, info: &CommandInfo, length: usize) -> Vec<u8> {
    let mut cdb = random.bytes(length.max(info.usage.len()));
    let keeps_to_usage = random.below(8) != 0;
    for (byte, usage) in cdb.iter_mut().zip(info.usage) {
        *byte = match random.below(3) {
            0 => 0,
            1 => *byte & usage & 0x1F,
            _ if keeps_to_usage => *byte & usage,
            _ => *byte,
        };
    }
    cdb[0] = info.opcode;
    if let Some(action) = info.service_action {
        cdb[1] = (cdb[1] & 0xE0) | action;
    }
    cdb.truncate(length);
    cdb
}

/// The same data twice, but for what lies behind the parameter list; all of it differs where there is none.
fn twins(random: &mut Random, info: &CommandInfo, cdb: &[u8], length: usize) -> [Vec<u8>; 2] {
    let own = list_length(info, cdb).unwrap_or(0).min(length);
    let mut list = random.bytes(own);
    if random.below(2) == 0 {
        list.iter_mut().for_each(|byte| *byte &= 3);
    }
    [0xC9, 0x36].map(|canary| {
        let mut data = list.clone();
        data.resize(length, canary);
        data
    })
}

/// A task's own data is what its initiator sent; everything else of it must be the same.
fn without_data(action: &Action) -> Option<Action> {
    match action {
        Action::WriteSame { .. } | Action::Verify { .. } | Action::Sanitize { .. } => None,
        other => Some(other.clone()),
    }
}

/// What an executor would say, without the medium's content.
fn outcome(task: &Task) -> Outcome {
    match &task.action {
        Action::Read { range, .. } => Outcome::Data(Bytes::from(vec![0; range.len.min(4096) as usize])),
        Action::BlockStatus { range, descriptors_max } => {
            let run = StatusRun { len: 512, mapped: true };
            Outcome::BlockStatus(vec![run; (range.len / 512).min(*descriptors_max as u64) as usize])
        }
        _ => Outcome::Done,
    }
}

fn perform(rig: &mut Rig, cdb: &[u8], data: &[u8]) -> (Response, Option<Action>) {
    let cut = data.len() / 3;
    let pieces = [Bytes::copy_from_slice(&data[..cut]), Bytes::copy_from_slice(&data[cut..])];
    match rig.unit.start(rig.a, cdb, &pieces) {
        Plan::Done(response) => (response, None),
        Plan::Perform(task) => {
            if task.needs_settling() {
                rig.unit.settle(&task, true);
            }
            (task.finish(outcome(&task)), without_data(&task.action))
        }
    }
}

fn check(info: &CommandInfo, cdb: &[u8], response: &Response) {
    let allocation = allocation_length(info, cdb).unwrap_or(usize::MAX);
    assert!(response.data_in.len() <= allocation, "{}: {cdb:02x?}", info.name);
    assert_eq!(response.status == Status::CheckCondition, !response.sense.is_empty(), "{}", info.name);
    assert!(response.data_in.is_empty() || response.transfer_bytes == response.data_in.len() as u64);
}

#[test]
fn no_length_of_cdb_or_data_panics_or_lets_foreign_bytes_out() {
    let cdbs = std::env::var("CDBS").ok().and_then(|count| count.parse().ok()).unwrap_or(CDBS);
    let mut random = Random(std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
    let mut rigs = [Rig::new(), Rig::new()];
    for info in COMMANDS {
        for length in CDB_BYTES {
            for _ in 0..cdbs {
                let cdb = cdb(&mut random, info, length);
                for data_bytes in DATA_BYTES {
                    let data = twins(&mut random, info, &cdb, data_bytes);
                    let [one, other] = [0, 1].map(|at| perform(&mut rigs[at], &cdb, &data[at]));
                    check(info, &cdb, &one.0);
                    assert_eq!(one, other, "{}: {cdb:02x?} with {data_bytes} bytes", info.name);
                }
            }
        }
    }
}

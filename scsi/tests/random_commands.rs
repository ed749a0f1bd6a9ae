//! Random CDBs with random data: no panic, no answer longer than was asked for, no work outside the medium.

#![allow(clippy::cast_possible_truncation, clippy::unwrap_used, reason = "small numbers of a test")]

mod support;

use bytes::Bytes;
use scsi::{
    Action, COMMANDS, CommandInfo, Failure, LogicalUnit, NexusId, Outcome, Plan, Range, StatusRun, Task,
};
use support::{BLOCKS, Random, Rig, port};

const ROUNDS: u32 = 200_000;
const MEDIUM_BYTES: u64 = BLOCKS as u64 * 512;

/// Bytes of ALLOCATION LENGTH in each command that has one.
fn allocation_field(info: &CommandInfo) -> Option<std::ops::Range<usize>> {
    Some(match info.opcode {
        0x03 | 0x1A => 4..5,
        0x12 => 3..5,
        0x37 | 0x4D | 0x5A | 0x5E => 7..9,
        0x84 | 0x9E => 10..14,
        0xA0 | 0xA3 | 0xB7 => 6..10,
        _ => return None,
    })
}

fn random_cdb(random: &mut Random) -> (Option<&'static CommandInfo>, Vec<u8>) {
    if random.below(8) == 0 {
        let len = random.below(20) as usize;
        return (None, random.bytes(len));
    }
    let info = &COMMANDS[random.below(COMMANDS.len() as u64) as usize];
    let mut cdb = random.bytes(info.usage.len());
    // Mostly only bits the command knows, and small numbers, so that many get past the first checks.
    if random.below(4) != 0 {
        cdb.iter_mut().zip(info.usage).for_each(|(byte, usage)| *byte &= usage);
    }
    for byte in cdb.iter_mut().skip(2) {
        if random.below(2) == 0 {
            *byte = 0;
        }
    }
    cdb[0] = info.opcode;
    if let Some(action) = info.service_action {
        cdb[1] = (cdb[1] & 0xE0) | action;
    }
    (Some(info), cdb)
}

fn random_data(random: &mut Random) -> Vec<u8> {
    let len = match random.below(6) {
        0 => 0,
        1 => random.below(64),
        2 => 24,
        3 => 512,
        4 => 8 + 16 * random.below(4),
        _ => 512 * random.below(6),
    };
    let mut data = random.bytes(len as usize);
    if random.below(2) == 0 {
        data.iter_mut().for_each(|byte| *byte &= 0x03);
    }
    data
}

fn inside(range: Range) -> bool {
    range.offset.is_multiple_of(512)
        && range.len.is_multiple_of(512)
        && range.offset + range.len <= MEDIUM_BYTES
}

fn check_ranges(action: &Action) {
    let ranges: Vec<Range> = match action {
        Action::Read { range, .. }
        | Action::Write { range, .. }
        | Action::WriteAtomic { range, .. }
        | Action::WriteAndVerify { range, .. }
        | Action::OrWrite { range, .. }
        | Action::WriteSame { range, .. }
        | Action::Zero { range, .. }
        | Action::CompareAndWrite { range, .. }
        | Action::Verify { range, .. }
        | Action::Prefetch { range }
        | Action::BlockStatus { range, .. } => vec![*range],
        Action::Unmap { ranges } => ranges.clone(),
        Action::Copy { segments } => {
            segments.iter().flat_map(|(from, to)| [*from, Range { offset: *to, len: from.len }]).collect()
        }
        _ => vec![],
    };
    assert!(ranges.iter().all(|range| inside(*range)), "{action:?}");
}

fn random_outcome(random: &mut Random, task: &Task) -> Outcome {
    let offset = random.below(MEDIUM_BYTES);
    let failures = [
        Failure::Busy,
        Failure::NoSpace,
        Failure::Corrupt { offset },
        Failure::ReadError { offset },
        Failure::WriteError,
        Failure::ReadOnly,
        Failure::Internal,
    ];
    match (random.below(4), &task.action) {
        (0, _) => Outcome::Failed(failures[random.below(failures.len() as u64) as usize]),
        (1, Action::Verify { range, .. } | Action::CompareAndWrite { range, .. }) => {
            Outcome::Miscompare { offset: random.below(range.len) }
        }
        // Of a size that the test can afford: what it holds is the executor's affair.
        (_, Action::Read { range, .. }) => Outcome::Data(vec![0; range.len.min(8192) as usize].into()),
        (_, Action::BlockStatus { range, descriptors_max }) => {
            let runs = range.len / 4096;
            let run = StatusRun { len: 4096, mapped: true };
            Outcome::BlockStatus(vec![run; runs.min(*descriptors_max as u64) as usize])
        }
        _ => Outcome::Done,
    }
}

fn run_one(random: &mut Random, unit: &mut LogicalUnit, nexus: NexusId) {
    let (info, cdb) = random_cdb(random);
    let data = random_data(random);
    let cut = random.below(data.len() as u64 + 1) as usize;
    let pieces = [Bytes::copy_from_slice(&data[..cut]), Bytes::copy_from_slice(&data[cut..])];
    let response = match unit.start(nexus, &cdb, &pieces) {
        Plan::Done(response) => response,
        Plan::Perform(task) => {
            check_ranges(&task.action);
            let outcome = random_outcome(random, &task);
            if task.needs_settling() {
                unit.settle(&task, !matches!(outcome, Outcome::Failed(_)));
            }
            task.finish(outcome)
        }
    };
    assert!(response.sense.len() <= 252);
    assert_eq!(!response.sense.is_empty(), response.status == scsi::Status::CheckCondition);
    let allocation = info.and_then(allocation_field).and_then(|field| cdb.get(field));
    if let Some(field) = allocation {
        let allocation = field.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
        assert!(response.data_in.len() <= allocation, "{info:?} {cdb:02x?}");
    }
}

#[test]
fn no_command_panics_or_answers_with_more_than_was_asked_for() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0x0123_4567_89AB_CDEF);
    let rounds = std::env::var("ROUNDS").ok().and_then(|s| s.parse().ok()).unwrap_or(ROUNDS);
    let mut random = Random(seed);
    let Rig { mut unit, a, b } = Rig::new();
    let mut nexuses = vec![a, b];
    for round in 0..rounds {
        match random.below(500) {
            0 => unit.logical_unit_reset(),
            1 => {
                let gone = nexuses.swap_remove(random.below(2) as usize);
                unit.detach(gone);
                nexuses.push(unit.attach(port("c", (round % 7) as u8), 1).unwrap());
                run_one(&mut random, &mut unit, gone);
            }
            n => run_one(&mut random, &mut unit, nexuses[(n % 2) as usize]),
        }
    }
}

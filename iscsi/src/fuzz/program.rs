//! A connection whose peer and driver follow a small program: requests legal and not, answers in any order, time, aborts,
//! partial transmission, the end.
//!
//! ```text
//!   width and pings of the connection, what is negotiated, then for each step
//!   what to do (5 bits) and how often (3 bits), and the bytes it takes
//! ```

use super::world::World;
use super::{Meter, Source};
use crate::error::CloseReason;
use crate::event::{AsyncNotice, TaskAttribute, TaskScope};
use crate::names::{ConnectionId, InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::serial::SerialNumber;
use crate::wire::{DataOut, LogoutRequest, NopOut, ScsiCommand, TaskManagementRequestPdu, TextRequest};
use bytes::Bytes;
use std::time::Duration;

const STEPS_MAX: usize = 64;
/// How often a step is repeated.
const TIMES: [usize; 8] = [1, 1, 1, 1, 2, 5, 20, 130];
/// Lengths that sit on the edges of what is negotiated.
const LENGTHS: [u32; 16] =
    [0, 1, 3, 4, 511, 512, 513, 4096, 8191, 8192, 8193, 16_384, 16_385, 65_536, 1 << 24, u32::MAX];
const LUNS: [LogicalUnitNumber; 2] = [LogicalUnitNumber::ZERO, LogicalUnitNumber([0, 1, 0, 0, 0, 0, 0, 0])];

pub(super) fn run(input: &[u8], meter: Meter) {
    let mut source = Source(input);
    let (which, choice) = (source.below(4), source.byte());
    let mut program = Program { world: World::new(which, meter), cmd_sn: SerialNumber(0), next_tag: 1 };
    program.world.establish(choice);
    let mut steps = 0;
    while !source.is_empty() && steps < STEPS_MAX {
        let what = source.byte();
        let operands = source.0;
        let times = TIMES[usize::from(what >> 5)];
        let times = if what & 0x1f == 0 { times } else { times.min(130) };
        for time in 0..times {
            if time > 0 {
                source.0 = operands;
            }
            program.step(what & 0x1f, &mut source);
            program.world.adopt_session();
            // A check looks at every task: not after each of many repetitions.
            if time < 3 || time + 1 == times {
                program.world.check();
            }
        }
        steps += 1;
    }
    program.world.finish();
}

struct Program {
    world: World,
    cmd_sn: SerialNumber,
    next_tag: u32,
}

impl Program {
    fn step(&mut self, what: u8, source: &mut Source<'_>) {
        let world = &mut self.world;
        match what {
            0 | 1 => self.command(source, true, false),
            2..=4 => self.command(source, false, true),
            5 => self.command(source, true, true),
            6..=8 => self.data_out(source),
            9 => self.manage(source),
            10 => self.ping(source),
            11 => self.text(source),
            12 => self.log_out(source),
            13 => self.raw_header(source),
            14 => world.send_raw(source.bytes(24)),
            15 => self.gap(source),
            16..=18 => {
                world.take_events();
                let at = source.below(256);
                world.complete(at, source.byte());
            }
            19 => {
                let at = source.below(256);
                world.complete_management(at);
            }
            20 => world.answer_targets(source.below(256)),
            21 => world.take_events(),
            22 => world.drain(usize::MAX),
            23 => world.drain(source.below(256)),
            24 => {
                world.drain(usize::MAX);
                world.deliver();
            }
            25 => {
                world.now += Duration::from_secs(u64::from(source.byte() & 15));
                if world.connection.poll_timeout().is_some_and(|at| at <= world.now) {
                    world.connection.handle_timeout(world.now);
                }
            }
            26 => world.connection.abort_tasks(scope(source)),
            27 => world.connection.notify(notice(source)),
            28 => {
                let (buffered, waiting) = (source.below(256) * 256, source.below(256) * 256);
                world.connection.limit_memory(buffered, waiting);
            }
            29 => {
                world.answer_login();
            }
            30 => assert!(world.connection.receive_bytes_wanted(source.bytes(48)) <= 1 << 24),
            _ if source.byte() == 0xc1 => world.connection.close(CloseReason::Requested),
            _ => {}
        }
    }

    // ---- requests -------------------------------------------------------------------------------------------

    /// A tag: the next, or one that may be in use.
    fn tag(&mut self, fresh: bool) -> InitiatorTaskTag {
        if fresh {
            self.next_tag += 1;
        }
        InitiatorTaskTag(self.next_tag)
    }

    fn next_cmd_sn(&mut self, immediate: bool) -> SerialNumber {
        let cmd_sn = self.cmd_sn;
        if !immediate {
            self.cmd_sn = cmd_sn.next();
        }
        cmd_sn
    }

    fn command(&mut self, source: &mut Source<'_>, reads: bool, writes: bool) {
        let (flags, lengths) = (source.byte(), source.byte());
        let immediate = flags & 1 != 0;
        let command = ScsiCommand {
            immediate,
            is_final: flags & 2 == 0,
            reads,
            writes,
            attribute: TaskAttribute::Simple,
            lun: LUNS[usize::from(flags >> 2 & 1)],
            initiator_task_tag: self.tag(flags & 8 == 0),
            expected_data_transfer_bytes: LENGTHS[usize::from(lengths & 15)],
            cmd_sn: self.next_cmd_sn(immediate),
            exp_stat_sn: self.world.oracle.expected_stat_sn(),
            cdb: [0x2a; 16],
        };
        let data = if flags & 16 != 0 { LENGTHS[usize::from(lengths >> 4)].min(16_384) } else { 0 };
        let mut bhs = command.emit();
        if flags & 0xe0 == 0xe0 {
            // Additional headers, that the next bytes are.
            bhs[4] = 2;
        }
        self.world.send_zeros(bhs, data as usize);
    }

    /// The answer to an R2T, or unsolicited data; now and then with a fault.
    fn data_out(&mut self, source: &mut Source<'_>) {
        let (flags, length) = (source.byte(), source.byte());
        let r2t = if flags & 1 == 0 { self.world.oracle.r2ts.pop_front() } else { None };
        let tag = InitiatorTaskTag(self.next_tag.wrapping_sub(u32::from(flags >> 1 & 3)));
        let pdu = match r2t {
            Some(r2t) => DataOut {
                is_final: true,
                lun: LogicalUnitNumber::ZERO,
                initiator_task_tag: r2t.initiator_task_tag,
                target_transfer_tag: r2t.target_transfer_tag,
                exp_stat_sn: SerialNumber(0),
                data_sn: 0,
                buffer_offset: r2t.buffer_offset,
            },
            None => DataOut {
                is_final: flags & 8 == 0,
                lun: LogicalUnitNumber::ZERO,
                initiator_task_tag: tag,
                target_transfer_tag: TargetTransferTag::RESERVED,
                exp_stat_sn: SerialNumber(0),
                data_sn: u32::from(length >> 4 & 3),
                buffer_offset: LENGTHS[usize::from(length & 15)],
            },
        };
        let whole = r2t.map_or(u32::from(flags) * 64, |r2t| r2t.desired_bytes);
        match (r2t, flags >> 5) {
            // In two PDUs, as long as is asked for.
            (Some(r2t), 0 | 1) if whole > 8 => {
                let first = (whole / 2) & !3;
                self.world.send_zeros(DataOut { is_final: false, ..pdu }.emit(), first as usize);
                let rest = DataOut { data_sn: 1, buffer_offset: r2t.buffer_offset + first, ..pdu };
                self.world.send_zeros(rest.emit(), (whole - first) as usize);
            }
            // Too little, or the R2T is kept to be answered again.
            (Some(_), 2) => self.world.send_zeros(pdu.emit(), whole as usize / 2),
            (Some(r2t), 3) => {
                self.world.oracle.r2ts.push_back(r2t);
                self.world.send_zeros(pdu.emit(), whole as usize);
            }
            _ => self.world.send_zeros(pdu.emit(), whole as usize),
        }
    }

    fn manage(&mut self, source: &mut Source<'_>) {
        let (function, flags) = (source.byte(), source.byte());
        let immediate = flags & 1 == 0;
        let back = u32::from(flags >> 4);
        let request = TaskManagementRequestPdu {
            immediate,
            function: function & 0x0f,
            lun: LUNS[usize::from(flags >> 1 & 1)],
            initiator_task_tag: InitiatorTaskTag(0x8000_0000 | self.next_tag),
            referenced_task_tag: InitiatorTaskTag(self.next_tag.wrapping_sub(back)),
            cmd_sn: self.next_cmd_sn(immediate),
            exp_stat_sn: self.world.oracle.expected_stat_sn(),
            ref_cmd_sn: self.cmd_sn.sub(back),
            exp_data_sn: 0,
        };
        self.world.send(request.emit(), &[]);
    }

    fn ping(&mut self, source: &mut Source<'_>) {
        let (flags, length) = (source.byte(), source.byte());
        let immediate = flags & 1 == 0;
        let wants_answer = flags & 2 == 0;
        let ping = NopOut {
            immediate,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: if wants_answer { self.tag(true) } else { InitiatorTaskTag::RESERVED },
            target_transfer_tag: if flags & 4 == 0 {
                TargetTransferTag::RESERVED
            } else {
                TargetTransferTag(u32::from(flags))
            },
            cmd_sn: self.next_cmd_sn(immediate || !wants_answer),
            exp_stat_sn: SerialNumber(0),
        };
        self.world.send_zeros(ping.emit(), LENGTHS[usize::from(length & 15)].min(16_384) as usize);
    }

    fn text(&mut self, source: &mut Source<'_>) {
        const TEXTS: [&[u8]; 8] = [
            b"",
            b"SendTargets=All\0",
            b"SendTargets=\0",
            b"SendTargets=iqn.2026-01.fuzz:t\0",
            b"MaxRecvDataSegmentLength=4096\0",
            b"MaxRecvDataSegmentLength=512\0X-a=b\0",
            b"HeaderDigest=None\0",
            b"SendTar",
        ];
        let (flags, kind) = (source.byte(), source.byte());
        let immediate = flags & 1 == 0;
        let request = TextRequest {
            immediate,
            is_final: flags & 2 == 0,
            continues: flags & 4 != 0,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: InitiatorTaskTag(if flags & 8 == 0 { 77 } else { 78 }),
            target_transfer_tag: if flags & 16 == 0 {
                TargetTransferTag::RESERVED
            } else {
                self.world.oracle.text_tag
            },
            cmd_sn: self.next_cmd_sn(immediate),
            exp_stat_sn: SerialNumber(0),
        };
        let own = source.bytes(usize::from(flags >> 5) * 4);
        if own.is_empty() {
            self.world.send(request.emit(), TEXTS[usize::from(kind & 7)]);
        } else if kind & 0x80 != 0 {
            self.world.send_zeros(request.emit(), 16_384);
        } else {
            self.world.send(request.emit(), own);
        }
    }

    fn log_out(&mut self, source: &mut Source<'_>) {
        let flags = source.byte();
        let immediate = flags & 1 == 0;
        let request = LogoutRequest {
            immediate,
            reason: flags >> 1 & 3,
            initiator_task_tag: self.tag(true),
            connection_id: ConnectionId(u16::from(flags >> 3 & 1)),
            cmd_sn: self.next_cmd_sn(immediate),
            exp_stat_sn: SerialNumber(0),
        };
        self.world.send(request.emit(), &[]);
    }

    /// A header of the fuzzer's own, with a right length.
    fn raw_header(&mut self, source: &mut Source<'_>) {
        let (flags, mut bhs) = (source.byte(), [0; 48]);
        let own = source.bytes(48);
        bhs[..own.len()].copy_from_slice(own);
        bhs[4] = 0;
        if flags & 1 != 0 {
            bhs[24..28].copy_from_slice(&self.cmd_sn.0.to_be_bytes());
            self.cmd_sn = self.cmd_sn.next();
        }
        self.world.send_zeros(bhs, usize::from(flags >> 1) * 4);
    }

    /// Moves the peer's CmdSN: a gap before what comes, or what was sent again.
    fn gap(&mut self, source: &mut Source<'_>) {
        let by = source.byte();
        self.cmd_sn = if by & 0x80 == 0 {
            self.cmd_sn.add(u32::from(by & 7))
        } else {
            self.cmd_sn.sub(u32::from(by & 7))
        };
    }
}

fn scope(source: &mut Source<'_>) -> TaskScope {
    match source.byte() & 3 {
        0 => TaskScope::All,
        lun => TaskScope::LogicalUnit(LUNS[usize::from(lun & 1)]),
    }
}

fn notice(source: &mut Source<'_>) -> AsyncNotice {
    match source.byte() & 3 {
        0 => AsyncNotice::ScsiEvent { lun: LogicalUnitNumber::ZERO, sense: Bytes::from_static(&[0x70; 18]) },
        1 => AsyncNotice::RequestLogout { seconds: 3 },
        2 => AsyncNotice::DroppingConnection,
        _ => AsyncNotice::DroppingSession,
    }
}

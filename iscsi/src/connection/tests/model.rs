//! Random legal sessions against an oracle: whatever is negotiated, however bytes are cut, in whatever order commands,
//! data, completions, aborts and resets mix, every command gets its data and its answer, once, and in order.
//!
//! `MODEL_RUNS=100000 cargo test -p iscsi --release model` runs more of them.

use super::pair::{Pair, pattern};
use crate::event::{Event, TaskManagementFunction};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag, TaskId};
use crate::wire::*;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// A small generator (xorshift): a failing run is found again by its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).unwrap()
    }

    fn pick<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[self.below(choices.len())]
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }
}

/// A write as the initiator sees it.
struct Write {
    data: Bytes,
    /// Unsolicited data that is still to be sent, with the next DataSN.
    unsolicited: Option<(usize, usize, u32)>,
    /// R2Ts to answer, with how far the answer is and the next DataSN.
    r2ts: Vec<(ReadyToTransfer, usize, u32)>,
    asked: usize,
    r2t_count: u32,
}

struct Read {
    bytes: usize,
    got: Vec<u8>,
    data_sn: u32,
    burst: usize,
}

struct World {
    pair: Pair,
    random: Random,
    writes: BTreeMap<u32, Write>,
    reads: BTreeMap<u32, Read>,
    executing: Vec<(TaskId, u32)>,
    /// Tags whose commands were aborted: nothing may be heard of them any more.
    aborted: BTreeSet<u32>,
    /// Task management under way: tag, and the aborted tasks that the driver still had.
    managing: BTreeMap<u32, Vec<u32>>,
    tags_of_tasks: BTreeMap<u64, u32>,
    answered: usize,
}

fn session(seed: u64) -> World {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let limits = ["512", "1024", "4096", "8192", "65536", "262144"];
    let keys = [
        ("HeaderDigest", random.pick(&["None", "CRC32C", "CRC32C,None"])),
        ("DataDigest", random.pick(&["None", "CRC32C", "None,CRC32C"])),
        ("InitialR2T", random.pick(&["Yes", "No"])),
        ("ImmediateData", random.pick(&["Yes", "No"])),
        ("MaxBurstLength", random.pick(&limits)),
        ("FirstBurstLength", random.pick(&limits)),
        ("MaxRecvDataSegmentLength", random.pick(&limits)),
        ("MaxOutstandingR2T", random.pick(&["1", "2", "8"])),
    ];
    let mut pair = Pair::new();
    pair.cmd_sn.0 = u32::MAX - u32::try_from(random.below(60)).unwrap();
    (pair.exp_cmd_sn, pair.max_cmd_sn) = (pair.cmd_sn, pair.cmd_sn);
    pair.step = [1, 7, 48, 1000, usize::MAX, usize::MAX, usize::MAX, usize::MAX][random.below(8)];
    pair.establish(&keys);
    World {
        pair,
        random,
        writes: BTreeMap::new(),
        reads: BTreeMap::new(),
        executing: Vec::new(),
        aborted: BTreeSet::new(),
        managing: BTreeMap::new(),
        tags_of_tasks: BTreeMap::new(),
        answered: 0,
    }
}

impl World {
    fn window_is_open(&self) -> bool {
        !self.pair.cmd_sn.is_after(self.pair.max_cmd_sn)
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..25 if self.window_is_open() => self.begin_write(),
            25..45 if self.window_is_open() => self.begin_read(),
            45..70 => self.send_some_data(),
            70..92 => self.complete_one(),
            92..95 => self.ping(),
            95..98 => self.abort_one(),
            98 => self.reset(),
            _ => {}
        }
        self.take_commands();
        self.listen();
    }

    fn begin_read(&mut self) {
        let bytes = [0, 1, 512, 513, 4096, 70_000][self.random.below(6)];
        let tag = self.pair.send_read(u32::try_from(bytes).unwrap());
        self.reads.insert(tag.0, Read { bytes, got: Vec::new(), data_sn: 0, burst: 0 });
    }

    fn begin_write(&mut self) {
        let bytes = [0, 1, 511, 512, 4096, 5001, 70_000][self.random.below(7)];
        let agreed = self.pair.target.parameters().clone();
        let first = (agreed.unsolicited_bytes_max() as usize).min(bytes);
        let immediate = if agreed.immediate_data { self.random.below(first + 1) } else { 0 };
        // An initiator that sends unsolicited Data-Out at all sends the whole first burst (§4.2.5.2).
        let more = !agreed.initial_r2t && immediate < first && self.random.chance(70);
        let mut command = self.pair.command(false, true, u32::try_from(bytes).unwrap());
        command.is_final = !more;
        let seed = self.random.below(250);
        let data = pattern(bytes + seed).slice(seed..);
        let tag = command.initiator_task_tag.0;
        self.pair.send(command.emit(), &data[..immediate]);
        let unsolicited = more.then_some((immediate, first, 0));
        let asked = if more { first } else { immediate };
        self.writes.insert(tag, Write { data, unsolicited, r2ts: Vec::new(), asked, r2t_count: 0 });
    }

    /// One Data-Out of some write that has data to send.
    fn send_some_data(&mut self) {
        let waiting: Vec<u32> = self
            .writes
            .iter()
            .filter(|(_, write)| write.unsolicited.is_some() || !write.r2ts.is_empty())
            .map(|(tag, _)| *tag)
            .collect();
        if waiting.is_empty() {
            return;
        }
        let tag = waiting[self.random.below(waiting.len())];
        let segment_max = self.pair.target.parameters().receive_segment_bytes_max as usize;
        let segment = [1, 511, 512, 4096, segment_max][self.random.below(5)].min(segment_max);
        let write = self.writes.get_mut(&tag).unwrap();
        let (ttt, at, end, sn) = match (&write.unsolicited, write.r2ts.first()) {
            (Some((at, end, sn)), _) => (TargetTransferTag::RESERVED, *at, *end, *sn),
            (None, Some((r2t, at, sn))) => {
                (r2t.target_transfer_tag, *at, (r2t.buffer_offset + r2t.desired_bytes) as usize, *sn)
            }
            (None, None) => unreachable!(),
        };
        let stop = (at + segment).min(end);
        match &mut write.unsolicited {
            Some(_) if stop == end => write.unsolicited = None,
            Some(progress) => *progress = (stop, end, sn + 1),
            None if stop == end => drop(write.r2ts.remove(0)),
            None => (write.r2ts[0].1, write.r2ts[0].2) = (stop, sn + 1),
        }
        let piece = write.data.slice(at..stop);
        let offset = u32::try_from(at).unwrap();
        let bhs = self.pair.data_out(InitiatorTaskTag(tag), ttt, sn, offset, stop == end);
        self.pair.send(bhs, &piece);
    }

    fn take_commands(&mut self) {
        while let Some(event) = self.pair.target.poll_event() {
            match event {
                Event::Command(command) => {
                    let tag = self.identify(&command);
                    if let Some(write) = self.writes.get(&tag) {
                        assert_eq!(command.data_out.to_bytes(), write.data, "all its data, in order");
                    }
                    assert!(!self.aborted.contains(&tag), "an aborted command is not handed over");
                    self.executing.push((command.task, tag));
                }
                Event::TaskManagement(request) => {
                    self.pair.target.complete_task_management(request.id, request.proposed);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The machine does not tell tags; the CDB carries it.
    fn identify(&mut self, command: &crate::Command) -> u32 {
        let tag = self.pair.tag_of(command);
        assert!(self.tags_of_tasks.insert(command.task.generation, tag).is_none(), "handed over once");
        tag
    }

    fn complete_one(&mut self) {
        if self.executing.is_empty() {
            return;
        }
        let (task, tag) = self.executing.swap_remove(self.random.below(self.executing.len()));
        for waits in self.managing.values_mut() {
            waits.retain(|other| *other != tag);
        }
        if let Some(read) = self.reads.get(&tag) {
            self.pair.complete_read(task, pattern(read.bytes));
        } else {
            let bytes = self.writes.get(&tag).map_or(0, |write| write.data.len());
            self.pair.complete_good(task, bytes as u64);
        }
    }

    fn ping(&mut self) {
        let tag = self.pair.tag();
        let ping = NopOut {
            immediate: true,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            cmd_sn: self.pair.cmd_sn,
            exp_stat_sn: self.pair.exp_stat_sn.unwrap(),
        };
        self.pair.send(ping.emit(), b"x");
    }

    fn manage(&mut self, function: TaskManagementFunction, referenced: InitiatorTaskTag, concerned: &[u32]) {
        if self.managing.len() >= 8 {
            return;
        }
        let request = TaskManagementRequestPdu {
            immediate: true,
            function: function.code(),
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: self.pair.tag(),
            referenced_task_tag: referenced,
            cmd_sn: self.pair.cmd_sn,
            exp_stat_sn: self.pair.exp_stat_sn.unwrap(),
            ref_cmd_sn: self.pair.cmd_sn,
            exp_data_sn: 0,
        };
        self.listen();
        let concerned: Vec<u32> = concerned
            .iter()
            .copied()
            .filter(|tag| self.reads.contains_key(tag) || self.writes.contains_key(tag))
            .collect();
        let executing: Vec<u32> =
            self.executing.iter().map(|(_, tag)| *tag).filter(|tag| concerned.contains(tag)).collect();
        for tag in &concerned {
            self.reads.remove(tag);
            self.writes.remove(tag);
        }
        // Those that were aborted before and still execute are waited for again by a reset.
        self.aborted.extend(concerned);
        self.managing.insert(request.initiator_task_tag.0, executing);
        self.pair.send(request.emit(), &[]);
    }

    fn abort_one(&mut self) {
        let open: Vec<u32> = self.reads.keys().chain(self.writes.keys()).copied().collect();
        if !open.is_empty() {
            let tag = open[self.random.below(open.len())];
            self.manage(TaskManagementFunction::AbortTask, InitiatorTaskTag(tag), &[tag]);
        }
    }

    fn reset(&mut self) {
        let open: Vec<u32> = self.reads.keys().chain(self.writes.keys()).copied().collect();
        self.manage(TaskManagementFunction::LogicalUnitReset, InitiatorTaskTag::RESERVED, &open);
    }

    fn listen(&mut self) {
        while let Some(pdu) = self.pair.receive() {
            match Opcode::of(&pdu.bhs) {
                Opcode::ReadyToTransfer => self.hear_r2t(ReadyToTransfer::parse(&pdu.bhs)),
                Opcode::DataIn => self.hear_data_in(&DataIn::parse(&pdu.bhs), &pdu.data),
                Opcode::ScsiResponse => self.hear_response(&ScsiResponsePdu::parse(&pdu.bhs)),
                Opcode::TaskManagementResponse => {
                    let response = TaskManagementResponsePdu::parse(&pdu.bhs);
                    let waits = self.managing.remove(&response.initiator_task_tag.0).expect("asked for");
                    assert_eq!(waits, [], "answered while {waits:?} still execute");
                }
                Opcode::NopIn => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    fn hear_r2t(&mut self, r2t: ReadyToTransfer) {
        let agreed = self.pair.target.parameters().clone();
        let Some(write) = self.writes.get_mut(&r2t.initiator_task_tag.0) else {
            assert!(self.aborted.contains(&r2t.initiator_task_tag.0));
            return;
        };
        assert!(write.unsolicited.is_none(), "solicited before the unsolicited data came");
        assert_eq!((r2t.buffer_offset as usize, r2t.r2t_sn), (write.asked, write.r2t_count));
        assert!(r2t.desired_bytes > 0 && r2t.desired_bytes <= agreed.burst_bytes_max);
        write.asked += r2t.desired_bytes as usize;
        write.r2t_count += 1;
        assert!(write.asked <= write.data.len());
        write.r2ts.push((r2t, r2t.buffer_offset as usize, 0));
        assert!(write.r2ts.len() <= agreed.outstanding_r2t_max as usize);
    }

    fn hear_data_in(&mut self, data_in: &DataIn, data: &[u8]) {
        let agreed = self.pair.target.parameters().clone();
        let tag = data_in.initiator_task_tag.0;
        let read = self.reads.get_mut(&tag).expect("an open read");
        assert_eq!((data_in.buffer_offset as usize, data_in.data_sn), (read.got.len(), read.data_sn));
        assert!(data.len() <= agreed.transmit_segment_bytes_max as usize);
        read.got.extend_from_slice(data);
        read.data_sn += 1;
        read.burst += data.len();
        assert!(read.burst <= agreed.burst_bytes_max as usize);
        if data_in.is_final {
            read.burst = 0;
        }
        if data_in.status.is_some() {
            assert!(data_in.is_final);
            self.end_read(tag);
        }
    }

    fn end_read(&mut self, tag: u32) {
        let read = self.reads.remove(&tag).unwrap();
        assert_eq!(read.got, pattern(read.bytes));
        self.answered += 1;
    }

    fn hear_response(&mut self, response: &ScsiResponsePdu) {
        let tag = response.initiator_task_tag.0;
        assert_eq!((response.status, response.residual), (0, Residual::Exact));
        if let Some(write) = self.writes.remove(&tag) {
            assert!(write.unsolicited.is_none() && write.r2ts.is_empty());
            assert_eq!(response.exp_data_sn, write.r2t_count);
            self.answered += 1;
        } else {
            self.end_read(tag);
        }
    }

    /// Everything that is open comes to its end.
    fn finish(&mut self) {
        for _ in 0..20_000 {
            if self.writes.is_empty()
                && self.reads.is_empty()
                && self.managing.is_empty()
                && self.executing.is_empty()
            {
                break;
            }
            self.send_some_data();
            self.complete_one();
            self.take_commands();
            self.listen();
        }
        assert!(
            self.writes.is_empty() && self.reads.is_empty() && self.managing.is_empty(),
            "something hangs"
        );
        assert_eq!((self.pair.target.tasks_open(), self.pair.target.buffered_bytes()), (0, 0));
        assert!(self.pair.target.is_full_feature() && self.window_is_open());
    }
}

impl World {
    /// The connection is lost in the middle of a PDU; what the driver still has comes back to nobody.
    fn lose(&mut self) {
        let frame = self
            .pair
            .frame(self.pair.data_out(InitiatorTaskTag(1), TargetTransferTag(1), 0, 0, true), b"lost");
        let cut = self.random.below(frame.len());
        self.pair.deliver(&frame[..cut]);
        self.pair.receive_all();
        self.pair.target.close(crate::CloseReason::Requested);
        assert!(matches!(self.pair.target.poll_event(), Some(Event::Closed(_))));
        self.pair.no_event();
        assert_eq!(self.pair.target.tasks_open(), self.executing.len());
        for (task, _) in std::mem::take(&mut self.executing) {
            self.pair.complete_read(task, pattern(512));
        }
        assert_eq!((self.pair.target.tasks_open(), self.pair.target.buffered_bytes()), (0, 0));
        assert!(self.pair.receive().is_none() && !self.pair.target.wants_read());
    }
}

#[test]
fn random_legal_sessions() {
    let runs = std::env::var("MODEL_RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let mut answered = 0;
    for seed in 1..=runs {
        let result = std::panic::catch_unwind(|| {
            let mut world = session(seed);
            for _ in 0..300 {
                world.step();
            }
            if seed % 4 == 0 {
                world.lose()
            } else {
                world.finish()
            }
            world.answered
        });
        answered += result.unwrap_or_else(|_| panic!("seed {seed}"));
    }
    assert!(answered as u64 > runs * 20, "the model does something: {answered} commands answered");
}

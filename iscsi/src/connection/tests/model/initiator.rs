//! A legal initiator that does anything legal: what it knows of its session, and what it sends.

use super::login::{After, Login};
use super::random::Random;
use super::shared::{Issued, Shared};
use crate::error::LoginStatus;
use crate::event::TaskAttribute;
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag, Tsih};
use crate::serial::SerialNumber;
use crate::text::Parameters;
use crate::wire::*;
use bytes::{Bytes, BytesMut};
use std::collections::{BTreeMap, VecDeque};
use std::sync::LazyLock;

/// All data is cut from here, so that a byte that is elsewhere than it belongs is another byte.
pub(super) static NOISE: LazyLock<Bytes> = LazyLock::new(|| {
    let mut random = Random::new(1);
    (0..100_000).map(|_| u8::try_from(random.next() >> 56).unwrap()).collect()
});

/// Tags are taken from few, so that each is used again soon.
const TAGS: usize = 200;
const IMMEDIATE_MAX: usize = 3;

#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Phase {
    Login,
    FullFeature,
    Over,
}

/// An answer to an R2T, or unsolicited data, on its way.
#[derive(Clone, Copy)]
pub(super) struct Sequence {
    pub(super) target_transfer_tag: TargetTransferTag,
    at: usize,
    end: usize,
    data_sn: u32,
}

/// A command as the initiator sees it.
pub(super) struct Open {
    pub(super) id: u32,
    pub(super) lun: u8,
    pub(super) immediate: bool,
    pub(super) cmd_sn: SerialNumber,
    pub(super) expected_out: usize,
    pub(super) expected_in: usize,
    pub(super) data: Bytes,
    pub(super) unsolicited: Option<Sequence>,
    pub(super) r2ts: VecDeque<Sequence>,
    /// Data sent with the command, or asked for.
    pub(super) asked: usize,
    pub(super) sent: usize,
    /// R2Ts and Data-In PDUs so far.
    pub(super) data_sn: u32,
    pub(super) data_in_count: u32,
    pub(super) got: Vec<u8>,
    pub(super) burst: usize,
    pub(super) ended_sequence: bool,
    /// It has not left yet though others behind it have.
    pub(super) is_delayed: bool,
    /// Requests under way that abort it.
    pub(super) doomed: usize,
    /// Another initiator aborted it: nothing will be heard of it.
    pub(super) silenced: bool,
}

impl Open {
    /// Has all of it been sent, so that it must be executed?
    pub(super) fn is_complete(&self) -> bool {
        !self.is_delayed && self.sent == self.expected_out
    }
}

/// A task management request as the initiator sees it.
pub(super) struct Managing {
    pub(super) function: u8,
    /// Commands that were open when it was sent, and are meant by it.
    pub(super) concerned: Vec<(u32, u32)>,
    /// Commands of other initiators that it aborted.
    pub(super) others: Vec<u32>,
}

/// A text exchange under way.
pub(super) struct TextExchange {
    pub(super) tag: InitiatorTaskTag,
    pub(super) parts: VecDeque<Vec<u8>>,
    pub(super) answer: Vec<u8>,
    pub(super) expected: Vec<u8>,
    /// The limit that holds when the answer is through.
    pub(super) segment_bytes_max: u32,
}

pub(super) struct Initiator {
    /// Number of its connection, which is its session's.
    pub(super) number: usize,
    pub(super) port: usize,
    pub(super) discovery: bool,
    pub(super) phase: Phase,
    pub(super) login: Login,
    pub(super) agreed: Parameters,
    pub(super) tsih: Tsih,
    pub(super) deframer: Deframer,
    pub(super) incoming: BytesMut,
    pub(super) outgoing: Vec<u8>,
    pub(super) cmd_sn: SerialNumber,
    pub(super) exp_stat_sn: SerialNumber,
    pub(super) exp_cmd_sn: SerialNumber,
    pub(super) max_cmd_sn: SerialNumber,
    pub(super) tasks: BTreeMap<u32, Open>,
    pub(super) managing: BTreeMap<u32, Managing>,
    pub(super) pings: BTreeMap<u32, Bytes>,
    pub(super) text: Option<TextExchange>,
    /// Tag, what must be answered, and tags of commands that must be answered before.
    pub(super) logout: Option<(u32, u8)>,
    /// It has asked for the end of its session.
    pub(super) logs_out: bool,
    /// It has had the answer to a reset that ends its session.
    pub(super) was_reset: bool,
    pub(super) delayed: Option<(u32, Vec<u8>)>,
    /// Limit of the data segments that may come, while it changes.
    pub(super) segment_bytes_max: u32,
    pub(super) answers_pings: bool,
    pub(super) messages: VecDeque<AsyncMessage>,
    pub(super) tasks_max: usize,
    size_max: usize,
}

impl Initiator {
    pub(super) fn new(
        number: usize,
        discovery: bool,
        login: Login,
        tasks_max: usize,
        random: &mut Random,
    ) -> Self {
        let (cmd_sn, exp_stat_sn) = (login.base.cmd_sn, login.base.exp_stat_sn);
        let agreed = Parameters::default();
        Self {
            number,
            port: 0,
            discovery,
            phase: Phase::Login,
            login,
            segment_bytes_max: agreed.transmit_segment_bytes_max,
            agreed,
            tsih: Tsih(0),
            deframer: Deframer { header_digest: false, data_digest: false, segment_bytes_max: 1 << 24 },
            incoming: BytesMut::new(),
            outgoing: Vec::new(),
            cmd_sn,
            exp_stat_sn,
            exp_cmd_sn: cmd_sn,
            max_cmd_sn: cmd_sn.sub(1),
            tasks: BTreeMap::new(),
            managing: BTreeMap::new(),
            pings: BTreeMap::new(),
            text: None,
            logout: None,
            logs_out: false,
            was_reset: false,
            delayed: None,
            answers_pings: random.chance(50),
            messages: VecDeque::new(),
            tasks_max,
            size_max: random.pick(&[2000, 2000, 2000, 6000, 70_000]),
        }
    }

    // ---- login ----------------------------------------------------------------------------------------------

    pub(super) fn send_login(&mut self, random: &mut Random) {
        let (request, text) = self.login.next_request(random);
        self.send(request.emit(), &[], &text);
    }

    pub(super) fn hear_login(&mut self, response: &LoginResponse, data: &[u8], shared: &mut Shared) {
        let is_gone = response.status == LoginStatus::SessionDoesNotExist.class_and_detail();
        if is_gone && self.login.base.tsih != Tsih(0) {
            self.phase = Phase::Over;
            return;
        }
        match self.login.hear(response, data) {
            After::More => self.send_login(&mut shared.random),
            After::Established(tsih) => {
                self.tsih = tsih;
                self.agreed = self.login.agreed.clone();
                self.segment_bytes_max = self.agreed.transmit_segment_bytes_max;
                self.deframer.header_digest = self.agreed.header_digest;
                self.deframer.data_digest = self.agreed.data_digest;
                self.phase = Phase::FullFeature;
            }
        }
    }

    // ---- what is sent ---------------------------------------------------------------------------------------

    pub(super) fn send(&mut self, bhs: Bhs, ahs: &[u8], data: &[u8]) {
        let frame = self.frame(bhs, ahs, data);
        self.outgoing.extend_from_slice(&frame);
    }

    fn frame(&self, bhs: Bhs, ahs: &[u8], data: &[u8]) -> Vec<u8> {
        let mut frame = with_data_segment(bhs, data.len()).to_vec();
        frame[4] = u8::try_from(ahs.len() / 4).unwrap();
        frame.extend_from_slice(ahs);
        if self.deframer.header_digest {
            frame.extend_from_slice(&crc32c::crc32c(&frame).to_le_bytes());
        }
        let begin = frame.len();
        frame.extend_from_slice(data);
        frame.resize(frame.len() + padding(data.len()), 0);
        if self.deframer.data_digest && !data.is_empty() {
            let digest = crc32c::crc32c(&frame[begin..]).to_le_bytes();
            frame.extend_from_slice(&digest);
        }
        frame
    }

    /// May anything be sent that is not data?
    pub(super) fn may_ask(&self) -> bool {
        self.phase == Phase::FullFeature && self.logout.is_none() && !self.was_reset
    }

    pub(super) fn window_is_open(&self) -> bool {
        !self.cmd_sn.is_after(self.max_cmd_sn)
    }

    /// The CmdSN of a request, or none when the window is closed to it.
    pub(super) fn number(&mut self, immediate: bool) -> Option<SerialNumber> {
        let cmd_sn = self.cmd_sn;
        if !immediate {
            if !self.window_is_open() {
                return None;
            }
            self.cmd_sn = cmd_sn.next();
        }
        Some(cmd_sn)
    }

    /// A tag that nothing under way has.
    pub(super) fn tag(&self, random: &mut Random) -> InitiatorTaskTag {
        loop {
            let tag = u32::try_from(random.below(TAGS)).unwrap() << 3;
            let is_taken = self.tasks.contains_key(&tag)
                || self.managing.contains_key(&tag)
                || self.pings.contains_key(&tag)
                || self.text.as_ref().is_some_and(|text| text.tag.0 == tag)
                || self.logout.is_some_and(|(other, _)| other == tag);
            if !is_taken {
                return InitiatorTaskTag(tag);
            }
        }
    }

    fn size(&self, random: &mut Random) -> usize {
        let usual = random.pick(&[0, 1, 511, 512, 513, 1024, 4096, 5001, 16_384, 70_000]);
        if usual > self.size_max { random.up_to(self.size_max) } else { usual }
    }

    /// A command of any kind: `reads` and `writes` both mean a bidirectional one.
    pub(super) fn command(&mut self, reads: bool, writes: bool, shared: &mut Shared) {
        let random = &mut shared.random;
        let immediate = random.chance(8)
            && self.tasks.values().filter(|task| task.immediate).count() < IMMEDIATE_MAX
            && shared.immediate_jobs < 8;
        if self.tasks.len() > TAGS / 2 {
            return;
        }
        let tag = self.tag(random);
        let Some(cmd_sn) = self.number(immediate) else { return };
        let expected_out = if writes { self.size(random) } else { 0 };
        let expected_in = if reads { self.size(random) } else { 0 };
        let id = shared.next_id();
        let begin = id as usize % 20_000;
        let data = NOISE.slice(begin..begin + expected_out);
        let random = &mut shared.random;
        let first = (self.agreed.unsolicited_bytes_max() as usize).min(expected_out);
        let segment_max = self.agreed.receive_segment_bytes_max as usize;
        let immediate_bytes =
            if self.agreed.immediate_data { random.up_to(first.min(segment_max)) } else { 0 };
        // An initiator that sends unsolicited Data-Out at all sends the whole first burst (§4.2.5.2).
        // Data for a command that waits for its turn would find no task; with one connection nothing waits (§4.2.2.1).
        let in_turn = immediate || self.delayed.is_none();
        let more = !self.agreed.initial_r2t && in_turn && immediate_bytes < first && random.chance(70);
        let (lun, slot) = (u8::try_from(random.below(2)).unwrap(), u8::try_from(random.below(8)).unwrap());
        let mut cdb = [if writes { 0x2a } else { 0x28 }; 16];
        cdb[2] = slot;
        cdb[12..].copy_from_slice(&id.to_be_bytes());
        let (ahs, tail) = additional_headers(random, reads && writes, expected_in);
        let attribute = random.pick(&[
            TaskAttribute::Untagged,
            TaskAttribute::Simple,
            TaskAttribute::Simple,
            TaskAttribute::Ordered,
            TaskAttribute::HeadOfQueue,
        ]);
        let expected = if writes { expected_out } else { expected_in };
        let command = ScsiCommand {
            immediate,
            is_final: !more,
            reads,
            writes,
            attribute,
            lun: LogicalUnitNumber::single_level(lun.into()),
            initiator_task_tag: tag,
            expected_data_transfer_bytes: u32::try_from(expected).unwrap(),
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
        };
        let is_delayed = !immediate && !more && self.delayed.is_none() && shared.random.chance(4);
        let unsolicited = more.then_some(Sequence {
            target_transfer_tag: TargetTransferTag::RESERVED,
            at: immediate_bytes,
            end: first,
            data_sn: 0,
        });
        note!(
            shared,
            "{} sends {id}: tag {tag:?} {cmd_sn:?} lun {lun} in {expected_in} out {expected_out} \
              immediate {immediate_bytes} more {more} I {immediate} delayed {is_delayed}",
            self.number
        );
        let issued = Issued {
            link: self.number,
            lun,
            slot,
            reads,
            writes,
            expected: command.expected_data_transfer_bytes,
            expected_in,
            attribute,
            tail,
            data: data.clone(),
            cmd_sn: (!immediate).then_some(cmd_sn),
            is_stray: false,
        };
        shared.issued.insert(id, issued);
        let frame = self.frame(command.emit(), &ahs, &data[..immediate_bytes]);
        if is_delayed {
            self.delayed = Some((id, frame));
        } else {
            self.outgoing.extend_from_slice(&frame);
        }
        let open = Open {
            id,
            lun,
            immediate,
            cmd_sn,
            expected_out,
            expected_in,
            data,
            unsolicited,
            r2ts: VecDeque::new(),
            asked: if more { first } else { immediate_bytes },
            sent: immediate_bytes,
            data_sn: 0,
            data_in_count: 0,
            got: Vec::new(),
            burst: 0,
            ended_sequence: true,
            is_delayed,
            doomed: 0,
            silenced: false,
        };
        self.tasks.insert(tag.0, open);
    }

    /// A command that is to be ignored: its number was used, or is far beyond the window (§4.2.2.1).
    pub(super) fn stray(&mut self, shared: &mut Shared) {
        let id = shared.next_id();
        let random = &mut shared.random;
        let behind = 1 + u32::try_from(random.below(100)).unwrap();
        let cmd_sn =
            if random.chance(70) { self.exp_cmd_sn.sub(behind) } else { self.max_cmd_sn.add(70_000) };
        let tag = self.tag(random);
        let mut cdb = [0x28; 16];
        cdb[12..].copy_from_slice(&id.to_be_bytes());
        let command = ScsiCommand {
            immediate: false,
            is_final: true,
            reads: true,
            writes: false,
            attribute: TaskAttribute::Simple,
            lun: LogicalUnitNumber::ZERO,
            initiator_task_tag: tag,
            expected_data_transfer_bytes: 512,
            cmd_sn,
            exp_stat_sn: self.exp_stat_sn,
            cdb,
        };
        note!(shared, "{} sends stray {id} {cmd_sn:?}", self.number);
        shared.issued.insert(id, Issued { link: self.number, is_stray: true, ..Issued::default() });
        self.send(command.emit(), &[], &[]);
    }

    /// The command that the others have overtaken leaves at last.
    pub(super) fn release(&mut self, shared: &mut Shared) {
        let Some((id, frame)) = self.delayed.take() else { return };
        note!(shared, "{} releases {id}", self.number);
        self.outgoing.extend_from_slice(&frame);
        if let Some(task) = self.tasks.values_mut().find(|task| task.id == id) {
            task.is_delayed = false;
        }
    }

    /// One Data-Out of some write that has data to send.
    pub(super) fn data_out(&mut self, shared: &mut Shared) {
        if !self.may_ask() {
            return;
        }
        let has_data = |task: &Open| task.unsolicited.is_some() || !task.r2ts.is_empty();
        let waiting: Vec<u32> =
            self.tasks.iter().filter(|(_, task)| has_data(task)).map(|(tag, _)| *tag).collect();
        if waiting.is_empty() {
            return;
        }
        let random = &mut shared.random;
        let tag = random.pick(&waiting);
        let segment_max = self.agreed.receive_segment_bytes_max as usize;
        let segment = random.pick(&[1, 511, 512, 2048, segment_max, segment_max]).min(segment_max);
        let Some(task) = self.tasks.get_mut(&tag) else { return };
        // open-iscsi answers no R2T of a task that it aborts; others do.
        let sequence = task.unsolicited.as_mut().or(task.r2ts.front_mut()).unwrap();
        let Sequence { target_transfer_tag, at, end, data_sn } = *sequence;
        let segment = if end - at > 40 * segment { segment_max } else { segment };
        let stop = (at + segment).min(end);
        (sequence.at, sequence.data_sn) = (stop, data_sn + 1);
        task.sent += stop - at;
        if stop == end && task.unsolicited.take().is_none() {
            task.r2ts.pop_front();
        }
        let data_out = DataOut {
            is_final: stop == end,
            lun: LogicalUnitNumber::single_level(task.lun.into()),
            initiator_task_tag: InitiatorTaskTag(tag),
            target_transfer_tag,
            exp_stat_sn: self.exp_stat_sn,
            data_sn,
            buffer_offset: u32::try_from(at).unwrap(),
        };
        note!(shared, "{} Data-Out of {}: {at}..{stop} of {end}", self.number, task.id);
        let data = task.data.slice(at..stop);
        self.send(data_out.emit(), &[], &data);
    }

    pub(super) fn answer_r2t(&mut self, r2t: &ReadyToTransfer) {
        let Some(task) = self.tasks.get_mut(&r2t.initiator_task_tag.0) else { return };
        let at = r2t.buffer_offset as usize;
        task.r2ts.push_back(Sequence {
            target_transfer_tag: r2t.target_transfer_tag,
            at,
            end: at + r2t.desired_bytes as usize,
            data_sn: 0,
        });
    }
}

/// Sometimes an extended CDB; for a bidirectional command its read length.
fn additional_headers(random: &mut Random, bidirectional: bool, expected_in: usize) -> (Vec<u8>, Bytes) {
    let (mut ahs, mut tail) = (Vec::new(), Bytes::new());
    if random.chance(8) {
        let bytes = 1 + random.below(60);
        tail = NOISE.slice(bytes..2 * bytes);
        ahs.extend_from_slice(&u16::try_from(bytes + 1).unwrap().to_be_bytes());
        ahs.extend_from_slice(&[1, 0]);
        ahs.extend_from_slice(&tail);
        ahs.resize(ahs.len().next_multiple_of(4), 0);
    }
    if bidirectional {
        ahs.extend_from_slice(&[0, 5, 2, 0]);
        ahs.extend_from_slice(&u32::try_from(expected_in).unwrap().to_be_bytes());
    }
    (ahs, tail)
}

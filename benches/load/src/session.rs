//! One session of the load generator: a login, then commands at a constant depth.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::options::{Options, Workload};
use crate::wire::{BHS_BYTES, Header, NO_TAG, capacity_cdb, flush_cdb, opcode, transfer_cdb};

const RECEIVE_BYTES: usize = 1 << 20;
const TAG_BASE: u32 = 0x1000;

/// What a session measured.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) commands: u64,
    pub(crate) errors: u64,
    pub(crate) latencies_ns: Vec<u64>,
}

/// What the target declared at login.
struct Limits {
    segment_bytes: usize,
    first_burst_bytes: usize,
    immediate: bool,
    initial_r2t: bool,
}

pub(crate) struct Session {
    stream: TcpStream,
    limits: Limits,
    cmd_sn: u32,
    exp_stat_sn: u32,
    max_cmd_sn: u32,
    lun: u8,
    block_bytes: u64,
    blocks: u64,
    outgoing: Vec<u8>,
}

impl Session {
    /// Connects, logs in, clears unit attentions and asks for the capacity.
    pub(crate) fn open(options: &Options, number: usize) -> Result<Self> {
        let stream = TcpStream::connect(&options.portal).with_context(|| options.portal.clone())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let limits =
            Limits { segment_bytes: 8192, first_burst_bytes: 65536, immediate: true, initial_r2t: true };
        let mut session = Self {
            stream,
            limits,
            cmd_sn: 1,
            exp_stat_sn: 0,
            max_cmd_sn: 1,
            lun: options.lun,
            block_bytes: 512,
            blocks: 0,
            outgoing: Vec::new(),
        };
        session.log_in(options, number)?;
        for _ in 0..4 {
            session.command(&[0; 16], 0)?;
        }
        let capacity = session.command(&capacity_cdb(), 32)?;
        ensure!(capacity.len() >= 12, "READ CAPACITY(16) returned {} bytes", capacity.len());
        session.blocks = capacity[..8].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)) + 1;
        session.block_bytes = capacity[8..12].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(session)
    }

    fn log_in(&mut self, options: &Options, number: usize) -> Result<()> {
        let keys = [
            format!("InitiatorName=iqn.2026-01.io.osvol:load{number}"),
            format!("TargetName={}", options.target),
            "SessionType=Normal\0AuthMethod=None\0HeaderDigest=None\0DataDigest=None\0InitialR2T=No".into(),
            "ImmediateData=Yes\0MaxBurstLength=1048576\0FirstBurstLength=262144\0MaxOutstandingR2T=16".into(),
            "MaxRecvDataSegmentLength=262144\0MaxConnections=1\0DefaultTime2Wait=2\0DefaultTime2Retain=0"
                .into(),
            "ErrorRecoveryLevel=0\0DataPDUInOrder=Yes\0DataSequenceInOrder=Yes".into(),
        ];
        let text: Vec<u8> = keys.iter().flat_map(|key| key.bytes().chain([0])).collect();
        let isid = 0x1234_0000 + u32::try_from(number)?;
        // Operational stage, transit to full feature phase.
        let mut request =
            Header::new(0x43, 0x87).set_data_bytes(text.len()).set_word(16, 1).set_word(24, self.cmd_sn);
        request.0[8] = 0x80;
        request.0[9..13].copy_from_slice(&isid.to_be_bytes());
        self.send_now(request, &text)?;
        for _ in 0..8 {
            let (header, text) = self.receive()?;
            ensure!(header.opcode() == opcode::LOGIN_RESPONSE, "opcode {:#x} during login", header.opcode());
            ensure!(header.0[36] == 0, "login refused with {:02x}{:02x}h", header.0[36], header.0[37]);
            self.take_keys(&text)?;
            self.exp_stat_sn = header.word(24).wrapping_add(1);
            self.max_cmd_sn = header.word(32);
            if header.0[1] & 0x83 == 0x83 {
                return Ok(());
            }
            let mut next = Header::new(0x43, 0x87).set_word(16, 1).set_word(24, self.cmd_sn);
            next.0[8..16].copy_from_slice(&header.0[8..16]);
            self.send_now(next.set_word(28, self.exp_stat_sn), &[])?;
        }
        bail!("the login comes to no end")
    }

    fn take_keys(&mut self, text: &[u8]) -> Result<()> {
        for pair in text.split(|byte| *byte == 0) {
            let pair = String::from_utf8_lossy(pair);
            match pair.split_once('=') {
                Some(("MaxRecvDataSegmentLength", value)) => self.limits.segment_bytes = value.parse()?,
                Some(("FirstBurstLength", value)) => self.limits.first_burst_bytes = value.parse()?,
                Some(("ImmediateData", value)) => self.limits.immediate = value == "Yes",
                Some(("InitialR2T", value)) => self.limits.initial_r2t = value == "Yes",
                _ => {}
            }
        }
        Ok(())
    }

    fn send_now(&mut self, header: Header, data: &[u8]) -> Result<()> {
        let mut bytes = header.0.to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(BHS_BYTES + header.padded_bytes(), 0);
        Ok(self.stream.write_all(&bytes)?)
    }

    fn receive(&mut self) -> Result<(Header, Vec<u8>)> {
        let mut header = Header([0; BHS_BYTES]);
        self.stream.read_exact(&mut header.0)?;
        let mut data = vec![0; header.padded_bytes()];
        self.stream.read_exact(&mut data)?;
        data.truncate(header.data_bytes());
        Ok((header, data))
    }

    /// One command at a time, before the load starts; returns its data.
    fn command(&mut self, cdb: &[u8; 16], expected: u32) -> Result<Vec<u8>> {
        let flags = if expected > 0 { 0xc1 } else { 0x81 };
        let header = Header::new(1, flags).lun(self.lun).set_word(16, 0x777).set_word(20, expected).cdb(cdb);
        self.send_now(header.set_word(24, self.cmd_sn).set_word(28, self.exp_stat_sn), &[])?;
        self.cmd_sn = self.cmd_sn.wrapping_add(1);
        let mut data = Vec::new();
        loop {
            let (header, segment) = self.receive()?;
            self.max_cmd_sn = header.word(32);
            match header.opcode() {
                opcode::DATA_IN => data.extend_from_slice(&segment),
                opcode::SCSI_RESPONSE | opcode::NOP_IN => {}
                other => bail!("opcode {other:#x} before the load"),
            }
            let with_status = header.opcode() == opcode::DATA_IN && header.0[1] & 1 != 0;
            if with_status || header.opcode() == opcode::SCSI_RESPONSE {
                self.exp_stat_sn = header.word(24).wrapping_add(1);
                return Ok(data);
            }
        }
    }

    /// Keeps `depth` commands in flight until the time is over.
    pub(crate) fn load(&mut self, options: &Options, number: usize) -> Result<Outcome> {
        let mut load = Load::new(self, options, number)?;
        let mut buffer = vec![0; RECEIVE_BYTES];
        let mut held = 0;
        loop {
            load.issue();
            load.session.stream.write_all(&load.session.outgoing)?;
            load.session.outgoing.clear();
            if load.in_flight() == 0 {
                return Ok(load.outcome);
            }
            let room = buffer.get_mut(held..).context("a PDU larger than the buffer")?;
            let received = load.session.stream.read(room)?;
            ensure!(received > 0, "the target closed the connection");
            held += received;
            let used = load.handle_bytes(&buffer[..held])?;
            buffer.copy_within(used..held, 0);
            held -= used;
        }
    }
}

/// The running load of one session.
struct Load<'a> {
    session: &'a mut Session,
    options: &'a Options,
    payload: Vec<u8>,
    started: Vec<Option<Instant>>,
    free: Vec<usize>,
    random: u64,
    position: u64,
    end: Instant,
    measure_from: Instant,
    flush_next: bool,
    skip: usize,
    pending: Option<(u32, u8)>,
    outcome: Outcome,
}

impl<'a> Load<'a> {
    fn new(session: &'a mut Session, options: &'a Options, number: usize) -> Result<Self> {
        let transfers = session.blocks * session.block_bytes / options.block_bytes as u64;
        ensure!(transfers > 0, "the volume is smaller than one transfer");
        let now = Instant::now();
        // Bytes that do not repeat within a block, so that nothing along the way can make them smaller.
        let payload = (0..options.block_bytes)
            .map(|index| (index.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0])
            .collect();
        Ok(Self {
            session,
            options,
            payload,
            started: vec![None; options.depth],
            free: (0..options.depth).collect(),
            random: 0x1376_9f4c_8a5d_2be7_u64.wrapping_mul(number as u64 * 2 + 1) ^ options.seed,
            position: number as u64 * transfers / options.sessions as u64,
            end: now + options.warm_up + options.duration,
            measure_from: now + options.warm_up,
            flush_next: false,
            skip: 0,
            pending: None,
            outcome: Outcome::default(),
        })
    }

    fn in_flight(&self) -> usize {
        self.options.depth - self.free.len()
    }

    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Block address of the next transfer.
    fn next_lba(&mut self) -> u64 {
        let span = (self.session.blocks * self.session.block_bytes).min(self.options.span_bytes);
        let transfers = (span / self.options.block_bytes as u64).max(1);
        let index = if self.options.workload.is_random() { self.next_random() } else { self.position };
        self.position += 1;
        index % transfers * (self.options.block_bytes as u64 / self.session.block_bytes)
    }

    /// Fills the free slots as far as the command window allows (RFC 7143 §4.2.2.1).
    fn issue(&mut self) {
        if Instant::now() >= self.end {
            return;
        }
        while self.session.max_cmd_sn.wrapping_sub(self.session.cmd_sn) < 0x8000_0000 {
            let Some(slot) = self.free.pop() else { return };
            self.started[slot] = Some(Instant::now());
            self.issue_one(slot);
        }
    }

    fn issue_one(&mut self, slot: usize) {
        let tag = TAG_BASE + u32::try_from(slot).unwrap_or(0);
        if self.options.workload == Workload::WriteFlush {
            self.flush_next = !self.flush_next;
        }
        if self.options.workload == Workload::WriteFlush && !self.flush_next {
            return self.queue_command(Header::new(1, 0x81), tag, 0, &flush_cdb(), 0);
        }
        let bytes = self.options.block_bytes;
        let lba = self.next_lba();
        let blocks = u32::try_from(bytes as u64 / self.session.block_bytes).unwrap_or(0);
        let cdb = transfer_cdb(self.options.workload.is_write(), lba, blocks);
        if !self.options.workload.is_write() {
            return self.queue_command(Header::new(1, 0xc1), tag, bytes, &cdb, 0);
        }
        let limits = &self.session.limits;
        let first_burst = bytes.min(limits.first_burst_bytes);
        let immediate = if limits.immediate { first_burst.min(limits.segment_bytes) } else { 0 };
        let unsolicited = if limits.initial_r2t { immediate } else { first_burst };
        let flags = 0x21 | if unsolicited == immediate { 0x80 } else { 0 };
        self.queue_command(Header::new(1, flags), tag, bytes, &cdb, immediate);
        if unsolicited > immediate {
            self.queue_data_out(tag, NO_TAG, immediate, unsolicited - immediate);
        }
    }

    fn queue_command(&mut self, header: Header, tag: u32, expected: usize, cdb: &[u8; 16], immediate: usize) {
        let session = &mut *self.session;
        let header = header
            .lun(session.lun)
            .set_word(16, tag)
            .set_word(20, u32::try_from(expected).unwrap_or(0))
            .set_word(24, session.cmd_sn)
            .set_word(28, session.exp_stat_sn)
            .cdb(cdb);
        // set_word(4) would clear the length: it comes last.
        session.outgoing.extend_from_slice(&header.set_data_bytes(immediate).0);
        session.outgoing.extend_from_slice(&self.payload[..immediate]);
        session.cmd_sn = session.cmd_sn.wrapping_add(1);
    }

    fn queue_data_out(&mut self, tag: u32, transfer_tag: u32, offset: usize, length: usize) {
        let end = offset + length;
        let mut at = offset;
        let mut data_sn = 0;
        while at < end {
            let part = (end - at).min(self.session.limits.segment_bytes);
            let header = Header::new(5, if at + part == end { 0x80 } else { 0 })
                .lun(self.session.lun)
                .set_word(16, tag)
                .set_word(20, transfer_tag)
                .set_word(28, self.session.exp_stat_sn)
                .set_word(36, data_sn)
                .set_word(40, u32::try_from(at).unwrap_or(0))
                .set_data_bytes(part);
            self.session.outgoing.extend_from_slice(&header.0);
            self.session.outgoing.extend_from_slice(&self.payload[at..at + part]);
            at += part;
            data_sn += 1;
        }
    }

    /// Takes what was received; returns how many bytes are done with.
    fn handle_bytes(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        loop {
            let skipped = self.skip.min(bytes.len() - at);
            at += skipped;
            self.skip -= skipped;
            if self.skip > 0 {
                return Ok(at);
            }
            if let Some((tag, status)) = self.pending.take() {
                self.complete(tag, status)?;
            }
            let Some(header) = bytes.get(at..at + BHS_BYTES) else { return Ok(at) };
            let header = Header(header.try_into()?);
            at += BHS_BYTES;
            self.skip = header.padded_bytes();
            self.handle_header(header)?;
        }
    }

    fn handle_header(&mut self, header: Header) -> Result<()> {
        self.session.max_cmd_sn = header.word(32);
        match header.opcode() {
            opcode::DATA_IN if header.0[1] & 1 == 0 => {}
            opcode::DATA_IN => {
                self.session.exp_stat_sn = header.word(24).wrapping_add(1);
                self.pending = Some((header.word(16), header.0[3]));
            }
            opcode::SCSI_RESPONSE => {
                self.session.exp_stat_sn = header.word(24).wrapping_add(1);
                self.pending = Some((header.word(16), header.0[3] | header.0[2]));
            }
            opcode::R2T => self.queue_data_out(
                header.word(16),
                header.word(20),
                header.word(40) as usize,
                header.word(44) as usize,
            ),
            opcode::NOP_IN if header.word(20) == NO_TAG => {}
            opcode::NOP_IN => {
                let mut answer = Header::new(0x40, 0x80).set_word(16, NO_TAG).set_word(20, header.word(20));
                answer.0[8..16].copy_from_slice(&header.0[8..16]);
                let answer = answer.set_word(24, self.session.cmd_sn).set_word(28, self.session.exp_stat_sn);
                self.session.outgoing.extend_from_slice(&answer.0);
            }
            other => bail!("opcode {other:#x} under load"),
        }
        Ok(())
    }

    fn complete(&mut self, tag: u32, status: u8) -> Result<()> {
        let slot = tag.wrapping_sub(TAG_BASE) as usize;
        let begin = self
            .started
            .get_mut(slot)
            .and_then(Option::take)
            .with_context(|| format!("unknown tag {tag:#x}"))?;
        self.free.push(slot);
        let now = Instant::now();
        if now < self.measure_from || now > self.end {
            return Ok(());
        }
        self.outcome.commands += 1;
        self.outcome.errors += u64::from(status != 0);
        self.outcome.latencies_ns.push(u64::try_from((now - begin).as_nanos()).unwrap_or(u64::MAX));
        Ok(())
    }
}

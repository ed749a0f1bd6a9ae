//! EXTENDED COPY(LID1), RECEIVE COPY RESULTS and the third-party copy page (SPC-4).
//!
//! A copy reads and writes this logical unit only: a target descriptor that names anything else is not reachable.
//! So no initiator can read or write through a copy what it could not read or write itself.

use bytes::{BufMut, Bytes};

use crate::cdb::{be_u8, be_u16, be_u32, be_u64, data_len, gather};
use crate::emit::{set_length16, set_length32, truncated};
use crate::limits::{
    COPY_BYTES_MAX, COPY_DESCRIPTOR_LIST_BYTES_MAX, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX,
    COPY_TARGETS_MAX,
};
use crate::nexus::NexusId;
use crate::response::Response;
use crate::sense::{Asc, Sense, SenseKey};
use crate::task::{Action, Plan, Range};
use crate::unit::{Decision, LogicalUnit};

const HEADER_LEN: usize = 16;
const TARGET_LEN: usize = 32;
const IDENTIFICATION_TARGET: u8 = 0xE4;
const BLOCK_TO_BLOCK: u8 = 0x02;
const BLOCK_TO_BLOCK_OFFSET: u8 = 0x0A;

/// What RECEIVE COPY STATUS can still tell: the last copy of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CopyRecord {
    nexus: NexusId,
    list: u8,
    segments: u16,
    bytes: u64,
    state: CopyState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum CopyState {
    InProgress = 0x00,
    Completed = 0x01,
    Failed = 0x02,
}

impl CopyRecord {
    pub(crate) fn ended(&mut self, success: bool) {
        self.state = if success { CopyState::Completed } else { CopyState::Failed };
    }
}

impl LogicalUnit {
    pub(crate) fn extended_copy(&mut self, nexus: NexusId, length: usize, data_out: &[Bytes]) -> Decision {
        const LENGTH_ERROR: Sense = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
        if length == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        let length_max = HEADER_LEN + COPY_DESCRIPTOR_LIST_BYTES_MAX;
        if length < HEADER_LEN || length > length_max || data_len(data_out) < length as u64 {
            return Err(LENGTH_ERROR.into());
        }
        let list = gather(data_out, length);
        let targets_len = usize::from(be_u16(&list, 2));
        let segments_len = usize::try_from(be_u32(&list, 8)).unwrap_or(usize::MAX);
        let inline_len = be_u32(&list, 12);
        if targets_len.saturating_add(segments_len) > COPY_DESCRIPTOR_LIST_BYTES_MAX || inline_len != 0 {
            return Err(LENGTH_ERROR.into());
        }
        let segments_at = HEADER_LEN + targets_len;
        let targets = list.get(HEADER_LEN..segments_at).ok_or(LENGTH_ERROR)?;
        let segments = list.get(segments_at..segments_at + segments_len).ok_or(LENGTH_ERROR)?;
        let reachable = self.copy_targets(targets)?;
        let segments = self.copy_segments(segments, &reachable)?;
        let bytes = segments.iter().map(|(from, _)| from.len).sum();
        if bytes > COPY_BYTES_MAX {
            return Err(Sense::parameter_field(8).into());
        }
        self.copy = Some(CopyRecord {
            nexus,
            list: be_u8(&list, 0),
            segments: u16::try_from(segments.len()).unwrap_or(u16::MAX),
            bytes,
            state: CopyState::InProgress,
        });
        Ok(self.perform(Action::Copy { segments }, length as u64))
    }

    /// Whether each target descriptor names this unit.
    fn copy_targets(&self, list: &[u8]) -> Result<Vec<bool>, Sense> {
        if !list.len().is_multiple_of(TARGET_LEN) {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR));
        }
        if list.len() / TARGET_LEN > COPY_TARGETS_MAX {
            return Err(Sense::illegal(Asc::TOO_MANY_TARGET_DESCRIPTORS));
        }
        list.chunks_exact(TARGET_LEN).map(|target| self.is_this_unit(target)).collect()
    }

    /// An identification descriptor (SPC-4) with our NAA name and block length.
    fn is_this_unit(&self, target: &[u8]) -> Result<bool, Sense> {
        const BINARY: u8 = 1;
        const NAA_OF_UNIT: u8 = 0x03;
        if be_u8(target, 0) != IDENTIFICATION_TARGET {
            return Err(Sense::illegal(Asc::UNSUPPORTED_TARGET_DESCRIPTOR_TYPE));
        }
        let naa = self.naa();
        let named = be_u8(target, 4) & 0x0F == BINARY
            && be_u8(target, 5) & 0x3F == NAA_OF_UNIT
            && usize::from(be_u8(target, 7)) == naa.len()
            && target.get(8..8 + naa.len()) == Some(&naa[..]);
        Ok(named && be_u32(target, 28) & 0x00FF_FFFF == self.config.block_size.bytes())
    }

    /// The segments in order. All are checked before any is copied.
    fn copy_segments(&self, list: &[u8], reachable: &[bool]) -> Result<Vec<(Range, u64)>, Sense> {
        const LENGTH_ERROR: Sense = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
        let mut segments = vec![];
        let mut rest = list;
        while !rest.is_empty() {
            if !matches!(be_u8(rest, 0), BLOCK_TO_BLOCK | BLOCK_TO_BLOCK_OFFSET) {
                return Err(Sense::illegal(Asc::UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE));
            }
            let len = 4 + usize::from(be_u16(rest, 2));
            let (segment, after) = rest.split_at_checked(len).ok_or(LENGTH_ERROR)?;
            if segments.len() == COPY_SEGMENTS_MAX {
                return Err(Sense::illegal(Asc::TOO_MANY_SEGMENT_DESCRIPTORS));
            }
            segments.push(segment);
            rest = after;
        }
        segments.into_iter().map(|segment| self.copy_segment(segment, reachable)).collect()
    }

    /// One segment (SPC-4): source range and destination offset in bytes.
    fn copy_segment(&self, segment: &[u8], reachable: &[bool]) -> Result<(Range, u64), Sense> {
        const NOT_REACHABLE: Sense = Sense::new(SenseKey::CopyAborted, Asc::COPY_TARGET_DEVICE_NOT_REACHABLE);
        const ABORTED: Sense = Sense::new(SenseKey::CopyAborted, Asc::NONE);
        let named = |at| reachable.get(usize::from(be_u16(segment, at))) == Some(&true);
        if !(named(4) && named(6)) {
            return Err(NOT_REACHABLE);
        }
        let blocks = match be_u8(segment, 0) {
            BLOCK_TO_BLOCK => u64::from(be_u16(segment, 10)),
            _ => {
                let bytes = u64::from(be_u32(segment, 8));
                let offsets = be_u16(segment, 28) | be_u16(segment, 30);
                let whole = offsets == 0 && bytes.is_multiple_of(self.block_len());
                if !whole || bytes > COPY_SEGMENT_BYTES_MAX {
                    return Err(ABORTED);
                }
                bytes >> self.config.block_size.shift()
            }
        };
        let from = self.range(be_u64(segment, 12), blocks).map_err(|_| ABORTED)?;
        let to = self.range(be_u64(segment, 20), blocks).map_err(|_| ABORTED)?;
        Ok((from, to.offset))
    }

    /// RECEIVE COPY STATUS(LID1): only of a copy that this nexus asked for.
    pub(crate) fn copy_status(&self, nexus: NexusId, list: u8, allocation: usize) -> Decision {
        const MEBIBYTES: u8 = 0x02;
        const KIBIBYTES: u8 = 0x01;
        const BYTES: u8 = 0x00;
        let unknown = Sense::cdb_field(2, Some(7));
        let record = self.copy.filter(|r| r.nexus == nexus && r.list == list).ok_or(unknown)?;
        let (unit, count) = [(BYTES, 0), (KIBIBYTES, 10), (MEBIBYTES, 20)]
            .into_iter()
            .find_map(|(unit, shift)| u32::try_from(record.bytes >> shift).ok().map(|count| (unit, count)))
            .unwrap_or((MEBIBYTES, u32::MAX));
        let mut data = vec![0; 4];
        data.put_u8(record.state as u8);
        data.put_u16(record.segments);
        data.put_u8(unit);
        data.put_u32(count);
        set_length32(&mut data, 0, 4);
        Ok(Plan::Done(Response::data(truncated(data, allocation))))
    }
}

/// RECEIVE COPY OPERATING PARAMETERS: the limits that EXTENDED COPY is checked against.
pub(crate) fn operating_parameters(allocation: usize) -> Plan {
    let mut data = vec![0; 8];
    data.put_u16(u16::try_from(COPY_TARGETS_MAX).unwrap_or(u16::MAX));
    data.put_u16(u16::try_from(COPY_SEGMENTS_MAX).unwrap_or(u16::MAX));
    data.put_u32(u32::try_from(COPY_DESCRIPTOR_LIST_BYTES_MAX).unwrap_or(u32::MAX));
    data.put_u32(u32::try_from(COPY_SEGMENT_BYTES_MAX).unwrap_or(u32::MAX));
    data.resize(34, 0); // no inline data, no held data, no streams
    data.put_u16(1); // total concurrent copies
    data.put_u8(1); // maximum concurrent copies
    data.put_u8(9); // data segment granularity: 512 bytes
    data.put_u16(0);
    data.resize(43, 0);
    data.extend([3, BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, IDENTIFICATION_TARGET]);
    set_length32(&mut data, 0, 4);
    Plan::Done(Response::data(truncated(data, allocation)))
}

/// Third-party copy page (SPC-4): its mandatory descriptors.
pub(crate) fn third_party_page(data: &mut Vec<u8>) {
    const SUPPORTED_COMMANDS: u16 = 0x0001;
    const PARAMETER_DATA: u16 = 0x0004;
    const SUPPORTED_DESCRIPTORS: u16 = 0x0008;
    const SUPPORTED_IDS: u16 = 0x000C;
    const GENERAL: u16 = 0x8001;
    descriptor(data, SUPPORTED_COMMANDS, &[7, 0x83, 1, 0x00, 0x84, 2, 0x00, 0x03]);
    let mut parameters = vec![0; 4]; // reserved
    parameters.put_u16(u16::try_from(COPY_TARGETS_MAX).unwrap_or(u16::MAX));
    parameters.put_u16(u16::try_from(COPY_SEGMENTS_MAX).unwrap_or(u16::MAX));
    parameters.put_u32(u32::try_from(COPY_DESCRIPTOR_LIST_BYTES_MAX).unwrap_or(u32::MAX));
    parameters.resize(28, 0); // no inline data
    descriptor(data, PARAMETER_DATA, &parameters);
    descriptor(
        data,
        SUPPORTED_DESCRIPTORS,
        &[3, BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_OFFSET, IDENTIFICATION_TARGET],
    );
    descriptor(data, SUPPORTED_IDS, &[0, 0]);
    let mut general = vec![];
    general.put_u32(1); // total concurrent copies
    general.put_u32(1); // maximum identified concurrent copies
    general.put_u32(u32::try_from(COPY_SEGMENT_BYTES_MAX).unwrap_or(u32::MAX));
    general.extend([9, 0]); // data segment granularity 512 bytes, no inline data
    general.resize(32, 0);
    descriptor(data, GENERAL, &general);
}

/// One third-party copy descriptor, padded to a multiple of four.
fn descriptor(data: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let mut bytes = vec![0; 4];
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    set_length16(&mut bytes, 2, 4);
    let [high, low] = kind.to_be_bytes();
    crate::emit::put(&mut bytes, 0, &[high, low]);
    data.extend(bytes);
}

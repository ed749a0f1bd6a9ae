//! Answers byte for byte, written from SPC-4 and SBC-3.

mod support;

use scsi::{Action, Attention, BlockSize, Failure, Outcome, Range, UnitConfig, Usage};
use support::{Rig, cdb10, cdb16, config};

const ID: [u8; 16] = [0x5A; 16];

fn vpd(rig: &mut Rig, page: u8) -> Vec<u8> {
    rig.good(rig.a, &[0x12, 1, page, 4, 0, 0], &[]).to_vec()
}

/// RFC 7144 §4.2: the version descriptor of iSCSI is that of the session's level.
#[test]
fn the_version_descriptor_of_iscsi_follows_the_session() {
    let mut rig = Rig::new();
    for level in [0, 1, 2] {
        let nexus = rig.a;
        rig.unit.set_protocol_level(nexus, level);
        assert_eq!(rig.good(rig.a, &[0x12, 0, 0, 0, 255, 0], &[])[60..62], [0x09, 0x60 + level]);
        assert_eq!(rig.good(rig.b, &[0x12, 0, 0, 0, 255, 0], &[])[60..62], [0x09, 0x61], "another session");
    }
}

/// SPC-4, REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS; RFC 7144 §4.1 has the rest of them from level 2 on.
#[test]
fn the_task_management_functions_of_a_session_are_told() {
    let mut rig = Rig::new();
    let report = |extended: u8| [0xA3, 0x0D, extended, 0, 0, 0, 0, 0, 0, 255, 0, 0];
    assert_eq!(rig.good(rig.a, &report(0), &[])[..], [0xDA, 0, 0, 0]);
    let nexus = rig.a;
    rig.unit.set_protocol_level(nexus, 2);
    assert_eq!(rig.good(rig.a, &report(0), &[])[..], [0xDE, 0x07, 0, 0]);
    assert_eq!(rig.good(rig.a, &report(0x80), &[])[..5], [0xDE, 0x07, 0, 12, 0]);
    assert_eq!(rig.good(rig.b, &report(0), &[])[..], [0xDA, 0, 0, 0], "another session");
}

#[test]
fn standard_inquiry() {
    let mut rig = Rig::new();
    let data = rig.good(rig.a, &[0x12, 0, 0, 0, 255, 0], &[]);
    assert_eq!(data[..8], [0x00, 0x00, 0x06, 0x12, 69, 0x38, 0x10, 0x02]);
    assert_eq!(data[8..32], *b"OSVOL   OS volume       ");
    assert_eq!(data[58..66], [0x00, 0xA0, 0x09, 0x61, 0x04, 0x60, 0x04, 0xC0]);
    assert_eq!(data.len(), 74);
    assert_eq!(rig.good(rig.a, &[0x12, 0, 0, 0, 7, 0], &[]).len(), 7);
}

#[test]
fn pages_are_listed_ascending_and_each_is_there() {
    let mut rig = Rig::new();
    let list = vpd(&mut rig, 0x00);
    assert_eq!(list, [0, 0, 0, 8, 0x00, 0x80, 0x83, 0x86, 0x8F, 0xB0, 0xB1, 0xB2]);
    for page in list[4..].iter().copied() {
        let data = vpd(&mut rig, page);
        assert_eq!(data[1], page);
        assert_eq!(usize::from(u16::from_be_bytes([data[2], data[3]])) + 4, data.len());
    }
    assert_eq!(rig.sense(rig.a, &[0x12, 1, 0xB3, 0, 255, 0], &[]), (5, 0x24, 0));
}

#[test]
fn third_party_copy_tells_the_limits_that_copies_are_held_to() {
    let mut rig = Rig::new();
    let golden = [
        &[0x00, 0x8F, 0x00, 0x60][..],
        &[0x00, 0x01, 0, 8, 7, 0x83, 1, 0x00, 0x84, 2, 0x00, 0x03],
        &[0x00, 0x04, 0, 28, 0, 0, 0, 0],
        &[0, 2, 0, 8],           // targets, segments
        &1024_u32.to_be_bytes(), // descriptor list
        &[0; 16],                // no inline data
        &[0x00, 0x08, 0, 4, 3, 0x02, 0x0A, 0xE4],
        &[0x00, 0x0C, 0, 4, 0, 0, 0, 0],
        &[0x80, 0x01, 0, 32, 0, 0, 0, 1, 0, 0, 0, 1],
        &0x200_0000_u32.to_be_bytes(), // a segment
        &[9, 0],                       // in units of 512 bytes
        &[0; 18],
    ]
    .concat();
    assert_eq!(vpd(&mut rig, 0x8F), golden);
}

#[test]
fn serial_number_and_designators_come_from_the_volume_id() {
    let mut rig = Rig::new();
    assert_eq!(vpd(&mut rig, 0x80)[4..], *b"5a".repeat(16));
    let data = vpd(&mut rig, 0x83);
    let naa = [&[0x01, 0x03, 0x00, 16, 0x6F][..], &ID[1..]].concat();
    assert_eq!(data[4..24], naa);
    assert_eq!(data[24..36], *b"\x02\x01\x00\x28OSVOL   ");
    let port = [&[0x51, 0x94, 0, 4, 0, 0, 0, 1][..], &[0x51, 0x95, 0, 4, 0, 0, 0, 1]].concat();
    assert_eq!(data[68..84], port);
    assert_eq!(data[84..88], [0x53, 0x98, 0, 36]);
    assert_eq!(data[88..124], *b"iqn.2026-01.io.osvol:disk,t,0x0001\0\0");
    assert_eq!(data[124..128], [0x53, 0xA8, 0, 28]);
}

#[test]
fn block_limits() {
    let mut rig = Rig::new();
    let golden = [
        &[0x00, 0xB0, 0x00, 0x3C][..],
        &[0x01, 255, 0, 8],           // WSNZ, compare and write, optimal granularity
        &0x4000_u32.to_be_bytes(),    // maximum transfer length 8 MiB
        &0x0800_u32.to_be_bytes(),    // optimal 1 MiB
        &0x2_0000_u32.to_be_bytes(),  // prefetch
        &0x10_0000_u32.to_be_bytes(), // unmap LBA count
        &256_u32.to_be_bytes(),       // unmap descriptors
        &8_u32.to_be_bytes(),         // unmap granularity
        &0x8000_0000_u32.to_be_bytes(),
        &0x8000_u64.to_be_bytes(), // write same
        &0x200_u32.to_be_bytes(),  // atomic
        &[0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(vpd(&mut rig, 0xB0), golden);
}

#[test]
fn provisioning_and_characteristics() {
    let mut rig = Rig::new();
    assert_eq!(vpd(&mut rig, 0xB2), [0x00, 0xB2, 0, 4, 11, 0xE4, 0x02, 0x00]);
    assert_eq!(vpd(&mut rig, 0xB1)[..6], [0x00, 0xB1, 0, 0x3C, 0, 1]);
}

#[test]
fn capacity_of_512e_and_4kn() {
    let mut rig = Rig::new();
    let capacity = |rig: &mut Rig| rig.good(rig.a, &cdb16(0x9E, 0x10, 0, 32), &[]).to_vec();
    let data = capacity(&mut rig);
    assert_eq!(data[..16], [0, 0, 0, 0, 0, 0x0F, 0xFF, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0, 0]);
    assert_eq!(data.len(), 32);
    assert_eq!(rig.good(rig.a, &cdb10(0x25, 0, 0, 0), &[])[..], [0, 0x0F, 0xFF, 0xFF, 0, 0, 2, 0]);
    let mut rig = Rig::with(UnitConfig { block_size: BlockSize::Native4096, ..config() });
    assert_eq!(capacity(&mut rig)[..16], [0, 0, 0, 0, 0, 1, 0xFF, 0xFF, 0, 0, 16, 0, 0, 0, 0xC0, 0]);
    let mut rig = Rig::with(UnitConfig { size_bytes: 3 << 40, ..config() });
    assert_eq!(rig.good(rig.a, &cdb10(0x25, 0, 0, 0), &[])[..4], [0xFF; 4]);
}

#[test]
fn mode_sense_of_all_pages() {
    let mut rig = Rig::new();
    let golden = [
        &[67, 0, 0x10, 8][..],
        &[0, 0x10, 0, 0, 0, 0, 2, 0],
        &[0x01, 0x0A, 0x80, 0, 0, 0, 0, 0x80, 0, 0, 0, 0],
        &[0x08, 0x12, 0x04, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x0A, 0x0A, 0x02, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0],
        &[0x1C, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(rig.good(rig.a, &[0x1A, 0, 0x3F, 0, 255, 0], &[])[..], golden);
    let changeable = rig.good(rig.a, &[0x1A, 0x08, 0x4A, 0, 255, 0], &[]);
    assert_eq!(changeable[..], [15, 0, 0x10, 0, 0x0A, 0x0A, 0x04, 0, 0x08, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn the_operator_takes_the_write_cache_away() {
    let mut rig = Rig::new();
    let caching = |rig: &mut Rig| rig.good(rig.a, &[0x1A, 0x08, 0x08, 0, 255, 0], &[])[4 + 2] & 0x04;
    assert_eq!(caching(&mut rig), 0x04);
    rig.unit.set_write_cache(true);
    assert_eq!(rig.sense_of_b(), None);
    rig.unit.set_write_cache(false);
    assert_eq!(rig.sense(rig.a, &[0; 6], &[]), (6, 0x2A, 0x01));
    assert_eq!(rig.sense_of_b(), Some((0x2A, 0x01)));
    assert_eq!(caching(&mut rig), 0);
    rig.unit.logical_unit_reset();
    rig.run(rig.a, &[0; 6], &[]);
    assert_eq!(caching(&mut rig), 0, "a reset brings it back");
}

#[test]
fn a_disk_that_is_only_read_is_not_told_that_space_runs_out() {
    let mut rig = Rig::with(UnitConfig { read_only: true, ..config() });
    rig.good(rig.a, &[0; 6], &[]);
    for attention in [Attention::SoftThreshold, Attention::HighThreshold] {
        rig.unit.announce(attention);
        rig.good(rig.a, &[0; 6], &[]);
    }
    rig.unit.announce(Attention::AccessStateChanged);
    assert_eq!(rig.sense(rig.a, &[0; 6], &[]).0, 6);
}

#[test]
fn soft_thresholds_are_in_a_mode_page_and_in_the_log() {
    let mut rig = Rig::new();
    let usage = |soft: u64, high: u64| Usage {
        available_bytes: 7 << 30,
        used_bytes: 3 << 20,
        thresholds_bytes: [soft << 20, high << 20],
        ..Usage::default()
    };
    rig.unit.set_usage(usage(0x1234, 0x0201));
    let page = [
        &[0x5C, 0x02, 0x00, 28, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0x80, 0x01, 0, 0, 0x00, 0x00, 0x12, 0x34],
        &[0x80, 0x01, 0, 0, 0x00, 0x00, 0x02, 0x01],
    ]
    .concat();
    assert_eq!(rig.good(rig.a, &[0x1A, 0x08, 0x1C, 0x02, 255, 0], &[])[4..], page);
    let plain = [0x1C, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(rig.good(rig.a, &[0x1A, 0x08, 0x1C, 0xFF, 255, 0], &[])[4..], [&plain[..], &page].concat());
    assert_eq!(rig.good(rig.a, &[0x1A, 0x08, 0x3F, 0xFF, 255, 0], &[])[4 + 12 + 20 + 12 + 12..], page);
    assert_eq!(rig.good(rig.a, &[0x1A, 0x08, 0x3F, 0, 255, 0], &[]).len(), 4 + 12 + 20 + 12 + 12);
    let changeable = rig.good(rig.a, &[0x1A, 0x08, 0x5C, 0x02, 255, 0], &[]);
    assert_eq!(changeable[4..], [&[0x5C, 0x02, 0, 28][..], &[0; 28]].concat());
    for (page, subpage, byte) in [(0x1C, 0x03, 3), (0x3F, 0x02, 3), (0x02, 0x00, 2), (0x02, 0xFF, 2)] {
        let response = rig.run(rig.a, &[0x1A, 0x08, page, subpage, 255, 0], &[]);
        assert_eq!((response.sense[12], response.sense[17]), (0x24, byte), "{page:#x}/{subpage:#x}");
    }
    // It can be sent back as it is, and in no other way.
    let mut list = [&[0; 4][..], &page].concat();
    rig.good(rig.a, &[0x15, 0x10, 0, 0, 36, 0], &list);
    list[4 + 16] = 0;
    assert_eq!(rig.sense(rig.a, &[0x15, 0x10, 0, 0, 36, 0], &list), (5, 0x26, 0));

    let log = rig.good(rig.a, &[0x4D, 0, 0x4C, 0, 0, 0, 0, 0, 255, 0], &[]);
    let available = [0, 1, 3, 8, 0, 0, 0x1C, 0x00, 2, 0, 0, 0];
    let used = [0, 2, 3, 8, 0, 0, 0, 3, 1, 0, 0, 0];
    assert_eq!(log[4..], [available, used].concat());

    rig.unit.announce(Attention::HighThreshold);
    let response = rig.run(rig.a, &[0; 6], &[]);
    assert_eq!(response.sense[..14], [0xF0, 0, 6, 0, 0, 0, 24, 10, 0, 0, 0, 0, 0x38, 0x07]);
    assert_eq!(rig.sense_of_b(), Some((0x38, 0x07)));
    rig.unit.set_limits(usage(0x1234, 0x0201));
    assert_eq!(rig.sense_of_b(), None);
    rig.unit.set_limits(usage(0x1235, 0x0201));
    assert_eq!(rig.sense_of_b(), Some((0x2A, 0x01)), "mode parameters changed");
}

#[test]
fn a_mode_page_with_an_unchangeable_bit_is_refused_whole() {
    let mut rig = Rig::new();
    let mut list = vec![0; 16];
    list[4..16].copy_from_slice(&[0x0A, 0x0A, 0x06, 0x10, 0x08, 0, 0, 0, 0xFF, 0xFF, 0, 0]);
    rig.good(rig.a, &[0x15, 0x10, 0, 0, 16, 0], &list);
    // Descriptor sense now, and write protected.
    let response = rig.run(rig.a, &cdb10(0x2A, 0, 0, 1), &[0; 512]);
    assert_eq!(response.sense[..4], [0x72, 0x07, 0x27, 0x02]);
    list[5 + 4] = 1;
    let response = rig.run(rig.a, &[0x15, 0x10, 0, 0, 16, 0], &list);
    assert_eq!(response.sense[..4], [0x72, 0x05, 0x26, 0x00]);
    assert_eq!(rig.sense_of_b(), Some((0x2A, 0x01)));
    // What the nexus changed ends with it.
    rig.unit.detach(rig.a);
    assert_eq!(rig.sense_of_b(), Some((0x2A, 0x01)));
    let _ = rig.task(rig.b, &cdb10(0x2A, 0, 0, 1), &[0; 512]);
}

impl Rig {
    /// The unit attention that B has, in either format.
    fn sense_of_b(&mut self) -> Option<(u8, u8)> {
        let sense = self.run(self.b, &[0; 6], &[]).sense;
        match *sense.first()? {
            0x72 => Some((sense[2], sense[3])),
            _ => Some((sense[12], sense[13])),
        }
    }
}

#[test]
fn reads_and_writes_of_every_length_name_the_same_blocks() {
    let mut rig = Rig::new();
    let range = Range { offset: 0x1234 * 512, len: 1024 };
    let cdb12 = |opcode| [opcode, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 2, 0, 0];
    let reads: [&[u8]; 4] =
        [&[0x08, 0, 0x12, 0x34, 2, 0], &cdb10(0x28, 0, 0x1234, 2), &cdb12(0xA8), &cdb16(0x88, 0, 0x1234, 2)];
    for cdb in reads {
        assert_eq!(rig.task(rig.a, cdb, &[]).action, Action::Read { range, fua: false });
    }
    let writes: [&[u8]; 4] =
        [&[0x0A, 0, 0x12, 0x34, 2, 0], &cdb10(0x2A, 0, 0x1234, 2), &cdb12(0xAA), &cdb16(0x8A, 0, 0x1234, 2)];
    for cdb in writes {
        assert_eq!(rig.task(rig.a, cdb, &[0; 1024]).action, Action::Write { range, fua: false });
    }
    let whole = rig.task(rig.a, &[0x08, 0, 0, 0, 0, 0], &[]).action;
    assert_eq!(whole, Action::Read { range: Range { offset: 0, len: 256 * 512 }, fua: false });
}

#[test]
fn without_a_write_cache_every_write_is_forced() {
    let mut rig = Rig::with(UnitConfig { write_cache: false, ..config() });
    let task = rig.task(rig.a, &cdb10(0x2A, 0, 0, 1), &[0; 512]);
    assert!(matches!(task.action, Action::Write { fua: true, .. }));
}

#[test]
fn limits_are_enforced_as_advertised() {
    let mut rig = Rig::new();
    let _ = rig.task(rig.a, &cdb16(0x88, 0, 0, 0x4000), &[]);
    assert_eq!(rig.sense(rig.a, &cdb16(0x88, 0, 0, 0x4001), &[]), (5, 0x24, 0));
    let _ = rig.task(rig.a, &cdb16(0x93, 0x08, 0, 0x8000), &[0; 512]);
    assert_eq!(rig.sense(rig.a, &cdb16(0x93, 0x08, 0, 0x8001), &[0; 512]), (5, 0x24, 0));
    assert_eq!(rig.sense(rig.a, &cdb16(0x88, 0, 0x10_0000, 1), &[]), (5, 0x21, 0));
    assert_eq!(rig.sense(rig.a, &cdb16(0x88, 0, u64::MAX, 1), &[]), (5, 0x21, 0));
}

#[test]
fn too_little_data_is_refused_untouched_with_the_whole_length_as_residual() {
    let mut rig = Rig::new();
    let response = rig.run(rig.a, &cdb10(0x2A, 0, 0, 2), &[0; 700]);
    assert_eq!((response.sense[2], response.sense[12], response.sense[13]), (5, 0x0E, 0x03));
    assert_eq!(response.transfer_bytes, 1024);
    assert_eq!(rig.run(rig.a, &cdb10(0x2A, 0, 0, 2), &[0; 2048]).transfer_bytes, 1024);
}

#[test]
fn of_a_write_with_too_little_data_the_whole_blocks_are_written() {
    let mut rig = Rig::new();
    let task = rig.task(rig.a, &cdb10(0x2A, 0, 7, 2), &[0; 512]);
    let range = Range { offset: 7 * 512, len: 512 };
    assert_eq!(task.action, Action::Write { range, fua: false });
    assert_eq!(task.finish(Outcome::Done).transfer_bytes, 1024);
    assert_eq!(rig.run(rig.a, &cdb10(0x2A, 0, 0, 2), &[]).transfer_bytes, 1024);
}

#[test]
fn write_same_deallocates_only_for_zeros() {
    let mut rig = Rig::new();
    let range = Range { offset: 8 * 512, len: 4096 };
    let task = rig.task(rig.a, &cdb16(0x93, 0x08, 8, 8), &[0; 512]);
    assert_eq!(task.action, Action::Zero { range, deallocate: true });
    let task = rig.task(rig.a, &cdb16(0x93, 0x08, 8, 8), &[0xFF; 512]);
    assert!(matches!(task.action, Action::WriteSame { .. }));
    assert_eq!(rig.sense(rig.a, &cdb16(0x93, 0x08, 0, 0), &[0; 512]), (5, 0x24, 0));
}

#[test]
fn atomic_writes_keep_to_their_unit() {
    let mut rig = Rig::new();
    let atomic = |lba, blocks: u8| {
        let mut cdb = cdb16(0x9C, 0, lba, 0);
        cdb[13] = blocks;
        cdb
    };
    let range = Range { offset: 4096, len: 4096 };
    let task = rig.task(rig.a, &atomic(8, 8), &[0; 4096]);
    assert_eq!(task.action, Action::WriteAtomic { range, fua: false });
    for (lba, blocks) in [(1, 8), (8, 1)] {
        assert_eq!(rig.sense(rig.a, &atomic(lba, blocks), &[0; 4096]), (5, 0x24, 0));
    }
}

#[test]
fn failures_of_the_store_are_told_as_what_they_are() {
    let mut rig = Rig::new();
    let task = rig.task(rig.a, &cdb10(0x28, 0, 16, 16), &[]);
    let corrupt = task.finish(Outcome::Failed(Failure::Corrupt { offset: 20 * 512 }));
    assert_eq!(corrupt.sense[..14], [0xF0, 0, 3, 0, 0, 0, 20, 10, 0, 0, 0, 0, 0x11, 0]);
    let busy = task.finish(Outcome::Failed(Failure::Busy));
    assert_eq!((busy.status as u8, busy.sense.len()), (0x08, 0));
    let full = task.finish(Outcome::Failed(Failure::NoSpace));
    assert_eq!((full.sense[2], full.sense[12], full.sense[13]), (7, 0x27, 7));
}

#[test]
fn growth_is_told_to_every_nexus() {
    let mut rig = Rig::new();
    rig.unit.grow(1 << 30).unwrap();
    for nexus in [rig.a, rig.b] {
        assert_eq!(rig.sense(nexus, &[0; 6], &[]), (6, 0x2A, 9));
        assert_eq!(rig.good(nexus, &cdb10(0x25, 0, 0, 0), &[])[..4], [0, 0x1F, 0xFF, 0xFF]);
    }
    assert!(rig.unit.grow(1 << 20).is_err());
}

#[test]
fn a_reset_reaches_everybody_and_request_sense_tells_it_with_good() {
    let mut rig = Rig::new();
    rig.unit.logical_unit_reset();
    assert_eq!(rig.sense(rig.a, &[0; 6], &[]), (6, 0x29, 3));
    let data = rig.good(rig.b, &[0x03, 0, 0, 0, 18, 0], &[]);
    assert_eq!((data[0], data[2], data[12], data[13]), (0x70, 6, 0x29, 3));
    rig.good(rig.b, &[0; 6], &[]);
}

#[test]
fn inquiry_leaves_the_unit_attention_pending() {
    let mut rig = Rig::new();
    rig.unit.target_reset();
    rig.good(rig.a, &[0x12, 0, 0, 0, 36, 0], &[]);
    assert_eq!(rig.sense(rig.a, &[0; 6], &[]), (6, 0x29, 2));
}

#[test]
fn naca_and_unknown_commands_are_refused() {
    let mut rig = Rig::new();
    assert_eq!(rig.sense(rig.a, &[0, 0, 0, 0, 0, 0x04], &[]), (5, 0x24, 0));
    assert_eq!(rig.sense(rig.a, &[0xFF; 16], &[]), (5, 0x20, 0));
    assert_eq!(rig.sense(rig.a, &cdb16(0x9E, 0x11, 0, 0), &[]), (5, 0x24, 0));
}

#[test]
fn a_read_only_unit_is_write_protected() {
    let mut rig = Rig::with(UnitConfig { read_only: true, ..config() });
    assert_eq!(rig.sense(rig.a, &cdb10(0x2A, 0, 0, 1), &[0; 512]), (7, 0x27, 0));
    assert_eq!(rig.sense(rig.a, &[0x48, 2, 0, 0, 0, 0, 0, 0, 0, 0], &[]), (7, 0x27, 0));
    assert_eq!(rig.good(rig.a, &[0x1A, 0x08, 0x08, 0, 255, 0], &[])[2], 0x90);
    let _ = rig.task(rig.a, &cdb10(0x28, 0, 0, 1), &[]);
}

#[test]
fn target_port_groups_can_be_set_and_are_told() {
    let mut rig = Rig::new();
    let report = [0xA3, 0x0A, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
    assert_eq!(rig.good(rig.a, &report, &[])[..], [0, 0, 0, 12, 0, 3, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
    let set = [0xA4, 0x0A, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    rig.good(rig.a, &set, &[0, 0, 0, 0, 1, 0, 0, 1]);
    assert_eq!(rig.good(rig.a, &report, &[])[4..10], [1, 3, 0, 1, 0, 1]);
    assert_eq!(rig.sense(rig.b, &[0; 6], &[]), (6, 0x2A, 6));
    assert_eq!(rig.sense(rig.a, &set, &[0, 0, 0, 0, 0, 0, 0, 9]), (5, 0x26, 0));
}

#[test]
fn copies_stay_within_the_unit() {
    let mut rig = Rig::new();
    let naa = vpd(&mut rig, 0x83)[8..24].to_vec();
    let list = |naa: &[u8]| {
        let mut list = vec![0; 16];
        (list[0], list[3], list[11]) = (1, 32, 28);
        list.extend([0xE4, 0, 0, 0, 1, 3, 0, 16]);
        list.extend(naa);
        list.extend([0, 0, 0, 0, 0, 0, 2, 0]);
        list.extend([0x02, 0, 0, 0x18, 0, 0, 0, 0, 0, 0, 0, 8]);
        list.extend(4_u64.to_be_bytes());
        list.extend(100_u64.to_be_bytes());
        list
    };
    let mut cdb = cdb16(0x83, 0, 0, 76);
    cdb[2..10].fill(0);
    let task = rig.task(rig.a, &cdb, &list(&naa));
    let segments = vec![(Range { offset: 2048, len: 4096 }, 51200)];
    assert_eq!(task.action, Action::Copy { segments });
    let foreign = list(&[0x6F; 16]);
    assert_eq!(rig.sense(rig.a, &cdb, &foreign), (0x0A, 0x0D, 0x02));
    for index_at in [16 + 32 + 5, 16 + 32 + 7] {
        let mut elsewhere = list(&naa);
        elsewhere[index_at] = 1;
        assert_eq!(rig.sense(rig.a, &cdb, &elsewhere), (0x0A, 0x0D, 0x02), "no such target descriptor");
    }
}

#[test]
fn unmap_keeps_to_its_limits() {
    let mut rig = Rig::with(UnitConfig { size_bytes: 4 << 30, ..config() });
    let mut unmap = |runs: &[(u64, u32)]| {
        let len = u16::try_from(runs.len() * 16).unwrap();
        let mut list = [&(len + 6).to_be_bytes()[..], &len.to_be_bytes(), &[0; 4]].concat();
        for (lba, blocks) in runs {
            list.extend(lba.to_be_bytes());
            list.extend(blocks.to_be_bytes());
            list.extend([0; 4]);
        }
        let mut cdb = [0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        cdb[7..9].copy_from_slice(&(len + 8).to_be_bytes());
        let response = rig.run(rig.a, &cdb, &list);
        response.sense.get(12).copied()
    };
    assert_eq!(unmap(&[]), None, "nothing to do is no error");
    assert_eq!(unmap(&[(0, 0x8_0000), (0x8_0000, 0x8_0000)]), None);
    assert_eq!(
        unmap(&[(0, 0x8_0000), (0x8_0000, 0x8_0001)]),
        Some(0x26),
        "more blocks than MAXIMUM UNMAP LBA COUNT"
    );
    assert_eq!(unmap(&[(8, 8); 256]), None);
    assert_eq!(unmap(&[(8, 8); 257]), Some(0x26), "more descriptors than advertised");
    assert_eq!(unmap(&[(0x7F_FFFF, 2)]), Some(0x21));
}

#[test]
fn request_sense_tells_of_a_sanitize_at_work_as_other_commands_do() {
    const BLOCK_ERASE: [u8; 10] = [0x48, 0x82, 0, 0, 0, 0, 0, 0, 0, 0];
    let mut rig = Rig::new();
    let task = rig.task(rig.a, &BLOCK_ERASE, &[]);
    assert_eq!(rig.sense(rig.b, &[0; 6], &[]), (0x2, 0x04, 0x1B));
    let sense = rig.good(rig.b, &[0x03, 0, 0, 0, 252, 0], &[]);
    assert_eq!((sense[2], &sense[12..14]), (0x2, &[0x04, 0x1B][..]));
    assert_eq!(sense[15] & 0x80, 0x80, "a progress indication");
    rig.unit.settle(&task, true);
    assert_eq!(rig.good(rig.b, &[0x03, 0, 0, 0, 252, 0], &[])[2], 0);
}

#[test]
fn a_volume_whose_writes_fail_says_so_to_monitors() {
    const EXCEPTIONS: [u8; 10] = [0x4D, 0, 0x6F, 0, 0, 0, 0, 0, 255, 0];
    let mut rig = Rig::new();
    assert_eq!(rig.good(rig.a, &EXCEPTIONS, &[])[4..], [0, 0, 3, 4, 0, 0, 0xFF, 0]);
    rig.unit.set_usage(Usage { writes_failed: true, ..Usage::default() });
    assert_eq!(rig.good(rig.a, &EXCEPTIONS, &[])[4..], [0, 0, 3, 4, 0x5D, 0, 0xFF, 0]);
}

//! Entries of directories: 32 bytes, with those of a long name before it.

use super::super::trouble::{Result, Trouble};
use super::codepage;
use super::name::{REALLY_E5, REMOVED, SHORT_BYTES, ShortName, checksum};

pub(super) const SLOT_BYTES: usize = 32;
pub(super) type Slot = [u8; SLOT_BYTES];

pub(super) const READ_ONLY: u8 = 0x01;
const VOLUME: u8 = 0x08;
pub(super) const DIRECTORY: u8 = 0x10;
pub(super) const ARCHIVE: u8 = 0x20;
const LONG_NAME: u8 = 0x0F;
const LONG_NAME_MASK: u8 = 0x3F;
const LAST_LONG: u8 = 0x40;
const LONG_UNITS: usize = 13;
/// Where a slot of a long name has its units.
const UNIT_AT: [usize; LONG_UNITS] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A moment as FAT writes it: date and time, in two seconds, and hundredths of a second over it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Stamp {
    date: u16,
    time: u16,
    hundredths: u8,
}

impl Stamp {
    /// From seconds since 1970, UTC. FAT knows the years 1980 to 2107.
    pub(in super::super) fn of(unix_seconds: u64) -> Self {
        const FIRST: u64 = 315_532_800;
        const LAST: u64 = 4_354_819_199;
        let seconds = unix_seconds.clamp(FIRST, LAST);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        let date = (year - 1980) << 9 | month << 5 | day;
        let time = ((second / 3600) << 11) | ((second / 60 % 60) << 5) | (second % 60 / 2);
        let small = |number: u64| u16::try_from(number).unwrap_or(0);
        Self {
            date: small(date),
            time: small(time),
            hundredths: if second.is_multiple_of(2) { 0 } else { 100 },
        }
    }
}

/// Year, month and day of a day since 1970.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// A file or directory, as its directory has it.
#[derive(Debug, Clone)]
pub(in super::super) struct Entry {
    pub(super) slot: Slot,
    pub(super) long: Option<String>,
    /// Where its slots are on the disk; the last one is its own.
    pub(in super::super) places: Vec<u64>,
}

fn u16_at(slot: &Slot, at: usize) -> u16 {
    match slot.get(at..at + 2) {
        Some(&[low, high]) => u16::from_le_bytes([low, high]),
        _ => 0,
    }
}

fn put(slot: &mut Slot, at: usize, bytes: &[u8]) {
    slot.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

impl Entry {
    pub(in super::super) fn is_read_only(&self) -> bool {
        self.slot[11] & READ_ONLY != 0
    }

    pub(super) fn short(&self) -> ShortName {
        short_of(&self.slot)
    }

    pub(in super::super) fn is_directory(&self) -> bool {
        self.slot[11] & DIRECTORY != 0
    }

    pub(super) fn attributes(&self) -> u8 {
        self.slot[11]
    }

    pub(super) fn set_attributes(&mut self, attributes: u8) {
        self.slot[11] = attributes;
    }

    pub(super) fn size(&self) -> u32 {
        u32::from(u16_at(&self.slot, 28)) | u32::from(u16_at(&self.slot, 30)) << 16
    }

    pub(super) fn first_cluster(&self) -> u32 {
        u32::from(u16_at(&self.slot, 26)) | u32::from(u16_at(&self.slot, 20)) << 16
    }

    pub(super) fn set_content(&mut self, first_cluster: u32, size: u32) {
        set_first_cluster(&mut self.slot, first_cluster);
        put(&mut self.slot, 28, &size.to_le_bytes());
    }

    pub(in super::super) fn set_modified(&mut self, now: Stamp) {
        put(&mut self.slot, 22, &now.time.to_le_bytes());
        put(&mut self.slot, 24, &now.date.to_le_bytes());
        put(&mut self.slot, 18, &now.date.to_le_bytes());
    }

    /// Takes everything but the name from another entry.
    pub(super) fn take_from(&mut self, other: &Self) {
        self.slot[11] = other.slot[11];
        self.slot[13..].copy_from_slice(&other.slot[13..]);
    }

    /// The name that is listed.
    pub(super) fn name(&self) -> String {
        self.long.clone().unwrap_or_else(|| short_text(&self.slot))
    }

    /// Whether it is found by a name: the case of ASCII letters does not matter.
    pub(super) fn is_named(&self, name: &str) -> bool {
        self.long.as_ref().is_some_and(|long| long.eq_ignore_ascii_case(name))
            || short_text(&self.slot).eq_ignore_ascii_case(name)
    }
}

fn short_of(slot: &Slot) -> ShortName {
    let mut short = [0; SHORT_BYTES];
    short.copy_from_slice(&slot[..SHORT_BYTES]);
    short
}

pub(super) fn set_first_cluster(slot: &mut Slot, cluster: u32) {
    let [a, b, c, d] = cluster.to_le_bytes();
    put(slot, 26, &[a, b]);
    put(slot, 20, &[c, d]);
}

/// The short name as text, small letters where the entry says so.
fn short_text(slot: &Slot) -> String {
    let part = |bytes: &[u8], is_lower: bool| {
        let len = bytes.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
        let chars = bytes.iter().take(len).map(|&byte| codepage::decode(byte));
        chars.map(|c| if is_lower { c.to_ascii_lowercase() } else { c }).collect::<String>()
    };
    let mut base = [0; 8];
    base.copy_from_slice(&slot[..8]);
    if base[0] == REALLY_E5 {
        base[0] = REMOVED;
    }
    let base = part(&base, slot[12] & 0x08 != 0);
    let extension = part(&slot[8..11], slot[12] & 0x10 != 0);
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A new entry's own slot.
pub(super) fn new_slot(short: &ShortName, attributes: u8, first_cluster: u32, now: Stamp) -> Slot {
    let mut slot = [0; SLOT_BYTES];
    put(&mut slot, 0, short);
    slot[11] = attributes;
    slot[13] = now.hundredths;
    put(&mut slot, 14, &now.time.to_le_bytes());
    for date_at in [16, 18, 24] {
        put(&mut slot, date_at, &now.date.to_le_bytes());
    }
    put(&mut slot, 22, &now.time.to_le_bytes());
    set_first_cluster(&mut slot, first_cluster);
    slot
}

/// The slots of a long name, in the order in which they stand on the disk.
pub(super) fn long_slots(units: &[u16], short: &ShortName) -> Vec<Slot> {
    let count = units.len().div_ceil(LONG_UNITS);
    let slot = |(index, part): (usize, &[u16])| {
        let mut slot = [0; SLOT_BYTES];
        let last = if index + 1 == count { LAST_LONG } else { 0 };
        slot[0] = u8::try_from(index + 1).unwrap_or(u8::MAX) | last;
        slot[11] = LONG_NAME;
        slot[13] = checksum(short);
        let filled = part.iter().copied().chain([0]).chain(std::iter::repeat(0xFFFF));
        for (at, unit) in UNIT_AT.into_iter().zip(filled) {
            put(&mut slot, at, &unit.to_le_bytes());
        }
        slot
    };
    let mut slots: Vec<Slot> = units.chunks(LONG_UNITS).enumerate().map(slot).collect();
    slots.reverse();
    slots
}

/// Reads the entries of a directory from its slots. Labels are left out, and `.` and `..` too.
pub(super) fn entries(slots: &[(u64, Slot)]) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut long = LongName::default();
    let mut rest = slots.iter();
    for (place, slot) in rest.by_ref() {
        match (slot[0], slot[11]) {
            (0, _) => break,
            (REMOVED, _) => long.clear(),
            (_, attributes) if attributes & LONG_NAME_MASK == LONG_NAME => long.add(*place, slot),
            (_, attributes) if attributes & VOLUME != 0 => long.clear(),
            _ if slot[..SHORT_BYTES] == *b".          " || slot[..SHORT_BYTES] == *b"..         " => {
                long.clear();
            }
            _ => entries.push(long.entry(*place, slot)?),
        }
    }
    // Linux reads on behind what others take for a directory's end.
    if rest.any(|(_, slot)| slot[0] != 0) {
        return Err(Trouble::doubt("a directory has entries behind its end"));
    }
    Ok(entries)
}

/// A long name, while its slots are read.
#[derive(Default)]
struct LongName {
    /// Units of the slots so far, the last ones first.
    parts: Vec<[u16; LONG_UNITS]>,
    places: Vec<u64>,
    expected: u8,
    sum: u8,
}

impl LongName {
    fn clear(&mut self) {
        *self = Self::default();
    }

    fn add(&mut self, place: u64, slot: &Slot) {
        let number = slot[0] & !LAST_LONG;
        if slot[0] & LAST_LONG != 0 && (1..=20).contains(&number) {
            *self = Self { expected: number, sum: slot[13], ..Self::default() };
        } else if self.parts.is_empty() || number == 0 || number != self.expected || slot[13] != self.sum {
            return self.clear();
        }
        self.parts.push(UNIT_AT.map(|at| u16_at(slot, at)));
        self.places.push(place);
        self.expected -= 1;
    }

    /// The entry whose slot follows.
    fn entry(&mut self, place: u64, slot: &Slot) -> Result<Entry> {
        let read = std::mem::take(self);
        let is_whole = !read.parts.is_empty() && read.expected == 0 && read.sum == checksum(&short_of(slot));
        if !is_whole {
            return Ok(Entry { slot: *slot, long: None, places: vec![place] });
        }
        let units: Vec<u16> =
            read.parts.iter().rev().flatten().copied().take_while(|&unit| unit != 0).collect();
        let text =
            String::from_utf16(&units).map_err(|_| Trouble::doubt("a long name is not valid UTF-16"))?;
        let places = read.places.into_iter().chain([place]).collect();
        Ok(Entry { slot: *slot, long: Some(text), places })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_fat_does() {
        // 2026-11-22 17:40:15
        let stamp = Stamp::of(1_795_369_215);
        assert_eq!(
            (stamp.date, stamp.time, stamp.hundredths),
            (46 << 9 | 11 << 5 | 22, 17 << 11 | 40 << 5 | 7, 100)
        );
        assert_eq!(Stamp::of(0).date, 1 << 5 | 1);
        assert_eq!(Stamp::of(u64::MAX).date, 127 << 9 | 12 << 5 | 31);
        // 2000-02-29
        assert_eq!(Stamp::of(951_782_400).date, 20 << 9 | 2 << 5 | 29);
    }

    #[test]
    fn what_is_written_is_read() {
        for name in ["é", "exactly13char", "a name that is longer than one slot", "😀 smile"] {
            let units: Vec<u16> = name.encode_utf16().collect();
            let short = *b"ABCDEF~1TXT";
            let mut slots = long_slots(&units, &short);
            slots.push(new_slot(&short, ARCHIVE, 0x0012_3456, Stamp::of(1_800_000_000)));
            let placed: Vec<(u64, Slot)> =
                slots.into_iter().enumerate().map(|(at, slot)| (at as u64, slot)).collect();
            let read = entries(&placed).unwrap();
            assert_eq!(read.len(), 1);
            assert_eq!((read[0].name().as_str(), read[0].first_cluster()), (name, 0x0012_3456));
            assert!(read[0].is_named("abcdef~1.txt") && read[0].is_named(name));
            assert_eq!(read[0].places.len(), placed.len());
        }
    }

    #[test]
    fn a_long_name_of_another_entry_is_not_taken() {
        let slots = long_slots(&"stale".encode_utf16().collect::<Vec<_>>(), b"OTHER      ");
        let own = new_slot(b"OWN        ", ARCHIVE, 0, Stamp::of(0));
        let placed: Vec<(u64, Slot)> = slots.into_iter().chain([own]).map(|slot| (0, slot)).collect();
        let read = entries(&placed).unwrap();
        assert_eq!((read[0].name().as_str(), read[0].places.len()), ("OWN", 1));
    }
}

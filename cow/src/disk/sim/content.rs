//! What a file holds: for every sector what processes see and what the medium has.

use std::sync::Arc;

use super::{Cut, Rng};

pub(super) const PAGE: usize = 4096;
pub(super) const SECTOR: usize = 512;
const SECTORS: usize = PAGE / SECTOR;

type Buffer = Arc<[u8; PAGE]>;

/// Four kibibytes of a file. `None` is zeros.
#[derive(Clone, Default)]
pub(super) struct Page {
    now: Option<Buffer>,
    media: Option<Buffer>,
    /// Sectors in which a sync would have something to write, a bit each.
    dirty: u8,
    /// In memory: a read need not wait.
    warm: bool,
    /// Takes room on the disk.
    pub allocated: bool,
}

/// A file's bytes.
#[derive(Clone, Default)]
pub(super) struct Content {
    pub pages: Vec<Page>,
    pub len: u64,
    media_len: u64,
    len_dirty: bool,
}

fn sector(buffer: Option<&Buffer>, at: usize) -> &[u8] {
    buffer.map_or(&[0; SECTOR][..], |buffer| &buffer[at * SECTOR..(at + 1) * SECTOR])
}

fn put_sector(buffer: &mut Option<Buffer>, at: usize, bytes: &[u8]) {
    let buffer = buffer.get_or_insert_with(|| Arc::new([0; PAGE]));
    Arc::make_mut(buffer)[at * SECTOR..(at + 1) * SECTOR].copy_from_slice(bytes);
}

impl Page {
    fn write_back(&mut self, sectors: u8) {
        let sectors = sectors & self.dirty;
        if sectors == self.dirty {
            self.media.clone_from(&self.now);
        } else {
            for at in (0..SECTORS).filter(|at| sectors & (1 << at) != 0) {
                let bytes: [u8; SECTOR] = sector(self.now.as_ref(), at).try_into().unwrap_or([0; SECTOR]);
                put_sector(&mut self.media, at, &bytes);
            }
        }
        self.dirty &= !sectors;
    }

    fn cut(&mut self, keep: u8) {
        self.write_back(keep);
        self.forget();
    }

    /// What is in memory and not on the medium is gone.
    fn forget(&mut self) {
        self.dirty = 0;
        self.now.clone_from(&self.media);
        self.warm = false;
    }
}

impl Content {
    fn page(&mut self, at: usize) -> &mut Page {
        if self.pages.len() <= at {
            self.pages.resize_with(at + 1, Page::default);
        }
        &mut self.pages[at]
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (offset as usize, bytes);
        while !rest.is_empty() {
            let (index, skip) = (at / PAGE, at % PAGE);
            let (here, after) = rest.split_at(rest.len().min(PAGE - skip));
            let page = self.page(index);
            let buffer = page.now.get_or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(buffer)[skip..skip + here.len()].copy_from_slice(here);
            for sector in skip / SECTOR..(skip + here.len()).div_ceil(SECTOR) {
                page.dirty |= 1 << sector;
            }
            page.warm = true;
            page.allocated = true;
            (at, rest) = (at + here.len(), after);
        }
        let end = offset + bytes.len() as u64;
        if end > self.len {
            self.len = end;
            self.len_dirty = true;
        }
    }

    /// Bytes that a write would newly take.
    pub(super) fn room_for(&self, offset: u64, bytes: u64) -> u64 {
        let pages = (offset as usize / PAGE)..((offset + bytes) as usize).div_ceil(PAGE);
        pages.filter(|at| !self.pages.get(*at).is_some_and(|page| page.allocated)).count() as u64
            * PAGE as u64
    }

    pub(super) fn allocate(&mut self, offset: u64, bytes: u64) {
        for at in (offset as usize / PAGE)..((offset + bytes) as usize).div_ceil(PAGE) {
            self.page(at).allocated = true;
        }
    }

    pub(super) fn allocated_bytes(&self) -> u64 {
        self.pages.iter().filter(|page| page.allocated).count() as u64 * PAGE as u64
    }

    /// Whether all of a range is in memory.
    pub(super) fn is_warm(&self, offset: u64, bytes: u64) -> bool {
        let end = (offset + bytes).min(self.len);
        let pages = (offset as usize / PAGE)..(end as usize).div_ceil(PAGE);
        pages.into_iter().all(|at| self.pages.get(at).is_none_or(|page| page.warm || page.now.is_none()))
    }

    /// Reads what is in memory.
    pub(super) fn peek(&self, offset: u64, out: &mut [u8]) -> usize {
        let bytes = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(out.len());
        let (mut at, mut done) = (offset as usize, 0);
        while done < bytes {
            let skip = at % PAGE;
            let here = (bytes - done).min(PAGE - skip);
            let target = &mut out[done..done + here];
            match self.pages.get(at / PAGE).and_then(|page| page.now.as_ref()) {
                Some(buffer) => target.copy_from_slice(&buffer[skip..skip + here]),
                None => target.fill(0),
            }
            (at, done) = (at + here, done + here);
        }
        bytes
    }

    /// Reads, and what is around the range comes into memory as well.
    pub(super) fn read(&mut self, offset: u64, out: &mut [u8], ahead: usize) -> usize {
        let bytes = self.peek(offset, out);
        let last = (offset as usize + bytes).div_ceil(PAGE) + ahead;
        self.pages.iter_mut().take(last).skip(offset as usize / PAGE).for_each(|page| page.warm = true);
        bytes
    }

    pub(super) fn set_len(&mut self, bytes: u64) {
        if bytes < self.len {
            let (index, skip) = (bytes as usize / PAGE, bytes as usize % PAGE);
            if skip > 0 && index < self.pages.len() {
                let zeros = [0; PAGE];
                let len = self.len;
                self.write(bytes, &zeros[skip..]);
                self.len = len;
            }
            for page in self.pages.iter_mut().skip((bytes as usize).div_ceil(PAGE)) {
                (page.now, page.dirty, page.allocated) = (None, 0xff, false);
            }
        }
        self.len = bytes;
        self.len_dirty = true;
    }

    /// The range reads zeros; whole pages give their room back.
    pub(super) fn punch(&mut self, offset: u64, bytes: u64) {
        let end = (offset + bytes).min(self.pages.len() as u64 * PAGE as u64);
        let mut at = offset;
        while at < end {
            let here = (PAGE as u64 - at % PAGE as u64).min(end - at);
            if here == PAGE as u64 {
                let page = &mut self.pages[at as usize / PAGE];
                if page.now.is_some() || page.media.is_some() {
                    (page.now, page.dirty) = (None, 0xff);
                }
                page.allocated = false;
            } else {
                let len = self.len;
                self.write(at, &[0; PAGE][..here as usize]);
                self.len = len;
            }
            at += here;
        }
    }

    /// The first stretch of pages that hold data at or after `offset`.
    pub(super) fn next_data(&self, offset: u64) -> Option<(u64, u64)> {
        let has = |page: &Page| page.now.is_some();
        let first = offset as usize / PAGE;
        let start = first + self.pages.get(first..)?.iter().position(has)?;
        let blocks =
            self.pages[start..].iter().position(|page| !has(page)).unwrap_or(self.pages.len() - start);
        let from = (start as u64 * PAGE as u64).max(offset);
        let end = ((start + blocks) as u64 * PAGE as u64).min(self.len);
        (from < end).then_some((from, end - from))
    }

    pub(super) fn sync(&mut self) {
        self.pages.iter_mut().for_each(|page| page.write_back(0xff));
        self.media_len = self.len;
        self.len_dirty = false;
    }

    /// A sync that fails: any part is written, and the rest is called clean.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        for page in self.pages.iter_mut().filter(|page| page.dirty != 0) {
            page.write_back(rng.next() as u8);
            page.dirty = 0;
            if rng.one_in(4) {
                page.forget();
            }
        }
        if rng.one_in(2) {
            self.media_len = self.len;
        }
        self.len_dirty = false;
    }

    /// The system writes back whenever it likes.
    pub(super) fn write_some_back(&mut self, rng: &mut Rng) {
        for page in self.pages.iter_mut().filter(|page| page.dirty != 0) {
            page.write_back((rng.next() & rng.next()) as u8);
        }
    }

    /// Sectors, and the length, that a power cut decides about.
    pub(super) fn undecided(&self) -> usize {
        let sectors: u32 = self.pages.iter().map(|page| page.dirty.count_ones()).sum();
        sectors as usize + usize::from(self.len_dirty && self.len != self.media_len)
    }

    pub(super) fn power_cut(&mut self, rng: &mut Rng, cut: Cut) {
        if self.len_dirty {
            self.media_len = match cut {
                Cut::Nothing => self.media_len,
                Cut::Everything => self.len,
                _ if rng.one_in(3) => self.media_len,
                _ if rng.one_in(2) && self.len > self.media_len => {
                    let more = rng.below(self.len - self.media_len);
                    self.media_len.max((self.media_len + more) / SECTOR as u64 * SECTOR as u64)
                }
                _ => self.len,
            };
        }
        let mut chooser = cut.chooser(rng);
        for page in &mut self.pages {
            let dirty = page.dirty;
            let keep = if dirty == 0 { 0 } else { chooser(dirty) };
            page.cut(keep);
        }
        self.settle();
    }

    pub(super) fn power_cut_exactly(&mut self, keep: &mut impl FnMut() -> bool) {
        if self.len_dirty && self.len != self.media_len && keep() {
            self.media_len = self.len;
        }
        for page in &mut self.pages {
            let chosen = (0..SECTORS).filter(|at| page.dirty & (1 << at) != 0 && keep());
            let chosen = chosen.fold(0, |bits, at| bits | 1 << at);
            page.cut(chosen);
        }
        self.settle();
    }

    /// After a cut: what lies past the end is not there, and what holds nothing takes no room.
    fn settle(&mut self) {
        self.len = self.media_len;
        self.len_dirty = false;
        let len = self.len as usize;
        for (at, page) in self.pages.iter_mut().enumerate() {
            let start = at * PAGE;
            if start + PAGE > len && page.now.is_some() {
                let keep = len.saturating_sub(start);
                if let Some(buffer) = &mut page.now {
                    Arc::make_mut(buffer)[keep..].fill(0);
                }
                if keep == 0 {
                    page.now = None;
                }
                page.media.clone_from(&page.now);
            }
            page.allocated = page.now.is_some();
        }
    }

    pub(super) fn evict_clean(&mut self) {
        self.pages.iter_mut().filter(|page| page.dirty == 0).for_each(Page::forget);
    }

    /// Flips bits in a sector that is on the medium; gives its offset.
    pub(super) fn rot(&mut self, rng: &mut Rng, from: u64) -> Option<u64> {
        self.pages.iter_mut().for_each(|page| page.cut(0xff));
        let candidates: Vec<usize> = (0..self.pages.len() * SECTORS)
            .filter(|at| *at as u64 * SECTOR as u64 >= from && self.pages[at / SECTORS].media.is_some())
            .filter(|at| (*at * SECTOR) as u64 + SECTOR as u64 <= self.len)
            .collect();
        let at = *candidates.get(rng.index(candidates.len().max(1)))?;
        let page = &mut self.pages[at / SECTORS];
        let mut bytes = sector(page.media.as_ref(), at % SECTORS).to_vec();
        if rng.one_in(4) {
            bytes.iter_mut().for_each(|byte| *byte = rng.next() as u8);
        } else {
            for _ in 0..=rng.below(3) {
                bytes[rng.index(SECTOR)] ^= 1 << rng.below(8);
            }
        }
        put_sector(&mut page.media, at % SECTORS, &bytes);
        page.now.clone_from(&page.media);
        Some(at as u64 * SECTOR as u64)
    }
}

//! Mode pages (SPC-4, SBC-3) with the bits that MODE SELECT may change: WCE, D_SENSE and SWP.
//!
//! They are shared by all nexuses, and what an initiator changed lasts no longer than its nexus: a host that dies with
//! SWP set leaves no disk behind that nobody can write.

use bytes::{BufMut, Bytes};

use crate::attention::Attention;
use crate::cdb::{be_u8, be_u16, be_u32, be_u64, data_len, gather};
use crate::command::{Command, PageControl};
use crate::config::UnitConfig;
use crate::emit::{self, set_length16};
use crate::nexus::NexusId;
use crate::response::Response;
use crate::sense::{Asc, Sense, SenseFormat, SenseKey};
use crate::task::Plan;
use crate::thresholds::{self, Thresholds};
use crate::unit::{Decision, LogicalUnit};

const RECOVERY: u8 = 0x01;
const CACHING: u8 = 0x08;
const CONTROL: u8 = 0x0A;
const EXCEPTIONS: u8 = 0x1C;
const ALL_PAGES: u8 = 0x3F;
const ALL_SUBPAGES: u8 = 0xFF;
/// Every page with its subpage; 0 is the page itself.
const PAGES: [(u8, u8); 5] =
    [(RECOVERY, 0), (CACHING, 0), (CONTROL, 0), (EXCEPTIONS, 0), (thresholds::PAGE, thresholds::SUBPAGE)];
/// SPF: the page has a subpage code and a length of two bytes.
const SPF: u8 = 0x40;

/// Byte and bit of each changeable field.
const WCE: (usize, u8) = (2, 0x04);
const D_SENSE: (usize, u8) = (2, 0x04);
const SWP: (usize, u8) = (4, 0x08);

/// The changeable values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Values {
    write_cache: bool,
    descriptor_sense: bool,
    write_protect: bool,
}

/// The mode pages of a unit.
#[derive(Debug)]
pub(crate) struct ModePages {
    current: Values,
    default: Values,
    /// Once they are known.
    thresholds: Option<Thresholds>,
    read_only: bool,
    changed_by: Option<NexusId>,
}

impl ModePages {
    pub(crate) fn new(config: &UnitConfig) -> Self {
        let default =
            Values { write_cache: config.write_cache, descriptor_sense: false, write_protect: false };
        Self { current: default, default, thresholds: None, read_only: config.read_only, changed_by: None }
    }

    /// Whether they were known, and are others now.
    pub(crate) fn set_thresholds(&mut self, thresholds: Thresholds) -> bool {
        self.thresholds.replace(thresholds).is_some_and(|before| before != thresholds)
    }

    pub(crate) fn write_cache(&self) -> bool {
        self.current.write_cache
    }

    /// WCE as the operator wants it from now on, whatever an initiator has made of it; whether it is another one now.
    pub(crate) fn set_write_cache(&mut self, write_cache: bool) -> bool {
        if std::mem::replace(&mut self.default.write_cache, write_cache) == write_cache {
            return false;
        }
        std::mem::replace(&mut self.current.write_cache, write_cache) != write_cache
    }

    pub(crate) fn write_protected(&self) -> bool {
        self.read_only || self.current.write_protect
    }

    pub(crate) fn sense_format(&self) -> SenseFormat {
        if self.current.descriptor_sense { SenseFormat::Descriptor } else { SenseFormat::Fixed }
    }

    /// Back to the values that hold after a reset.
    pub(crate) fn reset(&mut self) {
        self.current = self.default;
        self.changed_by = None;
    }

    /// The nexus is gone; whether that changed anything.
    pub(crate) fn nexus_lost(&mut self, nexus: NexusId) -> bool {
        if self.changed_by != Some(nexus) {
            return false;
        }
        let changed = self.current != self.default;
        self.reset();
        changed
    }

    fn values(&self, control: PageControl) -> Values {
        match control {
            PageControl::Current | PageControl::Saved => self.current,
            PageControl::Changeable => {
                Values { write_cache: true, descriptor_sense: true, write_protect: true }
            }
            PageControl::Default => self.default,
        }
    }

    fn page(&self, page: u8, subpage: u8, control: PageControl) -> Option<Vec<u8>> {
        let mut bytes = match (page, subpage) {
            (_, 0) => fixed_bits(page)?,
            (thresholds::PAGE, thresholds::SUBPAGE) => self.thresholds.unwrap_or_default().page(),
            _ => return None,
        };
        if control == PageControl::Changeable {
            let header = header_bytes(be_u8(&bytes, 0));
            bytes.iter_mut().skip(header).for_each(|b| *b = 0);
        }
        if subpage != 0 {
            return Some(bytes);
        }
        let values = self.values(control);
        let mut set = |(at, bit): (usize, u8), on: bool| {
            if let Some(byte) = bytes.get_mut(at).filter(|_| on) {
                *byte |= bit;
            }
        };
        match page {
            CACHING => set(WCE, values.write_cache),
            CONTROL => {
                set(D_SENSE, values.descriptor_sense);
                set(SWP, values.write_protect);
            }
            _ => {}
        }
        Some(bytes)
    }

    /// The values after this page was selected, or where it differs in what cannot be changed.
    fn select(&self, page: &[u8], at: usize, values: &mut Values) -> Result<(), Sense> {
        let (code, header) = (be_u8(page, 0) & 0x3F, header_bytes(be_u8(page, 0)));
        let subpage = if header > 2 { be_u8(page, 1) } else { 0 };
        let field = |offset: usize| Sense::parameter_field(u16::try_from(at + offset).unwrap_or(u16::MAX));
        let current = self.page(code, subpage, PageControl::Current).ok_or(field(0))?;
        let changeable = self.page(code, subpage, PageControl::Changeable).ok_or(field(0))?;
        if header_bytes(be_u8(&current, 0)) != header || page.len() != current.len() {
            return Err(field(0));
        }
        for (offset, new) in page.iter().enumerate().skip(header) {
            if (new ^ be_u8(&current, offset)) & !be_u8(&changeable, offset) != 0 {
                return Err(field(offset));
            }
        }
        let bit = |(at, bit): (usize, u8)| be_u8(page, at) & bit != 0;
        match code {
            CACHING => values.write_cache = bit(WCE),
            CONTROL => {
                values.descriptor_sense = bit(D_SENSE);
                values.write_protect = bit(SWP);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Bytes of a page's header, by its first byte.
fn header_bytes(first: u8) -> usize {
    if first & SPF != 0 { 4 } else { 2 }
}

/// The page with every changeable bit at zero.
fn fixed_bits(page: u8) -> Option<Vec<u8>> {
    let bytes: Vec<u8> = match page {
        // AWRE: bad blocks are never ours to reassign by hand. LBPERE: thresholds of thin provisioning are told.
        RECOVERY => vec![RECOVERY, 0x0A, 0x80, 0, 0, 0, 0, 0x80, 0, 0, 0, 0],
        CACHING => [&[CACHING, 0x12][..], &[0; 18]].concat(),
        // TST 000b: one task set for all nexuses. GLTSD. Unrestricted reordering, QERR 00b. Busy timeout unlimited.
        CONTROL => vec![CONTROL, 0x0A, 0x02, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0, 0],
        // DEXCPT: health is reported by the control API.
        EXCEPTIONS => vec![EXCEPTIONS, 0x0A, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        _ => return None,
    };
    Some(bytes)
}

impl LogicalUnit {
    /// MODE SENSE (SPC-4). Saved values are not kept.
    pub(crate) fn mode_sense(&self, command: Command) -> Decision {
        let Command::ModeSense { ten, disable_descriptors, long_lba, control, page, subpage, allocation } =
            command
        else {
            return Err(Sense::new(SenseKey::HardwareError, Asc::INTERNAL_TARGET_FAILURE).into());
        };
        if control == PageControl::Saved {
            return Err(Sense::illegal(Asc::SAVING_PARAMETERS_NOT_SUPPORTED).into());
        }
        let mut data = self.mode_header(ten, disable_descriptors, long_lba);
        let known = |code: &(u8, u8)| page == ALL_PAGES || code.0 == page;
        let wanted = |code: &(u8, u8)| known(code) && (subpage == ALL_SUBPAGES || code.1 == subpage);
        if !PAGES.iter().any(known) {
            return Err(Sense::cdb_field(2, Some(5)).into());
        }
        // Of all pages, all that can be asked for at once are those without subpages, or all there are.
        if !PAGES.iter().any(wanted) || page == ALL_PAGES && !matches!(subpage, 0 | ALL_SUBPAGES) {
            return Err(Sense::cdb_field(3, Some(7)).into());
        }
        let wanted = PAGES.iter().filter(|code| wanted(code));
        data.extend(wanted.filter_map(|code| self.mode.page(code.0, code.1, control)).flatten());
        if ten {
            set_length16(&mut data, 0, 2);
        } else {
            let len = u8::try_from(data.len() - 1).unwrap_or(u8::MAX);
            emit::put(&mut data, 0, &[len]);
        }
        Ok(Plan::Done(Response::data(emit::truncated(data, allocation))))
    }

    /// Mode parameter header and block descriptor (SPC-4, SBC-3).
    fn mode_header(&self, ten: bool, disable_descriptors: bool, long_lba: bool) -> Vec<u8> {
        const WP: u8 = 0x80;
        const DPOFUA: u8 = 0x10;
        let device = DPOFUA | if self.mode.write_protected() { WP } else { 0 };
        let descriptor = if disable_descriptors { vec![] } else { self.block_descriptor(long_lba) };
        let len = u8::try_from(descriptor.len()).unwrap_or(0);
        let mut data = match ten {
            true => vec![0, 0, 0, device, u8::from(long_lba && len != 0), 0, 0, len],
            false => vec![0, 0, device, len],
        };
        data.extend(descriptor);
        data
    }

    fn block_descriptor(&self, long_lba: bool) -> Vec<u8> {
        let mut descriptor = vec![];
        let block_len = self.config.block_size.bytes();
        if long_lba {
            descriptor.put_u64(self.blocks);
            descriptor.put_u32(0);
        } else {
            descriptor.put_u32(u32::try_from(self.blocks).unwrap_or(u32::MAX));
        }
        descriptor.put_u32(block_len);
        descriptor
    }

    /// MODE SELECT (SPC-4): all of the list is checked before any of it takes effect.
    pub(crate) fn mode_select(&mut self, nexus: NexusId, select: ModeSelect, data_out: &[Bytes]) -> Decision {
        let ModeSelect { ten, page_format, save, length } = select;
        if save {
            return Err(Sense::cdb_field(1, Some(0)).into());
        }
        if length == 0 {
            return Ok(Plan::Done(Response::good()));
        }
        if !page_format {
            return Err(Sense::cdb_field(1, Some(4)).into());
        }
        if data_len(data_out) < length as u64 {
            return Err(Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR).into());
        }
        let list = gather(data_out, length);
        let values = self.selected_values(&list, ten)?;
        if values != self.mode.current {
            self.mode.current = values;
            self.mode.changed_by = Some(nexus);
            self.nexuses.announce(Attention::ModeChanged, Some(nexus));
        }
        Ok(Plan::Done(Response::consumed(length as u64)))
    }

    fn selected_values(&self, list: &[u8], ten: bool) -> Result<Values, Sense> {
        const LENGTH_ERROR: Sense = Sense::illegal(Asc::PARAMETER_LIST_LENGTH_ERROR);
        let (header_len, descriptor_len, long_lba) = match ten {
            true => (8, usize::from(be_u16(list, 6)), be_u8(list, 4) & 1 != 0),
            false => (4, usize::from(be_u8(list, 3)), false),
        };
        let mut at = header_len + descriptor_len;
        let descriptor = list.get(header_len..at).ok_or(LENGTH_ERROR)?;
        self.check_block_descriptor(descriptor, long_lba, header_len)?;
        let mut values = self.mode.current;
        while at < list.len() {
            let len = match header_bytes(be_u8(list, at)) {
                2 => 2 + usize::from(be_u8(list, at + 1)),
                header => header + usize::from(be_u16(list, at + 2)),
            };
            let page = list.get(at..at + len).ok_or(LENGTH_ERROR)?;
            self.mode.select(page, at, &mut values)?;
            at += len;
        }
        Ok(values)
    }

    /// A block descriptor may repeat what is; it cannot change the capacity or the block length.
    fn check_block_descriptor(&self, descriptor: &[u8], long_lba: bool, at: usize) -> Result<(), Sense> {
        let error = Sense::parameter_field(u16::try_from(at).unwrap_or(u16::MAX));
        let (blocks, block_len) = match (descriptor.len(), long_lba) {
            (0, _) => return Ok(()),
            (8, false) => match be_u32(descriptor, 0) {
                u32::MAX => (self.blocks, be_u32(descriptor, 4) & 0x00FF_FFFF),
                blocks => (u64::from(blocks), be_u32(descriptor, 4) & 0x00FF_FFFF),
            },
            (16, true) => (be_u64(descriptor, 0), be_u32(descriptor, 12)),
            _ => return Err(error),
        };
        let same = (blocks == 0 || blocks == self.blocks) && block_len == self.config.block_size.bytes();
        if same { Ok(()) } else { Err(error) }
    }
}

/// The fields of MODE SELECT(6) and (10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModeSelect {
    pub(crate) ten: bool,
    pub(crate) page_format: bool,
    pub(crate) save: bool,
    pub(crate) length: usize,
}

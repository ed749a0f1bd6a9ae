//! Vital product data (SPC-4, SBC-3): who the unit is and what it can take.
//!
//! Everything here derives from the configuration, so it is the same after a restart and after an upgrade.

use bytes::BufMut;

use crate::emit::{ascii, set_length16};
use crate::inquiry::VENDOR;
use crate::limits::{
    ATOMIC_BYTES_MAX, ATOMIC_UNIT_BYTES, COMPARE_AND_WRITE_BLOCKS_MAX, PREFETCH_BYTES_MAX,
    TRANSFER_BYTES_MAX, TRANSFER_BYTES_OPTIMAL, UNMAP_BYTES_MAX, UNMAP_DESCRIPTORS_MAX,
    UNMAP_GRANULARITY_BYTES, WRITE_SAME_BYTES_MAX,
};
use crate::unit::LogicalUnit;

const SUPPORTED_PAGES: u8 = 0x00;
const SERIAL_NUMBER: u8 = 0x80;
const DEVICE_IDENTIFICATION: u8 = 0x83;
const EXTENDED_INQUIRY: u8 = 0x86;
const THIRD_PARTY_COPY: u8 = 0x8F;
const BLOCK_LIMITS: u8 = 0xB0;
const BLOCK_CHARACTERISTICS: u8 = 0xB1;
const PROVISIONING: u8 = 0xB2;

/// Ascending, as SPC-4 wants them listed.
const PAGES: [u8; 8] = [
    SUPPORTED_PAGES,
    SERIAL_NUMBER,
    DEVICE_IDENTIFICATION,
    EXTENDED_INQUIRY,
    THIRD_PARTY_COPY,
    BLOCK_LIMITS,
    BLOCK_CHARACTERISTICS,
    PROVISIONING,
];

/// Resources of thin provisioning are counted in units of 1 MiB.
pub(crate) const THRESHOLD_SHIFT: u32 = 20;

/// NAA 6h, the kind with 16 bytes; what follows is derived from the volume id and claims no company id.
const NAA_REGISTERED_EXTENDED: u8 = 0x6;

impl LogicalUnit {
    /// The page, or `None` where there is no such page.
    pub(crate) fn vpd(&self, page: u8, relative_target_port: u16) -> Option<Vec<u8>> {
        let mut data = vec![0x00, page, 0, 0];
        match page {
            SUPPORTED_PAGES => data.extend(PAGES),
            SERIAL_NUMBER => data.extend(self.serial_number().bytes()),
            DEVICE_IDENTIFICATION => self.designators(&mut data, relative_target_port),
            EXTENDED_INQUIRY => extended_inquiry(&mut data),
            THIRD_PARTY_COPY => crate::copy::third_party_page(&mut data),
            BLOCK_LIMITS => self.block_limits(&mut data),
            BLOCK_CHARACTERISTICS => block_characteristics(&mut data),
            PROVISIONING => self.provisioning(&mut data),
            _ => return None,
        }
        set_length16(&mut data, 2, 4);
        Some(data)
    }

    /// PRODUCT SERIAL NUMBER: the volume's id in hexadecimal.
    fn serial_number(&self) -> String {
        self.config.id.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// NAA designator (SPC-4, NAA 6h): 16 bytes of which 124 bits come from the volume's id.
    pub(crate) fn naa(&self) -> [u8; 16] {
        let mut naa = self.config.id;
        let folded = naa[0] ^ naa[8].rotate_left(4);
        naa[0] = NAA_REGISTERED_EXTENDED << 4 | (folded & 0x0F);
        naa
    }

    /// Device identification (SPC-4), the name that hosts should prefer first.
    fn designators(&self, data: &mut Vec<u8>, relative_target_port: u16) {
        const BINARY: u8 = 1;
        const ASCII: u8 = 2;
        const UTF8: u8 = 3;
        const UNIT: u8 = 0x00;
        const PORT: u8 = 0x90; // PIV, association 01b
        const DEVICE: u8 = 0xA0; // PIV, association 10b
        designator(data, BINARY, UNIT | 0x03, &self.naa());
        let t10 = [&ascii::<8>(VENDOR)[..], self.serial_number().as_bytes()].concat();
        designator(data, ASCII, UNIT | 0x01, &t10);
        let Some(port) = self.config.target_ports.iter().find(|p| p.relative_id == relative_target_port)
        else {
            return;
        };
        let [high, low] = port.relative_id.to_be_bytes();
        designator(data, ISCSI | BINARY, PORT | 0x04, &[0, 0, high, low]);
        let [high, low] = port.group.to_be_bytes();
        designator(data, ISCSI | BINARY, PORT | 0x05, &[0, 0, high, low]);
        designator(data, ISCSI | UTF8, PORT | 0x08, &scsi_name(&port.name));
        designator(data, ISCSI | UTF8, DEVICE | 0x08, &scsi_name(&self.config.target_name));
    }

    /// Block limits (SBC-3), in logical blocks; the limits are those that commands are checked against.
    fn block_limits(&self, data: &mut Vec<u8>) {
        let blocks = |bytes: u64| u32::try_from(bytes >> self.config.block_size.shift()).unwrap_or(u32::MAX);
        data.put_u8(0x01); // WSNZ
        data.put_u8(COMPARE_AND_WRITE_BLOCKS_MAX);
        data.put_u16(u16::try_from(blocks(UNMAP_GRANULARITY_BYTES)).unwrap_or(0)); // optimal transfer length granularity
        data.put_u32(blocks(TRANSFER_BYTES_MAX));
        data.put_u32(blocks(TRANSFER_BYTES_OPTIMAL));
        data.put_u32(blocks(PREFETCH_BYTES_MAX));
        data.put_u32(blocks(UNMAP_BYTES_MAX));
        data.put_u32(u32::from(UNMAP_DESCRIPTORS_MAX));
        data.put_u32(blocks(UNMAP_GRANULARITY_BYTES));
        data.put_u32(0x8000_0000); // UGAVALID, alignment 0
        data.put_u64(u64::from(blocks(WRITE_SAME_BYTES_MAX)));
        data.put_u32(blocks(ATOMIC_BYTES_MAX));
        data.put_u32(blocks(ATOMIC_UNIT_BYTES)); // atomic alignment
        data.put_u32(blocks(ATOMIC_UNIT_BYTES)); // atomic transfer length granularity
        data.put_u32(0); // atomic boundaries are not supported
        data.put_u32(0);
    }

    /// Logical block provisioning (SBC-3).
    fn provisioning(&self, data: &mut Vec<u8>) {
        const LBPU: u8 = 0x80;
        const LBPWS: u8 = 0x40;
        const LBPWS10: u8 = 0x20;
        const LBPRZ: u8 = 0x04;
        const THIN: u8 = 0x02;
        let exponent = THRESHOLD_SHIFT - self.config.block_size.shift();
        data.put_u8(u8::try_from(exponent).unwrap_or(0));
        data.put_u8(LBPU | LBPWS | LBPWS10 | LBPRZ);
        data.put_u8(THIN);
        data.put_u8(0);
    }
}

/// PROTOCOL IDENTIFIER iSCSI, for designators of ports and devices.
const ISCSI: u8 = 0x50;

fn designator(data: &mut Vec<u8>, code_set: u8, kind: u8, value: &[u8]) {
    data.put_u8(code_set);
    data.put_u8(kind);
    data.put_u8(0);
    data.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
    data.extend(value.iter().take(usize::from(u8::MAX)));
}

/// SCSI name string (SPC-4): null-terminated, padded to a multiple of four, 248 bytes at most.
fn scsi_name(name: &str) -> Vec<u8> {
    let mut value: Vec<u8> = name.bytes().take(247).collect();
    value.push(0);
    value.resize(value.len().next_multiple_of(4), 0);
    value
}

/// Extended INQUIRY data (SPC-4).
fn extended_inquiry(data: &mut Vec<u8>) {
    const SIMPSUP: u8 = 0x01;
    const ORDSUP: u8 = 0x02;
    const HEADSUP: u8 = 0x04;
    const V_SUP: u8 = 0x01;
    const LUICLR: u8 = 0x01;
    data.put_u8(0); // no protection
    data.put_u8(HEADSUP | ORDSUP | SIMPSUP);
    data.put_u8(V_SUP);
    data.put_u8(LUICLR);
    data.resize(64, 0);
}

/// Block device characteristics (SBC-3): non-rotating, form factor not reported.
fn block_characteristics(data: &mut Vec<u8>) {
    const NO_WRITE_AFTER_ERASE: u8 = 0x50; // WABEREQ and WACEREQ 01b: erased blocks can be read
    data.put_u16(0x0001);
    data.put_u8(0);
    data.put_u8(NO_WRITE_AFTER_ERASE);
    data.resize(64, 0);
}

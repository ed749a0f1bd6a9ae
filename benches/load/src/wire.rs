//! The few PDUs that a load generator sends (RFC 7143 §11), as plain 48-byte headers.

/// Length of a basic header segment.
pub(crate) const BHS_BYTES: usize = 48;
/// A tag that names no transfer.
pub(crate) const NO_TAG: u32 = 0xffff_ffff;

/// Opcodes of the target's PDUs.
pub(crate) mod opcode {
    pub(crate) const NOP_IN: u8 = 0x20;
    pub(crate) const SCSI_RESPONSE: u8 = 0x21;
    pub(crate) const LOGIN_RESPONSE: u8 = 0x23;
    pub(crate) const DATA_IN: u8 = 0x25;
    pub(crate) const R2T: u8 = 0x31;
}

/// A header segment under construction, or one that was received.
#[derive(Clone, Copy)]
pub(crate) struct Header(pub(crate) [u8; BHS_BYTES]);

impl Header {
    pub(crate) fn new(opcode: u8, flags: u8) -> Self {
        let mut bytes = [0; BHS_BYTES];
        bytes[0] = opcode;
        bytes[1] = flags;
        Self(bytes)
    }

    pub(crate) fn opcode(&self) -> u8 {
        self.0[0] & 0x3f
    }

    pub(crate) fn word(&self, offset: usize) -> u32 {
        u32::from_be_bytes([self.0[offset], self.0[offset + 1], self.0[offset + 2], self.0[offset + 3]])
    }

    pub(crate) fn set_word(mut self, offset: usize, value: u32) -> Self {
        self.0[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub(crate) fn lun(mut self, lun: u8) -> Self {
        self.0[9] = lun;
        self
    }

    pub(crate) fn cdb(mut self, cdb: &[u8; 16]) -> Self {
        self.0[32..48].copy_from_slice(cdb);
        self
    }

    pub(crate) fn data_bytes(&self) -> usize {
        (self.word(4) & 0x00ff_ffff) as usize
    }

    pub(crate) fn set_data_bytes(mut self, bytes: usize) -> Self {
        let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
        self.0[5..8].copy_from_slice(&length[1..4]);
        self
    }

    /// Length of the data segment with its padding.
    pub(crate) fn padded_bytes(&self) -> usize {
        self.data_bytes().next_multiple_of(4)
    }
}

/// READ(16) or WRITE(16) (SBC-3 §5.11, §5.38).
pub(crate) fn transfer_cdb(write: bool, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = if write { 0x8a } else { 0x88 };
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// SYNCHRONIZE CACHE(10) of the whole unit.
pub(crate) fn flush_cdb() -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x35;
    cdb
}

/// READ CAPACITY(16) with room for 32 bytes.
pub(crate) fn capacity_cdb() -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = 0x9e;
    cdb[1] = 0x10;
    cdb[13] = 32;
    cdb
}

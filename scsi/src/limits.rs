//! Every bound of this crate, in one place. What is advertised to initiators is enforced from the same constant.

/// MAXIMUM TRANSFER LENGTH of READ, WRITE, VERIFY with data and ORWRITE, in bytes (block limits page).
pub const TRANSFER_BYTES_MAX: u64 = 8 << 20;
/// OPTIMAL TRANSFER LENGTH, in bytes. Linux takes it as `max_sectors_kb`, so a small value cripples the disk.
pub const TRANSFER_BYTES_OPTIMAL: u64 = 1 << 20;
/// MAXIMUM PREFETCH LENGTH, in bytes.
pub const PREFETCH_BYTES_MAX: u64 = 64 << 20;
/// MAXIMUM WRITE SAME LENGTH, in bytes.
pub const WRITE_SAME_BYTES_MAX: u64 = 16 << 20;
/// MAXIMUM UNMAP LBA COUNT, in bytes, summed over the descriptors of one command.
pub const UNMAP_BYTES_MAX: u64 = 512 << 20;
/// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT.
pub const UNMAP_DESCRIPTORS_MAX: u16 = 256;
/// OPTIMAL UNMAP GRANULARITY, in bytes: the overlay's own block.
pub const UNMAP_GRANULARITY_BYTES: u64 = 4096;
/// MAXIMUM COMPARE AND WRITE LENGTH, in blocks: the widest value its one-byte field holds.
pub const COMPARE_AND_WRITE_BLOCKS_MAX: u8 = 255;
/// MAXIMUM ATOMIC TRANSFER LENGTH, in bytes.
pub const ATOMIC_BYTES_MAX: u64 = 256 << 10;
/// ATOMIC ALIGNMENT and ATOMIC TRANSFER LENGTH GRANULARITY, in bytes: the overlay's own block.
pub const ATOMIC_UNIT_BYTES: u64 = 4096;
/// Longest range that VERIFY without data or with one pattern block may name, in bytes.
pub const VERIFY_BYTES_MAX: u64 = 128 << 20;
/// Most LBA STATUS DESCRIPTORs in one answer.
pub const LBA_STATUS_DESCRIPTORS_MAX: usize = 1024;
/// Longest parameter list (MODE SELECT, PERSISTENT RESERVE OUT, EXTENDED COPY, UNMAP), in bytes.
pub const PARAMETER_LIST_BYTES_MAX: usize = 8192;
/// Registrations of persistent reservations on one logical unit.
pub const REGISTRATIONS_MAX: usize = 256;
/// I_T nexuses attached to one logical unit at once.
pub const NEXUSES_MAX: usize = 1024;
/// Lost I_T nexuses remembered so that a returning initiator port hears 29h/07h.
pub const LOST_NEXUSES_MAX: usize = 256;
/// Unit attentions queued for one I_T nexus; iPXE gives up after ten in a row.
pub const UNIT_ATTENTIONS_MAX: usize = 3;
/// Longest TransportID kept: an iSCSI name of 223 bytes, `,i,0x`, an ISID of 12 digits, header and padding.
pub const TRANSPORT_ID_BYTES_MAX: usize = 248;
/// Target ports of one logical unit.
pub const TARGET_PORTS_MAX: usize = 64;
/// Segment descriptors of one EXTENDED COPY.
pub const COPY_SEGMENTS_MAX: usize = 8;
/// Bytes moved by one EXTENDED COPY.
pub const COPY_BYTES_MAX: u64 = 256 << 20;
/// Target descriptors of one EXTENDED COPY.
pub const COPY_TARGETS_MAX: usize = 2;
/// Bytes of target and segment descriptors of one EXTENDED COPY.
pub const COPY_DESCRIPTOR_LIST_BYTES_MAX: usize = 1024;
/// Bytes moved by one segment of EXTENDED COPY.
pub const COPY_SEGMENT_BYTES_MAX: u64 = 32 << 20;

//! Every size and bound of the store in one place.

/// Bytes of one block: the unit of mapping, checksum and space.
pub const BLOCK_BYTES: u64 = 4096;
/// [`BLOCK_BYTES`] as a `usize`, for buffers.
pub const BLOCK_LEN: usize = 4096;
/// Bytes of a segment's header, before its summary: one block.
pub const HEADER_BYTES: u32 = 4096;
/// Bytes of a sector: what the medium writes whole or not at all, and the granularity of requests.
pub const SECTOR_BYTES: u64 = 512;
/// Largest volume: 2^32 blocks.
pub const VOLUME_BYTES_MAX: u64 = BLOCK_BYTES << 32;
/// Bytes of a whole segment file.
pub const SEGMENT_BYTES: u64 = 64 << 20;
/// Where a segment's data begins; header and summary lie before it.
pub const SEGMENT_DATA_OFFSET: u32 = 1 << 20;
/// Blocks of data that fit into one segment.
pub const SEGMENT_BLOCKS: u32 = 16_128;
/// Most blocks that one record describes, and so the largest write that is atomic across a crash.
pub const RECORD_BLOCKS_MAX: usize = 256;
/// Most segments of one layer at a time: a place is a 26-bit slot and a 14-bit block.
pub const SEGMENT_SLOTS_MAX: usize = 1 << 26;
/// Bytes of the summary that are written with zeros ahead, so that a record of a trim finds room on a full disk
/// and no sync has to make an allocation durable.
pub const SUMMARY_AHEAD_BYTES: u32 = 32 << 10;
/// Blocks that are written with zeros ahead of a writer that syncs often.
pub const DATA_AHEAD_BLOCKS: u32 = 64;
/// Data is allocated ahead by at most one block in so many that the layer holds,
pub const AHEAD_SHARE: u64 = 16;
/// but by no fewer than these.
pub const AHEAD_BLOCKS_MIN: u32 = 4;
/// A sync that found no more new blocks than this counts as one of many small ones.
pub const SMALL_SYNC_BLOCKS: u32 = 32;
/// Part of the allocated-ahead summary that data records leave to trims and markers.
pub const SUMMARY_RESERVE_BYTES: u32 = 16 << 10;
/// Data leaves this part of the file system to metadata: one in so many bytes, within the bounds below.
pub const RESERVE_SHARE: u64 = 64;
/// Least reserve of a file system.
pub const RESERVE_BYTES_MIN: u64 = 1 << 20;
/// Largest reserve of a file system.
pub const RESERVE_BYTES_MAX: u64 = 1 << 30;
/// Blocks of data that may be written between two looks at the file system's room.
pub const ROOM_STEP_BLOCKS: u64 = 4096;
/// Dead bytes below which nothing is given back.
pub const RECLAIM_BYTES_MIN: u64 = 4 << 20;
/// Dead bytes are given back when they are more than one in so many live ones.
pub const RECLAIM_SHARE: u64 = 4;
/// Dead bytes that are given back however many are live.
pub const RECLAIM_BYTES_ALWAYS: u64 = 1 << 30;
/// Dead bytes of a layer, if it has no more live ones, from which on its writers wait until they are given back.
pub const DEAD_BYTES_ALLOWED: u64 = 512 << 20;
/// Slots of segments that a layer keeps for records of trims, and the half of them for copies of live blocks.
pub const SLOTS_KEPT: usize = 4;
/// Dead segments that are unlinked however little was in them.
pub const DEAD_SEGMENTS_MAX: usize = 16;
/// Share of a segment's blocks that may be live for it to be worth emptying.
pub const COMPACT_LIVE_PERCENT: u64 = 25;
/// The same where the layer has few slots left.
pub const COMPACT_LIVE_PERCENT_SHORT: u64 = 90;
/// Fewer sparse segments than this are left as they are.
pub const COMPACT_SEGMENTS_MIN: usize = 4;
/// Bytes that a round of upkeep copies out of sparse segments, in all volumes together.
pub const COMPACT_BYTES_ROUND: u64 = 8 << 20;
/// Markers that a round of upkeep writes and syncs, in all volumes together.
pub const MARKERS_ROUND: usize = 8;
/// Most blocks that are copied in one change.
pub const COMPACT_STEP_BLOCKS: usize = 64;
/// Copied blocks between two syncs.
pub const COMPACT_SYNC_BLOCKS: u64 = 256;
/// Files of removed layers that are unlinked before the call that removed them returns.
pub const RELEASE_FILES_AT_ONCE: usize = 32;
/// Files of removed layers that one round of upkeep unlinks.
pub const RELEASE_FILES_ROUND: usize = 1024;
/// Records after the last checkpoint that call for the next one: so many are replayed well within a second.
pub const REPLAY_RECORDS_MAX: u64 = 400_000;
/// Blocks that are looked at in one step when layers are merged.
pub const MERGE_BLOCKS: u64 = 1 << 16;
/// Share of its room from which on a store, or a volume with a quota, should be looked after.
pub const SOFT_PERCENT: u64 = 75;
/// Share of its room from which on somebody should act.
pub const HIGH_PERCENT: u64 = 90;
/// How far below the share at which it rose a level falls again.
pub const LEVEL_HYSTERESIS_PERCENT: u64 = 2;
/// Bytes of an image's chunk: the unit of its digest tree.
pub const CHUNK_BYTES: u64 = 64 << 10;
/// Bytes of a disk that are looked up at a time where it is read whole.
pub const STILL_WINDOW_BYTES: u64 = 64 << 20;
/// Bytes that a capture reads at a time.
pub const CAPTURE_PART_BYTES: usize = 1 << 20;
/// Bytes of one digest (SHA-256).
pub const DIGEST_BYTES: u64 = 32;
/// Longest name of an image, volume or snapshot.
pub const NAME_CHARS_MAX: usize = 64;
/// Most layers below a volume, its own included.
pub const LAYERS_MAX: usize = 64;
/// Largest manifest.
pub const MANIFEST_BYTES_MAX: usize = 16 << 10;
/// Most entries of one leaf of the index.
pub const LEAF_ENTRIES_MAX: usize = 512;
/// Most blocks of one leaf of the index.
pub const LEAF_BLOCKS_MAX: usize = 2048;
/// Longest run of one index entry.
pub const RUN_BLOCKS_MAX: u32 = 256;

const _: () = assert!(SEGMENT_DATA_OFFSET as u64 + SEGMENT_BLOCKS as u64 * BLOCK_BYTES == SEGMENT_BYTES);
const _: () = assert!(SEGMENT_BLOCKS < 1 << 14);

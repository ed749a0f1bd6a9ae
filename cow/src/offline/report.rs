//! What a check found.

use std::{fmt, path::PathBuf};

use super::ranges::Ranges;
use crate::ids::{ImageId, LayerId, SnapshotId, StoreId, VolumeId};

/// What can be had in the place of a damaged manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ManifestRescue {
    /// All of it: one byte was wrong, and its checksum says which.
    OneByte,
    /// An older one, with this number.
    Older(u64),
}

/// What is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// It cannot be read at all.
    Unreadable {
        /// The system's words.
        why: String,
    },
    /// It does not say that this is a store.
    Identity {
        /// What is wrong.
        damage: String,
    },
    /// A manifest is damaged.
    Manifest {
        /// What is wrong.
        damage: String,
        /// What can be had in its place.
        rescue: Option<ManifestRescue>,
    },
    /// A manifest names a golden image that is not there.
    ImageMissing {
        /// Its identifier.
        image: ImageId,
    },
    /// The newest checkpoint of a layer is damaged; its map was rebuilt from the records.
    Checkpoint {
        /// What is wrong.
        damage: String,
    },
    /// A segment that the map looks at is not there.
    SegmentMissing,
    /// The header of a segment is damaged.
    Header {
        /// What is wrong.
        damage: String,
        /// One byte was wrong, and its checksum says which.
        mended: bool,
    },
    /// A segment ends before blocks that the map looks at.
    CutShort {
        /// Its length.
        bytes: u64,
    },
    /// Records that had been made durable are damaged or not there.
    Records {
        /// Sequence number of the first.
        first: u64,
        /// Sequence number of the last.
        last: u64,
        /// How many of them had one wrong byte only and can be read all the same.
        mended: u64,
    },
    /// The log ends before its data does: its last records are lost.
    Tail {
        /// Blocks of data that no record tells of.
        blocks: u64,
    },
    /// Records that the newest checkpoint covers are gone from the log that goes on behind it: those behind it may
    /// be gone as well.
    Summary,
    /// Records that the newest checkpoint covers, and that had been durable, are damaged: the map could not be rebuilt
    /// without it.
    Spare {
        /// Sequence number of the first.
        first: u64,
        /// Sequence number of the last.
        last: u64,
    },
    /// Blocks are not what was written.
    Blocks {
        /// Which blocks of the segment.
        places: Ranges,
    },
    /// Blocks were lost before a repair, which marked them.
    Marked {
        /// Which blocks of the segment.
        places: Ranges,
    },
    /// The digests of a golden image are damaged.
    Digests {
        /// What is wrong, and what that means.
        damage: String,
    },
    /// The content of a golden image is not there.
    ContentMissing,
    /// Chunks of a golden image are not what was imported.
    Chunks {
        /// Which.
        chunks: Ranges,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(f, "cannot be read: {why}"),
            Self::Identity { damage } => write!(f, "does not say which store this is: {damage}"),
            Self::Manifest { damage, rescue } => {
                write!(f, "the manifest is {damage}")?;
                match rescue {
                    None => Ok(()),
                    Some(ManifestRescue::OneByte) => f.write_str("; one wrong byte, which can be put right"),
                    Some(ManifestRescue::Older(n)) => write!(f, "; number {n}, an older one, is sound"),
                }
            }
            Self::ImageMissing { image } => write!(f, "names golden image {image}, which is not there"),
            Self::Checkpoint { damage } => {
                write!(f, "the checkpoint is {damage}; the map can be rebuilt from the records")
            }
            Self::SegmentMissing => f.write_str("the segment is missing"),
            Self::Header { damage, mended: false } => write!(f, "the segment's header is {damage}"),
            Self::Header { damage, mended: true } => {
                write!(f, "the segment's header is {damage}; one wrong byte, which can be put right")
            }
            Self::CutShort { bytes } => write!(f, "cut short at {bytes} bytes"),
            Self::Records { first, last, mended } => {
                match first == last {
                    true => write!(f, "record {first} is damaged or missing")?,
                    false => write!(f, "records {first} to {last} are damaged or missing")?,
                }
                match mended {
                    0 => Ok(()),
                    n if *n == last - first + 1 => {
                        f.write_str("; one wrong byte in each, which can be put right")
                    }
                    n => write!(f, "; {n} of them can be put right"),
                }
            }
            Self::Tail { blocks } => {
                write!(f, "the last records are lost: there are {blocks} blocks of data behind them")
            }
            Self::Summary => {
                f.write_str("the records before the checkpoint are gone, and perhaps some behind it")
            }
            Self::Spare { first, last } => {
                write!(f, "records {first} to {last} are damaged, which the checkpoint covers")
            }
            Self::Blocks { places } => write!(f, "checksum mismatch in {}", listed("block", places)),
            Self::Marked { places } => {
                write!(f, "lost before the store was repaired: {}", listed("block", places))
            }
            Self::Digests { damage } => write!(f, "the digests are {damage}"),
            Self::ContentMissing => f.write_str("the content of the golden image is missing"),
            Self::Chunks { chunks } => write!(f, "digest mismatch in {}", listed("chunk", chunks)),
        }
    }
}

/// `block 5`, `blocks 5, 7..9 (4 in all)`: at most a few ranges.
fn listed(what: &str, ranges: &Ranges) -> String {
    const SHOWN: usize = 8;
    let total = ranges.total();
    let shown: Vec<String> = ranges
        .iter()
        .take(SHOWN)
        .map(|range| match range.end - range.start {
            1 => range.start.to_string(),
            _ => format!("{} to {}", range.start, range.end - 1),
        })
        .collect();
    let more = if ranges.iter().nth(SHOWN).is_some() { ", …" } else { "" };
    match total {
        1 => format!("{what} {}", shown.join(", ")),
        _ => format!("{what}s {}{more} ({total} in all)", shown.join(", ")),
    }
}

/// Whose data.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A volume.
    Volume {
        /// Its identifier.
        id: VolumeId,
        /// Its name.
        name: String,
    },
    /// A snapshot.
    Snapshot {
        /// Its identifier.
        id: SnapshotId,
        /// Its name, after that of its volume.
        name: String,
    },
    /// A golden image.
    Image {
        /// Its identifier.
        id: ImageId,
        /// Its name.
        name: String,
    },
    /// A layer that no manifest names.
    Layer {
        /// Its identifier.
        id: LayerId,
    },
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Volume { name, .. } => write!(f, "volume {name}"),
            Self::Snapshot { name, .. } => write!(f, "snapshot {name}"),
            Self::Image { name, .. } => write!(f, "golden image {name}"),
            Self::Layer { id } => write!(f, "layer {id}, which no manifest names"),
        }
    }
}

/// How much of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// These bytes.
    Bytes(Ranges),
    /// Some blocks show an older state, or what lies below; which ones cannot be known.
    Somewhere,
    /// All of it cannot be reached.
    All,
}

/// What somebody lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub owner: Owner,
    /// What.
    pub extent: Extent,
}

/// Something wrong, and what it costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The file, from the store's directory on.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: Problem,
    /// What is lost by it; nothing where another copy has it.
    pub losses: Vec<Loss>,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Which store, if that can be read.
    pub store: Option<StoreId>,
    /// Damage.
    pub findings: Vec<Finding>,
    /// Layers that no manifest names, with the blocks they hold. They are never removed; a repair makes volumes of
    /// them.
    pub orphans: Vec<(LayerId, u64)>,
    /// What was begun and not finished. The next opening tidies it up.
    pub unfinished: Vec<String>,
    /// Golden images, volumes, snapshots and layers that were looked at.
    pub counts: Counts,
}

/// How much was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Golden images.
    pub images: usize,
    /// Volumes.
    pub volumes: usize,
    /// Snapshots.
    pub snapshots: usize,
    /// Layers.
    pub layers: usize,
    /// Bytes of data whose checksums were compared.
    pub verified_bytes: u64,
}

impl Report {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
    }
}

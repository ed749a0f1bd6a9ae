//! What a logical unit is told about itself when it is made.

use bytes::Bytes;

use crate::limits::TARGET_PORTS_MAX;

/// PRODUCT IDENTIFICATION of a volume.
pub(crate) const PRODUCT: &str = "OS volume";

/// Logical and physical block lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BlockSize {
    /// 512-byte logical blocks on 4096-byte physical ones.
    #[default]
    Emulated512,
    /// 4096-byte blocks.
    Native4096,
}

impl BlockSize {
    /// log2 of the logical block length.
    #[must_use]
    pub fn shift(self) -> u32 {
        match self {
            Self::Emulated512 => 9,
            Self::Native4096 => 12,
        }
    }

    /// The logical block length in bytes.
    #[must_use]
    pub fn bytes(self) -> u32 {
        1 << self.shift()
    }

    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT.
    pub(crate) fn physical_exponent(self) -> u8 {
        match self {
            Self::Emulated512 => 3,
            Self::Native4096 => 0,
        }
    }
}

/// A target port through which the unit is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPort {
    /// RELATIVE TARGET PORT IDENTIFIER, from 1.
    pub relative_id: u16,
    /// TARGET PORT GROUP.
    pub group: u16,
    /// SCSI name of the port, for iSCSI `<target name>,t,0x<portal group tag>`.
    pub name: String,
}

/// The identity and shape of one logical unit. It does not change while the unit lives, but by `LogicalUnit`'s methods.
#[derive(Clone, Debug)]
pub struct UnitConfig {
    /// The volume's id: every designator and the serial number are derived from it.
    pub id: [u8; 16],
    /// SCSI name of the target device, for iSCSI the target name.
    pub target_name: String,
    /// PRODUCT IDENTIFICATION; 16 characters at most.
    pub product: &'static str,
    /// The number of this unit.
    pub number: u16,
    /// Numbers of all units of the target, this one among them: what REPORT LUNS tells.
    pub numbers: Vec<u16>,
    /// Capacity; a part of a block at the end is not used.
    pub size_bytes: u64,
    /// Block lengths.
    pub block_size: BlockSize,
    /// The medium is write protected (a golden image, a snapshot).
    pub read_only: bool,
    /// WCE: writes are acknowledged from the cache.
    pub write_cache: bool,
    /// Through which ports it is reached; at least one.
    pub target_ports: Vec<TargetPort>,
    /// What was stored for `Action::SaveReservations` last, if anything.
    pub reservations: Option<Bytes>,
}

/// A configuration that makes no disk.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Smaller than one block.
    #[error("a logical unit of {size_bytes} bytes has no block")]
    TooSmall {
        /// The size given.
        size_bytes: u64,
    },
    /// No target port, too many, or two with one identifier.
    #[error("a logical unit has 1 to {TARGET_PORTS_MAX} target ports with identifiers of their own")]
    TargetPorts,
    /// The stored state of persistent reservations is damaged.
    #[error("the stored state of persistent reservations is damaged")]
    Reservations,
    /// The medium would shrink.
    #[error("a logical unit in use does not shrink")]
    Shrink,
}

impl UnitConfig {
    /// A read-write volume with write cache, reached through one port.
    #[must_use]
    pub fn volume(id: [u8; 16], target_name: &str, size_bytes: u64) -> Self {
        let port = TargetPort { relative_id: 1, group: 1, name: format!("{target_name},t,0x0001") };
        Self {
            id,
            target_name: target_name.to_owned(),
            product: PRODUCT,
            number: 0,
            numbers: vec![0],
            size_bytes,
            block_size: BlockSize::default(),
            read_only: false,
            write_cache: true,
            target_ports: vec![port],
            reservations: None,
        }
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        if self.size_bytes < u64::from(self.block_size.bytes()) {
            return Err(ConfigError::TooSmall { size_bytes: self.size_bytes });
        }
        let mut ids: Vec<u16> = self.target_ports.iter().map(|p| p.relative_id).collect();
        ids.sort_unstable();
        ids.dedup();
        let sound = (1..=TARGET_PORTS_MAX).contains(&ids.len()) && ids.len() == self.target_ports.len();
        if sound && !ids.contains(&0) { Ok(()) } else { Err(ConfigError::TargetPorts) }
    }
}

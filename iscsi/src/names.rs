//! The identifiers of RFC 7143, a type each.

use crate::error::NameError;
use crate::limits::NAME_BYTES_MAX;
use std::fmt;
use std::sync::Arc;

/// An iSCSI name (RFC 7143 §4.2.7.1, §4.2.7.2): `iqn.`, `eui.` or `naa.`, kept in lower case, cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IscsiName(Arc<str>);

impl IscsiName {
    /// Takes a name as a peer or an operator writes it.
    ///
    /// # Errors
    /// When it is empty, longer than 223 bytes, of an unknown kind, or holds a character that no name may hold.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        // Some letters are longer in lower case, which is how the name is kept and told.
        let lower = text.to_lowercase();
        if text.len().max(lower.len()) > NAME_BYTES_MAX {
            return Err(NameError::TooLong);
        }
        // Initiators in the field use capitals and underscores; names compare without case (RFC 3722), and what
        // else is printable and harms no log or list is let through.
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == ',') {
            return Err(NameError::Character);
        }
        if ["iqn.", "eui.", "naa."].iter().any(|kind| lower.starts_with(kind)) {
            Ok(Self(lower.into()))
        } else {
            Err(NameError::Kind)
        }
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for IscsiName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Initiator part of the session identifier (RFC 7143 §11.12.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Isid(pub [u8; 6]);

impl fmt::Display for Isid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Target session identifying handle (RFC 7143 §11.12.6); zero means "a new session".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tsih(pub u16);

/// Connection identifier (RFC 7143 §11.12.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u16);

/// Target portal group tag (RFC 7143 §13.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortalGroupTag(pub u16);

impl Default for PortalGroupTag {
    fn default() -> Self {
        Self(1)
    }
}

/// The eight bytes of a logical unit number as they stand in a PDU (SAM-5 §4.7).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogicalUnitNumber(pub [u8; 8]);

impl LogicalUnitNumber {
    /// LUN 0: an OS volume's only logical unit.
    pub const ZERO: Self = Self([0; 8]);

    /// A single-level number, in peripheral addressing below 256 and flat addressing above (SAM-5 §4.7.7).
    #[must_use]
    pub const fn single_level(number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        let method = if number < 256 { 0 } else { 0x40 };
        Self([high & 0x3f | method, low, 0, 0, 0, 0, 0, 0])
    }

    /// The number, when this is a single-level address in peripheral (bus 0) or flat addressing.
    #[must_use]
    pub fn as_single_level(self) -> Option<u16> {
        let [first, second, rest @ ..] = self.0;
        if rest != [0; 6] {
            return None;
        }
        match first >> 6 {
            0 if first == 0 => Some(u16::from(second)),
            1 => Some(u16::from_be_bytes([first & 0x3f, second])),
            _ => None,
        }
    }

    /// Do both name one logical unit? A number below 256 can be written in either form (SAM-5 §4.7.7), and whoever
    /// resets a unit means its tasks however their commands named it.
    #[must_use]
    pub fn names_same_unit(self, other: Self) -> bool {
        let number = self.as_single_level();
        self == other || number.is_some() && number == other.as_single_level()
    }
}

impl fmt::Debug for LogicalUnitNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.as_single_level() {
            Some(number) => write!(f, "lun {number}"),
            None => write!(f, "lun {:02x?}", self.0),
        }
    }
}

/// Initiator task tag (RFC 7143 §11.2.1.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InitiatorTaskTag(pub u32);

impl InitiatorTaskTag {
    /// The tag that stands for "no task".
    pub const RESERVED: Self = Self(u32::MAX);
}

/// Target transfer tag (RFC 7143 §11.7.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetTransferTag(pub u32);

impl TargetTransferTag {
    /// The tag that stands for "no transfer".
    pub const RESERVED: Self = Self(u32::MAX);
}

/// What a session is for (RFC 7143 §13.21).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SessionType {
    /// SCSI commands to one target.
    #[default]
    Normal,
    /// SendTargets only.
    Discovery,
}

/// Names one command on one connection, from [`crate::Event::Command`] to its completion.
/// It is never reused for another command, so a late completion finds nothing instead of the wrong task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TaskId {
    pub(crate) index: u16,
    pub(crate) generation: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_in_lower_case() {
        assert_eq!(IscsiName::parse("IQN.2026-01.io.Osvol:A").unwrap().as_str(), "iqn.2026-01.io.osvol:a");
    }

    #[test]
    fn a_name_of_no_known_kind_is_refused() {
        assert_eq!(IscsiName::parse("host1"), Err(NameError::Kind));
        assert_eq!(IscsiName::parse(""), Err(NameError::Empty));
        assert_eq!(IscsiName::parse("iqn.2026-01.a:b c"), Err(NameError::Character));
        assert_eq!(IscsiName::parse(&format!("iqn.{}", "a".repeat(220))), Err(NameError::TooLong));
        assert!(IscsiName::parse(&format!("iqn.{}", "a".repeat(219))).is_ok());
        // Two bytes each, three in lower case.
        assert_eq!(IscsiName::parse(&format!("iqn.{}", "\u{130}".repeat(100))), Err(NameError::TooLong));
        assert!(IscsiName::parse(&format!("iqn.{}", "\u{130}".repeat(73))).is_ok());
    }

    #[test]
    fn single_level_luns_of_both_methods() {
        assert_eq!(LogicalUnitNumber([0, 7, 0, 0, 0, 0, 0, 0]).as_single_level(), Some(7));
        assert_eq!(LogicalUnitNumber([0x41, 2, 0, 0, 0, 0, 0, 0]).as_single_level(), Some(258));
        assert_eq!(LogicalUnitNumber([0, 7, 1, 0, 0, 0, 0, 0]).as_single_level(), None);
        assert_eq!(LogicalUnitNumber::single_level(258).0, [0x41, 2, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_unit_has_one_name_in_each_method() {
        let [peripheral, flat] =
            [[0, 7], [0x40, 7]].map(|[a, b]| LogicalUnitNumber([a, b, 0, 0, 0, 0, 0, 0]));
        assert!(peripheral.names_same_unit(flat) && flat.names_same_unit(peripheral));
        assert!(!flat.names_same_unit(LogicalUnitNumber::ZERO));
        let [one, other] = [1, 2].map(|last| LogicalUnitNumber([0, 7, 0, 0, 0, 0, 0, last]));
        assert!(one.names_same_unit(one) && !one.names_same_unit(other), "without a number only themselves");
    }
}

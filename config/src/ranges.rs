//! Ranges of addresses: `10.0.0.0/8`, `fd00::/8`, or one address alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bits of an IPv6 address before an IPv4 address that is mapped into it (`::ffff:0:0/96`, RFC 4291 §2.5.5.2).
const MAPPED_BITS: u8 = 96;

/// Addresses with a prefix in common (RFC 4632). An IPv4 address that is mapped into IPv6 is the IPv4 address, in a
/// range as in what it is compared with: else a rule for one form would let the other past.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    /// Its first address.
    first: IpAddr,
    prefix_bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// No address before the slash.
    #[error("{0:?} is no range of addresses; write it as 10.0.0.0/8, fd00::/8 or one address")]
    Address(String),
    /// No number of bits after it, or too many.
    #[error("{text:?} is no range of addresses: after the slash comes a number from 0 to {bits_max}")]
    Prefix {
        /// The text.
        text: String,
        /// Bits that an address of its family has.
        bits_max: u8,
    },
    /// The address has bits behind its prefix: one of the two is a slip.
    #[error("{text:?} has an address that is not the first of its range; did you mean {meant}?")]
    HostBits {
        /// The text.
        text: String,
        /// The range that it is in.
        meant: AddressRange,
    },
}

impl AddressRange {
    /// Is this address one of the range?
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix_bits.into()
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= self.prefix_bits.into()
            }
            _ => false,
        }
    }

    /// The range of that many bits that an address is in.
    fn around(address: IpAddr, prefix_bits: u8) -> Self {
        let first = match address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix_bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix_bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { first, prefix_bits }
    }
}

impl FromStr for AddressRange {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| RangeError::Address(text.to_owned()))?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let wrong = || RangeError::Prefix { text: text.to_owned(), bits_max };
        let digits = |bits: &str| bits.bytes().all(|byte| byte.is_ascii_digit());
        let mut bits = match bits {
            None => bits_max,
            Some(bits) if digits(bits) => bits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
        };
        if bits > bits_max {
            return Err(wrong());
        }
        let mut plain = address;
        if address.is_ipv6() && address.to_canonical().is_ipv4() && bits >= MAPPED_BITS {
            (plain, bits) = (address.to_canonical(), bits - MAPPED_BITS);
        }
        match Self::around(plain, bits) {
            range if range.first == plain => Ok(range),
            meant => Err(RangeError::HostBits { text: text.to_owned(), meant }),
        }
    }
}

impl TryFrom<String> for AddressRange {
    type Error = RangeError;

    fn try_from(text: String) -> Result<Self, RangeError> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix_bits)
    }
}

impl fmt::Debug for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_a_range_or_not() {
        const TABLE: &[(&str, &str, bool)] = &[
            ("10.0.0.0/8", "10.0.0.0", true),
            ("10.0.0.0/8", "10.255.255.255", true),
            ("10.0.0.0/8", "11.0.0.0", false),
            ("10.0.0.0/8", "9.255.255.255", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.2", false),
            ("10.1.2.2/31", "10.1.2.3", true),
            ("10.1.2.2/31", "10.1.2.4", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "fe80::1", true),
            // An IPv4 address, in whatever form it comes.
            ("10.0.0.0/8", "::ffff:10.1.2.3", true),
            ("10.0.0.0/8", "::ffff:11.1.2.3", false),
            ("::ffff:10.0.0.0/104", "10.1.2.3", true),
            ("::ffff:10.1.2.3", "::ffff:10.1.2.3", true),
            ("::ffff:10.1.2.3", "10.1.2.4", false),
            ("::/0", "::ffff:10.1.2.3", false),
            ("::/0", "10.1.2.3", false),
            ("fd00::/8", "fd12:3456::1", true),
            ("fd00::/8", "fe00::1", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("2001:db8::1", "2001:db8::2", false),
            ("2001:db8::/127", "2001:db8::1", true),
            ("2001:db8::/127", "2001:db8::2", false),
        ];
        for (text, address, inside) in TABLE {
            assert_eq!(range(text).contains(address.parse().unwrap()), *inside, "{address} in {text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused_with_what_would_be_right() {
        let error = |text: &str| text.parse::<AddressRange>().unwrap_err().to_string();
        for text in ["", "/8", "10.0.0", "10.0.0.0.0/8", "host", "fe80::1%eth0", "[::1]", " 10.0.0.1"] {
            assert!(error(text).contains("write it as 10.0.0.0/8"), "{text:?}");
        }
        for text in ["10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.0/256"]
        {
            assert!(error(text).contains("a number from 0 to 32"), "{text:?}");
        }
        assert!(error("fd00::/129").contains("from 0 to 128"));
        assert!(error("10.1.2.3/24").contains("did you mean 10.1.2.0/24?"));
        assert!(error("::ffff:10.1.2.3/104").contains("did you mean 10.0.0.0/8?"));
    }

    #[test]
    fn a_range_is_written_as_it_is_read() {
        for text in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "fd00::/8", "10.1.2.3/32", "2001:db8::1/128"] {
            assert_eq!(range(text).to_string(), text);
        }
        assert_eq!(range("10.1.2.3").to_string(), "10.1.2.3/32");
    }
}

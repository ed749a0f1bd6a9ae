//! Sizes such as `40GiB` and durations such as `90s`.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};

/// A number of bytes. Read from `512`, `512M`, `40G`, `40GiB`, `1.5TiB`, `20GB`.
///
/// A bare letter is binary (as in `qemu-img`, `truncate` and `lvcreate`); `kB`, `MB`, `GB`, `TB` are decimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

/// A length of time. Read from `500ms`, `90s`, `10min`, `10m`, `1h`, `2d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(std::time::Duration);

/// Why a text is not a size or a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a number and a unit.
    #[error("{0:?} is not a size; write a number and a unit, for instance 40GiB or 512M")]
    Size(String),
    /// More than fits.
    #[error("the size {0:?} is too large")]
    SizeTooLarge(String),
    /// Half a byte.
    #[error("the size {0:?} is not a whole number of bytes")]
    SizeNotWhole(String),
    /// Not a number and a unit.
    #[error("{0:?} is not a duration; write a number and a unit, for instance 90s, 10min or 1h")]
    Duration(String),
}

impl Size {
    /// That many bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let factor = size_factor(unit).ok_or_else(|| UnitError::Size(text.to_owned()))?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) || number.ends_with('.') {
            return Err(UnitError::Size(text.to_owned()));
        }
        let too_large = || UnitError::SizeTooLarge(text.to_owned());
        let bytes = whole.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(too_large)?;
        let part =
            fraction_bytes(fraction, factor).ok_or_else(|| UnitError::SizeNotWhole(text.to_owned()))?;
        bytes.checked_add(part).map(Self).ok_or_else(too_large)
    }
}

/// `.5` of a unit in bytes, `None` when that is not a whole number.
fn fraction_bytes(digits: &str, factor: u64) -> Option<u64> {
    if digits.is_empty() {
        return Some(0);
    }
    if digits.len() > 9 {
        return None;
    }
    let numerator = u128::from(digits.parse::<u64>().ok()?) * u128::from(factor);
    let denominator = 10u128.pow(u32::try_from(digits.len()).ok()?);
    (numerator % denominator == 0).then(|| u64::try_from(numerator / denominator).ok()).flatten()
}

fn size_factor(unit: &str) -> Option<u64> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "p" | "pib" => 1 << 50,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "pb" => 1_000_000_000_000_000,
        _ => return None,
    })
}

/// Splits `40 GiB` before its unit.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    (number, unit.trim_start())
}

impl fmt::Display for Size {
    /// `40 GiB`, `1.5 TiB`, `512 B`: three digits are enough for a reader.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let exponent = (63 - self.0.max(1).leading_zeros()) / 10;
        let unit = UNITS.get(exponent as usize).copied().unwrap_or("B");
        let shift = exponent * 10;
        let whole = self.0 >> shift;
        let tenths = (u128::from(self.0 - (whole << shift)) * 10) >> shift;
        let text = match tenths {
            0 => format!("{whole} {unit}"),
            _ if whole >= 100 => format!("{whole} {unit}"),
            _ => format!("{whole}.{tenths} {unit}"),
        };
        f.pad(&text)
    }
}

impl Duration {
    /// That many seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(std::time::Duration::from_secs(seconds))
    }

    /// As the standard library has it.
    #[must_use]
    pub const fn as_std(self) -> std::time::Duration {
        self.0
    }
}

impl FromStr for Duration {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (number, unit) = split(text);
        let bad = || UnitError::Duration(text.to_owned());
        let factor_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" | "min" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(bad()),
        };
        let ms = number.parse::<u64>().ok().and_then(|n| n.checked_mul(factor_ms)).ok_or_else(bad)?;
        Ok(Self(std::time::Duration::from_millis(ms)))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"40GiB\", or a number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom(UnitError::Size(bytes.to_string())))
            }
            fn visit_u64<E: de::Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"90s\" or \"1h\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(text: &str) -> Result<u64, UnitError> {
        text.parse::<Size>().map(Size::bytes)
    }

    #[test]
    fn sizes_in_every_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("512M", 512 << 20),
            ("40G", 40 << 30),
            ("40GiB", 40 << 30),
            ("40 gib", 40 << 30),
            ("1.5T", 3 << 39),
            ("20GB", 20_000_000_000),
            ("0.5k", 512),
            ("8191P", 8191 << 50),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn sizes_that_are_none() {
        for text in ["", "G", "-1G", "4 0G", "40X", "1..5G", "1.G", ".5G", "0x10", "1e9", "½G"] {
            assert_eq!(size(text), Err(UnitError::Size(text.into())), "{text}");
        }
        assert_eq!(size("99999P"), Err(UnitError::SizeTooLarge("99999P".into())));
        assert_eq!(size("0.3"), Err(UnitError::SizeNotWhole("0.3".into())));
    }

    #[test]
    fn sizes_are_shown_short() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1 << 30, "1 GiB"),
            (3 << 39, "1.5 TiB"),
            ((1 << 40) - 1, "1023 GiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(Size::from_bytes(bytes).to_string(), text);
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [("500ms", 500), ("90s", 90_000), ("10min", 600_000), ("1h", 3_600_000), ("0s", 0)]
        {
            assert_eq!(text.parse::<Duration>().unwrap().as_std().as_millis(), ms, "{text}");
        }
        for text in ["", "1", "s", "-1s", "1.5h", "1 year", "999999999999999999d"] {
            assert!(text.parse::<Duration>().is_err(), "{text}");
        }
    }
}

//! Names: which ones may be given, and the short name that goes with a long one, as Linux chooses it.

use super::super::trouble::{Errno, Result, Trouble};
use super::codepage;

pub(super) const SHORT_BYTES: usize = 11;
const BASE_BYTES: usize = 8;
const EXTENSION_BYTES: usize = 3;
/// Longest name, in UTF-16.
const LONG_UNITS_MAX: usize = 255;
/// The first byte of a removed entry, and what stands for it in a name.
pub(super) const REMOVED: u8 = 0xE5;
pub(super) const REALLY_E5: u8 = 0x05;

pub(super) type ShortName = [u8; SHORT_BYTES];

/// A name for a new entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NewName {
    pub(super) short: ShortName,
    /// The long name in UTF-16; none if the short one says it all.
    pub(super) long: Option<Vec<u16>>,
}

/// What the kernel takes a name for: dots at its end do not count.
pub(super) fn stripped(name: &str) -> &str {
    name.trim_end_matches('.')
}

impl NewName {
    /// For a name that a directory does not have yet. `is_taken` tells which short names it has.
    pub(super) fn choose(name: &str, is_taken: impl Fn(&ShortName) -> bool) -> Result<Self> {
        let name = stripped(name);
        let units: Vec<u16> = name.encode_utf16().collect();
        if name.is_empty() {
            return Err(Errno::NoEntry.into());
        }
        if units.len() > LONG_UNITS_MAX {
            return Err(Errno::NameTooLong.into());
        }
        let is_bad = |c: char| (c as u32) < 0x20 || "*?<>|\":/\\".contains(c);
        if name.chars().any(is_bad) || name.ends_with(' ') {
            return Err(Errno::Invalid.into());
        }
        let draft = Draft::of(name)?;
        if draft.is_exact {
            // Whoever has this short name would have been found by it.
            return match is_taken(&draft.short()) {
                true => Err(Trouble::doubt("a short name is taken by another file")),
                false => Ok(Self { short: draft.short(), long: (!draft.is_upper_case).then_some(units) }),
            };
        }
        let short = draft.numbered().into_iter().find(|short| !is_taken(short));
        // Linux goes on with random ones.
        let short = short.ok_or_else(|| Trouble::doubt("a directory has many names that begin alike"))?;
        Ok(Self { short, long: Some(units) })
    }
}

/// The short form of a name, before it is numbered.
struct Draft {
    base: Vec<u8>,
    extension: Vec<u8>,
    /// It is the name itself, but for the case.
    is_exact: bool,
    is_upper_case: bool,
}

impl Draft {
    fn of(name: &str) -> Result<Self> {
        let skipped = |c: char| c == '.' || c == ' ';
        // A name that only has dots and spaces before its last dot has no extension.
        let (base, extension) = match name.rsplit_once('.') {
            Some((base, extension)) if !base.chars().all(skipped) => (base, extension),
            _ => (name, ""),
        };
        let mut part = Part::default();
        let base = part.convert(base, BASE_BYTES);
        if base.is_empty() {
            return Err(Errno::Invalid.into());
        }
        let extension = part.convert(extension, EXTENSION_BYTES);
        Ok(Self { base, extension, is_exact: !part.is_changed, is_upper_case: !part.has_lower_case })
    }

    fn short(&self) -> ShortName {
        with_base(&self.base, &self.extension)
    }

    /// `LONGNA~1.TXT` to `LONGNA~9.TXT`.
    fn numbered(&self) -> Vec<ShortName> {
        let kept = self.base.get(..6.min(self.base.len())).unwrap_or_default();
        let kept = if self.base.len() > 6 { kept } else { &self.base };
        let number = |digit: u8| with_base(&[kept, &[b'~', digit]].concat(), &self.extension);
        (b'1'..=b'9').map(number).collect()
    }
}

fn with_base(base: &[u8], extension: &[u8]) -> ShortName {
    let mut short = [b' '; SHORT_BYTES];
    short.iter_mut().zip(base).for_each(|(to, from)| *to = *from);
    short.iter_mut().skip(BASE_BYTES).zip(extension).for_each(|(to, from)| *to = *from);
    if short[0] == REMOVED {
        short[0] = REALLY_E5;
    }
    short
}

/// What was noticed while the parts of a name were converted.
#[derive(Default)]
struct Part {
    is_changed: bool,
    has_lower_case: bool,
}

impl Part {
    fn convert(&mut self, text: &str, bytes_max: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for c in text.chars() {
            if c == '.' || c == ' ' {
                self.is_changed = true;
                continue;
            }
            if bytes.len() == bytes_max {
                self.is_changed = true;
                break;
            }
            bytes.push(self.convert_one(c));
            // Linux converts units of UTF-16.
            if c.len_utf16() == 2 && bytes.len() < bytes_max {
                bytes.push(b'_');
            }
        }
        bytes
    }

    fn convert_one(&mut self, c: char) -> u8 {
        let byte = codepage::encode(c).filter(|_| !"[];,+=".contains(c));
        match byte {
            Some(byte) => {
                let upper = codepage::upper_case(byte);
                // Letters outside ASCII count as of either case: the long name tells which.
                self.has_lower_case |= upper != byte || byte >= 0x7F;
                upper
            }
            None => {
                self.is_changed = true;
                b'_'
            }
        }
    }
}

/// The sum over a short name that its long name carries.
pub(super) fn checksum(short: &ShortName) -> u8 {
    short.iter().fold(0u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(name: &str, taken: &[&str]) -> (String, bool) {
        let new = NewName::choose(name, |short| taken.iter().any(|one| one.as_bytes() == short)).unwrap();
        (String::from_utf8_lossy(&new.short).into_owned(), new.long.is_some())
    }

    #[test]
    fn short_names_are_those_that_linux_chooses() {
        for (name, short, has_long) in [
            ("UPPER.TXT", "UPPER   TXT", false),
            ("lower", "LOWER      ", true),
            ("hello.txt", "HELLO   TXT", true),
            ("LONG file name.text", "LONGFI~1TEX", true),
            ("a.b.c", "AB~1    C  ", true),
            (".bashrc", "BASHRC~1   ", true),
            ("x+y", "X_Y~1      ", true),
            ("trail...", "TRAIL      ", true),
            ("日本語.txt", "___~1   TXT", true),
            ("ABCDEFGHI", "ABCDEF~1   ", true),
            ("A.TEXT", "A~1     TEX", true),
        ] {
            assert_eq!(chosen(name, &[]), (short.to_owned(), has_long), "{name}");
        }
    }

    #[test]
    fn a_short_name_is_given_once() {
        assert_eq!(chosen("LONG file name.text", &["LONGFI~1TEX"]).0, "LONGFI~2TEX");
        let all: Vec<String> = (1..10).map(|n| format!("LONGFI~{n}TEX")).collect();
        assert!(
            NewName::choose("LONG file name.text", |short| all.iter().any(|one| one.as_bytes() == short))
                .is_err()
        );
    }

    #[test]
    fn names_that_linux_refuses_are_refused() {
        let errno = |name: &str| match NewName::choose(name, |_| false) {
            Err(Trouble::Errno(errno)) => Some(errno),
            _ => None,
        };
        for name in ["a:b", "space ", "tab\there", "a\\b", "a*", "\u{1}"] {
            assert_eq!(errno(name), Some(Errno::Invalid), "{name:?}");
        }
        assert_eq!(errno(&"x".repeat(256)), Some(Errno::NameTooLong));
        assert_eq!(errno(&"x".repeat(255)), None);
    }
}

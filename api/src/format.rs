//! Formats of files that golden images are made from.

use std::fmt;
use std::str::FromStr;

/// What a file is, or that its content says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ImageFormat {
    /// Whatever its content says.
    #[default]
    Auto,
    /// Byte for byte the disk.
    Raw,
    /// QEMU's copy-on-write format.
    Qcow2,
    /// VMware's format in one file.
    Vmdk,
    /// Hyper-V's format.
    Vhdx,
    /// Virtual PC's and Azure's format, fixed or dynamic.
    Vhd,
    /// Any of the above in gzip.
    Gzip,
    /// Any of the above in xz.
    Xz,
    /// Any of the above in zstd.
    Zstd,
    /// Any of the above as the one file of a zip archive.
    Zip,
}

/// A word that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the format {0:?} is not known; {known} are", known = ImageFormat::NAMES.join(", "))]
pub struct BadFormat(pub String);

impl ImageFormat {
    /// Their names, in the order of [`Self::ALL`].
    pub const NAMES: [&'static str; 10] =
        ["auto", "raw", "qcow2", "vmdk", "vhdx", "vhd", "gzip", "xz", "zstd", "zip"];
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Auto,
        Self::Raw,
        Self::Qcow2,
        Self::Vmdk,
        Self::Vhdx,
        Self::Vhd,
        Self::Gzip,
        Self::Xz,
        Self::Zstd,
        Self::Zip,
    ];

    /// The name, as it is in a query and on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vhd",
            Self::Gzip => "gzip",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
            Self::Zip => "zip",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for ImageFormat {
    type Err = BadFormat;

    fn from_str(text: &str) -> Result<Self, BadFormat> {
        let found = Self::ALL.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| BadFormat(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_has_its_name() {
        for (format, name) in ImageFormat::ALL.into_iter().zip(ImageFormat::NAMES) {
            assert_eq!(format.name(), name);
            assert_eq!(name.parse(), Ok(format));
        }
        let error = "floppy".parse::<ImageFormat>().unwrap_err().to_string();
        assert!(error.starts_with("the format \"floppy\" is not known; auto, raw, qcow2,"), "{error}");
    }
}

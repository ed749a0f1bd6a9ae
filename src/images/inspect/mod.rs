//! The headers of disk formats, read before any other program sees the file: whatever could make a reader leave the
//! file, or makes its content unreadable, is refused here. The rest is `qemu-img check`'s.
//!
//! No function here panics on a file's bytes, or takes more memory than a header's limit.

mod fields;
mod qcow2;
pub(super) mod vhd;
mod vhdx;
mod vmdk;

use std::io;

use api::{Code, Refusal};

use super::landing::ReadAt;
use super::sniff::DiskFormat;
use crate::control::refusals;

/// Why a file is not taken.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Qcow2(#[from] qcow2::HeaderError),
    /// It cannot be read without another file.
    #[error("the {0} file {1}; only images that stand alone are taken")]
    NamesAnother(&'static str, &'static str),
    #[error("the {0} file is truncated: {1}")]
    Truncated(&'static str, &'static str),
    #[error("the {0} file is damaged: {1}")]
    Damaged(&'static str, &'static str),
    #[error("the {0} file was not closed cleanly")]
    Dirty(&'static str),
    #[error("the {0} file has {1}")]
    Unknown(&'static str, String),
    #[error("cannot read the staged upload: {0}")]
    Io(#[from] io::Error),
}

/// The size of the disk, when the file can be taken.
pub(super) fn inspect(
    format: DiskFormat,
    file: &(impl ReadAt + ?Sized),
    file_bytes: u64,
) -> Result<u64, Refusal> {
    let found = match format {
        DiskFormat::Qcow2 => inspect_qcow2(file),
        DiskFormat::Vmdk => vmdk::inspect(file, file_bytes),
        DiskFormat::Vhdx => vhdx::inspect(file),
        DiskFormat::Vhd => vhd::inspect(file, file_bytes),
    };
    found.map_err(|unfit| match unfit {
        Unfit::Io(error) => refusals::of_io("read the staged upload", &error),
        unfit => Refusal::new(Code::BadImage, unfit.to_string()).action(unfit.action()),
    })
}

fn inspect_qcow2(file: &(impl ReadAt + ?Sized)) -> Result<u64, Unfit> {
    Ok(qcow2::inspect(&file.read_at(0, qcow2::HEADER_BYTES)?)?)
}

impl Unfit {
    /// What an operator can do about it.
    fn action(&self) -> &'static str {
        match self {
            Self::Qcow2(error) => error.action(),
            Self::NamesAnother(..) => {
                "flatten it where its other files are: qemu-img convert -O qcow2 FILE FLAT.qcow2"
            }
            Self::Truncated(..) | Self::Damaged(..) => "get the file again; it was not copied whole",
            Self::Dirty(_) => "shut down the machine that uses it, and copy it then",
            Self::Unknown(..) => "convert it where it was made: qemu-img convert -O qcow2 FILE FILE.qcow2",
            Self::Io(_) => "see osvold's log (journalctl -u osvold)",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_one_byte_or_one_cut_does_it_is_an_answer() {
        let files = [
            (DiskFormat::Vmdk, vmdk::tests::file()),
            (DiskFormat::Vhd, vhd::tests::dynamic()),
            (DiskFormat::Vhdx, vhdx::tests::file()),
        ];
        for (format, file) in files {
            let bytes = file.len() as u64;
            assert!(inspect(format, file.as_slice(), bytes).is_ok(), "{format:?}");
            // Longer and shorter than the caller thinks, in every other format, and with fields that are all ones.
            for other in [DiskFormat::Qcow2, DiskFormat::Vmdk, DiskFormat::Vhd, DiskFormat::Vhdx] {
                for told in [0, 1, 511, bytes / 2, bytes * 2, u64::MAX] {
                    drop(inspect(other, file.as_slice(), told));
                }
            }
            for at in (0..1600).chain((1600..file.len() - 8).step_by(4999)) {
                let mut bad = file.clone();
                bad[at..at + 8].fill(0xff);
                drop(inspect(format, bad.as_slice(), bytes));
            }
        }
    }
}

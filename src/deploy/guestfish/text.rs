//! What guestfish is given: the disk, all steps with a mark before each, and what is done when they are over.

use script::{Expanded, Origin, Session};

use super::sandbox::SOCKET;

/// Gives the free space of every file system back, after the scripts. guestfish has no loops: a list of its commands is
/// made, and read. Where the kernel cannot trim, free space is overwritten with zeroes, which the store does not keep.
const SQUEEZE: &str = r#"-umount-all
-list-filesystems | awk '{ sub(/:$/, "", $1); how = "" } $2 ~ /^(ext[234]|xfs|btrfs|vfat|f2fs)$/ { how = "fstrim" } $2 ~ /^(ntfs|exfat|hfsplus)$/ { how = "zero-free-space" } how != "" { print "-mount " $1 " /\n-" how " /\n-umount-all" }' > /tmp/own/squeeze
<! cat /tmp/own/squeeze || :
"#;

/// A session's text, and where its lines come from.
pub(super) struct Text {
    text: String,
    session: Session,
    /// Lines before the session's own.
    before: usize,
}

impl Text {
    /// A session. Lines that begin a step print `mark` and its index; a last one says that all of them are over.
    pub(super) fn new(script: &Expanded, mark: &str, squeeze: bool) -> Self {
        let session = Session::new(script, |step| format!("echo {mark}{step}"));
        // Without a format QEMU would guess one from what the guest has written.
        let discard = if squeeze { " discard:besteffort" } else { "" };
        let mut text = format!(
            "add-drive \"\" protocol:nbd server:unix:{SOCKET} format:raw{discard}\n{}",
            session.text()
        );
        text += &format!("echo {mark}{}\n", script.steps().len());
        if squeeze {
            text += SQUEEZE;
        }
        Self { text, session, before: 1 }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// The line that guestfish means by a number.
    pub(super) fn origin(&self, counted: usize) -> Option<Origin> {
        self.session.origin(counted.checked_sub(self.before)?)
    }
}

#[cfg(test)]
mod tests {
    use script::{Step, Values, expand};

    use super::*;

    #[test]
    fn the_disk_comes_first_and_the_numbers_are_still_right() {
        let step = Step { name: "s".into(), content: "mkdir /x".into(), has_attributes: true };
        let script = expand(&[step], &Values::new()).unwrap();
        let text = Text::new(&script, "m-", false);
        let disk = "add-drive \"\" protocol:nbd server:unix:/disk.sock format:raw\n";
        assert_eq!(text.as_str(), format!("{disk}run\necho m-0\nmkdir /x\necho m-1\n"));
        assert_eq!(text.origin(4), Some(Origin { step: 0, line: 1 }));
        assert_eq!((text.origin(3), text.origin(5), text.origin(0)), (None, None, None));
        assert!(Text::new(&script, "m-", true).as_str().contains("format:raw discard:besteffort\nrun\n"));
    }
}

//! Several files in one string of bytes, so that a fuzzer can change any of them. Zeros cost nothing, and a real store
//! of a few small segments becomes a kilobyte or two.
//!
//! ```text
//!   flags u8, then per file: name u8 + bytes, length u32, pieces u16,
//!   per piece: offset u32, length u16 (bit 15: one byte repeated), bytes
//! ```
//! Whatever the bytes are, they are an archive: what they do not have is empty.

/// Files and how to lay them out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archive {
    /// Bits for the one who uses it.
    pub flags: u8,
    /// Names and bytes.
    pub files: Vec<(String, Vec<u8>)>,
}

const FILES_MAX: usize = 48;
const FILE_BYTES_MAX: usize = 256 << 10;
const REPEATED: u16 = 1 << 15;
/// A shorter run of one byte is not worth a piece of its own.
const RUN_MIN: usize = 16;

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        head
    }

    fn number(&mut self, bytes: usize) -> usize {
        self.take(bytes).iter().rev().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    }
}

impl Archive {
    /// Reads an archive.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut reader = Reader(bytes);
        let flags = reader.take(1).first().copied().unwrap_or(0);
        let mut files = Vec::new();
        while !reader.0.is_empty() && files.len() < FILES_MAX {
            let length = reader.number(1);
            let name = String::from_utf8_lossy(reader.take(length)).into_owned();
            let mut content = vec![0; reader.number(4).min(FILE_BYTES_MAX)];
            for _ in 0..reader.number(2) {
                if reader.0.is_empty() {
                    break;
                }
                let (offset, head) = (reader.number(4), reader.number(2));
                let length = head & usize::from(REPEATED - 1);
                let repeated = head & usize::from(REPEATED) != 0;
                let piece = reader.take(if repeated { 1 } else { length });
                let into = content.iter_mut().skip(offset).take(length);
                into.zip(piece.iter().cycle()).for_each(|(to, from)| *to = *from);
            }
            files.push((name, content));
        }
        Self { flags, files }
    }

    /// Writes an archive that [`Self::parse`] reads.
    #[must_use]
    pub fn pack(&self) -> Vec<u8> {
        let mut out = vec![self.flags];
        let number = |out: &mut Vec<u8>, value: usize, bytes: usize| {
            out.extend(&(value as u64).to_le_bytes()[..bytes]);
        };
        for (name, content) in &self.files {
            let name = &name.as_bytes()[..name.len().min(255)];
            number(&mut out, name.len(), 1);
            out.extend(name);
            number(&mut out, content.len(), 4);
            let pieces = pieces(content);
            number(&mut out, pieces.len(), 2);
            for (offset, length, repeated) in pieces {
                number(&mut out, offset, 4);
                number(&mut out, length | if repeated { usize::from(REPEATED) } else { 0 }, 2);
                out.extend(&content[offset..offset + if repeated { 1 } else { length }]);
            }
        }
        out
    }
}

/// Offset, length, and whether it is one byte repeated; zeros are in none.
fn pieces(content: &[u8]) -> Vec<(usize, usize, bool)> {
    let most = usize::from(REPEATED - 1);
    let run = |at: usize| content[at..].iter().take(most).take_while(|byte| **byte == content[at]).count();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < content.len() {
        let same = run(at);
        if same >= RUN_MIN {
            if content[at] != 0 {
                out.push((at, same, true));
            }
            at += same;
            continue;
        }
        let mut end = at;
        while end < content.len() && end - at < most && run(end) < RUN_MIN {
            end += 1;
        }
        out.push((at, end - at, false));
        at = end;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_survives_its_bytes() {
        let mut content = vec![0; 9000];
        content[4096..8192].fill(7);
        content[3..60].iter_mut().zip(1_u8..).for_each(|(byte, n)| *byte = n);
        let archive = Archive { flags: 5, files: vec![("a/b".into(), content), ("c".into(), vec![])] };
        let packed = archive.pack();
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(Archive::parse(&packed), archive);
        for end in 0..packed.len() {
            assert!(Archive::parse(&packed[..end]).files.len() <= 2);
        }
    }
}

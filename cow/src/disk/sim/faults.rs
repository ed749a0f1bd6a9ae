//! Calls that fail.

use std::{io, path::Path};

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the call of that name")]
pub enum Op {
    Create,
    Open,
    CreateDir,
    List,
    Rename,
    RemoveFile,
    RemoveDir,
    SyncDir,
    Lock,
    Stat,
    Read,
    Write,
    Sync,
    SetLen,
    Allocate,
    Punch,
}

impl Op {
    /// All kinds.
    pub const ALL: [Op; 16] = [
        Op::Create,
        Op::Open,
        Op::CreateDir,
        Op::List,
        Op::Rename,
        Op::RemoveFile,
        Op::RemoveDir,
        Op::SyncDir,
        Op::Lock,
        Op::Stat,
        Op::Read,
        Op::Write,
        Op::Sync,
        Op::SetLen,
        Op::Allocate,
        Op::Punch,
    ];
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// With an input/output error. A write has a part of its effect, a failed sync loses what it did not write;
    /// any other call has no effect.
    Io,
    /// With an input/output error, after it had all its effect.
    Late,
    /// No space; a write has a part of its effect.
    NoSpace,
    /// It says that it succeeded, and did nothing.
    Lie,
    /// A write goes elsewhere in the same file, and says that it succeeded.
    Misdirect,
}

impl FaultKind {
    pub(super) fn has_effect(self) -> bool {
        self == FaultKind::Late
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            FaultKind::NoSpace => io::Error::new(io::ErrorKind::StorageFull, "simulated: no space"),
            _ => io::Error::other("simulated: input/output error"),
        }
    }
}

/// A call that is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of call; `None` is any.
    pub op: Option<Op>,
    /// Calls of that kind that come before it.
    pub after: u64,
    /// Calls that fail.
    pub times: u64,
    /// How.
    pub kind: FaultKind,
    /// Only calls on a path that contains this.
    pub on: &'static str,
}

impl Fault {
    /// One call of this kind fails, after `after` others.
    #[must_use]
    pub fn once(op: Op, after: u64, kind: FaultKind) -> Self {
        Self { op: Some(op), after, times: 1, kind, on: "" }
    }

    /// Counts the call; whether it fails.
    pub(super) fn strikes(&mut self, op: Op, path: &Path) -> bool {
        let meant = self.op.is_none_or(|meant| meant == op)
            && (self.on.is_empty() || path.to_string_lossy().contains(self.on));
        if !meant || self.times == 0 {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}

//! An open file of the simulated machine.

use std::{io, path::PathBuf};

use super::{
    Op, Rng, SimDisk,
    content::SECTOR,
    faults::FaultKind,
    state::{self, Ino, State, Verdict},
};
use crate::disk::{DataRange, File, Wait};

pub(super) struct SimFile {
    pub disk: SimDisk,
    pub ino: Ino,
    pub path: PathBuf,
    pub writable: bool,
}

impl File for SimFile {
    fn read_at(&self, offset: u64, out: &mut [u8], wait: Wait) -> io::Result<usize> {
        let ino = self.ino;
        self.disk.call(Op::Read, &self.path, |state| {
            let ahead = if state.rng.one_in(2) { state.rng.index(5) } else { 0 };
            let warm = state.file(ino)?.is_warm(offset, out.len() as u64);
            if wait == Wait::No && !warm {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            if warm && ahead == 0 {
                return Ok(state.file(ino)?.peek(offset, out));
            }
            Ok(state.file_mut(ino)?.read(offset, out, ahead))
        })
    }

    fn write_at(&self, offset: u64, data: &[&[u8]]) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let verdict = state.begin(self.disk.process, Op::Write, &self.path)?;
        if !self.writable {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let bytes = data.concat();
        if state.rng.one_in(2) {
            let part = part(&mut state.rng, offset, bytes.len());
            let ino = self.ino;
            if let Some(fork) = state.own_fork() {
                drop(write(fork, ino, offset, &bytes[..part]));
            }
        }
        match verdict {
            Verdict::Go => {
                write(&mut state, self.ino, offset, &bytes)?;
                if state.rng.one_in(8) {
                    let mut rng = state.rng.split();
                    state.file_mut(self.ino)?.write_some_back(&mut rng);
                }
                Ok(())
            }
            Verdict::Stop => {
                let part = part(&mut state.rng, offset, bytes.len());
                drop(write(&mut state, self.ino, offset, &bytes[..part]));
                Err(state::stopped())
            }
            Verdict::Fail(kind) => fail(&mut state, self.ino, offset, &bytes, kind),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        let verdict = state.begin(self.disk.process, Op::Sync, &self.path)?;
        match verdict {
            Verdict::Go => {
                state.file_mut(self.ino)?.sync();
                Ok(())
            }
            Verdict::Stop => {
                let mut rng = state.rng.split();
                state.file_mut(self.ino)?.write_some_back(&mut rng);
                Err(state::stopped())
            }
            Verdict::Fail(FaultKind::Lie) => Ok(()),
            Verdict::Fail(kind) => {
                let mut rng = state.rng.split();
                let file = state.file_mut(self.ino)?;
                if kind.has_effect() {
                    file.sync()
                } else {
                    file.fail_sync(&mut rng)
                }
                Err(kind.error())
            }
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.disk.call(Op::Stat, &self.path, |state| Ok(state.file(self.ino)?.len))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.disk.call(Op::SetLen, &self.path, |state| {
            let before = state.file(self.ino)?.allocated_bytes();
            let file = state.file_mut(self.ino)?;
            file.set_len(bytes);
            let after = file.allocated_bytes();
            state.used_bytes = (state.used_bytes + after).saturating_sub(before);
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk.call(Op::Allocate, &self.path, |state| {
            let room = state.file(self.ino)?.room_for(offset, bytes);
            state.take_room(room)?;
            state.file_mut(self.ino)?.allocate(offset, bytes);
            Ok(())
        })
    }

    fn punch(&self, offset: u64, bytes: u64) -> io::Result<()> {
        self.disk.call(Op::Punch, &self.path, |state| {
            let before = state.file(self.ino)?.allocated_bytes();
            let file = state.file_mut(self.ino)?;
            file.punch(offset, bytes);
            let after = file.allocated_bytes();
            state.used_bytes = (state.used_bytes + after).saturating_sub(before);
            Ok(())
        })
    }

    fn allocated_bytes(&self) -> io::Result<u64> {
        self.disk.call(Op::Stat, &self.path, |state| Ok(state.file(self.ino)?.allocated_bytes()))
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<DataRange>> {
        self.disk.call(Op::Stat, &self.path, |state| {
            let found = state.file(self.ino)?.next_data(offset);
            Ok(found.map(|(offset, bytes)| DataRange { offset, bytes }))
        })
    }
}

/// How much of a write happens that is cut off: whole sectors.
fn part(rng: &mut Rng, offset: u64, bytes: usize) -> usize {
    let part = rng.index(bytes + 1);
    let beyond = (offset as usize + part) % SECTOR;
    if part == bytes { part } else { part.saturating_sub(beyond) }
}

fn write(state: &mut State, ino: Ino, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let room = state.file(ino)?.room_for(offset, bytes.len() as u64);
    state.take_room(room)?;
    state.file_mut(ino)?.write(offset, bytes);
    Ok(())
}

fn fail(state: &mut State, ino: Ino, offset: u64, bytes: &[u8], kind: FaultKind) -> io::Result<()> {
    match kind {
        FaultKind::Lie => Ok(()),
        FaultKind::Misdirect => {
            let sectors = 1 + state.rng.below(8);
            let offset = offset + sectors * SECTOR as u64;
            write(state, ino, offset, bytes)
        }
        FaultKind::Late => {
            write(state, ino, offset, bytes)?;
            Err(kind.error())
        }
        FaultKind::Io | FaultKind::NoSpace => {
            let part = part(&mut state.rng, offset, bytes.len());
            drop(write(state, ino, offset, &bytes[..part]));
            Err(kind.error())
        }
    }
}

//! The whole simulated machine.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Cut, Fault, FaultKind, Fork, Op, Rng,
    content::Content,
    names::{Dir, NameChange},
};
use crate::{disk::Space, ids::BootId};

/// Index of a node; 0 is the root directory.
pub(super) type Ino = usize;

#[derive(Clone)]
pub(super) enum Node {
    Dir(Dir),
    File(Content),
}

#[derive(Clone)]
pub(super) struct State {
    pub rng: Rng,
    /// For identifiers, so that they do not depend on what the disk decides.
    pub ids: Rng,
    pub step: u64,
    /// Number of the process that runs now.
    pub process: u32,
    boot: u64,
    pub nodes: Vec<Arc<Node>>,
    /// Changes of names that are not durable, in order.
    pub pending: Vec<NameChange>,
    pub locked_by: Option<u32>,
    pub stop_at: Option<u64>,
    pub stopped: bool,
    pub fork_at: BTreeSet<u64>,
    pub fork_one_in: u64,
    pub forks: Vec<Fork>,
    pub fault: Option<Fault>,
    pub fault_hits: u64,
    pub capacity_bytes: u64,
    pub used_bytes: u64,
}

/// What becomes of a call.
pub(super) enum Verdict {
    Go,
    Stop,
    Fail(FaultKind),
}

pub(super) fn stopped() -> io::Error {
    io::Error::other("simulated: the machine has stopped")
}

impl State {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let ids = rng.split();
        Self {
            rng,
            ids,
            step: 0,
            process: 0,
            boot: 1,
            nodes: vec![Arc::new(Node::Dir(Dir::default()))],
            pending: Vec::new(),
            locked_by: None,
            stop_at: None,
            stopped: false,
            fork_at: BTreeSet::new(),
            fork_one_in: 0,
            forks: Vec::new(),
            fault: None,
            fault_hits: 0,
            capacity_bytes: 1 << 40,
            used_bytes: 0,
        }
    }

    /// Whether this process may still call.
    pub(super) fn check(&self, process: u32) -> io::Result<()> {
        if process != self.process || self.stopped { Err(stopped()) } else { Ok(()) }
    }

    /// Counts a call, and says what becomes of it.
    pub(super) fn begin(&mut self, process: u32, op: Op, path: &Path) -> io::Result<Verdict> {
        self.check(process)?;
        self.step += 1;
        if self.fork_at.remove(&self.step) || (self.fork_one_in > 0 && self.rng.one_in(self.fork_one_in)) {
            let forks = std::mem::take(&mut self.forks);
            let state = Self { fork_one_in: 0, fork_at: BTreeSet::new(), fault: None, ..self.clone() };
            self.forks = forks;
            self.forks.push(Fork { step: self.step, op, state });
        }
        if self.stop_at == Some(self.step) {
            self.stopped = true;
            return Ok(Verdict::Stop);
        }
        if self.fault.as_mut().is_some_and(|fault| fault.strikes(op, path)) {
            self.fault_hits += 1;
            return Ok(Verdict::Fail(self.fault.map_or(FaultKind::Io, |fault| fault.kind)));
        }
        Ok(Verdict::Go)
    }

    /// The fork that the current call made, to give it a part of the call's effect.
    pub(super) fn own_fork(&mut self) -> Option<&mut State> {
        let step = self.step;
        self.forks.last_mut().filter(|fork| fork.step == step).map(|fork| &mut fork.state)
    }

    pub(super) fn add(&mut self, node: Node) -> Ino {
        self.nodes.push(Arc::new(node));
        self.nodes.len() - 1
    }

    pub(super) fn node_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        self.nodes.get_mut(ino).map(Arc::make_mut)
    }

    pub(super) fn file(&self, ino: Ino) -> io::Result<&Content> {
        match self.nodes.get(ino).map(|node| &**node) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn file_mut(&mut self, ino: Ino) -> io::Result<&mut Content> {
        match self.node_mut(ino) {
            Some(Node::File(content)) => Ok(content),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    /// Takes room for a write, or refuses.
    pub(super) fn take_room(&mut self, bytes: u64) -> io::Result<()> {
        if self.used_bytes + bytes > self.capacity_bytes {
            return Err(FaultKind::NoSpace.error());
        }
        self.used_bytes += bytes;
        Ok(())
    }

    pub(super) fn lock_file(&mut self, path: &Path) -> io::Result<bool> {
        match self.create_file(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if self.locked_by.is_some() {
            return Ok(false);
        }
        self.locked_by = Some(self.process);
        Ok(true)
    }

    pub(super) fn space(&self) -> Space {
        let free_bytes = self.capacity_bytes.saturating_sub(self.used_bytes);
        Space { total_bytes: self.capacity_bytes, free_bytes }
    }

    pub(super) fn boot_id(&self) -> BootId {
        let mut id = [0xb0; 16];
        id[8..].copy_from_slice(&self.boot.to_le_bytes());
        BootId(id)
    }

    pub(super) fn unix_ms(&self) -> u64 {
        1_700_000_000_000 + self.step
    }

    /// The process is gone, and its lock with it.
    pub(super) fn restart(&mut self) {
        self.process += 1;
        self.locked_by = None;
        self.stopped = false;
        self.stop_at = None;
        self.fault = None;
        self.forks.clear();
    }

    pub(super) fn power_cut(&mut self, rng: &mut Rng, cut: Cut) {
        self.boot += 1;
        self.cut_names(rng, cut);
        for ino in 0..self.nodes.len() {
            if self.file(ino).is_ok()
                && let Ok(content) = self.file_mut(ino)
            {
                content.power_cut(rng, cut);
            }
        }
        self.count_room();
    }

    pub(super) fn power_cut_exactly(&mut self, keep: u64) {
        self.boot += 1;
        let mut bit = 0;
        let mut next = || {
            bit += 1;
            keep.checked_shr(bit - 1).is_some_and(|bits| bits & 1 != 0)
        };
        self.cut_names_exactly(&mut next);
        for ino in 0..self.nodes.len() {
            if let Ok(content) = self.file_mut(ino) {
                content.power_cut_exactly(&mut next);
            }
        }
        self.count_room();
    }

    pub(super) fn undecided(&self) -> usize {
        let files = self
            .nodes
            .iter()
            .map(|node| if let Node::File(content) = &**node { content.undecided() } else { 0 });
        self.pending.len() + files.sum::<usize>()
    }

    /// Nodes without a name are gone.
    pub(super) fn drop_unreachable(&mut self) {
        let (mut seen, mut todo) = (BTreeSet::from([0]), vec![0]);
        while let Some(ino) = todo.pop() {
            if let Some(Node::Dir(dir)) = self.nodes.get(ino).map(|node| &**node) {
                todo.extend(dir.now.values().copied().filter(|ino| seen.insert(*ino)));
            }
        }
        for ino in (0..self.nodes.len()).filter(|ino| !seen.contains(ino)) {
            self.nodes[ino] = Arc::new(Node::File(Content::default()));
        }
    }

    fn count_room(&mut self) {
        self.used_bytes =
            self.files().iter().filter_map(|(_, ino, _)| Some(self.file(*ino).ok()?.allocated_bytes())).sum();
    }

    /// Path, node and length of every file.
    pub(super) fn files(&self) -> Vec<(String, Ino, u64)> {
        let (mut files, mut todo) = (Vec::new(), vec![(String::new(), 0)]);
        while let Some((path, ino)) = todo.pop() {
            match self.nodes.get(ino).map(|node| &**node) {
                Some(Node::Dir(dir)) => {
                    todo.extend(dir.now.iter().map(|(name, ino)| (format!("{path}/{name}"), *ino)));
                }
                Some(Node::File(content)) => files.push((path, ino, content.len)),
                None => {}
            }
        }
        files.sort();
        files
    }

    pub(super) fn rot(
        &mut self,
        rng: &mut Rng,
        choose: &dyn Fn(&str, u64) -> Option<u64>,
    ) -> Option<(PathBuf, u64)> {
        let mut files: Vec<(String, Ino, u64)> = self
            .files()
            .into_iter()
            .filter_map(|(path, ino, bytes)| choose(&path, bytes).map(|from| (path, ino, from)))
            .collect();
        while !files.is_empty() {
            let (path, ino, from) = files.swap_remove(rng.index(files.len()));
            if let Some(at) = self.file_mut(ino).ok()?.rot(rng, from) {
                return Some((PathBuf::from(path), at));
            }
        }
        None
    }

    pub(super) fn evict_clean(&mut self) {
        for ino in 0..self.nodes.len() {
            if self.file(ino).is_ok()
                && let Ok(content) = self.file_mut(ino)
            {
                content.evict_clean();
            }
        }
    }

    pub(super) fn bytes_of(&mut self, path: &Path) -> Option<Vec<u8>> {
        let ino = self.find_file(path).ok()?;
        let content = self.file_mut(ino).ok()?;
        let mut bytes = vec![0; usize::try_from(content.len).ok()?];
        content.read(0, &mut bytes, 0);
        Some(bytes)
    }

    pub(super) fn replace_bytes(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let ino = self.find_file(path)?;
        let content = self.file_mut(ino)?;
        content.set_len(0);
        content.write(0, bytes);
        content.sync();
        Ok(())
    }
}

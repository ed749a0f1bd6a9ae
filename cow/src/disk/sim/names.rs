//! Names: what processes see, and what the medium has.

use std::{collections::BTreeMap, io, path::Path};

use super::{
    Cut, Rng,
    state::{Ino, Node, State},
};
use crate::disk::Entry;

/// The names of a directory.
#[derive(Clone, Default)]
pub(super) struct Dir {
    pub now: BTreeMap<String, Ino>,
    media: BTreeMap<String, Ino>,
}

/// Names that change together. A removal is a name that leads nowhere.
#[derive(Clone)]
pub(super) struct NameChange(Vec<(Ino, String, Option<Ino>)>);

impl NameChange {
    fn touches(&self, dir: Ino) -> bool {
        self.0.iter().any(|(at, _, _)| *at == dir)
    }

    fn shares_a_name_with(&self, others: &[(Ino, String)]) -> bool {
        self.0.iter().any(|(dir, name, _)| others.iter().any(|(at, other)| at == dir && other == name))
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn dir(&self, ino: Ino) -> io::Result<&Dir> {
        match self.nodes.get(ino).map(|node| &**node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn walk(&self, path: &Path) -> io::Result<Ino> {
        path.iter().skip(1).try_fold(0, |at, name| {
            let name = name.to_str().ok_or_else(not_found)?;
            self.dir(at)?.now.get(name).copied().ok_or_else(not_found)
        })
    }

    /// The directory that holds a path's last name, and that name.
    fn parent(&self, path: &Path) -> io::Result<(Ino, String)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(not_found)?;
        Ok((self.walk(path.parent().ok_or_else(not_found)?)?, name.to_owned()))
    }

    fn change_names(&mut self, change: NameChange) {
        for (dir, name, to) in &change.0 {
            if let Some(Node::Dir(dir)) = self.node_mut(*dir) {
                put(&mut dir.now, name, *to);
            }
        }
        self.pending.push(change);
    }

    fn free_name(&self, path: &Path) -> io::Result<(Ino, String)> {
        let (dir, name) = self.parent(path)?;
        if self.dir(dir)?.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Ok((dir, name))
    }

    fn create(&mut self, path: &Path, node: Node) -> io::Result<Ino> {
        let (dir, name) = self.free_name(path)?;
        let ino = self.add(node);
        self.change_names(NameChange(vec![(dir, name, Some(ino))]));
        Ok(ino)
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<Ino> {
        self.create(path, Node::File(Default::default()))
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        if path == Path::new("/") {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.create(path, Node::Dir(Dir::default())).map(drop)
    }

    pub(super) fn find_file(&self, path: &Path) -> io::Result<Ino> {
        let ino = self.walk(path)?;
        match self.nodes.get(ino).map(|node| &**node) {
            Some(Node::File(_)) => Ok(ino),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let dir = self.dir(self.walk(path)?)?;
        let is_dir = |ino: &Ino| self.nodes.get(*ino).is_some_and(|node| matches!(**node, Node::Dir(_)));
        Ok(dir.now.iter().map(|(name, ino)| Entry { name: name.clone(), is_dir: is_dir(ino) }).collect())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from)?;
        let ino = *self.dir(from_dir)?.now.get(&from_name).ok_or_else(not_found)?;
        let (to_dir, to_name) = self.free_name(to)?;
        self.change_names(NameChange(vec![(from_dir, from_name, None), (to_dir, to_name, Some(ino))]));
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let ino = self.find_file(path)?;
        let (dir, name) = self.parent(path)?;
        self.change_names(NameChange(vec![(dir, name, None)]));
        let freed = self.file(ino)?.allocated_bytes();
        self.used_bytes = self.used_bytes.saturating_sub(freed);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.parent(path)?;
        if !self.dir(self.walk(path)?)?.now.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.change_names(NameChange(vec![(dir, name, None)]));
        Ok(())
    }

    /// Makes a directory's names durable, with the other half of every rename, and with whatever happened to
    /// the same names before.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.walk(path)?;
        self.dir(dir)?;
        let mut names: Vec<(Ino, String)> = Vec::new();
        let (mut durable, mut rest) = (Vec::new(), Vec::new());
        for change in std::mem::take(&mut self.pending).into_iter().rev() {
            if change.touches(dir) || change.shares_a_name_with(&names) {
                names.extend(change.0.iter().map(|(dir, name, _)| (*dir, name.clone())));
                durable.push(change);
            } else {
                rest.push(change);
            }
        }
        rest.reverse();
        self.pending = rest;
        durable.iter().rev().for_each(|change| self.make_durable(change));
        Ok(())
    }

    fn make_durable(&mut self, change: &NameChange) {
        for (dir, name, to) in &change.0 {
            if let Some(Node::Dir(dir)) = self.node_mut(*dir) {
                put(&mut dir.media, name, *to);
            }
        }
    }

    pub(super) fn cut_names(&mut self, rng: &mut Rng, cut: Cut) {
        let orderly = rng.one_in(2);
        let pending = std::mem::take(&mut self.pending);
        // A journal keeps a front part of all changes; nothing promises that there is one.
        let front = rng.index(pending.len() + 1);
        for (at, change) in pending.iter().enumerate() {
            if if orderly { at < front } else { cut.keeps_name(rng) } {
                self.make_durable(change);
            }
        }
        self.forget_names();
    }

    pub(super) fn cut_names_exactly(&mut self, keep: &mut impl FnMut() -> bool) {
        for change in std::mem::take(&mut self.pending) {
            if keep() {
                self.make_durable(&change);
            }
        }
        self.forget_names();
    }

    fn forget_names(&mut self) {
        for ino in 0..self.nodes.len() {
            if let Some(Node::Dir(dir)) = self.node_mut(ino) {
                dir.now.clone_from(&dir.media);
            }
        }
        self.drop_unreachable();
    }
}

fn put(names: &mut BTreeMap<String, Ino>, name: &str, to: Option<Ino>) {
    match to {
        Some(ino) => drop(names.insert(name.to_owned(), ino)),
        None => drop(names.remove(name)),
    }
}

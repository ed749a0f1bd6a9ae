//! Checking: everything is read, nothing is changed, and what is lost is said in the terms of who lost it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    path::PathBuf,
    rc::Rc,
};

use super::{
    Offline,
    catalogue::{self, Catalogue, Disk, Named, State},
    golden::Golden,
    layer::{self, Fault, LayerMap},
    ranges::Ranges,
    report::{Extent, Finding, Loss, ManifestRescue, Owner, Problem, Report},
    view::{Below, View},
};
use crate::{
    error::{Error, Kind, Result},
    ids::LayerId,
    image::{hex, import::Progress},
    limits::BLOCK_BYTES,
};

/// What is being checked, and what was found so far.
struct Checking<'a> {
    offline: &'a Offline,
    catalogue: Catalogue,
    data: bool,
    report: Report,
    meter: Meter<'a>,
    /// Layers with damage, by identifier; their index in `report.findings` for each fault.
    layers: BTreeMap<LayerId, Vec<(usize, Fault)>>,
    /// The same of golden content, by digest.
    golden: BTreeMap<[u8; 32], Vec<(usize, Fault)>>,
}

/// Bytes that were read, of about how many.
pub(crate) struct Meter<'a> {
    pub done: u64,
    pub total: u64,
    pub tell: Progress<'a>,
}

impl Meter<'_> {
    pub(crate) fn add(&mut self, bytes: u64) -> Result<()> {
        self.done += bytes;
        match (self.tell)(self.done, self.total.max(self.done)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::new(Kind::Cancelled, "cancelled")),
        }
    }
}

impl Offline {
    /// Checks the whole store. Without `data` only metadata is read; with it also every block and every chunk.
    pub fn check(&self, data: bool, progress: Progress<'_>) -> Result<Report> {
        let catalogue = catalogue::read(&self.context)?;
        let meter = Meter { done: 0, total: self.data_bytes(&catalogue), tell: progress };
        let mut checking = Checking {
            offline: self,
            catalogue,
            data,
            report: Report::default(),
            meter,
            layers: BTreeMap::new(),
            golden: BTreeMap::new(),
        };
        checking.directories();
        checking.manifests();
        checking.golden()?;
        checking.layers()?;
        checking.losses()?;
        checking.leftovers();
        checking.report.counts.verified_bytes = checking.meter.done;
        Ok(checking.report)
    }

    /// About how many bytes there are to verify.
    pub(crate) fn data_bytes(&self, catalogue: &Catalogue) -> u64 {
        let disk = &self.context.disk;
        let bytes =
            |path: PathBuf| disk.open(&path, false).and_then(|file| file.allocated_bytes()).unwrap_or(0);
        let images =
            catalogue.golden.iter().map(|name| bytes(self.context.golden_dir().join(name).join("image.raw")));
        let layers = catalogue.layers.iter().map(|id| {
            let dir = self.context.layer_dir(*id);
            let names = disk.list(&dir).unwrap_or_default();
            let segments = names.iter().filter(|entry| entry.name.starts_with("seg-"));
            segments.map(|entry| bytes(dir.join(&entry.name))).sum::<u64>()
        });
        images.sum::<u64>() + layers.sum::<u64>()
    }
}

impl Checking<'_> {
    fn finding(&mut self, path: PathBuf, problem: Problem, losses: Vec<Loss>) -> usize {
        self.report.findings.push(Finding { path, problem, losses });
        self.report.findings.len() - 1
    }

    fn directories(&mut self) {
        match &self.catalogue.store {
            Ok(id) => self.report.store = Some(*id),
            Err(damage) => {
                let damage = damage.clone();
                self.finding("STORE".into(), Problem::Identity { damage }, Vec::new());
            }
        }
        for name in self.catalogue.missing.clone() {
            let why = "a store has this directory, and it is not there".to_owned();
            self.finding(name.into(), Problem::Unreadable { why }, Vec::new());
        }
    }

    /// Damaged manifests: what they named cannot be reached.
    fn manifests(&mut self) {
        let mut found = Vec::new();
        for image in &self.catalogue.images {
            let owner = |name| Owner::Image { id: image.id, name };
            found.extend(damaged(image, |manifest| manifest.name.clone(), owner));
        }
        for volume in &self.catalogue.volumes {
            let owner = |name| Owner::Volume { id: volume.id, name };
            found.extend(damaged(volume, |manifest| manifest.name.clone(), owner));
        }
        for snapshot in &self.catalogue.snapshots {
            let owner = |name| Owner::Snapshot { id: snapshot.id, name };
            found.extend(damaged(snapshot, |manifest| manifest.name.clone(), owner));
        }
        self.report.findings.append(&mut found);
    }

    fn golden(&mut self) -> Result<()> {
        let images: Vec<_> =
            self.catalogue.live_images().map(|(id, manifest)| (id, manifest.clone())).collect();
        self.report.counts.images = images.len();
        for (id, manifest) in images {
            if !self.golden.contains_key(&manifest.digest) {
                self.content(&manifest.digest, manifest.size_bytes)?;
            }
            let owner = Owner::Image { id, name: manifest.name };
            for (at, fault) in &self.golden[&manifest.digest] {
                if !fault.lost.is_empty() {
                    let loss = Loss { owner: owner.clone(), extent: Extent::Bytes(fault.lost.clone()) };
                    self.report.findings[*at].losses.push(loss);
                }
            }
        }
        Ok(())
    }

    fn content(&mut self, digest: &[u8; 32], size_bytes: u64) -> Result<()> {
        let mut golden = Golden::open(&self.offline.context, digest, size_bytes);
        if self.data {
            let meter = &mut self.meter;
            golden.verify(&mut |bytes| meter.add(bytes))?;
        }
        let faults = golden.faults;
        let faults = faults
            .into_iter()
            .map(|fault| (self.finding(fault.path.clone(), fault.problem.clone(), Vec::new()), fault));
        let faults = faults.collect();
        self.golden.insert(*digest, faults);
        Ok(())
    }

    fn layers(&mut self) -> Result<()> {
        let used: BTreeSet<LayerId> =
            self.catalogue.disks().into_iter().flat_map(|disk| disk.manifest.layers).collect();
        let orphans = self.catalogue.orphans();
        for id in used.iter().chain(&orphans) {
            self.report.counts.layers += 1;
            let map = self.layer(*id)?;
            if orphans.contains(id) {
                self.report.orphans.push((*id, map.blocks()));
            }
            self.report.unfinished.extend(map.unfinished.iter().cloned());
            if map.faults.is_empty() {
                continue;
            }
            let faults = map
                .faults
                .into_iter()
                .map(|fault| (self.finding(fault.path.clone(), fault.problem.clone(), Vec::new()), fault));
            let faults: Vec<_> = faults.collect();
            if orphans.contains(id) {
                let owner = Owner::Layer { id: *id };
                for (at, fault) in &faults {
                    let bytes = fault.lost.scaled(BLOCK_BYTES);
                    self.report.findings[*at].losses.extend(losses_of(&owner, bytes, fault.unlocated));
                }
            }
            self.layers.insert(*id, faults);
        }
        Ok(())
    }

    fn layer(&mut self, id: LayerId) -> Result<LayerMap> {
        let mut map = layer::read(&self.offline.context, id)?;
        // Without a checkpoint only the data itself tells what is still there.
        if self.data || map.must_verify {
            let meter = &mut self.meter;
            map.verify(&self.offline.context, &mut |blocks| meter.add(blocks * BLOCK_BYTES))?;
        }
        Ok(map)
    }

    /// Who loses what by each fault.
    fn losses(&mut self) -> Result<()> {
        let disks = self.catalogue.disks();
        for disk in &disks {
            match disk.owner {
                Owner::Snapshot { .. } => self.report.counts.snapshots += 1,
                _ => self.report.counts.volumes += 1,
            }
            self.losses_of_disk(disk)?;
        }
        Ok(())
    }

    fn losses_of_disk(&mut self, disk: &Disk) -> Result<()> {
        let manifest = &disk.manifest;
        let digest = manifest.image.and_then(|id| Some(self.catalogue.image(id)?.digest));
        let image_gone = manifest.image.filter(|_| digest.is_none());
        let golden = digest.and_then(|digest| self.golden.get(&digest)).cloned().unwrap_or_default();
        let damaged_layers = manifest.layers.iter().any(|id| self.layers.contains_key(id));
        if !damaged_layers && golden.is_empty() && image_gone.is_none() {
            return Ok(());
        }
        let view = self.offline.view_without_image(manifest)?;
        for (n, id) in manifest.layers.iter().rev().enumerate() {
            for (at, fault) in self.layers.get(id).into_iter().flatten() {
                let bytes = view.bytes(&view.seen(&fault.lost, n));
                self.report.findings[*at].losses.extend(losses_of(&disk.owner, bytes, fault.unlocated));
            }
        }
        for (at, fault) in &golden {
            let bytes = seen_golden(&view, &fault.lost);
            self.report.findings[*at].losses.extend(losses_of(&disk.owner, bytes, false));
        }
        if let Some(image) = image_gone {
            let bytes = seen_golden(&view, &Ranges::from(0..view.size_bytes));
            let losses = losses_of(&disk.owner, bytes, false);
            let path = self.manifest_path(&disk.owner);
            self.finding(path, Problem::ImageMissing { image }, losses);
        }
        Ok(())
    }

    fn manifest_path(&self, owner: &Owner) -> PathBuf {
        let found = match owner {
            Owner::Volume { id, .. } => {
                self.catalogue.volumes.iter().find(|volume| volume.id == *id).map(|volume| &volume.path)
            }
            Owner::Snapshot { id, .. } => {
                self.catalogue.snapshots.iter().find(|other| other.id == *id).map(|other| &other.path)
            }
            Owner::Image { .. } | Owner::Layer { .. } => None,
        };
        found.cloned().unwrap_or_default()
    }

    /// What the next opening tidies up.
    fn leftovers(&mut self) {
        let Catalogue { images, volumes, snapshots, golden, staging, .. } = &self.catalogue;
        let mut told = Vec::new();
        for image in images {
            told.extend(leftover(image, |manifest| manifest.deleted));
        }
        for volume in volumes {
            told.extend(leftover(volume, |manifest| manifest.deleted));
        }
        for snapshot in snapshots {
            told.extend(leftover(snapshot, |manifest| manifest.deleted));
        }
        told.extend(staging.iter().map(|name| format!("staging/{name}: begun, not finished")));
        let used: BTreeSet<String> =
            images.iter().filter_map(|image| Some(hex(&image.manifest()?.digest))).collect();
        let unused = golden.iter().filter(|name| !used.contains(*name));
        told.extend(unused.map(|name| format!("golden/{name}: content that no golden image names")));
        self.report.unfinished.append(&mut told);
    }
}

impl Offline {
    /// The layers of a volume or snapshot, from the top down, on nothing.
    pub(crate) fn view_without_image(
        &self,
        manifest: &crate::format::manifest::VolumeManifest,
    ) -> Result<View> {
        let layers = manifest.layers.iter().rev().map(|id| Ok(Rc::new(layer::read(&self.context, *id)?)));
        let layers = layers.collect::<Result<_>>()?;
        Ok(View { size_bytes: manifest.size_bytes, layers, below: Below::Zeros })
    }
}

/// The part of these bytes of an image that is seen through all layers.
fn seen_golden(view: &View, lost: &Ranges) -> Ranges {
    let blocks =
        lost.iter().map(|range| range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES)).collect();
    let seen = view.bytes(&view.seen(&blocks, view.layers.len()));
    lost.iter().flat_map(|range| seen.within(range).iter().collect::<Vec<_>>()).collect()
}

fn losses_of(owner: &Owner, bytes: Ranges, unlocated: bool) -> Vec<Loss> {
    let located = (!bytes.is_empty()).then_some(Extent::Bytes(bytes));
    let somewhere = unlocated.then_some(Extent::Somewhere);
    let extents = located.into_iter().chain(somewhere);
    extents.map(|extent| Loss { owner: owner.clone(), extent }).collect()
}

fn damaged<I: std::fmt::Display, M>(
    named: &Named<I, M>,
    name: impl Fn(&M) -> String,
    owner: impl Fn(String) -> Owner,
) -> Option<Finding> {
    let State::Damaged { damage, rescued } = &named.state else { return None };
    let rescue = rescued.as_ref().map(|(rescue, _)| *rescue);
    let shown =
        rescued.as_ref().map_or_else(|| format!("of unknown name ({})", named.id), |(_, found)| name(found));
    let extent = match rescue {
        None => Some(Extent::All),
        Some(ManifestRescue::Older(_)) => Some(Extent::Somewhere),
        Some(ManifestRescue::OneByte) => None,
    };
    Some(Finding {
        path: named.path.clone(),
        problem: Problem::Manifest { damage: damage.clone(), rescue },
        losses: extent.map(|extent| Loss { owner: owner(shown), extent }).into_iter().collect(),
    })
}

fn leftover<I, M>(named: &Named<I, M>, deleted: impl Fn(&M) -> bool) -> Option<String> {
    let what = match &named.state {
        State::Empty => "created, but without a manifest",
        State::Sound(manifest) if deleted(manifest) => "removed, but not swept yet",
        State::Sound(_) | State::Damaged { .. } => return None,
    };
    Some(format!("{}: {what}", named.path.display()))
}

//! Exporting: a volume or snapshot as a file of its own. What is lost stops it, or stays a hole and is listed.

use std::{ops::Range, path::Path, rc::Rc, sync::Arc};

use super::{
    Offline,
    catalogue::{self, Catalogue, Disk},
    check::Meter,
    golden::{Chunk, Golden},
    ranges::Ranges,
    report::Owner,
    view::{Below, Source, View},
};
use crate::{
    disk::File,
    error::{Error, Kind, Result},
    export::{DiskWriter, ExportFormat},
    format::manifest::VolumeManifest,
    image::import::Progress,
    index::Place,
    limits::{BLOCK_BYTES, BLOCK_LEN, CHUNK_BYTES, RECORD_BLOCKS_MAX},
};

/// What to do where data is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDamage {
    /// Stop; no file is left.
    Stop,
    /// Leave zeros there, go on, and list the ranges.
    Skip,
}

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Whose data.
    pub owner: Owner,
    /// Size of the disk.
    pub size_bytes: u64,
    /// Bytes of it that were written; the rest reads zeros.
    pub data_bytes: u64,
    /// Bytes that are lost, and read zeros in the file.
    pub lost: Ranges,
    /// Some blocks show an older state; which ones cannot be known. The words say why.
    pub doubts: Vec<String>,
}

impl Offline {
    /// Writes the volume or snapshot `wanted` (a name, `volume/snapshot`, or an identifier) to a new file.
    pub fn export(
        &self,
        wanted: &str,
        file: &Path,
        format: ExportFormat,
        on_damage: OnDamage,
        progress: Progress<'_>,
    ) -> Result<Exported> {
        let catalogue = catalogue::read(&self.context)?;
        let disk = catalogue.find(wanted).ok_or_else(|| not_found(&catalogue, wanted))?;
        let view = self.view(&catalogue, &disk.manifest)?;
        let doubts = doubts(&view);
        if let (Some(doubt), OnDamage::Stop) = (doubts.first(), on_damage) {
            return Err(Error::corrupt(0, format!("{doubt}: which blocks are lost is not known")));
        }
        let out = self.context.disk.create(file).map_err(|error| Error::io("create", file, error))?;
        let result = write_out(&view, out, file, format, on_damage, progress);
        if result.is_err() {
            // What is half written helps nobody; the first error is the one to report.
            drop(self.context.disk.remove_file(file));
        }
        let (data_bytes, lost) = result?;
        Ok(Exported { owner: disk.owner, size_bytes: view.size_bytes, data_bytes, lost, doubts })
    }

    /// A volume or snapshot with all that it reads from.
    pub(crate) fn view(&self, catalogue: &Catalogue, manifest: &VolumeManifest) -> Result<View> {
        let below = match manifest.image {
            None => Below::Zeros,
            Some(id) => catalogue.image(id).map_or(Below::Lost, |image| {
                let mut golden = Golden::open(&self.context, &image.digest, image.size_bytes);
                golden.rebuild_digests();
                Below::Image(Rc::new(golden))
            }),
        };
        Ok(View { below, ..self.view_without_image(manifest)? })
    }
}

fn not_found(catalogue: &Catalogue, wanted: &str) -> Error {
    let names: Vec<String> = catalogue
        .disks()
        .iter()
        .map(|Disk { owner, .. }| match owner {
            Owner::Volume { name, .. } | Owner::Snapshot { name, .. } | Owner::Image { name, .. } => {
                name.clone()
            }
            Owner::Layer { id } => id.to_string(),
        })
        .collect();
    let have = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
    Error::new(Kind::NotFound, format!("no volume or snapshot `{wanted}`; {have}"))
}

/// Why some of it may be an older state.
fn doubts(view: &View) -> Vec<String> {
    let faults = view.layers.iter().flat_map(|layer| &layer.faults).filter(|fault| fault.unlocated);
    faults.map(|fault| format!("{}: {}", fault.path.display(), fault.problem)).collect()
}

fn write_out(
    view: &View,
    out: Arc<dyn File>,
    path: &Path,
    format: ExportFormat,
    on_damage: OnDamage,
    progress: Progress<'_>,
) -> Result<(u64, Ranges)> {
    let io = |error| Error::io("write", path, error);
    let writer = DiskWriter::new(out, format, view.size_bytes).map_err(io)?;
    let meter = Meter { done: 0, total: view.size_bytes, tell: progress };
    let mut export = Export {
        view,
        path,
        writer,
        on_damage,
        lost: Ranges::default(),
        buffer: Vec::new(),
        chunks: match &view.below {
            Below::Image(golden) => golden.data_chunks(),
            Below::Zeros | Below::Lost => Ranges::default(),
        },
        chunk: None,
        chunk_bytes: Vec::new(),
    };
    let mut meter = meter;
    view.walk(0..view.blocks(), &mut |range, source| {
        export.piece(range.clone(), source)?;
        meter.add((range.end - range.start) * BLOCK_BYTES)
    })?;
    Ok((export.writer.finish().map_err(io)?, export.lost))
}

/// An export under way.
struct Export<'a> {
    view: &'a View,
    path: &'a Path,
    writer: DiskWriter,
    on_damage: OnDamage,
    lost: Ranges,
    buffer: Vec<u8>,
    /// Chunks of the image that hold data.
    chunks: Ranges,
    /// The chunk of the image that was read last.
    chunk: Option<(u64, Chunk)>,
    chunk_bytes: Vec<u8>,
}

impl Export<'_> {
    fn piece(&mut self, range: Range<u64>, source: Source<'_>) -> Result<()> {
        match source {
            Source::Zeros => Ok(()),
            Source::Lost => self.is_lost(range.start * BLOCK_BYTES..range.end * BLOCK_BYTES),
            Source::Data(layer, place, crcs) => self.data(range.start, layer, place, crcs),
            Source::Below => match &self.view.below {
                Below::Zeros => Ok(()),
                Below::Lost => self.is_lost(range.start * BLOCK_BYTES..range.end * BLOCK_BYTES),
                Below::Image(golden) => self.image(&golden.clone(), range),
            },
        }
    }

    fn data(&mut self, lba: u64, layer: usize, place: Place, crcs: &[u32]) -> Result<()> {
        let view = self.view;
        let Some(scan) = view.layers[layer].segment(place.slot) else {
            return self.is_lost(lba * BLOCK_BYTES..(lba + crcs.len() as u64) * BLOCK_BYTES);
        };
        let mut buffer = std::mem::take(&mut self.buffer);
        let (mut lba, mut block) = (lba, u32::from(place.block));
        for crcs in crcs.chunks(RECORD_BLOCKS_MAX) {
            let good = scan.verify(block, crcs, &mut buffer);
            let mut at = 0;
            for same in good.chunk_by(|a, b| a == b) {
                let bytes = at * BLOCK_LEN..(at + same.len()) * BLOCK_LEN;
                let start = (lba + at as u64) * BLOCK_BYTES;
                match same[0] {
                    true => self.write(start, &buffer[bytes])?,
                    false => self.is_lost(start..start + bytes.len() as u64)?,
                }
                at += same.len();
            }
            lba += crcs.len() as u64;
            block += u32::try_from(crcs.len()).unwrap_or(0);
        }
        self.buffer = buffer;
        Ok(())
    }

    fn image(&mut self, golden: &Golden, range: Range<u64>) -> Result<()> {
        let bytes = range.start * BLOCK_BYTES..(range.end * BLOCK_BYTES).min(golden.size_bytes);
        let chunks = bytes.start / CHUNK_BYTES..bytes.end.div_ceil(CHUNK_BYTES);
        for chunk in self.chunks.within(chunks).iter().flatten() {
            let what = match self.chunk {
                Some((last, what)) if last == chunk => what,
                _ => golden.read(chunk, &mut self.chunk_bytes),
            };
            self.chunk = Some((chunk, what));
            let start = chunk * CHUNK_BYTES;
            let here = bytes.start.max(start)..bytes.end.min(start + CHUNK_BYTES);
            match what {
                Chunk::Zeros => {}
                Chunk::Lost => self.is_lost(here)?,
                Chunk::Sound => {
                    let data = std::mem::take(&mut self.chunk_bytes);
                    let within = |at: u64| usize::try_from(at - start).unwrap_or(0);
                    let written = self.write(here.start, &data[within(here.start)..within(here.end)]);
                    self.chunk_bytes = data;
                    written?;
                }
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u64, data: &[u8]) -> Result<()> {
        self.writer.write(offset, data).map_err(|error| Error::io("write", self.path, error))
    }

    fn is_lost(&mut self, bytes: Range<u64>) -> Result<()> {
        if self.on_damage == OnDamage::Stop {
            return Err(Error::corrupt(bytes.start, "this part of it is lost"));
        }
        self.lost.add(bytes.start..bytes.end.min(self.view.size_bytes));
        Ok(())
    }
}

//! Writing a bundle.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::sync::Arc;

use cow::{ImageId, Store, Subject};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::create::Chosen;
use super::manifest::{MANIFEST, Manifest};
use super::members::{self, BUILD_PLAN, DEPLOYMENT_PLAN, GOLDEN_IMAGE, SCRIPT};
use super::sums::{Algorithm, hex};
use crate::catalog::bundles::{Contents, Item};
use crate::images::zipped;

/// Bytes that are written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Writes an archive with all that was chosen. `step` hears how much of the disks is done, and says whether to go on.
pub(crate) fn write(
    store: &Arc<Store>,
    file: File,
    manifest: &Manifest,
    chosen: &Chosen,
    step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<Contents> {
    let file = InRoom { file, store: store.clone() };
    let mut writer = Writer::new(BufWriter::with_capacity(BUFFER_BYTES, file));
    let mut contents = Contents::default();
    for (id, (row, read_only)) in &chosen.scripts {
        writer.json(&format!("{id}{SCRIPT}"), &members::script(row, *read_only))?;
        contents.plan_scripts.push(item(id, &row.envelope, *read_only, Vec::new()));
    }
    disks(&mut writer, store, manifest, chosen, step, &mut contents)?;
    for (id, (row, read_only)) in &chosen.build_plans {
        writer.json(&format!("{id}{BUILD_PLAN}"), &members::build_plan(row, *read_only))?;
        let needs = row.steps.iter().map(|step| step.script_name.clone()).collect();
        contents.build_plans.push(item(id, &row.envelope, *read_only, needs));
    }
    for (id, (row, read_only)) in &chosen.plans {
        let build_plan = chosen.build_plans.get(&row.build_plan).map(|(plan, _)| plan.envelope.name.as_str());
        let build_plan = build_plan.unwrap_or_default();
        let image = row.golden_image.and_then(|image| chosen.images.get(&image));
        let image = image.map(|(image, _)| image.envelope.name.as_str());
        let member = members::deployment_plan(row, build_plan, image, *read_only);
        writer.json(&format!("{id}{DEPLOYMENT_PLAN}"), &member)?;
        let needs = std::iter::once(build_plan).chain(image).map(str::to_owned).collect();
        contents.deployment_plans.push(item(id, &row.envelope, *read_only, needs));
    }
    writer.bytes(MANIFEST, manifest.text().as_bytes())?;
    writer.finish()?;
    Ok(contents)
}

fn item(id: &uuid::Uuid, envelope: &crate::catalog::Envelope, read_only: bool, needs: Vec<String>) -> Item {
    let (name, description) = (envelope.name.clone(), envelope.description.clone());
    Item { id: id.to_string(), name, description, read_only, needs }
}

/// The golden images: what is said of each, and its disk as a zip with one file.
fn disks(
    writer: &mut Writer,
    store: &Arc<Store>,
    manifest: &Manifest,
    chosen: &Chosen,
    step: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    contents: &mut Contents,
) -> io::Result<()> {
    let infos = store.images().map_err(io::Error::other)?;
    let info_of = |id: &uuid::Uuid| infos.iter().find(|info| info.id == ImageId(*id.as_bytes()));
    let total: u64 = chosen.images.keys().filter_map(info_of).map(|info| info.size_bytes).sum();
    let mut before = 0;
    for (id, (row, read_only)) in &chosen.images {
        let name = &row.envelope.name;
        let info = info_of(id).ok_or_else(|| {
            io::Error::new(io::ErrorKind::NotFound, format!("golden image {name:?} is not in the store"))
        })?;
        let check_sum = crate::control::check_sum(&info.digest);
        let member = members::golden_image(row, &manifest.name, &check_sum, info.size_bytes, *read_only);
        writer.json(&format!("{id}{GOLDEN_IMAGE}"), &member)?;
        let still = store.still(Subject::Image(info.id)).map_err(io::Error::other)?;
        let mut member = writer.member(name, CompressionMethod::Stored)?;
        zipped::write(&still, &id.to_string(), &mut member, &mut |done, _| step(before + done, total))?;
        member.finish();
        before += info.size_bytes;
        contents.golden_images.push(item(id, &row.envelope, *read_only, Vec::new()));
        if step(before, total).is_break() {
            return Err(io::Error::new(io::ErrorKind::Interrupted, "the bundle was stopped"));
        }
    }
    Ok(())
}

/// The archive's file, which takes nothing of the store's reserve.
struct InRoom {
    file: File,
    store: Arc<Store>,
}

impl Write for InRoom {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let no_room = |error: cow::Error| match error.kind() {
            cow::Kind::NoSpace => io::Error::new(io::ErrorKind::StorageFull, error),
            _ => io::Error::other(error),
        };
        self.store.take_room(bytes.len() as u64).map_err(no_room)?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Seek for InRoom {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

/// An archive on its way, and the sums of what is in it.
struct Writer {
    archive: ZipWriter<BufWriter<InRoom>>,
    sums: Vec<(String, String)>,
}

impl Writer {
    fn new(file: BufWriter<InRoom>) -> Self {
        Self { archive: ZipWriter::new(file), sums: Vec::new() }
    }

    fn json(&mut self, name: &str, value: &Value) -> io::Result<()> {
        self.bytes(name, value.to_string().as_bytes())
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut member = self.member(name, CompressionMethod::Deflated)?;
        member.write_all(bytes)?;
        member.finish();
        Ok(())
    }

    fn member(&mut self, name: &str, method: CompressionMethod) -> io::Result<Member<'_>> {
        if self.sums.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
            || name == Algorithm::Sha256.member()
        {
            return Err(io::Error::other(format!("the name {name:?} is that of another file of the bundle")));
        }
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        self.archive.start_file(name, options).map_err(io::Error::other)?;
        Ok(Member { writer: self, name: name.to_owned(), hasher: Sha256::new() })
    }

    /// The sums of all members come last.
    fn finish(mut self) -> io::Result<()> {
        let lines = self.sums.iter().map(|(name, sum)| format!("{name}\t{sum}\n"));
        let text: String = lines.collect();
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
        self.archive.start_file(Algorithm::Sha256.member(), options).map_err(io::Error::other)?;
        self.archive.write_all(text.as_bytes())?;
        let mut file = self.archive.finish().map_err(io::Error::other)?;
        file.flush()?;
        file.rewind()
    }
}

/// A member that is being written, and summed.
struct Member<'a> {
    writer: &'a mut Writer,
    name: String,
    hasher: Sha256,
}

impl Member<'_> {
    fn finish(self) {
        self.writer.sums.push((self.name, hex(&self.hasher.finalize())));
    }
}

impl Write for Member<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.archive.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

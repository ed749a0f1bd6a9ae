//! Dumping: what is in a store, item by item, as it stands in the files.

use super::{
    Offline,
    catalogue::{self, Catalogue, Named, State},
    layer,
    segment::{FoundRecord, Layout, SegmentScan},
};
use crate::{
    error::{Error, Kind, Result},
    format::{
        checkpoint,
        manifest::{ImageManifest, VolumeManifest},
        record::Body,
    },
    ids::LayerId,
    image::hex,
    layer::{SEALED_END, checkpoint_path, numbered, segment_path},
    limits::HEADER_BYTES,
};

/// One thing that a store holds: a kind, and what is known of it, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// `store`, `image`, `volume`, `snapshot`, `layer`, `checkpoint`, `segment` or `record`.
    pub kind: &'static str,
    /// Name and value of each fact.
    pub fields: Vec<(&'static str, Field)>,
}

/// One fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Words, a name, an identifier.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Several.
    List(Vec<String>),
}

/// What to dump.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only this volume or snapshot and its layers.
    pub disk: Option<String>,
    /// Every record of every segment as well.
    pub records: bool,
}

/// Hears of every item.
pub type Tell<'a> = &'a mut dyn FnMut(Item) -> Result<()>;

impl Offline {
    /// Tells all items of the store, or of one volume or snapshot.
    pub fn dump(&self, selection: &Selection, tell: Tell<'_>) -> Result<()> {
        let catalogue = catalogue::read(&self.context)?;
        let mut layers: Vec<LayerId> = match &selection.disk {
            None => {
                self.dump_catalogue(&catalogue, tell)?;
                catalogue.layers.iter().copied().collect()
            }
            Some(wanted) => {
                let disk = catalogue.find(wanted).ok_or_else(|| not_found(wanted))?;
                let mut fields = vec![text("of", &disk.owner)];
                fields.extend(volume_fields(&disk.manifest));
                tell(Item { kind: "disk", fields })?;
                disk.manifest.layers
            }
        };
        layers.dedup();
        layers.into_iter().try_for_each(|id| self.dump_layer(id, &catalogue, selection.records, tell))
    }

    fn dump_catalogue(&self, catalogue: &Catalogue, tell: Tell<'_>) -> Result<()> {
        let store = match &catalogue.store {
            Ok(id) => text("id", id),
            Err(damage) => text("damage", damage),
        };
        tell(Item { kind: "store", fields: vec![store, text("path", self.context.root.display())] })?;
        for image in &catalogue.images {
            tell(item("image", image, image_fields))?;
        }
        for volume in &catalogue.volumes {
            tell(item("volume", volume, volume_fields))?;
        }
        for snapshot in &catalogue.snapshots {
            tell(item("snapshot", snapshot, volume_fields))?;
        }
        Ok(())
    }

    fn dump_layer(&self, id: LayerId, catalogue: &Catalogue, records: bool, tell: Tell<'_>) -> Result<()> {
        let map = layer::read(&self.context, id)?;
        let trimmed = map.index.zeros().ranges().map(|(start, end)| end - start).sum();
        let faults: Vec<String> =
            map.faults.iter().map(|fault| format!("{}: {}", fault.path.display(), fault.problem)).collect();
        let named = catalogue.named_layers().contains(&id);
        let fields = vec![
            text("id", id),
            number("writtenBlocks", map.blocks()),
            number("trimmedBlocks", trimmed),
            number("lostBlocks", map.lost.total()),
            ("named", Field::Flag(named)),
            ("faults", Field::List(faults)),
        ];
        tell(Item { kind: "layer", fields })?;
        drop(map);
        let dir = self.context.layer_dir(id);
        let names = self.context.disk.list(&dir).unwrap_or_default();
        for n in names.iter().filter_map(|entry| numbered(&entry.name, "ckpt-")) {
            tell(self.checkpoint(id, n))?;
        }
        for n in names.iter().filter_map(|entry| numbered(&entry.name, "seg-")) {
            self.dump_segment(id, n, records, tell)?;
        }
        Ok(())
    }

    fn checkpoint(&self, id: LayerId, n: u64) -> Item {
        let path = checkpoint_path(&self.context.layer_dir(id), n);
        let mut fields = vec![text("layer", id), number("number", n)];
        match catalogue::read_file(&self.context, &path, usize::MAX) {
            Err(error) => fields.push(text("damage", error)),
            Ok(bytes) => match checkpoint::unpack(&bytes, id, n) {
                Err(damage) => fields.push(text("damage", damage)),
                Ok((head, index)) => {
                    let segments = head.segments.iter().map(|segment| match segment.end_offset {
                        SEALED_END => format!("{} sealed", segment.number),
                        end => format!("{} up to byte {end}", segment.number),
                    });
                    fields.extend([
                        number("bytes", bytes.len() as u64),
                        number("upToRecord", head.seq),
                        number("nextSegment", head.next_segment),
                        number("writtenBlocks", index.blocks()),
                        ("segments", Field::List(segments.collect())),
                    ]);
                }
            },
        }
        Item { kind: "checkpoint", fields }
    }

    fn dump_segment(&self, id: LayerId, n: u64, records: bool, tell: Tell<'_>) -> Result<()> {
        let path = segment_path(&self.context.layer_dir(id), n);
        let geometry = &self.context.geometry;
        let usual = Layout { data_offset: geometry.data_offset, blocks: geometry.segment_blocks };
        let mut fields = vec![text("layer", id), number("number", n)];
        let scan = match SegmentScan::read(&self.context, id, n, &path, usual) {
            Ok(scan) => scan,
            Err(error) => {
                fields.push(text("damage", error));
                return tell(Item { kind: "segment", fields });
            }
        };
        match &scan.header {
            Err(damage) => fields.push(text("damage", format!("the header is {damage}"))),
            Ok(header) => fields.extend([
                text("boot", header.boot),
                text("store", header.store),
                number("firstRecord", header.first_seq),
                number("dataOffset", u64::from(header.data_offset)),
                number("blocks", u64::from(header.blocks)),
            ]),
        }
        let allocated = scan.file.allocated_bytes().unwrap_or(0);
        let start = super::segment::ChainStart { offset: HEADER_BYTES, chain: scan.chain };
        let (chained, beyond) = scan.chained(start);
        fields.extend([
            number("bytes", scan.file_bytes),
            number("allocatedBytes", allocated),
            number("records", chained.len() as u64),
            number("recordsBeyondTheChain", beyond.len() as u64),
        ]);
        tell(Item { kind: "segment", fields })?;
        if records {
            let all = chained.iter().map(|r| (r, true)).chain(beyond.iter().map(|r| (r, false)));
            return all.into_iter().try_for_each(|(found, chained)| tell(record(n, found, chained)));
        }
        Ok(())
    }
}

fn not_found(wanted: &str) -> Error {
    Error::new(Kind::NotFound, format!("no volume or snapshot `{wanted}`"))
}

fn item<I: std::fmt::Display, M>(
    kind: &'static str,
    named: &Named<I, M>,
    facts: impl Fn(&M) -> Vec<(&'static str, Field)>,
) -> Item {
    let mut fields = vec![text("id", &named.id), text("path", named.path.display())];
    match &named.state {
        State::Sound(_) => {}
        State::Damaged { damage, .. } => fields.push(text("damage", damage)),
        State::Empty => fields.push(text("damage", "there is no manifest")),
    }
    fields.extend(named.manifest().map(facts).into_iter().flatten());
    Item { kind, fields }
}

fn image_fields(manifest: &ImageManifest) -> Vec<(&'static str, Field)> {
    vec![
        text("name", &manifest.name),
        number("sizeBytes", manifest.size_bytes),
        number("createdUnixMs", manifest.created_unix_ms),
        text("digest", hex(&manifest.digest)),
        text("sourceFormat", &manifest.source_format),
        ("deleted", Field::Flag(manifest.deleted)),
    ]
}

fn volume_fields(manifest: &VolumeManifest) -> Vec<(&'static str, Field)> {
    let mut fields = vec![
        text("name", &manifest.name),
        number("sizeBytes", manifest.size_bytes),
        number("quotaBytes", manifest.quota_bytes),
        number("reserveBytes", manifest.reserve_bytes),
        number("createdUnixMs", manifest.created_unix_ms),
    ];
    fields.extend(manifest.image.map(|id| text("image", id)));
    fields.extend(manifest.parent.map(|id| text("volume", id)));
    let layers = manifest.layers.iter().map(ToString::to_string).collect();
    fields.extend([("layers", Field::List(layers)), ("deleted", Field::Flag(manifest.deleted))]);
    fields
}

fn record(segment: u64, found: &FoundRecord, chained: bool) -> Item {
    let record = &found.found.record;
    let mut fields = vec![
        number("segment", segment),
        number("offset", u64::from(found.offset)),
        number("seq", record.seq),
        number("durableSeq", record.durable_seq),
        ("chained", Field::Flag(chained)),
    ];
    match &record.body {
        Body::Write { lba, block, crcs } => fields.extend([
            text("change", "write"),
            number("lba", u64::from(*lba)),
            number("blocks", crcs.len() as u64),
            number("block", u64::from(*block)),
        ]),
        Body::Trim { lba, blocks } => {
            fields.extend([
                text("change", "trim"),
                number("lba", u64::from(*lba)),
                number("blocks", *blocks),
            ]);
        }
        Body::Marker => fields.push(text("change", "marker")),
    }
    Item { kind: "record", fields }
}

fn text(name: &'static str, value: impl ToString) -> (&'static str, Field) {
    (name, Field::Text(value.to_string()))
}

fn number(name: &'static str, value: u64) -> (&'static str, Field) {
    (name, Field::Number(value))
}

//! `/rest/read-only-targets`: golden images and snapshots as write-protected disks.

use std::sync::Arc;

use api::{
    Code, Collection, ExportChange, Health, NewReadOnlyTarget, Page, ReadOnlyTarget, ReadOnlyTargetChange,
    Refusal, SessionSummary, page_of,
};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use cow::{ImageId, ImageInfo, SnapshotInfo, VolumeInfo};

use super::answer::{Answer, json, parse};
use super::endpoint::{Access, Endpoint, delete, get, patch, post};
use super::export_settings::refusal;
use super::exports::Withdrawal;
use super::state::Control;
use super::volumes::ForceQuery;
use super::{refusals, resources};
use crate::portal::ReadOnlyDisk;
use crate::settings::{self, ExportSettings};

/// Number of the logical unit.
const LUN: u64 = 0;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ONE: &str = "/rest/read-only-targets/{id}";
    vec![
        get(api::READ_ONLY_TARGETS, View, "Golden images and snapshots that are served as disks", list)
            .paged()
            .answers::<Collection<ReadOnlyTarget>>(),
        post(api::READ_ONLY_TARGETS, EditProfiles, "Serves a golden image or snapshot as a disk", serve)
            .takes::<NewReadOnlyTarget>()
            .creates::<ReadOnlyTarget>(),
        get(ONE, View, "A golden image or snapshot that is served", show).answers::<ReadOnlyTarget>(),
        patch(ONE, EditProfiles, "Changes who may read a golden image or snapshot that is served", change)
            .takes::<ReadOnlyTargetChange>()
            .answers::<ReadOnlyTarget>(),
        delete(ONE, EditProfiles, "Serves a golden image or snapshot no more", unserve)
            .query("force", "True: also while initiators are logged in"),
    ]
}

/// What is served, or may be.
#[derive(Debug, Clone)]
enum Source {
    Image { id: ImageId, name: String, size_bytes: u64, health: cow::Health },
    Snapshot { info: SnapshotInfo, volume: Box<VolumeInfo> },
}

impl Source {
    fn disk(&self) -> ReadOnlyDisk {
        match self {
            Self::Image { id, .. } => ReadOnlyDisk::Image(*id),
            Self::Snapshot { info, .. } => ReadOnlyDisk::Snapshot(info.id),
        }
    }

    fn id(&self) -> String {
        match self {
            Self::Image { id, .. } => id.to_string(),
            Self::Snapshot { info, .. } => info.id.to_string(),
        }
    }

    /// For people.
    fn words(&self) -> String {
        match self {
            Self::Image { name, .. } => format!("golden image {name:?}"),
            Self::Snapshot { info, volume } => {
                format!("snapshot {:?} of volume {:?}", info.name, volume.name)
            }
        }
    }
}

impl Control {
    /// Refuses what would take away a disk that is served; `done` is the verb. What depends on the answer is done before
    /// the guard is dropped.
    pub(super) async fn not_served(
        &self,
        disk: ReadOnlyDisk,
        (words, done): (&str, &str),
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, Refusal> {
        let targets = self.exports.read_only();
        let changing = targets.changing().await;
        if !targets.serves(disk) {
            return Ok(changing);
        }
        let how = match disk {
            ReadOnlyDisk::Image(_) => "osvol image unserve serves it no more",
            ReadOnlyDisk::Snapshot(_) => "osvol snapshot unserve serves it no more",
        };
        let message = format!("{words} cannot be {done}: it is served as a read-only disk");
        Err(Refusal::new(Code::InUse, message).action(how))
    }

    /// Whether an image is served; for those who ask from a transaction.
    pub(super) fn serves_image(&self, image: ImageId) -> bool {
        self.exports.read_only().serves(ReadOnlyDisk::Image(image))
    }

    fn image_source(&self, image: ImageInfo) -> Source {
        let ImageInfo { id, name, size_bytes, health, .. } = image;
        Source::Image { id, name: self.known.name_of(id).unwrap_or(name), size_bytes, health }
    }

    /// Everything that is served.
    async fn served(&self) -> Result<Vec<Source>, Refusal> {
        let targets = self.exports.read_only();
        let images = self.images().await?.into_iter().map(|image| self.image_source(image));
        let (snapshots, volumes) = self.blocking(|store| (store.snapshots(), store.volumes())).await?;
        let snapshots = snapshots.into_iter().filter_map(|info| {
            let volume = volumes.iter().find(|volume| Some(volume.id) == info.volume)?.clone();
            Some(Source::Snapshot { info, volume: Box::new(volume) })
        });
        Ok(images.chain(snapshots).filter(|source| targets.serves(source.disk())).collect())
    }

    /// One that is served, by id or path.
    async fn find_served(&self, wanted: &str) -> Result<Source, Refusal> {
        let found = self.served().await?.into_iter().find(|source| source.id() == wanted);
        found.ok_or_else(|| {
            let message = format!("no golden image or snapshot {wanted:?} is served");
            Refusal::new(Code::NotFound, message).action("osvol image served shows what is")
        })
    }

    async fn source_to_serve(&self, new: &NewReadOnlyTarget) -> Result<Source, Refusal> {
        match (&new.golden_image_uri, &new.snapshot_uri) {
            (Some(image), None) => Ok(self.image_source(self.find_image(image).await?)),
            (None, Some(reference)) => {
                let info = self.find_snapshot_by_reference(reference).await?;
                let gone = || Refusal::new(Code::NotFound, "the snapshot's volume is gone");
                let volume = self.find_volume(&info.volume.ok_or_else(gone)?.to_string()).await?;
                Ok(Source::Snapshot { info, volume: Box::new(volume) })
            }
            _ => {
                let message = "what is served is a golden image or a snapshot: give one of them";
                Err(Refusal::new(Code::InvalidValue, message).source("goldenImageURI"))
            }
        }
    }

    /// Keeps the settings and exports the disk. The caller has the guard.
    async fn keep_served(&self, source: &Source, change: ExportChange) -> Result<(), Refusal> {
        let targets = self.exports.read_only();
        let (disk, shelf) = (source.disk(), self.exports.settings().clone());
        let before = shelf.get(disk).map_err(|error| refusal(&error))?;
        let is_new = !targets.serves(disk);
        let after = settings_of(&before, &change, is_new, source)?;
        let kept = self.blocking(move |_| shelf.keep(disk, after)).await?;
        kept.map_err(|error| refusal(&error))?;
        targets.publish(disk).map_err(|error| refusals::internal("exporting the disk", &error))?;
        tracing::info!(disk = source.words(), new = is_new, "served as a read-only disk");
        Ok(())
    }

    fn served_resource(&self, source: &Source) -> Result<ReadOnlyTarget, Refusal> {
        let (targets, disk) = (self.exports.read_only(), source.disk());
        let settings = self.exports.settings().get(disk);
        let fault = match &settings {
            Ok(settings) => settings.access().err().map(|error| error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let (golden_image_uri, snapshot_uri, volume_name, name, size, (status, reason)) = match source {
            Source::Image { id, name, size_bytes, health } => {
                let (name, health) = (name.clone(), resources::health(health.clone()));
                (Some(resources::image_uri(*id)), None, None, name, *size_bytes, health)
            }
            Source::Snapshot { info, volume } => {
                let snapshot = super::snapshots::resource(info.clone(), volume, &self.scrub);
                let health = (snapshot.status, snapshot.status_reason);
                (None, Some(snapshot.uri), Some(snapshot.volume_name), snapshot.name, snapshot.size, health)
            }
        };
        Ok(ReadOnlyTarget {
            kind: ReadOnlyTarget::KIND.to_owned(),
            category: ReadOnlyTarget::CATEGORY.to_owned(),
            uri: format!("{}/{}", api::READ_ONLY_TARGETS, source.id()),
            id: source.id(),
            name,
            status: if fault.is_some() { Health::Critical } else { status },
            status_reason: fault.or(reason),
            golden_image_uri,
            snapshot_uri,
            volume_name,
            size,
            iscsi_name: targets.target_name(disk),
            lun: LUN,
            portals: resources::portals(self.exports.as_ref()),
            sessions: targets.sessions(disk),
            export: settings.ok().map(|settings| settings::shown(&settings)),
        })
    }
}

/// The settings that a change makes. A read-only disk has no cache to write to, and nobody needs it for itself.
fn settings_of(
    before: &ExportSettings,
    change: &ExportChange,
    is_new: bool,
    source: &Source,
) -> Result<ExportSettings, Refusal> {
    if change.write_cache == Some(true) {
        let message = format!("{} is only read: there is no write cache", source.words());
        return Err(Refusal::new(Code::InvalidValue, message).source("writeCache"));
    }
    if change.exclusive == Some(true) {
        let message =
            format!("{} is only read: any number of initiators may do so at a time", source.words());
        return Err(Refusal::new(Code::InvalidValue, message).source("exclusive"));
    }
    let mut after = settings::apply(before, change).map_err(|error| refusal(&error))?;
    after.write_cache = false;
    if !is_new && after.logical_block_bytes != before.logical_block_bytes {
        let message = format!(
            "{} is served with blocks of {} bytes",
            source.words(),
            before.logical_block_bytes.bytes()
        );
        let refusal = Refusal::new(Code::InvalidValue, message).source("logicalBlockBytes");
        return Err(refusal.action("serve it no more, and then again with others"));
    }
    Ok(after)
}

fn logged_in(source: &Source, sessions: &[SessionSummary]) -> Refusal {
    let who: Vec<_> = sessions.iter().map(|session| session.initiator_name.as_str()).collect();
    let message =
        format!("{} is not taken away from who reads it: an initiator is logged in", source.words());
    Refusal::new(Code::InUse, message)
        .details(format!("logged in: {}", who.join(", ")))
        .action("log it out first")
        .action("or give --force, and its disk vanishes under it")
}

async fn list(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    let Query(query) = query?;
    let served = control.served().await?;
    let all = served.iter().map(|source| control.served_resource(source)).collect::<Result<_, _>>()?;
    let kind = ("ReadOnlyTargetCollection", ReadOnlyTarget::CATEGORY, api::READ_ONLY_TARGETS);
    let found = page_of(kind, &query, all);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let source = control.find_served(&id).await?;
    Ok(json(StatusCode::OK, &control.served_resource(&source)?))
}

/// Serves a disk. One that is served already is changed instead, so that who asks twice has what was asked for.
async fn serve(State(control): State<Arc<Control>>, body: Result<Bytes, BytesRejection>) -> Answer {
    let new: NewReadOnlyTarget = parse(body)?;
    let targets = control.exports.read_only();
    let _changing = targets.changing().await;
    let source = control.source_to_serve(&new).await?;
    let is_new = !targets.serves(source.disk());
    control.keep_served(&source, new.export).await?;
    let target = control.served_resource(&source)?;
    let location = [(header::LOCATION, target.uri.clone())];
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok((location, json(status, &target)).into_response())
}

async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let change: ReadOnlyTargetChange = parse(body)?;
    let _changing = control.exports.read_only().changing().await;
    let source = control.find_served(&id).await?;
    control.keep_served(&source, change.export).await?;
    Ok(json(StatusCode::OK, &control.served_resource(&source)?))
}

async fn unserve(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Answer {
    let force = query?.0.is_set();
    let targets = control.exports.read_only();
    let _changing = targets.changing().await;
    let source = control.find_served(&id).await?;
    let disk = source.disk();
    if let Withdrawal::InUse(sessions) = targets.withdraw(disk, force).await {
        return Err(logged_in(&source, &sessions).into());
    }
    // After the target: a crash in between leaves it served, which is what it was.
    let shelf = control.exports.settings().clone();
    let removed = control.blocking(move |_| shelf.remove(disk)).await?;
    removed.map_err(|error| refusals::of_io("remove the settings of the disk", &error))?;
    tracing::info!(disk = source.words(), force, "served no more");
    Ok(StatusCode::NO_CONTENT.into_response())
}

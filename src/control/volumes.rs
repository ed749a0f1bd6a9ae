//! `/rest/os-volumes`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use api::{Code, NewOsVolume, OsVolume, OsVolumeChange, Page, Refusal, SessionSummary, VolumeStorage, page};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use config::Size;
use cow::{ImageId, NewVolume, SnapshotId, VolumeId, VolumeInfo};
use serde::Deserialize;

use crate::catalog::os_volumes;

use super::answer::{Answer, json, parse};
use super::claims::{self, Claim, Owner};
use super::endpoint::{Access, Endpoint, delete, get, patch, post};
use super::export_settings::{self, Initial};
use super::exports::Withdrawal;
use super::known::KnownImage;
use super::state::Control;
use super::{refusals, resources, snapshots};

/// Longest wait for a volume that was withdrawn to be let go of.
const RELEASE_TIME_MAX: Duration = Duration::from_secs(10);
const RELEASE_ASK_EVERY: Duration = Duration::from_millis(5);

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    vec![
        get(api::OS_VOLUMES, View, "OS volumes", list).paged().answers::<api::Collection<OsVolume>>(),
        post(api::OS_VOLUMES, EditProfiles, "Makes an OS volume outside any profile", create)
            .takes::<NewOsVolume>()
            .creates::<OsVolume>(),
        get("/rest/os-volumes/{id}", View, "An OS volume", show).answers::<OsVolume>(),
        patch(
            "/rest/os-volumes/{id}",
            EditProfiles,
            "Changes size, quota or reserve of an OS volume, or what it is exported with",
            change,
        )
        .query("endSessions", "True: ends sessions that could not log in so any more")
        .takes::<OsVolumeChange>()
        .answers::<OsVolume>(),
        delete("/rest/os-volumes/{id}", EditProfiles, "Removes an OS volume", remove)
            .query("force", "True: also while initiators are logged in"),
        get("/rest/os-volumes/{id}/storage", View, "What an OS volume takes in the store", storage)
            .answers::<VolumeStorage>(),
    ]
}

impl Control {
    /// A volume by path, id or name.
    pub(super) async fn find_volume(&self, reference: &str) -> Result<VolumeInfo, Refusal> {
        let prefix = format!("{}/", api::OS_VOLUMES);
        let wanted = reference.strip_prefix(&prefix).unwrap_or(reference);
        let Some(id) = self.names.find(wanted).or_else(|| wanted.parse::<VolumeId>().ok()) else {
            return Err(self.no_volume(wanted));
        };
        let found = self.blocking(move |store| store.volume_info(id)).await?;
        found.map_err(|error| match error.kind() {
            cow::Kind::NotFound => self.no_volume(wanted),
            _ => refusals::of_store(&error),
        })
    }

    fn no_volume(&self, wanted: &str) -> Refusal {
        let refusal = Refusal::new(Code::NotFound, format!("there is no OS volume {wanted:?}"));
        match self.names.nearest(wanted) {
            Some(near) => refusal.action(format!("did you mean {near:?}?")),
            None => refusal.action("osvol volume list shows what there is"),
        }
    }

    /// Does something to a volume that is exported no more. Commands that were under way, and the store's upkeep, may
    /// hold it for a moment yet.
    pub(super) async fn released(
        &self,
        act: impl Fn(&cow::Store) -> cow::Result<()> + Clone + Send + 'static,
    ) -> Result<cow::Result<()>, Refusal> {
        let start = Instant::now();
        loop {
            match self.blocking(act.clone()).await? {
                Err(error) if error.kind() == cow::Kind::InUse && start.elapsed() < RELEASE_TIME_MAX => {
                    tokio::time::sleep(RELEASE_ASK_EVERY).await;
                }
                result => return Ok(result),
            }
        }
    }

    pub(super) fn volume_resource(&self, info: VolumeInfo) -> OsVolume {
        let sessions = self.exports.sessions(info.id);
        resources::volume(info, sessions, self)
    }

    /// What a list can be filtered and sorted by. Only the volumes of the page asked for become resources.
    fn volume_field(
        &self,
        info: &VolumeInfo,
        field: &str,
        sessions: &Sessions,
        owners: &HashMap<VolumeId, Owner>,
    ) -> Option<String> {
        match field {
            "name" => Some(info.name.clone()),
            "id" | "oeVolumeId" => Some(info.id.to_string()),
            "uri" => Some(format!("{}/{}", api::OS_VOLUMES, info.id)),
            "imageName" => info.image.and_then(|image| self.known.name_of(image)),
            "goldenVolumeUri" => info.image.map(resources::image_uri),
            "created" | "modified" => Some(api::iso8601(info.created_unix_ms)),
            "oeVolumeIQN" | "iscsiName" => Some(self.exports.target_name(info.id, &info.name)),
            "status" => Some(resources::volume_health(info, self).0.to_string()),
            "state" => {
                let status = resources::volume_health(info, self).0;
                let has_sessions = !of_volume(sessions, info.id).is_empty();
                Some(claims::among(owners, info).state(status, has_sessions).to_owned())
            }
            "profileName" => claims::among(owners, info).profile_name().map(str::to_owned),
            "spaceLevel" => Some(resources::space_level(self.levels.of_volume(info)).to_string()),
            _ => None,
        }
    }
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let volumes = control.blocking(cow::Store::volumes).await?;
    let sessions = control.exports.all_sessions();
    let kind = ("OeVolumeCollection", OsVolume::CATEGORY, api::OS_VOLUMES);
    // Whose all the volumes are is only looked up where the list is asked by it, or is long.
    let asked = |what: &str| query.filter.iter().chain(&query.sort).any(|text| text.contains(what));
    let by_owner = asked("state") || asked("profileName");
    let mut owners = if by_owner { control.read(claims::all).await? } else { HashMap::new() };
    let field = |info: &VolumeInfo, field: &str| control.volume_field(info, field, &sessions, &owners);
    let found = page(kind, &query, volumes, field);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    if !by_owner {
        let ids: Vec<VolumeId> = found.members.iter().map(|info| info.id).collect();
        owners = control.read(move |tx| claims::of_these(tx, &ids)).await?;
    }
    let resource = |info: VolumeInfo| {
        let sessions = of_volume(&sessions, info.id).to_vec();
        claims::among(&owners, &info).tell(resources::volume(info, sessions, &control))
    };
    Ok(json(StatusCode::OK, &found.map(resource)))
}

/// Who is logged in, by volume.
type Sessions = HashMap<VolumeId, Vec<SessionSummary>>;

fn of_volume(sessions: &Sessions, volume: VolumeId) -> &[SessionSummary] {
    sessions.get(&volume).map_or(&[], Vec::as_slice)
}

pub(super) async fn show(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let info = control.find_volume(&id).await?;
    Ok(json(StatusCode::OK, &control.claimed_resource(info).await?))
}

pub(super) async fn storage(State(control): State<Arc<Control>>, Path(id): Path<String>) -> Answer {
    let info = control.find_volume(&id).await?;
    let snapshots = control.snapshots_of(info.id).await?;
    let resource = |snapshot| snapshots::resource(snapshot, &info, &control.scrub);
    let snapshots = snapshots.into_iter().map(resource).collect();
    let volume = control.volume_resource(info);
    let storage = VolumeStorage {
        name: volume.name,
        provisioned_bytes: volume.provisioned_bytes,
        allocated_bytes: volume.allocated_bytes,
        golden_volume_uri: volume.golden_volume_uri,
        image_name: volume.image_name,
        snapshots,
    };
    Ok(json(StatusCode::OK, &storage))
}

/// What a new volume begins as.
enum Source {
    Image { image: Option<ImageId>, size_bytes: Option<u64> },
    Snapshot(SnapshotId),
}

impl Source {
    fn create(self, store: &cow::Store, id: VolumeId, name: String) -> cow::Result<VolumeInfo> {
        match self {
            Self::Image { image, size_bytes } => {
                store.create_volume_as(id, NewVolume { name, image, size_bytes })
            }
            Self::Snapshot(snapshot) => store.clone_snapshot_as(id, snapshot, &name),
        }
    }
}

impl Control {
    async fn source(&self, new: &NewOsVolume) -> Result<Source, Refusal> {
        let Some(snapshot) = &new.snapshot_uri else {
            let image = new.golden_image_uri.as_deref().map(|image| self.known.find(image)).transpose()?;
            let size_bytes = new.size.map(|size| size.0);
            check_size(size_bytes, image.as_ref())?;
            return Ok(Source::Image { image: image.map(|image| image.id), size_bytes });
        };
        if new.golden_image_uri.is_some() || new.size.is_some() {
            let message = "a volume made of a snapshot has the snapshot's image and size; leave them out";
            return Err(Refusal::new(Code::InvalidValue, message).source("snapshotURI"));
        }
        Ok(Source::Snapshot(self.find_snapshot_by_reference(snapshot).await?.id))
    }
}

pub(super) async fn create(
    State(control): State<Arc<Control>>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: NewOsVolume = parse(body)?;
    let name = new.name.as_str();
    if os_volumes::number_of(name).is_some() {
        let message = format!("{name:?} is a name of a profile's volume; choose one of another form");
        return Err(Refusal::new(Code::InvalidValue, message).source("name").into());
    }
    let settings = Initial::of(&new.export)?;
    let source = control.source(&new).await?;
    if !control.names.take(name) {
        return Err(exists(name).into());
    }
    let wanted = name.to_owned();
    let shelf = control.exports.settings().clone();
    let create =
        move |store: &cow::Store| settings.create(store, &shelf, |id| source.create(store, id, wanted));
    let info = match control.blocking(create).await {
        Ok(Ok(info)) => info,
        Ok(Err(refusal)) | Err(refusal) => {
            control.names.release(name);
            return Err(refusal.into());
        }
    };
    control.names.settle(name, info.id);
    control.exports.publish(&info);
    tracing::info!(volume = name, id = %info.id, bytes = info.size_bytes, "volume created");
    // No profile's, by its name: the catalog has nothing to say of it.
    let volume = Claim::Direct.tell(control.volume_resource(info));
    let location = [(header::LOCATION, volume.uri.clone())];
    Ok((location, json(StatusCode::CREATED, &volume)).into_response())
}

fn exists(name: &str) -> Refusal {
    Refusal::new(Code::NameExists, format!("an OS volume named {name:?} exists"))
        .action("choose another name")
}

/// The store checks the same; here the words are better.
fn check_size(size_bytes: Option<u64>, image: Option<&KnownImage>) -> Result<(), Refusal> {
    let refuse = |message: String| Err(Refusal::new(Code::InvalidValue, message).source("size"));
    match (size_bytes, image) {
        (None, None) => refuse("a volume needs a golden image or a size".to_owned()),
        (Some(size), Some(image)) if size < image.size_bytes => refuse(format!(
            "{} ({size} bytes) is smaller than golden image {:?}, which has {} ({} bytes)",
            Size::from_bytes(size),
            image.name,
            Size::from_bytes(image.size_bytes),
            image.size_bytes
        )),
        _ => Ok(()),
    }
}

/// Changes a volume, in use or not. All of the change is checked before any of it is made.
pub(super) async fn change(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    query: Result<Query<ChangeQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let end_sessions = is_true(&query?.0.end_sessions);
    let change: OsVolumeChange = parse(body)?;
    let info = control.find_volume(&id).await?;
    check_change(&info, &change)?;
    control.check_export(&info, &change.export).await?;
    let (volume, size) = (info.id, change.size);
    let (quota, reserve) = (change.quota_bytes, change.reserve_bytes);
    let quota_before = info.quota_bytes;
    let done = control.blocking(move |store| {
        // A reserve may be refused for want of room, so it comes first; but it must fit into the quota.
        let reserve_bytes = reserve.flatten().map_or(0, |reserve| reserve.0);
        let wider = quota.filter(|_| quota_before.is_some_and(|before| reserve_bytes > before));
        if let Some(quota) = wider {
            store.set_quota(volume, quota.map(|quota| quota.0))?;
        }
        if let Some(reserve) = reserve
            && let Err(error) = store.set_reserve(volume, reserve.map(|reserve| reserve.0))
        {
            if wider.is_some() {
                store.set_quota(volume, quota_before)?;
            }
            return Err(error);
        }
        if let Some(size) = size {
            store.grow_volume(volume, size.0)?;
        }
        if let Some(quota) = quota {
            store.set_quota(volume, quota.map(|quota| quota.0))?;
        }
        Ok(())
    });
    let done: cow::Result<()> = done.await?;
    // Also when only a part was done.
    control.exports.changed(volume);
    done.map_err(|error| refusals::of_store(&error))?;
    control.change_export(&info, change.export, end_sessions).await?;
    if let Some(size) = size {
        tracing::info!(volume = info.name, from = info.size_bytes, to = size.0, "volume grown");
    }
    if let Some(quota) = quota {
        tracing::info!(volume = info.name, quota = quota.map(|quota| quota.0), "quota set");
    }
    if let Some(reserve) = reserve {
        tracing::info!(volume = info.name, reserve = reserve.map(|reserve| reserve.0), "reserve set");
    }
    Ok(json(StatusCode::OK, &control.claimed_resource(control.find_volume(&id).await?).await?))
}

fn check_change(info: &VolumeInfo, change: &OsVolumeChange) -> Result<(), Refusal> {
    if let Some(size) = change.size
        && size.0 < info.size_bytes
    {
        let message = format!(
            "volume {:?} has {} ({} bytes) and cannot shrink to {} ({} bytes)",
            info.name,
            Size::from_bytes(info.size_bytes),
            info.size_bytes,
            Size::from_bytes(size.0),
            size.0
        );
        return Err(Refusal::new(Code::InvalidValue, message)
            .source("size")
            .action("make a smaller volume, and copy what is in its file systems"));
    }
    if let Some(Some(quota)) = change.quota_bytes
        && quota.0 == 0
    {
        let refusal = Refusal::new(Code::InvalidValue, "a quota of 0 bytes lets nothing be written");
        return Err(refusal.source("quotaBytes").action("give null (osvol: none) for no quota"));
    }
    Ok(())
}

/// The query of what a session in the way refuses. Clients send `force=True`.
#[derive(Debug, Deserialize)]
pub(super) struct ForceQuery {
    #[serde(default)]
    force: String,
}

impl ForceQuery {
    pub(super) fn is_set(&self) -> bool {
        is_true(&self.force)
    }
}

/// The query of a change.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ChangeQuery {
    #[serde(default)]
    end_sessions: String,
}

fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Answer {
    let force = query?.0.is_set();
    let info = control.find_volume(&id).await?;
    let claim = control.claim(&info).await?;
    claim.check_direct(&info.name, "removed")?;
    let snapshots = control.snapshots_of(info.id).await?;
    if !snapshots.is_empty() {
        return Err(has_snapshots(&info.name, snapshots.len()).into());
    }
    if let Withdrawal::InUse(sessions) = control.exports.withdraw(info.id, force).await {
        return Err(in_use(&info.name, "removed", &sessions).into());
    }
    if let Err(error) = control.released(move |store| store.remove_volume(info.id)).await? {
        if claim == Claim::Direct {
            control.exports.publish(&info);
        }
        return Err(refusals::of_store(&error).into());
    }
    // After the volume: what a crash in between leaves belongs to nothing.
    let shelf = control.exports.settings().clone();
    control.blocking(move |_| export_settings::forget(&shelf, info.id)).await?;
    control.names.release(&info.name);
    tracing::info!(volume = info.name, id = %info.id, force, "volume removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

fn has_snapshots(name: &str, count: usize) -> Refusal {
    let count = if count == 1 { "a snapshot".to_owned() } else { format!("{count} snapshots") };
    Refusal::new(Code::InUse, format!("volume {name:?} cannot be removed: it has {count}"))
        .action("remove them first (osvol snapshot list shows them)")
}

/// Somebody is logged in.
pub(super) fn in_use(name: &str, done: &str, sessions: &[SessionSummary]) -> Refusal {
    let who: Vec<_> = sessions.iter().map(|session| session.initiator_name.as_str()).collect();
    Refusal::new(Code::InUse, format!("volume {name:?} cannot be {done}: an initiator is logged in"))
        .details(format!("logged in: {}", who.join(", ")))
        .action("log it out or shut its machine down first")
        .action("or give --force, and its disk vanishes under it")
}

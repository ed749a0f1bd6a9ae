//! `/rest/os-volumes/{id}/snapshots` and `/rest/os-volume-snapshots`.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Code, Health, NewSnapshot, Page, Refusal, Snapshot, iso8601, page};
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use cow::{SnapshotId, SnapshotInfo, VolumeId, VolumeInfo};

use super::answer::{Answer, json, parse};
use super::claims::Claim;
use super::endpoint::{Access, Endpoint, delete, get, post};
use super::exports::Withdrawal;
use super::refusals;
use super::state::Control;
use super::volumes::{ForceQuery, in_use};
use crate::portal::ReadOnlyDisk;
use crate::service::Scrubber;

pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = "/rest/os-volumes/{id}/snapshots";
    const ONE: &str = "/rest/os-volumes/{id}/snapshots/{snapshot}";
    vec![
        get(ALL, View, "Snapshots of an OS volume", list).paged().answers::<api::Collection<Snapshot>>(),
        post(ALL, EditProfiles, "Takes a snapshot of an OS volume", create)
            .takes::<NewSnapshot>()
            .creates::<Snapshot>(),
        get(ONE, View, "A snapshot", show).answers::<Snapshot>(),
        delete(ONE, EditProfiles, "Removes a snapshot", remove),
        post(
            "/rest/os-volumes/{id}/snapshots/{snapshot}/rollback",
            EditProfiles,
            "Takes a volume back",
            roll_back,
        )
        .query("force", "True: also while initiators are logged in")
        .answers::<api::OsVolume>(),
        get(api::SNAPSHOTS, View, "Snapshots of all OS volumes", list_all)
            .paged()
            .answers::<api::Collection<Snapshot>>(),
    ]
}

impl Control {
    /// Snapshots of one volume, by time.
    pub(super) async fn snapshots_of(&self, volume: VolumeId) -> Result<Vec<SnapshotInfo>, Refusal> {
        let mut all = self.blocking(cow::Store::snapshots).await?;
        all.retain(|snapshot| snapshot.volume == Some(volume));
        Ok(all)
    }

    /// A snapshot of a volume, by id or name.
    pub(super) async fn find_snapshot(
        &self,
        volume: &VolumeInfo,
        wanted: &str,
    ) -> Result<SnapshotInfo, Refusal> {
        let snapshots = self.snapshots_of(volume.id).await?;
        let id = wanted.parse::<SnapshotId>().ok();
        let same = |snapshot: &&SnapshotInfo| Some(snapshot.id) == id || snapshot.name == wanted;
        if let Some(found) = snapshots.iter().find(same) {
            return Ok(found.clone());
        }
        let near = api::nearest(wanted, snapshots.iter().map(|snapshot| snapshot.name.as_str()));
        let refusal =
            Refusal::new(Code::NotFound, format!("volume {:?} has no snapshot {wanted:?}", volume.name));
        Err(match near {
            Some(near) => refusal.action(format!("did you mean {near:?}?")),
            None => refusal.action("osvol snapshot list shows what there is"),
        })
    }

    /// A snapshot by its path, or as `VOLUME/SNAPSHOT`, each a name or an id.
    pub(super) async fn find_snapshot_by_reference(&self, reference: &str) -> Result<SnapshotInfo, Refusal> {
        let prefix = format!("{}/", api::OS_VOLUMES);
        let wanted = reference.strip_prefix(&prefix).unwrap_or(reference);
        let Some((volume, snapshot)) = wanted.split_once("/snapshots/").or_else(|| wanted.split_once('/'))
        else {
            let message = format!("{reference:?} names no snapshot; write it as VOLUME/SNAPSHOT");
            return Err(Refusal::new(Code::InvalidValue, message).source("snapshotURI"));
        };
        self.find_snapshot(&self.find_volume(volume).await?, snapshot).await
    }
}

pub(super) fn resource(info: SnapshotInfo, volume: &VolumeInfo, scrub: &Scrubber) -> Snapshot {
    let volume_uri = format!("{}/{}", api::OS_VOLUMES, volume.id);
    let status_reason = scrub.damage_of(Snapshot::CATEGORY, &info.id.to_string());
    Snapshot {
        kind: Snapshot::KIND.to_owned(),
        category: Snapshot::CATEGORY.to_owned(),
        id: info.id.to_string(),
        uri: format!("{volume_uri}/snapshots/{}", info.id),
        name: info.name,
        status: if status_reason.is_some() { Health::Critical } else { Health::OK },
        status_reason,
        volume_uri,
        volume_name: volume.name.clone(),
        size: info.size_bytes,
        created: iso8601(info.created_unix_ms),
    }
}

fn field(snapshot: &Snapshot, name: &str) -> Option<String> {
    match name {
        "name" => Some(snapshot.name.clone()),
        "id" => Some(snapshot.id.clone()),
        "uri" => Some(snapshot.uri.clone()),
        "volumeName" => Some(snapshot.volume_name.clone()),
        "volumeUri" => Some(snapshot.volume_uri.clone()),
        "created" => Some(snapshot.created.clone()),
        _ => None,
    }
}

fn collection(query: &Page, uri: &str, all: Vec<Snapshot>) -> Answer {
    let kind = ("OsVolumeSnapshotCollection", Snapshot::CATEGORY, uri);
    let found = page(kind, query, all, field);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

/// Snapshots of all volumes.
pub(super) async fn list_all(
    State(control): State<Arc<Control>>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let (snapshots, volumes) = control.blocking(|store| (store.snapshots(), store.volumes())).await?;
    let volumes: HashMap<VolumeId, VolumeInfo> =
        volumes.into_iter().map(|volume| (volume.id, volume)).collect();
    let resources = snapshots.into_iter().filter_map(|info| {
        let volume = volumes.get(&info.volume?)?;
        Some(resource(info, volume, &control.scrub))
    });
    collection(&query, api::SNAPSHOTS, resources.collect())
}

pub(super) async fn list(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let volume = control.find_volume(&id).await?;
    let snapshots = control.snapshots_of(volume.id).await?;
    let uri = format!("{}/{}/snapshots", api::OS_VOLUMES, volume.id);
    let resources = snapshots.into_iter().map(|info| resource(info, &volume, &control.scrub));
    collection(&query, &uri, resources.collect())
}

pub(super) async fn show(
    State(control): State<Arc<Control>>,
    Path((id, snapshot)): Path<(String, String)>,
) -> Answer {
    let volume = control.find_volume(&id).await?;
    let snapshot = control.find_snapshot(&volume, &snapshot).await?;
    Ok(json(StatusCode::OK, &resource(snapshot, &volume, &control.scrub)))
}

/// Takes a snapshot, whether or not somebody is logged in.
pub(super) async fn create(
    State(control): State<Arc<Control>>,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: NewSnapshot = parse(body)?;
    let volume = control.find_volume(&id).await?;
    let name = new.name.to_string();
    let taken = control.blocking(move |store| store.snapshot(volume.id, &name)).await?;
    let taken = taken.map_err(|error| refusals::of_store(&error))?;
    tracing::info!(volume = volume.name, snapshot = taken.name, "snapshot taken");
    let snapshot = resource(taken, &volume, &control.scrub);
    let location = [(header::LOCATION, snapshot.uri.clone())];
    Ok((location, json(StatusCode::CREATED, &snapshot)).into_response())
}

pub(super) async fn remove(
    State(control): State<Arc<Control>>,
    Path((id, snapshot)): Path<(String, String)>,
) -> Answer {
    let volume = control.find_volume(&id).await?;
    let snapshot = control.find_snapshot(&volume, &snapshot).await?;
    let words = format!("snapshot {:?} of volume {:?}", snapshot.name, volume.name);
    let _not_served = control.not_served(ReadOnlyDisk::Snapshot(snapshot.id), (&words, "removed")).await?;
    let removed = control.blocking(move |store| store.remove_snapshot(snapshot.id)).await?;
    removed.map_err(|error| refusals::of_store(&error))?;
    tracing::info!(volume = volume.name, snapshot = snapshot.name, "snapshot removed");
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes a volume back to a snapshot. Nobody may be logged in meanwhile: a disk does not change under a machine.
pub(super) async fn roll_back(
    State(control): State<Arc<Control>>,
    Path((id, snapshot)): Path<(String, String)>,
    query: Result<Query<ForceQuery>, QueryRejection>,
) -> Answer {
    let force = query?.0.is_set();
    let volume = control.find_volume(&id).await?;
    let claim = control.claim(&volume).await?;
    claim.check_direct(&volume.name, "rolled back")?;
    let snapshot = control.find_snapshot(&volume, &snapshot).await?;
    if let Withdrawal::InUse(sessions) = control.exports.withdraw(volume.id, force).await {
        return Err(in_use(&volume.name, "rolled back", &sessions).into());
    }
    let done = control.released(move |store| store.roll_back(volume.id, snapshot.id)).await;
    if claim == Claim::Direct {
        control.exports.publish(&volume);
    }
    done?.map_err(|error| refusals::of_store(&error))?;
    tracing::info!(volume = volume.name, snapshot = snapshot.name, force, "volume rolled back");
    Ok(json(StatusCode::OK, &control.claimed_resource(control.find_volume(&id).await?).await?))
}

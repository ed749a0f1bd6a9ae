//! `/rest/os-volumes/{id}/attachments`: an OS volume's disk over NBD, for people of this machine.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use api::{Attachment, Code, NewAttachment, Page, Refusal, SessionSummary, iso8601, page};
use axum::Extension;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{Path as InPath, Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use cow::{Subject, VolumeInfo};
use uuid::Uuid;

use super::actor::{Actor, Via};
use super::answer::{Answer, json, parse};
use super::attached::{About, Seen};
use super::claims::Claim;
use super::endpoint::{Access, Endpoint, delete, get, post};
use super::exports::Withdrawal;
use super::refusals;
use super::state::Control;
use crate::door::{Door, DoorSettings, StillDisk};
use crate::lun::BlockStore;

/// Clients of one attachment at a time.
const CLIENTS_MAX: usize = 16;
/// Mode of the directory of sockets.
const DIRECTORY_MODE: u32 = 0o700;

/// A disk has the secrets of the machine that ran from it: whoever only looks does not get it.
pub(super) fn endpoints() -> Vec<Endpoint> {
    use Access::{EditProfiles, View};
    const ALL: &str = "/rest/os-volumes/{id}/attachments";
    const ONE: &str = "/rest/os-volume-attachments/{id}";
    vec![
        get(ALL, View, "Attachments of an OS volume", list).paged().answers::<api::Collection<Attachment>>(),
        post(ALL, EditProfiles, "Attaches an OS volume over NBD, on a Unix socket", create)
            .takes::<NewAttachment>()
            .creates::<Attachment>(),
        get(ONE, View, "An attachment", show).answers::<Attachment>(),
        delete(ONE, EditProfiles, "Detaches an OS volume, and says what its clients did", remove)
            .answers::<Attachment>(),
        get(api::ATTACHMENTS, View, "Attachments of all OS volumes", list_all)
            .paged()
            .answers::<api::Collection<Attachment>>(),
    ]
}

fn resource((about, verdict, clients): Seen) -> Attachment {
    let socket = about.socket.display().to_string();
    Attachment {
        kind: Attachment::KIND.to_owned(),
        category: Attachment::CATEGORY.to_owned(),
        id: about.id.to_string(),
        uri: format!("{}/{}", api::ATTACHMENTS, about.id),
        volume_uri: format!("{}/{}", api::OS_VOLUMES, about.volume),
        volume_name: about.volume_name,
        nbd_uri: format!("nbd+unix:///?socket={}", in_query(&socket)),
        socket,
        writable: about.writable,
        snapshot: about.snapshot,
        clients: clients as u64,
        connections: verdict.connections,
        writes: verdict.writes,
        // Of what nobody can write to, nothing can be lost.
        doubt: verdict.sound().err().filter(|_| about.writable),
        created: iso8601(about.created_ms),
    }
}

/// A path as a value in a URI's query.
fn in_query(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let byte = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    path.bytes().map(byte).collect()
}

fn field(attachment: &Attachment, name: &str) -> Option<String> {
    match name {
        "id" => Some(attachment.id.clone()),
        "uri" => Some(attachment.uri.clone()),
        "volumeName" => Some(attachment.volume_name.clone()),
        "volumeUri" => Some(attachment.volume_uri.clone()),
        "socket" => Some(attachment.socket.clone()),
        "created" => Some(attachment.created.clone()),
        _ => None,
    }
}

fn collection(query: &Page, uri: &str, all: Vec<Seen>) -> Answer {
    let kind = ("OsVolumeAttachmentCollection", Attachment::CATEGORY, uri);
    let found = page(kind, query, all.into_iter().map(resource).collect(), field);
    let found = found.map_err(|error| Refusal::new(Code::MalformedRequest, error.to_string()))?;
    Ok(json(StatusCode::OK, &found))
}

async fn list_all(State(control): State<Arc<Control>>, query: Result<Query<Page>, QueryRejection>) -> Answer {
    collection(&query?.0, api::ATTACHMENTS, control.attached.seen(None))
}

async fn list(
    State(control): State<Arc<Control>>,
    InPath(id): InPath<String>,
    query: Result<Query<Page>, QueryRejection>,
) -> Answer {
    let Query(query) = query?;
    let volume = control.find_volume(&id).await?;
    let uri = format!("{}/{}/attachments", api::OS_VOLUMES, volume.id);
    collection(&query, &uri, control.attached.seen(Some(volume.id)))
}

async fn show(State(control): State<Arc<Control>>, InPath(id): InPath<String>) -> Answer {
    Ok(json(StatusCode::OK, &resource(control.find_attachment(&id)?)))
}

async fn create(
    State(control): State<Arc<Control>>,
    Extension(actor): Extension<Actor>,
    InPath(id): InPath<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let new: NewAttachment = parse(body)?;
    if new.writable && new.snapshot {
        let message = "a volume as it was cannot be written to; leave out one of writable and snapshot";
        return Err(Refusal::new(Code::InvalidValue, message).source("snapshot").into());
    }
    let volume = control.find_volume(&id).await?;
    let claim = control.claim(&volume).await?;
    check_claim(&claim, &volume.name, new.writable)?;
    let uuid = Uuid::new_v4();
    let about = About {
        id: uuid,
        volume: volume.id,
        volume_name: volume.name.clone(),
        socket: control.socket_for(&new, &actor, &volume.name, uuid)?,
        writable: new.writable,
        snapshot: new.snapshot,
        created_ms: now_ms(),
    };
    // A client that hangs up must not leave it half done.
    let attaching = tokio::spawn(async move { control.attach(about, &volume, claim).await }).await;
    let seen = attaching.map_err(|error| refusals::internal("the attachment", &error))??;
    let attachment = resource(seen);
    let location = [(header::LOCATION, attachment.uri.clone())];
    Ok((location, json(StatusCode::CREATED, &attachment)).into_response())
}

async fn remove(State(control): State<Arc<Control>>, InPath(id): InPath<String>) -> Answer {
    let (about, ..) = control.find_attachment(&id)?;
    let detaching = tokio::spawn(async move { control.detach(about.id).await }).await;
    match detaching.map_err(|error| refusals::internal("the attachment", &error))? {
        Some(seen) => Ok(json(StatusCode::OK, &resource(seen))),
        None => Err(Refusal::new(Code::NotFound, "the attachment has ended already").into()),
    }
}

/// Who may be attached, and how.
fn check_claim(claim: &Claim, volume: &str, writable: bool) -> Result<(), Refusal> {
    match claim {
        Claim::InTheMaking(_) => claim.check_direct(volume, "attached"),
        Claim::Profile(_) if writable => {
            let message = format!("volume {volume:?} is a profile's, and only its server writes to it");
            Err(Refusal::new(Code::InUse, message)
                .source("writable")
                .action("attach it to be read")
                .action("or take a snapshot, and attach a volume that is made of it"))
        }
        Claim::Direct | Claim::Unclaimed | Claim::Profile(_) => Ok(()),
    }
}

impl Control {
    /// Where sockets of attachments are made.
    pub fn attach_in(&self, directory: PathBuf) {
        self.attached.set_directory(directory);
    }

    /// Ends all attachments.
    pub async fn detach_all(&self) {
        self.attached.close_all().await;
    }

    /// Its volume may be gone: an attachment that shows a snapshot does not hold it.
    fn find_attachment(&self, wanted: &str) -> Result<Seen, Refusal> {
        let id = wanted.parse::<Uuid>().ok();
        let mut all = self.attached.seen(None).into_iter();
        all.find(|(about, ..)| Some(about.id) == id).ok_or_else(|| {
            let message = format!("there is no attachment {wanted:?}");
            Refusal::new(Code::NotFound, message).action("osvol volume attachments shows what there is")
        })
    }

    /// The path of a new socket.
    fn socket_for(
        &self,
        new: &NewAttachment,
        actor: &Actor,
        volume: &str,
        id: Uuid,
    ) -> Result<PathBuf, Refusal> {
        let refuse = |message: String| Refusal::new(Code::InvalidValue, message).source("socket");
        let path = match &new.socket {
            Some(path) if !matches!(actor.via, Via::Socket { .. }) => {
                return Err(refuse(format!("{path:?}: only callers of this machine choose a socket's path")));
            }
            Some(path) if !Path::new(path).is_absolute() => {
                return Err(refuse(format!("{path:?} is not an absolute path")));
            }
            Some(path) => PathBuf::from(path),
            None => {
                let directory =
                    self.attached.directory().ok_or_else(|| refuse("name a socket".to_owned()))?;
                make_directory(directory).map_err(|error| refusals::of_io("make its directory", &error))?;
                let short: String = id.simple().to_string().chars().take(8).collect();
                directory.join(format!("{volume:.24}-{short}.sock"))
            }
        };
        crate::door::check_path(&path).map_err(|error| refuse(error.to_string()))
    }

    /// Opens the door. A volume that is written to is exported to nobody until it is detached.
    async fn attach(&self, about: About, volume: &VolumeInfo, claim: Claim) -> Result<Seen, Refusal> {
        self.attached.begin(&about)?;
        let opened = self.open_door(&about).await;
        match opened {
            Ok(door) => {
                let seen = (about.clone(), door.seen(), 0);
                let (socket, writable) = (about.socket.display(), about.writable);
                tracing::info!(volume = volume.name, %socket, writable, "volume attached");
                self.attached.opened(about.id, door);
                Ok(seen)
            }
            Err((refusal, withdrawn)) => {
                self.attached.forget(about.id);
                if withdrawn && claim == Claim::Direct {
                    self.exports.publish(volume);
                }
                Err(refusal)
            }
        }
    }

    /// The door, or why not, and whether the volume was withdrawn on the way.
    async fn open_door(&self, about: &About) -> Result<Door, (Refusal, bool)> {
        let withdrawn = about.writable;
        if about.writable
            && let Withdrawal::InUse(sessions) = self.exports.withdraw(about.volume, false).await
        {
            return Err((logged_in(&about.volume_name, &sessions), false));
        }
        let (store, id, snapshot) = (self.store.clone(), about.volume, about.snapshot);
        let open = move || -> cow::Result<Arc<dyn BlockStore>> {
            Ok(match snapshot {
                true => Arc::new(StillDisk(store.still(Subject::Volume(id))?)),
                false => store.open_volume(id)?,
            })
        };
        let disk = tokio::task::spawn_blocking(open).await;
        let disk = disk.map_err(|error| (refusals::internal("the store", &error), withdrawn))?;
        let disk = disk.map_err(|error| (refusals::of_store(&error), withdrawn))?;
        let settings = DoorSettings { read_only: !about.writable, clients_max: CLIENTS_MAX };
        Door::open(&about.socket, disk, settings).map_err(|error| {
            let message = format!("no socket at {}: {error}", about.socket.display());
            let refusal = Refusal::new(Code::InvalidValue, message).source("socket");
            (refusal.action("choose a directory that osvold's user can write to"), withdrawn)
        })
    }

    /// Closes the door; a volume that was written to is exported again.
    async fn detach(&self, id: Uuid) -> Option<Seen> {
        let (about, verdict, clients) = self.attached.close(id).await?;
        if about.writable
            && let Ok(volume) = self.find_volume(&about.volume.to_string()).await
            && self.claim(&volume).await == Ok(Claim::Direct)
        {
            self.exports.publish(&volume);
        }
        Some((about, verdict, clients))
    }
}

fn logged_in(volume: &str, sessions: &[SessionSummary]) -> Refusal {
    let who: Vec<_> = sessions.iter().map(|session| session.initiator_name.as_str()).collect();
    let message = format!("volume {volume:?} cannot be attached to be written to: an initiator is logged in");
    Refusal::new(Code::InUse, message)
        .details(format!("logged in: {}", who.join(", ")))
        .action("log it out or shut its machine down first")
        .action("or attach the volume to be read, which needs nothing of the kind")
}

fn make_directory(directory: &Path) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().mode(DIRECTORY_MODE).create(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_quoted_in_a_uri() {
        assert_eq!(in_query("/run/osvol/nbd/a-1.sock"), "/run/osvol/nbd/a-1.sock");
        assert_eq!(in_query("/tmp/a b&c?d=%"), "/tmp/a%20b%26c%3Fd%3D%25");
    }
}

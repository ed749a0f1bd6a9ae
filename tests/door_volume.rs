//! A door to a volume of a real store: while it is open nobody takes the volume away, and afterwards nothing holds it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "support/nbd.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod nbd_client;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cow::{Kind, NewVolume, Store, Subject, VolumeId, Wait};
use nbd_client::{Client, FLUSH, READ, WRITE, WRITE_ZEROES};
use osvold::door::{Door, DoorSettings};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// How long the lifecycle tries to delete a volume that somebody holds for a moment yet.
const PATIENCE: Duration = Duration::from_secs(5);

struct Room {
    directory: TempDir,
    store: Arc<Store>,
    id: VolumeId,
}

impl Room {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("store")).unwrap();
        let new = NewVolume { name: "v".into(), image: None, size_bytes: Some(64 * MIB) };
        let id = store.create_volume(new).unwrap().id;
        Self { directory, store, id }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("disk.sock")
    }

    /// The door is all that holds the volume.
    fn open(&self) -> Door {
        let volume = self.store.open_volume(self.id).unwrap();
        let settings = DoorSettings { read_only: false, clients_max: 4 };
        Door::open(&self.socket(), volume, settings).unwrap()
    }

    /// Closes the volume as soon as nobody holds it.
    async fn close_volume(&self) {
        let begin = Instant::now();
        loop {
            match self.store.close_volume(self.id) {
                Err(error) if error.kind() == Kind::InUse && begin.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                closed => return closed.unwrap(),
            }
        }
    }
}

/// Something that a client does, on a thread of its own: it blocks.
async fn client<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(act).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_not_taken_away_while_its_door_is_open() {
    let room = Room::new();
    let before = room.store.snapshot(room.id, "before").unwrap();
    let door = room.open();
    let mut peer = Client::connect(&room.socket());
    let mut peer = client(move || {
        assert_eq!(peer.write(4096, &[7; 8192]), 0);
        peer
    })
    .await;
    let kind = |result: cow::Result<()>| result.map_err(|error| error.kind());
    assert_eq!(kind(room.store.remove_volume(room.id)), Err(Kind::InUse));
    assert_eq!(kind(room.store.close_volume(room.id)), Err(Kind::InUse));
    assert_eq!(kind(room.store.roll_back(room.id, before.id)), Err(Kind::InUse));
    // What takes nothing away goes on, and has all that was acknowledged.
    room.store.snapshot(room.id, "meanwhile").unwrap();
    let image =
        room.store.capture_image(Subject::Volume(room.id), "i", &mut |_, _| ControlFlow::Continue(()));
    assert!(image.unwrap().allocated_bytes >= 8192);
    room.store.maintain().unwrap();
    client(move || {
        assert_eq!(peer.read(4096, 8192), Ok(vec![7; 8192]));
        assert_eq!(peer.write(0, &[8; 4096]), 0);
        assert_eq!(peer.ask(0, WRITE_ZEROES, 4096, 4096), 0);
        assert_eq!(peer.ask(0, FLUSH, 0, 0), 0);
        peer.disconnect();
    })
    .await;
    assert_eq!(door.close().await.sound(), Ok(()));
    // A closed door holds nothing: at once.
    room.store.close_volume(room.id).unwrap();
    let mut found = vec![0; 12288];
    room.store.open_volume(room.id).unwrap().read(0, &mut found, Wait::Yes).unwrap();
    assert_eq!(found, [[8_u8; 4096], [0; 4096], [7; 4096]].concat());
    room.store.roll_back(room.id, before.id).unwrap();
    for snapshot in room.store.snapshots() {
        room.store.remove_snapshot(snapshot.id).unwrap();
    }
    room.store.remove_volume(room.id).unwrap();
    assert!(room.store.volumes().is_empty());
}

/// Clients that are silent in the greeting, in transmission, in the middle of a write, and one that asks for more than the
/// system keeps for it and never reads.
fn lazy_clients(room: &Room) -> Vec<Client> {
    let socket = room.socket();
    let mut half = Client::connect(&socket);
    half.send(&Client::request(0, WRITE, 0, 65536));
    half.send(&[1; 1000]);
    let mut deaf = Client::connect(&socket);
    for at in 0..16 {
        deaf.send(&Client::request(0, READ, at * MIB, 1 << 20));
    }
    vec![Client::greeted(&socket), Client::connect(&socket), half, deaf]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_keeps_a_volume_from_those_who_delete_it() {
    for close in [true, false] {
        let room = Room::new();
        let volume = room.store.open_volume(room.id).unwrap();
        for at in 0..16 {
            volume.write(at * MIB, &[&vec![9; 1 << 20]], Wait::Yes).unwrap();
        }
        drop(volume);
        let door = room.open();
        let (room, clients) = client(move || {
            let clients = lazy_clients(&room);
            (room, clients)
        })
        .await;
        match close {
            true => assert!(door.close().await.sound().is_err(), "half a write is no sound end"),
            // As when the job that it was opened for is dropped.
            false => drop(door),
        }
        room.close_volume().await;
        room.store.remove_volume(room.id).unwrap();
        drop(clients);
        assert!(room.store.volumes().is_empty());
    }
}

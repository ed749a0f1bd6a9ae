//! Volumes of the store as targets: what the control API needs of the iSCSI side.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use anyhow::Context;
use api::SessionSummary;
use cow::{Level, Store, Volume, VolumeId, VolumeInfo};
use iscsi::{IscsiName, Tsih};
use parking_lot::Mutex;
use scsi::{Attention, UnitConfig};

use super::ReadOnlyTargets;
use crate::catalog::os_volumes;
use crate::control::{EndSessions, Exports, Withdrawal};
use crate::exports::{Access, Directory, InUse, LoggedIn, Luns, SessionListing, Terms};
use crate::lun::{BlockStore, Lun, LunConfig, ReadOnlyMemory, Room, RoomOf};
use crate::seed::{self, Seed};
use crate::service::{Listeners, SpaceLevels, data_bytes_left};
use crate::settings::Shelf;

/// Numbers of a target's logical units: the volume, and its seed if it has one.
const VOLUME_LUN: u16 = 0;
const SEED_LUN: u16 = 1;
const LUNS: [u16; 2] = [VOLUME_LUN, SEED_LUN];
/// What a seed's unit is called.
const SEED_PRODUCT: &str = "OS volume seed";

/// Directory of the store that holds persistent reservations, a file a volume.
const RESERVATIONS: &str = "reservations";

/// Exports volumes of a store under names made of a prefix, the volume's name and its id.
pub struct VolumeExports {
    store: Arc<Store>,
    directory: Arc<Directory>,
    portals: Vec<SocketAddr>,
    prefix: String,
    published: Mutex<HashMap<VolumeId, IscsiName>>,
    /// Logins to volumes while they were exported before.
    logins: Mutex<HashMap<VolumeId, u64>>,
    /// Where persistent reservations are kept.
    reservations: PathBuf,
    /// Files of persistent reservations that were set aside because they are damaged, by volume.
    damaged: Arc<Mutex<HashMap<VolumeId, PathBuf>>>,
    levels: Arc<SpaceLevels>,
    seeds: Arc<SeedOf>,
    settings: Arc<Shelf>,
    read_only: Arc<ReadOnlyTargets>,
    /// Held from reading settings to having them count, so that older ones never replace newer ones.
    applying: Mutex<()>,
}

/// Tells the seed that a volume was deployed with.
pub type SeedOf = dyn Fn(VolumeId) -> anyhow::Result<Option<Seed>> + Send + Sync;

impl VolumeExports {
    /// Nothing is exported yet. `portals` are told to people.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        directory: Arc<Directory>,
        portals: Vec<SocketAddr>,
        prefix: &str,
        levels: Arc<SpaceLevels>,
        seeds: Arc<SeedOf>,
        settings: Arc<Shelf>,
    ) -> Arc<Self> {
        let reservations = store.path().join(RESERVATIONS);
        let read_only = ReadOnlyTargets::new(store.clone(), directory.clone(), settings.clone(), prefix);
        let exports = Self {
            store,
            directory,
            portals,
            prefix: prefix.to_owned(),
            published: Mutex::default(),
            logins: Mutex::default(),
            damaged: Arc::new(Mutex::new(damaged_reservations(&reservations))),
            reservations,
            levels,
            seeds,
            settings,
            read_only,
            applying: Mutex::default(),
        };
        Arc::new(exports)
    }

    fn iscsi_name(&self, volume: VolumeId, name: &str) -> anyhow::Result<IscsiName> {
        let text = self.target_name(volume, name);
        IscsiName::parse(&text).with_context(|| format!("{text:?} is no iSCSI name"))
    }

    fn name_of(&self, volume: VolumeId) -> Option<IscsiName> {
        self.published.lock().get(&volume).cloned()
    }

    fn told_publish(&self, volume: &VolumeInfo, access: Option<Access>) {
        if let Err(error) = self.try_publish(volume, access) {
            tracing::error!(volume = volume.name, error = format!("{error:#}"), "the volume is not exported");
        }
    }

    /// Makes the settings of an exported volume count for logins to come.
    fn apply(&self, volume: VolumeId, name: &IscsiName, is_direct: bool) -> Option<Terms> {
        let _applying = self.applying.lock();
        let settings = self.settings.get(volume).ok()?;
        let access = match is_direct {
            // A profile says itself who may log in.
            true => Some(settings.access().ok()?),
            false => None,
        };
        if let Some(lun) = self.directory.find(name).and_then(|target| target.opened_lun()) {
            lun.set_write_cache(settings.write_cache);
        }
        self.directory.set_terms(name, |terms| {
            terms.redirect = settings.redirect;
            terms.exclusive = settings.exclusive;
            if let Some(access) = access {
                terms.access = access;
            }
        })
    }

    fn reservations_of(&self, volume: VolumeId) -> PathBuf {
        self.reservations.join(volume.to_string())
    }

    /// Exports a volume; whose it is says who may log in, if it is a profile's. With settings that cannot be read it is
    /// exported to nobody.
    fn try_publish(&self, info: &VolumeInfo, access: Option<Access>) -> anyhow::Result<()> {
        let _applying = self.applying.lock();
        let settings = self.settings.get(info.id)?;
        let access = access.map_or_else(|| settings.access(), Ok)?;
        let terms = Terms { access, redirect: settings.redirect, exclusive: settings.exclusive };
        let name = self.iscsi_name(info.id, &info.name)?;
        let (store, id) = (self.store.clone(), info.id);
        let target_name = name.to_string();
        let reservations = self.reservations_of(id);
        let (damaged, levels, seeds) = (self.damaged.clone(), self.levels.clone(), self.seeds.clone());
        let shelf = self.settings.clone();
        let open = move || {
            if let Some(directory) = reservations.parent() {
                std::fs::create_dir_all(directory).context("cannot make the directory of reservations")?;
            }
            // They may have changed since it was exported.
            let settings = shelf.get(id)?;
            let volume = store.open_volume(id).context("cannot open the volume")?;
            let seed = seed_of(&*seeds, id, &target_name);
            let numbers = seed.as_ref().map_or_else(|| vec![VOLUME_LUN], |_| LUNS.to_vec());
            let unit = UnitConfig {
                numbers,
                block_size: settings.logical_block_bytes.into(),
                write_cache: settings.write_cache,
                ..UnitConfig::volume(id.0, &target_name, volume.size_bytes())
            };
            let room = room_of(volume.clone(), levels.clone());
            let config = LunConfig { unit, reservations: Some(reservations.clone()), room: Some(room) };
            let volume = Lun::open(config, volume).context("cannot make a disk of the volume")?;
            if let Some(aside) = volume.damaged_reservations() {
                damaged.lock().insert(id, aside.to_owned());
            }
            Ok(Luns { volume, seed })
        };
        self.directory.add(name.clone(), terms, Box::new(open));
        self.published.lock().insert(id, name);
        Ok(())
    }
}

/// The disk with a volume's seed, if it was deployed with one. One that cannot be made keeps nobody from the volume: a
/// machine that was deployed long ago needs no seed to go on.
fn seed_of(seeds: &SeedOf, volume: VolumeId, target_name: &str) -> Option<Arc<Lun>> {
    let opened =
        seeds(volume).and_then(|seed| seed.map(|seed| seed_lun(&seed, volume, target_name)).transpose());
    opened.unwrap_or_else(|error| {
        tracing::error!(%volume, error = format!("{error:#}"), "the volume is exported without its seed");
        None
    })
}

fn seed_lun(seed: &Seed, volume: VolumeId, target_name: &str) -> anyhow::Result<Arc<Lun>> {
    let disk = ReadOnlyMemory::new(seed.disk(volume.0).context("cannot make the seed's disk")?);
    let unit = UnitConfig {
        read_only: true,
        write_cache: false,
        product: SEED_PRODUCT,
        number: SEED_LUN,
        numbers: LUNS.to_vec(),
        ..UnitConfig::volume(seed::unit_id(volume.0), target_name, disk.size_bytes())
    };
    let config = LunConfig { unit, reservations: None, room: None };
    Lun::open(config, Arc::new(disk)).context("cannot make a disk of the seed")
}

/// Room for a volume: what is left of its quota and of the store. Its thresholds are those of its quota, or else those
/// of the store.
fn room_of(volume: Arc<Volume>, levels: Arc<SpaceLevels>) -> Arc<RoomOf> {
    Arc::new(move || {
        let store = levels.last_usage().map(|usage| Room {
            left_bytes: data_bytes_left(&usage),
            all_bytes: usage.total_bytes.saturating_sub(usage.reserve_bytes),
        });
        let Some(quota) = volume.quota_bytes() else { return store };
        let left = quota.saturating_sub(volume.used_bytes());
        Some(Room { left_bytes: store.map_or(left, |store| left.min(store.left_bytes)), all_bytes: quota })
    })
}

/// Removes a file that nobody reads any more. One that stays is told: it does no harm but to whoever looks into the store.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!("{} stays: {error}", path.display());
        }
        _ => {}
    }
}

/// What earlier runs of the daemon set aside and nobody has taken away yet.
fn damaged_reservations(directory: &Path) -> HashMap<VolumeId, PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let damaged = entries.map(|entry| entry.path()).filter_map(|path| {
        let id = path.file_name()?.to_str()?.strip_suffix(".damaged")?.parse().ok()?;
        Some((id, path))
    });
    damaged.collect()
}

pub(super) fn summary(session: SessionListing) -> SessionSummary {
    SessionSummary {
        initiator_name: session.initiator.to_string(),
        address: Some(session.address.ip().to_canonical().to_string()),
    }
}

impl Listeners for VolumeExports {
    fn threshold_reached(&self, volume: Option<VolumeId>, level: Level) {
        let attention =
            if level >= Level::High { Attention::HighThreshold } else { Attention::SoftThreshold };
        let luns = match volume {
            None => self.directory.opened_luns(),
            Some(volume) => {
                let target = self.name_of(volume).and_then(|name| self.directory.find(&name));
                target.and_then(|target| target.opened_lun()).into_iter().collect()
            }
        };
        luns.iter().for_each(|lun| lun.announce(attention));
    }
}

impl Exports for VolumeExports {
    fn portals(&self) -> Vec<SocketAddr> {
        self.portals.clone()
    }

    fn target_name(&self, volume: VolumeId, name: &str) -> String {
        // An iSCSI name has letters, digits, '-', '.' and ':' (RFC 7143 §4.2.7.1).
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '.' { c } else { '-' };
        let name: String = name.to_ascii_lowercase().chars().map(plain).collect();
        format!("{}:{name}-{:.8}", self.prefix, volume.to_string())
    }

    fn sessions(&self, volume: VolumeId) -> Vec<SessionSummary> {
        let sessions = self.name_of(volume).map(|name| self.directory.sessions(&name));
        sessions.unwrap_or_default().into_iter().map(summary).collect()
    }

    fn all_sessions(&self) -> HashMap<VolumeId, Vec<SessionSummary>> {
        let by_target = self.directory.sessions_by_target();
        if by_target.is_empty() {
            return HashMap::new();
        }
        let published = self.published.lock();
        let of_volume = |(volume, name): (&VolumeId, &IscsiName)| {
            let sessions = by_target.get(name)?.iter().cloned().map(summary).collect();
            Some((*volume, sessions))
        };
        published.iter().filter_map(of_volume).collect()
    }

    fn logged_in(&self) -> Vec<(LoggedIn, Option<VolumeId>)> {
        let published = self.published.lock();
        let by_name: HashMap<&IscsiName, VolumeId> = published.iter().map(|(id, name)| (name, *id)).collect();
        let volume = |session: &LoggedIn| by_name.get(session.target.as_ref()?).copied();
        self.directory.logged_in().into_iter().map(|session| (session.clone(), volume(&session))).collect()
    }

    fn end_session(&self, tsih: Tsih) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(self.directory.end_session(tsih))
    }

    fn warning(&self, volume: VolumeId) -> Option<String> {
        let mut damaged = self.damaged.lock();
        let aside = damaged.get(&volume)?;
        if !aside.exists() {
            damaged.remove(&volume);
            return None;
        }
        Some(format!(
            "its persistent reservations were damaged and are cleared; they were set aside as {}",
            aside.display()
        ))
    }

    fn changed(&self, volume: VolumeId) {
        let target = self.name_of(volume).and_then(|name| self.directory.find(&name));
        let Some(lun) = target.and_then(|target| target.opened_lun()) else { return };
        lun.quota_changed();
        if let Err(error) = lun.resized() {
            tracing::error!(%volume, %error, "the volume's new size is not told to initiators");
        }
    }

    fn session_count(&self) -> usize {
        self.directory.session_count()
    }

    fn logins(&self, volume: VolumeId) -> u64 {
        self.logins.lock().get(&volume).copied().unwrap_or(0)
            + self.name_of(volume).map_or(0, |name| self.directory.logins(&name))
    }

    fn settings(&self) -> &Arc<Shelf> {
        &self.settings
    }

    fn read_only(&self) -> &Arc<ReadOnlyTargets> {
        &self.read_only
    }

    fn settings_changed(
        &self,
        volume: &VolumeInfo,
        end_sessions: EndSessions,
    ) -> Pin<Box<dyn Future<Output = usize> + Send + '_>> {
        let is_direct = os_volumes::number_of(&volume.name).is_none();
        let id = volume.id;
        Box::pin(async move {
            let Some(name) = self.name_of(id) else { return 0 };
            let Some(terms) = self.apply(id, &name, is_direct) else { return 0 };
            match end_sessions {
                EndSessions::None => 0,
                EndSessions::All => self.directory.end_sessions(&name, |_| true).await,
                EndSessions::NotPermitted => {
                    let may = |session: &SessionListing| {
                        terms.access.permits(&session.initiator, session.address.ip())
                    };
                    // Of those that may be there one at a time, it is the first that has it.
                    let sessions = self.directory.sessions(&name);
                    let first = sessions.into_iter().filter(may).min_by_key(|session| session.since);
                    let holder = first.filter(|_| terms.exclusive).map(|session| session.initiator);
                    let others = |session: &SessionListing| {
                        holder.as_ref().is_some_and(|holder| *holder != session.initiator)
                    };
                    self.directory.end_sessions(&name, |session| !may(session) || others(session)).await
                }
            }
        })
    }

    fn publish(&self, volume: &VolumeInfo) {
        match os_volumes::number_of(&volume.name) {
            None => self.told_publish(volume, None),
            Some(_) => {
                tracing::error!(volume = volume.name, "a profile's volume is not exported to everybody")
            }
        }
    }

    fn publish_to(&self, volume: &VolumeInfo, access: Access) {
        self.told_publish(volume, Some(access));
    }

    fn withdraw(
        &self,
        volume: VolumeId,
        force: bool,
    ) -> Pin<Box<dyn Future<Output = Withdrawal> + Send + '_>> {
        Box::pin(async move {
            let Some(name) = self.name_of(volume) else { return Withdrawal::Done };
            let logins = self.directory.logins(&name);
            match self.directory.remove(&name, force).await {
                Ok(()) => {
                    *self.logins.lock().entry(volume).or_default() += logins;
                    self.published.lock().remove(&volume);
                    remove(&self.reservations_of(volume));
                    if let Some(aside) = self.damaged.lock().remove(&volume) {
                        remove(&aside);
                    }
                    Withdrawal::Done
                }
                Err(InUse(sessions)) => Withdrawal::InUse(sessions.into_iter().map(summary).collect()),
            }
        })
    }
}

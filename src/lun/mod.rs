//! Logical units: the seam between the SCSI command set, which decides, and the store, which does.
//!
//! ```text
//!  connection ── execute(nexus, lun, CDB, data-out) ──► scsi::LogicalUnit::start   (the unit's lock, short)
//!                                                        │ Done(response)
//!                                                        ▼ Perform(task)
//!                            BlockStore, Wait::No on the connection's own task ──► Done(response)
//!                                                        │ would block, or is long
//!                                                        ▼
//!                            Blocked(Job) ── the blocking pool ── Job::run ──► response
//! ```
//!
//! A command that meets no wait ends inside `execute`. A `Job` may be dropped without having run; then nothing of the
//! command happens. `quiesce` waits until what was begun before it has ended, which is what an abort, a reset and the
//! reinstatement of a session need so that no write arrives late.

mod absent;
mod background;
mod gate;
mod job;
mod memory;
mod perform;
mod pool;
mod saved;
mod store;
mod sweep;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cow::limits::{HIGH_PERCENT, SOFT_PERCENT};
use parking_lot::Mutex;
use scsi::{Attention, ConfigError, InitiatorPort, LogicalUnit, NexusId, Plan, Response, UnitConfig, Usage};

use background::Background;
use gate::Gate;
pub use job::Job;
pub use memory::ReadOnlyMemory;
pub use pool::BufferPool;
use saved::SavedReservations;
pub use store::{BlockStore, StoreError};

/// What `Lun::open` needs besides the store.
#[derive(Clone)]
pub struct LunConfig {
    /// Identity and shape of the unit. `size_bytes` and `reservations` are filled in by `Lun::open`.
    pub unit: UnitConfig,
    /// Where persistent reservations are kept across a restart (APTPL); without it they are refused.
    pub reservations: Option<PathBuf>,
    /// What the volume may still take in the store, if that is known: it may be less than its size suggests.
    pub room: Option<Arc<RoomOf>>,
}

/// Tells how much room there is for a volume.
pub type RoomOf = dyn Fn() -> Option<Room> + Send + Sync;

/// Room for a volume: in its quota if it has one, else in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// What is left of it.
    pub left_bytes: u64,
    /// All of it.
    pub all_bytes: u64,
}

impl Room {
    /// What is left when a soft threshold is reached.
    fn left_at(self, percent: u64) -> u64 {
        let left = u128::from(self.all_bytes) * u128::from(100 - percent) / 100;
        u64::try_from(left).unwrap_or(u64::MAX)
    }
}

/// A logical unit that does not open.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The configuration makes no disk.
    #[error("the volume makes no disk")]
    Config(#[from] ConfigError),
    /// The stored reservations cannot be read, nor set aside.
    #[error("cannot set the damaged persistent reservations in {path} aside")]
    Reservations {
        /// Their file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What became of a command.
#[derive(Debug)]
#[must_use = "a command must be answered"]
pub enum Execution {
    /// It ended; this is the answer.
    Done(Response),
    /// It would wait: run the job where waiting is allowed.
    Blocked(Job),
}

/// One volume as a disk, shared by all sessions that use it.
pub struct Lun {
    unit: Mutex<LogicalUnit>,
    number: u16,
    /// Numbers of all units of its target.
    numbers: Vec<u16>,
    store: Arc<dyn BlockStore>,
    gate: Arc<Gate>,
    background: Background,
    saved: Option<SavedReservations>,
    room: Option<Arc<RoomOf>>,
    /// Where stored reservations were put that could not be read.
    damaged_reservations: Option<PathBuf>,
}

impl std::fmt::Debug for LunConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LunConfig").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Lun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lun").field("unit", &self.unit).finish_non_exhaustive()
    }
}

impl Lun {
    /// The disk on top of `store`.
    ///
    /// Stored reservations that cannot be read are set aside, and the disk begins without any: a machine that boots
    /// from it is worth more than they are, and members of a cluster notice, for their keys are not registered.
    ///
    /// # Errors
    /// When the configuration makes no disk, or damaged reservations cannot be set aside.
    pub fn open(config: LunConfig, store: Arc<dyn BlockStore>) -> Result<Arc<Self>, OpenError> {
        let (saved, room) = (config.reservations.map(SavedReservations::new), config.room);
        let config = UnitConfig { size_bytes: store.size_bytes(), reservations: None, ..config.unit };
        let (number, numbers) = (config.number, config.numbers.clone());
        let (unit, damaged_reservations) = match &saved {
            Some(saved) => unit_with_reservations(config, saved)?,
            None => (LogicalUnit::new(config)?, None),
        };
        let (unit, gate, background) = (Mutex::new(unit), Arc::default(), Background::default());
        Ok(Arc::new(Self {
            unit,
            number,
            numbers,
            store,
            gate,
            background,
            saved,
            room,
            damaged_reservations,
        }))
    }

    /// The number under which its target has it.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }

    /// Where stored reservations were put that could not be read when the disk was opened.
    #[must_use]
    pub fn damaged_reservations(&self) -> Option<&Path> {
        self.damaged_reservations.as_deref()
    }

    /// A session begins: a new I_T nexus through the target port with this relative identifier.
    /// `None` when the unit has as many as it can.
    #[must_use]
    pub fn attach(&self, initiator: InitiatorPort, relative_target_port: u16) -> Option<NexusId> {
        self.unit.lock().attach(initiator, relative_target_port)
    }

    /// The iSCSIProtocolLevel that the session of a nexus agreed on.
    pub fn set_protocol_level(&self, nexus: NexusId, level: u8) {
        self.unit.lock().set_protocol_level(nexus, level);
    }

    /// I_T nexus loss: the session ended, however it ended. `quiesce` before another one takes its place.
    pub fn detach(&self, nexus: NexusId) {
        self.unit.lock().detach(nexus);
    }

    /// Decides a command, and does it where that needs no waiting. `lun` are the 8 bytes of the command's LUN field.
    pub fn execute(
        self: &Arc<Self>,
        nexus: NexusId,
        lun: [u8; 8],
        cdb: &[u8],
        data_out: &[Bytes],
        pool: &BufferPool,
    ) -> Execution {
        if scsi::Address::parse(lun) != scsi::Address::Unit(self.number) {
            return Execution::Done(absent::answer(lun, cdb, &self.numbers));
        }
        let passage = self.gate.pass();
        let plan = self.decide(nexus, cdb, data_out);
        let task = match plan {
            Plan::Done(response) => return Execution::Done(response),
            Plan::Perform(task) => task,
        };
        if let Some(outcome) = perform::at_once(&*self.store, &task.action, data_out, pool) {
            return Execution::Done(task.finish(outcome));
        }
        let ticket = self.gate.ticket();
        drop(passage);
        Execution::Blocked(Job::new(self.clone(), nexus, task, data_out, pool.clone(), ticket))
    }

    fn decide(&self, nexus: NexusId, cdb: &[u8], data_out: &[Bytes]) -> Plan {
        const LOG_SENSE: u8 = 0x4D;
        const MODE_SENSE: [u8; 2] = [0x1A, 0x5A];
        let mut unit = self.unit.lock();
        if cdb.first().is_some_and(|code| *code == LOG_SENSE || MODE_SENSE.contains(code)) {
            unit.set_usage(self.usage());
        }
        unit.start(nexus, cdb, data_out)
    }

    /// What the volume takes, and what it may still take.
    fn usage(&self) -> Usage {
        let usage = self.store.usage();
        let Some(room) = self.room.as_ref().and_then(|room| room()) else { return usage };
        Usage {
            available_bytes: usage.available_bytes.min(room.left_bytes),
            thresholds_bytes: [SOFT_PERCENT, HIGH_PERCENT].map(|percent| room.left_at(percent)),
            ..usage
        }
    }

    /// LOGICAL UNIT RESET, asked for by a nexus or by the operator. The portal ends the tasks.
    pub fn logical_unit_reset(&self) {
        self.unit.lock().logical_unit_reset();
    }

    /// TARGET WARM RESET or COLD RESET, as far as this unit is concerned.
    pub fn target_reset(&self) {
        self.unit.lock().target_reset();
    }

    /// I_T NEXUS RESET, asked for by this nexus. The portal ends its tasks.
    pub fn nexus_reset(&self, nexus: NexusId) {
        self.unit.lock().nexus_reset(nexus);
    }

    /// Commands of this unit were aborted, by task management or with their session: those of one nexus, or of all. To be
    /// called where tasks may be waited for afterwards: a SANITIZE goes on without the command that asked for it, which
    /// so ends at once.
    pub fn commands_aborted(&self, whose: Option<NexusId>) {
        self.background.release(whose);
    }

    /// Tasks of this nexus were aborted by another nexus: it is told at its next command.
    pub fn commands_cleared(&self, nexus: NexusId) {
        self.unit.lock().commands_cleared(nexus);
    }

    /// Tells every nexus something that happened outside, for instance `Attention::SoftThreshold`.
    pub fn announce(&self, attention: Attention) {
        self.unit.lock().announce(attention);
    }

    /// The disk is to have a write cache, or none.
    pub fn set_write_cache(&self, write_cache: bool) {
        self.unit.lock().set_write_cache(write_cache);
    }

    /// The volume has been given another quota: tells every nexus of the thresholds that come of it.
    pub fn quota_changed(&self) {
        let usage = self.usage();
        self.unit.lock().set_limits(usage);
    }

    /// The volume has grown: takes over its new size and tells every nexus.
    ///
    /// # Errors
    /// When it got smaller instead.
    pub fn resized(&self) -> Result<(), ConfigError> {
        let usage = self.usage();
        let mut unit = self.unit.lock();
        unit.set_usage(usage);
        unit.grow(self.store.size_bytes())
    }

    /// Waits until every command that was begun before this call has ended. Blocks: call it where waiting is allowed,
    /// and not from within a job.
    pub fn quiesce(&self) {
        self.gate.quiesce();
    }
}

/// The unit with the reservations that were stored; those that cannot be read are set aside, and it is told where.
fn unit_with_reservations(
    config: UnitConfig,
    saved: &SavedReservations,
) -> Result<(LogicalUnit, Option<PathBuf>), OpenError> {
    let why = match saved.load() {
        Ok(reservations) => match LogicalUnit::new(UnitConfig { reservations, ..config.clone() }) {
            Err(ConfigError::Reservations) => "their content makes no sense".to_owned(),
            unit => return Ok((unit?, None)),
        },
        Err(error) => error.to_string(),
    };
    let aside = saved.set_aside()?;
    tracing::error!("persistent reservations are damaged ({why}) and cleared; see {}", aside.display());
    Ok((LogicalUnit::new(config)?, Some(aside)))
}

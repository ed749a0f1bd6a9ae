//! The logical unit: it decides what a command does, and never does it itself.
//!
//! ```text
//!   start(nexus, CDB, data-out)                       finish(outcome)
//!        │ unit attention? ── CHECK CONDITION              │
//!        │ reservation?    ── RESERVATION CONFLICT         │
//!        │ parse, check    ── CHECK CONDITION              │
//!        ├─ Plan::Done(response)                           │
//!        └─ Plan::Perform(task) ── executor does the ──► response
//!                                  task's action
//! ```
//!
//! `start` needs the unit for itself and is short; the action and `Task::finish` do not need it.

use bytes::Bytes;

use crate::alua::GroupStates;
use crate::attention::Attention;
use crate::cdb::Cdb;
use crate::command::Command;
use crate::config::{ConfigError, UnitConfig};
use crate::copy::CopyRecord;
use crate::inquiry::PROTOCOL_LEVEL_DEFAULT;
use crate::log::Usage;
use crate::mode::ModePages;
use crate::nexus::{Access, InitiatorPort, NexusId, Nexuses};
use crate::reservations::Reservations;
use crate::response::{Response, Status};
use crate::sense::{Asc, Sense, SenseFormat, SenseKey, Specific};
use crate::table::{self, Allowed, CommandInfo, Lookup, Medium};
use crate::task::Plan;

/// One disk.
#[derive(Debug)]
pub struct LogicalUnit {
    pub(crate) config: UnitConfig,
    /// Capacity in logical blocks.
    pub(crate) blocks: u64,
    pub(crate) nexuses: Nexuses,
    pub(crate) reservations: Reservations,
    pub(crate) mode: ModePages,
    pub(crate) medium_state: MediumState,
    pub(crate) usage: Usage,
    pub(crate) groups: GroupStates,
    pub(crate) copy: Option<CopyRecord>,
}

/// Whether the medium may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MediumState {
    Ready,
    Sanitizing,
    SanitizeFailed,
}

/// How a command that needs no work ends: a response, or sense to be encoded for the initiator.
pub(crate) type Decision = Result<Plan, Refusal>;

/// Why a command is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Check(Sense),
    Status(Status),
    /// Data-out is not as long as the command wants: nothing of it is used.
    DataOutLength {
        transfer_bytes: u64,
    },
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Check(sense)
    }
}

impl LogicalUnit {
    /// A unit as after power on.
    ///
    /// # Errors
    /// When the configuration makes no disk.
    pub fn new(config: UnitConfig) -> Result<Self, ConfigError> {
        config.validate()?;
        let reservations = match &config.reservations {
            Some(state) => Reservations::restore(state).ok_or(ConfigError::Reservations)?,
            None => Reservations::default(),
        };
        Ok(Self {
            blocks: config.size_bytes >> config.block_size.shift(),
            mode: ModePages::new(&config),
            config,
            nexuses: Nexuses::default(),
            reservations,
            medium_state: MediumState::Ready,
            usage: Usage::default(),
            groups: GroupStates::default(),
            copy: None,
        })
    }

    /// A new I_T nexus, through the target port with this relative identifier. `None` when there are too many.
    pub fn attach(&mut self, initiator: InitiatorPort, relative_target_port: u16) -> Option<NexusId> {
        let id = self.nexuses.attach(initiator, relative_target_port)?;
        self.refresh_access();
        Some(id)
    }

    /// The iSCSIProtocolLevel that the session of a nexus agreed on: for the version descriptor of INQUIRY, and for the task
    /// management functions that are there.
    pub fn set_protocol_level(&mut self, nexus: NexusId, level: u8) {
        if let Some(nexus) = self.nexuses.get_mut(nexus) {
            nexus.protocol_level = level;
        }
    }

    pub(crate) fn protocol_level(&self, nexus: NexusId) -> u8 {
        self.nexuses.get(nexus).map_or(PROTOCOL_LEVEL_DEFAULT, |nexus| nexus.protocol_level)
    }

    /// I_T nexus loss (SAM-5): RESERVE is released, persistent reservations stay.
    pub fn detach(&mut self, nexus: NexusId) {
        self.nexuses.detach(nexus);
        self.reservations.nexus_lost(nexus);
        if self.mode.nexus_lost(nexus) {
            self.nexuses.announce(Attention::ModeChanged, None);
        }
        self.refresh_access();
    }

    /// Decides a command. `data_out` is complete, or shorter than the command wants when the initiator offered less.
    pub fn start(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[Bytes]) -> Plan {
        match self.decide(nexus, cdb, data_out) {
            Ok(plan) => plan,
            Err(Refusal::Check(sense)) => Plan::Done(Response::check(&sense, self.sense_format())),
            Err(Refusal::Status(status)) => Plan::Done(Response::status(status)),
            Err(Refusal::DataOutLength { transfer_bytes }) => {
                let sense = Sense::illegal(Asc::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
                Plan::Done(Response { transfer_bytes, ..Response::check(&sense, self.sense_format()) })
            }
        }
    }

    fn decide(&mut self, nexus: NexusId, cdb: &[u8], data_out: &[Bytes]) -> Decision {
        let cdb = Cdb::new(cdb);
        let found = table::lookup(&cdb);
        self.report_attention(nexus, &cdb)?;
        let info = match found {
            Lookup::Found(info) => info,
            Lookup::UnknownOpcode => return Err(Sense::illegal(Asc::INVALID_COMMAND_OPERATION_CODE).into()),
            Lookup::UnknownServiceAction => return Err(Sense::cdb_field(1, Some(4)).into()),
        };
        self.admit(nexus, info)?;
        let command = info.parse(&cdb)?;
        self.dispatch(nexus, command, data_out)
    }

    /// A pending unit attention ends any command but those that SAM-5 lets pass.
    fn report_attention(&mut self, nexus: NexusId, cdb: &Cdb) -> Result<(), Refusal> {
        const INQUIRY: u8 = 0x12;
        const REPORT_LUNS: u8 = 0xA0;
        const REQUEST_SENSE: u8 = 0x03;
        let Some(nexus) = self.nexuses.get_mut(nexus) else {
            return Err(Refusal::Status(Status::TaskAborted));
        };
        if nexus.attentions.is_empty() {
            return Ok(());
        }
        match cdb.opcode() {
            INQUIRY | REQUEST_SENSE => Ok(()),
            REPORT_LUNS => {
                nexus.attentions.remove(Attention::LunsChanged);
                Ok(())
            }
            _ => match nexus.attentions.pop() {
                Some(attention) => Err(attention.sense().into()),
                None => Ok(()),
            },
        }
    }

    /// Reservations of others, the state of the medium, and write protection.
    fn admit(&self, nexus: NexusId, info: &CommandInfo) -> Result<(), Refusal> {
        let access = self.nexuses.get(nexus).map_or(Access::Nothing, |n| n.access);
        let excluded = match access {
            Access::Full => false,
            Access::Reads => info.allowed == Allowed::HolderOnly,
            Access::Nothing => matches!(info.allowed, Allowed::HolderOnly | Allowed::Reads),
            Access::Reserved => info.allowed != Allowed::Always,
        };
        if excluded {
            return Err(Refusal::Status(Status::ReservationConflict));
        }
        if info.medium != Medium::Untouched && self.medium_state != MediumState::Ready {
            return self.medium_unusable(info);
        }
        if info.medium == Medium::Writing && self.mode.write_protected() {
            return Err(self.write_protected().into());
        }
        Ok(())
    }

    pub(crate) fn write_protected(&self) -> Sense {
        let asc = if self.config.read_only { Asc::WRITE_PROTECTED } else { Asc::SOFTWARE_WRITE_PROTECTED };
        Sense::new(SenseKey::DataProtect, asc)
    }

    pub(crate) fn sense_format(&self) -> SenseFormat {
        self.mode.sense_format()
    }

    /// Recomputes what reservations leave to each nexus. To be called after every change of either.
    pub(crate) fn refresh_access(&mut self) {
        let reservations = &self.reservations;
        for (id, nexus) in self.nexuses.iter_mut() {
            nexus.access = reservations.access(id, &nexus.port, nexus.target_port);
        }
    }

    fn medium_unusable(&self, info: &CommandInfo) -> Result<(), Refusal> {
        const SANITIZE: u8 = 0x48;
        match self.medium_state {
            MediumState::Ready => Ok(()),
            MediumState::Sanitizing => Err(sanitizing().into()),
            // SBC-3: only another SANITIZE leaves the failed state.
            MediumState::SanitizeFailed if info.opcode == SANITIZE => Ok(()),
            MediumState::SanitizeFailed => {
                Err(Sense::new(SenseKey::MediumError, Asc::SANITIZE_FAILED).into())
            }
        }
    }

    fn dispatch(&mut self, nexus: NexusId, command: Command, data_out: &[Bytes]) -> Decision {
        match command {
            Command::Read(transfer) => self.read(transfer),
            Command::Write(transfer) => self.write(transfer, data_out),
            Command::TestUnitReady => Ok(Plan::Done(Response::good())),
            Command::RequestSense { descriptor, allocation } => {
                self.request_sense(nexus, descriptor, allocation)
            }
            Command::Inquiry { evpd, page, allocation } => self.inquiry(nexus, evpd, page, allocation),
            Command::ReportLuns { select, allocation } => {
                crate::luns::report(select, allocation, &self.config.numbers)
            }
            Command::ReadCapacity10 { lba, pmi } => self.read_capacity10(lba, pmi),
            Command::ReadCapacity16 { allocation } => Ok(self.read_capacity16(allocation)),
            Command::ModeSense { .. } => self.mode_sense(command),
            Command::ModeSelect(select) => self.mode_select(nexus, select, data_out),
            Command::LogSense(log) => self.log_sense(log),
            Command::WriteAtomic(transfer) => self.write_atomic(transfer, data_out),
            Command::OrWrite(transfer) => self.orwrite(transfer, data_out),
            Command::WriteAndVerify { transfer, check } => self.write_and_verify(transfer, check, data_out),
            Command::Verify { lba, blocks, check } => self.verify(lba, blocks, check, data_out),
            Command::CompareAndWrite(transfer) => self.compare_and_write(transfer, data_out),
            Command::WriteSame { .. } => self.write_same(command, data_out),
            Command::Unmap { anchor, length } => self.unmap(anchor, length, data_out),
            Command::GetLbaStatus { lba, allocation } => self.get_lba_status(lba, allocation),
            Command::SynchronizeCache { lba, blocks, .. } => self.synchronize_cache(lba, blocks),
            Command::Prefetch { lba, blocks, .. } => self.prefetch(lba, blocks),
            Command::ReadDefectData10 { lists, allocation } => Ok(crate::defects::read10(lists, allocation)),
            Command::ReadDefectData12 { lists, allocation } => Ok(crate::defects::read12(lists, allocation)),
            Command::StartStopUnit { start, load_eject, power_condition, .. } => {
                self.start_stop(start, load_eject, power_condition)
            }
            Command::PreventAllow { prevent } => prevent_allow(prevent),
            Command::SendDiagnostic { self_test, code, length } => send_diagnostic(self_test, code, length),
            Command::Reserve { third_party_or_extent } => self.reserve(nexus, third_party_or_extent),
            Command::Release { third_party_or_extent } => self.release(nexus, third_party_or_extent),
            Command::PersistentReserveIn { action, allocation } => {
                self.persistent_reserve_in(action, allocation)
            }
            Command::PersistentReserveOut { .. } => self.persistent_reserve_out(nexus, command, data_out),
            Command::ReportTargetPortGroups { extended, allocation } => {
                Ok(self.report_target_port_groups(extended, allocation))
            }
            Command::SetTargetPortGroups { length } => self.set_target_port_groups(nexus, length, data_out),
            Command::ReportSupportedOpcodes { timeouts, options, opcode, action, allocation } => {
                crate::opcodes::report(timeouts, options, opcode, action, allocation)
            }
            Command::ReportSupportedTaskManagement { extended, allocation } => {
                let level = self.protocol_level(nexus);
                Ok(crate::opcodes::report_task_management(level, extended, allocation))
            }
            Command::Sanitize { action, immediate, length } => {
                self.sanitize(action, immediate, length, data_out)
            }
            Command::ExtendedCopy { length } => self.extended_copy(nexus, length, data_out),
            Command::ReceiveCopyStatus { list, allocation } => self.copy_status(nexus, list, allocation),
            Command::ReceiveCopyParameters { allocation } => {
                Ok(crate::copy::operating_parameters(allocation))
            }
        }
    }

    /// REQUEST SENSE (SPC-4): a pending unit attention, or what state the unit is in, as data with GOOD.
    fn request_sense(&mut self, nexus: NexusId, descriptor: bool, allocation: usize) -> Decision {
        let pending = self.nexuses.get_mut(nexus).and_then(|n| n.attentions.pop());
        let sense = match (pending, self.medium_state) {
            (Some(attention), _) => attention.sense(),
            (None, MediumState::Sanitizing) => sanitizing(),
            (None, MediumState::Ready | MediumState::SanitizeFailed) => {
                Sense::new(SenseKey::NoSense, Asc::NONE)
            }
        };
        let format = if descriptor { SenseFormat::Descriptor } else { SenseFormat::Fixed };
        let mut data = sense.encode(format);
        data.truncate(allocation);
        Ok(Plan::Done(Response::data(data)))
    }

    /// START STOP UNIT (SBC-3): nothing to spin, nothing to eject; stopping makes the cache durable.
    fn start_stop(&self, start: bool, load_eject: bool, power_condition: u8) -> Decision {
        if load_eject {
            return Err(Sense::cdb_field(4, Some(1)).into());
        }
        match (power_condition, start) {
            (0, false) => Ok(self.flush()),
            (0, true) => Ok(Plan::Done(Response::good())),
            _ => Err(Sense::cdb_field(4, Some(7)).into()),
        }
    }
}

/// PREVENT ALLOW MEDIUM REMOVAL (SBC-3): the medium cannot be removed, so both are kept.
fn prevent_allow(prevent: u8) -> Decision {
    if prevent > 1 {
        return Err(Sense::cdb_field(4, Some(1)).into());
    }
    Ok(Plan::Done(Response::good()))
}

/// SEND DIAGNOSTIC (SPC-4): the default self-test passes; there are no others and no pages.
fn send_diagnostic(self_test: bool, code: u8, length: usize) -> Decision {
    if code != 0 || (self_test && length != 0) {
        return Err(Sense::cdb_field(1, Some(7)).into());
    }
    if length != 0 {
        return Err(Sense::cdb_field(3, Some(7)).into());
    }
    Ok(Plan::Done(Response::good()))
}

/// What is told while SANITIZE is at work (SBC-3): as the answer to other commands, and by REQUEST SENSE.
fn sanitizing() -> Sense {
    let mut sense = Sense::new(SenseKey::NotReady, Asc::SANITIZE_IN_PROGRESS);
    sense.specific = Some(Specific::Progress(0));
    sense
}

//! Task management: what reaches beyond the connection that asked, to the logical units and to other sessions.
//!
//! The response goes out when nothing of what was aborted has an effect any more, whosever it was.

use iscsi::{TaskManagement, TaskManagementFunction, TaskManagementId, TaskManagementResponse, TaskScope};

use super::driver::Driver;
use super::mailbox::Letter;
use super::session::{Unit, Units};

impl Driver {
    pub(super) fn tell_commands_cleared(&self, scope: TaskScope) {
        let Some(units) = self.units() else { return };
        let cleared = |unit: &&Unit| match scope {
            TaskScope::All => true,
            TaskScope::LogicalUnit(lun) => {
                scsi::Address::parse(lun.0) == scsi::Address::Unit(unit.lun.number())
            }
        };
        units.all().filter(cleared).for_each(|unit| unit.lun.commands_cleared(unit.nexus));
    }

    /// The nexus is lost to every unit, and its session ends (RFC 7144 §6.3, §6.5): after the response, which waits for
    /// the tasks that were aborted.
    fn reset_nexus(&self, units: &Units, id: TaskManagementId, response: TaskManagementResponse) {
        units.all().for_each(|unit| unit.lun.nexus_reset(unit.nexus));
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            mailbox.abort(TaskScope::All, false).await;
            let _ = mailbox.send(Letter::TaskManagementDone(id, response));
            let _ = mailbox.send(Letter::Close);
        });
    }

    /// The connection has stopped its own tasks; here the logical unit and the other sessions follow. The response
    /// goes out when nothing of what was aborted has an effect any more.
    pub(super) fn manage_tasks(&mut self, request: TaskManagement) {
        let (id, proposed) = (request.id, request.proposed);
        let (Some(session), Some(units)) = (&self.session, self.units()) else {
            return self.connection.complete_task_management(id, TaskManagementResponse::FunctionRejected);
        };
        let reach = Reach::of(request.function);
        let meant: Vec<&Unit> = match reach {
            Reach::Target | Reach::Nexus => units.all().collect(),
            Reach::OwnTasks | Reach::LogicalUnit => units.named(request.lun.0).into_iter().collect(),
        };
        let is_own = matches!(reach, Reach::OwnTasks | Reach::Nexus);
        meant.iter().for_each(|unit| unit.lun.commands_aborted(is_own.then_some(unit.nexus)));
        if meant.is_empty() {
            let response = TaskManagementResponse::LunDoesNotExist;
            return self.connection.complete_task_management(id, response);
        }
        match reach {
            Reach::OwnTasks => return self.connection.complete_task_management(id, proposed),
            Reach::Nexus => return self.reset_nexus(units, id, proposed),
            Reach::LogicalUnit | Reach::Target => {}
        }
        let meant: Vec<_> = meant.into_iter().map(|unit| unit.lun.clone()).collect();
        let others = self.shared.directory.others(units.target.name(), session.tsih);
        let mailbox = self.mailbox.clone();
        let scope = if reach == Reach::Target { TaskScope::All } else { TaskScope::LogicalUnit(request.lun) };
        let function = request.function;
        tokio::spawn(async move {
            let clears = function == TaskManagementFunction::ClearTaskSet;
            for other in &others {
                other.mailbox.abort(scope, clears).await;
            }
            if function == TaskManagementFunction::TargetColdReset {
                // The end of the connection must not overtake the response, and that waits for our own tasks.
                mailbox.abort(scope, false).await;
            }
            match function {
                TaskManagementFunction::LogicalUnitReset => {
                    meant.iter().for_each(|lun| lun.logical_unit_reset());
                }
                TaskManagementFunction::TargetWarmReset | TaskManagementFunction::TargetColdReset => {
                    meant.iter().for_each(|lun| lun.target_reset());
                }
                _ => {}
            }
            let _ = mailbox.send(Letter::TaskManagementDone(id, proposed));
            if function == TaskManagementFunction::TargetColdReset {
                // §11.5.1, §11.6.1: all sessions of the target end; the one that asked when it has its answer.
                for other in others {
                    other.end().await;
                }
                let _ = mailbox.send(Letter::Close);
            }
        });
    }
}

/// How far a task management function reaches beyond the tasks of its own connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    OwnTasks,
    /// Its own session, with all that the logical units hold for it.
    Nexus,
    LogicalUnit,
    Target,
}

impl Reach {
    fn of(function: TaskManagementFunction) -> Self {
        use TaskManagementFunction as Function;
        match function {
            Function::AbortTask
            | Function::AbortTaskSet
            | Function::ClearAca
            | Function::QueryTask
            | Function::QueryTaskSet
            | Function::QueryAsynchronousEvent => Self::OwnTasks,
            Function::ITNexusReset => Self::Nexus,
            Function::ClearTaskSet | Function::LogicalUnitReset => Self::LogicalUnit,
            Function::TargetWarmReset | Function::TargetColdReset => Self::Target,
        }
    }
}

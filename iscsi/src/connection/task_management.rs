//! Task management (RFC 7143 §11.5, §4.2.2.1, §4.2.3.3): what is aborted has no effect once the response is out.
//!
//! A task that still gathers data or waits for the driver is dropped at once. One that the driver has is marked, and
//! the response waits until the driver gives it back. R2Ts of aborted tasks are not waited for: open-iscsi stops
//! answering them (its FastAbort), and late data finds no task and is dropped.

use super::Connection;
use super::task::TaskState;
use super::window::Position;
use crate::event::{
    Event, TaskManagement, TaskManagementFunction, TaskManagementId, TaskManagementResponse, TaskScope,
};
use crate::limits::TASK_MANAGEMENT_MAX;
use crate::names::{InitiatorTaskTag, TaskId};
use crate::wire::{Bhs, RejectReason, TaskManagementRequestPdu, TaskManagementResponsePdu};

const TASK_REASSIGN: u8 = 8;

/// A request on its way to its response.
#[derive(Debug)]
pub(super) struct PendingTaskManagement {
    pub(super) id: TaskManagementId,
    pub(super) initiator_task_tag: InitiatorTaskTag,
    response: Option<TaskManagementResponse>,
    /// Aborted tasks that the driver still has.
    waits_for: Vec<TaskId>,
}

impl Connection {
    pub(super) fn handle_task_management(&mut self, request: &TaskManagementRequestPdu, bhs: &Bhs) {
        use TaskManagementFunction as Function;
        let tag = request.initiator_task_tag;
        let Some(function) = TaskManagementFunction::from_code(request.function) else {
            // §7.2.2: allegiance belongs to ErrorRecoveryLevel 2.
            let response = if request.function == TASK_REASSIGN {
                TaskManagementResponse::ReassignNotSupported
            } else {
                TaskManagementResponse::NotSupported
            };
            return self.send_task_management_response(tag, response);
        };
        if self.task_management.len() >= TASK_MANAGEMENT_MAX {
            return self.refuse(RejectReason::TooManyImmediateCommands, bhs);
        }
        let logical_unit = TaskScope::LogicalUnit(request.lun);
        match function {
            // §11.5.1: a task management request is not aborted, nor asked after (RFC 7144 §6.3).
            Function::AbortTask | Function::QueryTask if self.is_task_management(request) => {
                self.send_task_management_response(tag, TaskManagementResponse::FunctionRejected);
            }
            Function::QueryTask | Function::QueryTaskSet | Function::QueryAsynchronousEvent => {
                let response = self.query(function, request);
                self.send_task_management_response(tag, response);
            }
            // NORMACA is 0: there is never an ACA condition to clear.
            Function::ClearAca => {
                self.send_task_management_response(tag, TaskManagementResponse::NotSupported)
            }
            Function::AbortTask => {
                let id = self.referenced_task(request);
                let is_to_come = id.is_none() && self.is_to_come(request);
                let proposed = if id.is_some() || is_to_come {
                    TaskManagementResponse::FunctionComplete
                } else {
                    TaskManagementResponse::TaskDoesNotExist
                };
                let waits_for = id.filter(|id| self.stop_task(*id)).into_iter().collect();
                self.ask_task_management(function, request, proposed, waits_for);
                // Last: it may let other requests in, and this one must be counted by then.
                if is_to_come {
                    self.give_up_referenced(request);
                }
            }
            Function::AbortTaskSet | Function::ClearTaskSet | Function::LogicalUnitReset => {
                self.give_up_held(logical_unit, request.cmd_sn);
                let waits_for = self.stop_tasks(logical_unit);
                let proposed = TaskManagementResponse::FunctionComplete;
                self.ask_task_management(function, request, proposed, waits_for);
            }
            Function::TargetWarmReset | Function::TargetColdReset | Function::ITNexusReset => {
                self.give_up_held(TaskScope::All, request.cmd_sn);
                let waits_for = self.stop_tasks(TaskScope::All);
                let proposed = TaskManagementResponse::FunctionComplete;
                self.ask_task_management(function, request, proposed, waits_for);
            }
        }
    }

    /// Queries are answered, never rejected (RFC 7144 §4.1, §6.3).
    fn query(
        &self,
        function: TaskManagementFunction,
        request: &TaskManagementRequestPdu,
    ) -> TaskManagementResponse {
        let scope = TaskScope::LogicalUnit(request.lun);
        let is_live =
            |id| self.tasks.get(id).is_some_and(|task| task.state != TaskState::Aborted && task.is_in(scope));
        let is_found = match function {
            TaskManagementFunction::QueryTask => self.referenced_task(request).is_some_and(is_live),
            TaskManagementFunction::QueryTaskSet => self.tasks.ids().any(is_live),
            _ => false,
        };
        if is_found {
            TaskManagementResponse::FunctionSucceeded
        } else {
            TaskManagementResponse::FunctionComplete
        }
    }

    fn is_task_management(&self, request: &TaskManagementRequestPdu) -> bool {
        let tag = request.referenced_task_tag;
        tag == request.initiator_task_tag
            || self.task_management.iter().any(|pending| pending.initiator_task_tag == tag)
    }

    fn referenced_task(&self, request: &TaskManagementRequestPdu) -> Option<TaskId> {
        let id = self.tasks.find(request.referenced_task_tag)?;
        self.tasks.get(id).filter(|task| task.lun.names_same_unit(request.lun)).map(|_| id)
    }

    /// §7.11, §11.5.1: a task that did not come yet, though its CmdSN lies before the request's, is considered received.
    fn is_to_come(&self, request: &TaskManagementRequestPdu) -> bool {
        request.ref_cmd_sn.is_before(request.cmd_sn)
            && self.window.position(request.ref_cmd_sn) != Position::Outside
    }

    fn give_up_referenced(&mut self, request: &TaskManagementRequestPdu) {
        let cmd_sn = request.ref_cmd_sn;
        self.held.retain(|(other, _)| *other != cmd_sn);
        self.give_up(cmd_sn);
    }

    fn ask_task_management(
        &mut self,
        function: TaskManagementFunction,
        request: &TaskManagementRequestPdu,
        proposed: TaskManagementResponse,
        waits_for: Vec<TaskId>,
    ) {
        self.task_management_count += 1;
        let id = TaskManagementId(self.task_management_count);
        let initiator_task_tag = request.initiator_task_tag;
        self.task_management.push(PendingTaskManagement {
            id,
            initiator_task_tag,
            response: None,
            waits_for,
        });
        let lun = request.lun;
        self.events.push_back(Event::TaskManagement(TaskManagement { id, function, lun, proposed }));
    }

    /// Stops one task. True when the driver has it: its end must be waited for.
    fn stop_task(&mut self, id: TaskId) -> bool {
        let Some(task) = self.tasks.get_mut(id) else { return false };
        match task.state {
            TaskState::Gathering | TaskState::Ready => {
                if let Some(task) = self.tasks.remove(id) {
                    self.release_data(&task);
                }
                false
            }
            TaskState::Executing | TaskState::Aborted => {
                task.state = TaskState::Aborted;
                true
            }
        }
    }

    /// Stops the tasks in scope; gives those whose end must be waited for.
    pub(super) fn stop_tasks(&mut self, scope: TaskScope) -> Vec<TaskId> {
        let is_meant = |id: &TaskId| self.tasks.get(*id).is_some_and(|task| task.is_in(scope));
        let ids: Vec<TaskId> = self.tasks.ids().filter(is_meant).collect();
        ids.into_iter().filter(|id| self.stop_task(*id)).collect()
    }

    pub(super) fn answer_task_management(&mut self, id: TaskManagementId, response: TaskManagementResponse) {
        if let Some(pending) = self.task_management.iter_mut().find(|pending| pending.id == id) {
            pending.response = Some(response);
        }
        self.settle_task_management();
    }

    pub(super) fn note_aborted_task_end(&mut self, id: TaskId) {
        for pending in &mut self.task_management {
            pending.waits_for.retain(|other| *other != id);
        }
        self.settle_task_management();
    }

    fn settle_task_management(&mut self) {
        let is_due =
            |pending: &PendingTaskManagement| pending.response.is_some() && pending.waits_for.is_empty();
        while let Some(at) = self.task_management.iter().position(is_due) {
            let pending = self.task_management.remove(at);
            if let Some(response) = pending.response {
                self.send_task_management_response(pending.initiator_task_tag, response);
            }
        }
    }

    fn send_task_management_response(
        &mut self,
        initiator_task_tag: InitiatorTaskTag,
        response: TaskManagementResponse,
    ) {
        self.open_window();
        let sequence = self.next_sequence();
        let pdu = TaskManagementResponsePdu { response: response.code(), initiator_task_tag, sequence };
        self.transmit.push(pdu.emit());
    }
}

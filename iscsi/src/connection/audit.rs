//! What must hold of a connection between any two calls, for fuzzers: its bounds, and that its counts are right.

use super::task::TaskState;
use super::{Connection, Phase};
use crate::limits::{HELD_COMMANDS_MAX, IMMEDIATE_TASKS_MAX, TASK_MANAGEMENT_MAX, WRITE_BYTES_MAX};

impl Connection {
    /// Panics when a bound of [`crate::limits`] or of the configuration does not hold.
    pub fn audit(&self) {
        self.audit_tasks();
        self.audit_memory();
        if self.is_closed() {
            assert!(self.held.is_empty() && self.task_management.is_empty());
            assert!(self.text.is_none() && self.logout.is_none());
            assert_eq!(
                self.tasks.len(),
                self.tasks.executing(),
                "a closed connection knows tasks of its own"
            );
        }
    }

    fn audit_tasks(&self) {
        let (mut immediate, mut executing, mut soliciting_now) = (0, 0, 0);
        for id in self.tasks.ids() {
            let Some(task) = self.tasks.get(id) else { continue };
            immediate += usize::from(task.immediate);
            executing += usize::from(matches!(task.state, TaskState::Executing | TaskState::Aborted));
            soliciting_now += usize::from(task.may_solicit);
            assert!(task.r2ts.len() <= self.parameters.outstanding_r2t_max as usize);
            assert!(task.received_bytes <= task.solicited_bytes || task.received_bytes <= task.goal_bytes);
            assert!(task.goal_bytes as usize <= WRITE_BYTES_MAX);
            if task.state == TaskState::Ready {
                assert!(self.ready.contains(&id), "a command is ready and nobody will get it");
            }
        }
        assert_eq!(immediate, self.tasks.immediate());
        assert_eq!(executing, self.tasks.executing());
        assert_eq!(soliciting_now, self.soliciting_now);
        assert!(immediate <= IMMEDIATE_TASKS_MAX);
        assert!(self.held.len() <= HELD_COMMANDS_MAX && self.task_management.len() <= TASK_MANAGEMENT_MAX);
        if matches!(self.phase, Phase::FullFeature) {
            let window = if self.window.is_closed() {
                0
            } else {
                self.window.max_cmd_sn().since(self.window.exp_cmd_sn()) as usize + 1
            };
            assert!(window <= self.config.tasks_max, "the window is wider than configured");
            assert!(self.tasks.numbered() + self.held.len() <= self.config.tasks_max.max(1) * 2);
        }
    }

    fn audit_memory(&self) {
        let reserved = |id| self.tasks.get(id).map_or(0, |task| task.reserved_bytes as usize);
        assert_eq!(self.tasks.ids().map(reserved).sum::<usize>(), self.buffered_bytes);
        // A window that was opened stays open, immediate commands need none, and one write always gets its data.
        let immediate = IMMEDIATE_TASKS_MAX * self.parameters.unsolicited_bytes_max() as usize;
        assert!(self.buffered_bytes <= 2 * self.config.buffered_bytes_max + immediate + WRITE_BYTES_MAX);
    }
}

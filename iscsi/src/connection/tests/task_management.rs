//! Task management: no effect of an aborted task after the response.

use super::pair::{OPEN_ISCSI, Pair, pattern};
use crate::event::{Event, TaskManagement, TaskManagementFunction, TaskManagementResponse, TaskScope};
use crate::names::{InitiatorTaskTag, LogicalUnitNumber, TargetTransferTag};
use crate::wire::*;

fn send(pair: &mut Pair, function: u8, referenced: InitiatorTaskTag) -> InitiatorTaskTag {
    let request = TaskManagementRequestPdu {
        immediate: true,
        function,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: pair.tag(),
        referenced_task_tag: referenced,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
        ref_cmd_sn: pair.cmd_sn.sub(1),
        exp_data_sn: 0,
    };
    pair.send(request.emit(), &[]);
    request.initiator_task_tag
}

fn expect_event(pair: &mut Pair) -> TaskManagement {
    match pair.event() {
        Some(Event::TaskManagement(request)) => request,
        other => panic!("expected task management, got {other:?}"),
    }
}

fn expect_response(pair: &mut Pair, tag: InitiatorTaskTag) -> u8 {
    let pdu = pair.receive().expect("a response");
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::TaskManagementResponse);
    let response = TaskManagementResponsePdu::parse(&pdu.bhs);
    assert_eq!(response.initiator_task_tag, tag);
    response.response
}

#[test]
fn abort_of_an_executing_task_waits_for_its_end() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(4096);
    let command = pair.expect_command();
    let request_tag = send(&mut pair, 1, tag);
    let request = expect_event(&mut pair);
    assert_eq!(request.proposed, TaskManagementResponse::FunctionComplete);
    pair.target.complete_task_management(request.id, request.proposed);
    assert!(pair.receive().is_none(), "the task is still executing");
    pair.complete_read(command.task, pattern(4096));
    assert_eq!(expect_response(&mut pair, request_tag), 0);
    assert!(pair.receive().is_none(), "the task itself is not answered");
}

#[test]
fn abort_of_a_task_that_gathers_drops_its_data() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    let command = pair.command(false, true, 4096);
    pair.send(command.emit(), &[]);
    let r2t = ReadyToTransfer::parse(&pair.receive().unwrap().bhs);
    let request_tag = send(&mut pair, 1, command.initiator_task_tag);
    let request = expect_event(&mut pair);
    pair.target.complete_task_management(request.id, request.proposed);
    assert_eq!(expect_response(&mut pair, request_tag), 0);
    let late = pair.data_out(r2t.initiator_task_tag, r2t.target_transfer_tag, 0, 0, true);
    pair.send(late, &pattern(4096));
    pair.no_event();
    assert!(pair.receive().is_none());
    assert_eq!(pair.target.buffered_bytes(), 0);
}

#[test]
fn abort_of_no_task() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let request_tag = send(&mut pair, 1, InitiatorTaskTag(0x4711));
    let request = expect_event(&mut pair);
    assert_eq!(request.proposed, TaskManagementResponse::TaskDoesNotExist);
    pair.target.complete_task_management(request.id, request.proposed);
    assert_eq!(expect_response(&mut pair, request_tag), 1);
}

#[test]
fn a_logical_unit_reset_stops_all_its_tasks_in_every_state() {
    let mut pair = Pair::established(&[("InitialR2T", "Yes"), ("ImmediateData", "No")]);
    pair.send_read(4096);
    let executing = pair.expect_command();
    pair.send_read(4096);
    let gathering = pair.command(false, true, 4096);
    pair.send(gathering.emit(), &[]);
    pair.receive().unwrap();
    let mut elsewhere = pair.command(true, false, 512);
    elsewhere.lun = LogicalUnitNumber::single_level(1);
    pair.send(elsewhere.emit(), &[]);
    let request_tag = send(&mut pair, 5, InitiatorTaskTag::RESERVED);
    let request = expect_event(&mut pair);
    assert_eq!(request.function, TaskManagementFunction::LogicalUnitReset);
    let other = pair.expect_command();
    assert_eq!(other.lun, LogicalUnitNumber::single_level(1), "another unit's task goes on");
    pair.no_event();
    pair.target.complete_task_management(request.id, TaskManagementResponse::FunctionComplete);
    assert!(pair.receive().is_none());
    pair.complete_read(executing.task, pattern(4096));
    assert_eq!(expect_response(&mut pair, request_tag), 0);
    pair.complete_read(other.task, pattern(512));
    assert_eq!(Opcode::of(&pair.receive().unwrap().bhs), Opcode::DataIn);
    assert_eq!(pair.target.tasks_open(), 0);
}

#[test]
fn tasks_stopped_for_another_connection_end_silently() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..128 {
        pair.send_read(512);
    }
    let first = pair.expect_command();
    let scope = TaskScope::LogicalUnit(LogicalUnitNumber::ZERO);
    pair.target.abort_tasks(scope);
    assert!(pair.target.has_aborted_tasks(scope));
    pair.complete_read(first.task, pattern(512));
    assert!(!pair.target.has_aborted_tasks(scope));
    pair.no_event();
    // The window had closed, and no response says that it is open again: a NOP-In does.
    let pdu = pair.receive().unwrap();
    assert_eq!(Opcode::of(&pdu.bhs), Opcode::NopIn);
    assert!(pair.receive().is_none_or(|pdu| Opcode::of(&pdu.bhs) == Opcode::NopIn));
    pair.cmd_sn = pair.exp_cmd_sn;
    pair.send_read(512);
    pair.expect_command();
}

#[test]
fn queries_do_not_disturb() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(512);
    for (function, referenced, response) in [
        (9, tag, 7),
        (9, InitiatorTaskTag(0x4711), 0),
        (10, InitiatorTaskTag::RESERVED, 7),
        (12, InitiatorTaskTag::RESERVED, 0),
    ] {
        let request_tag = send(&mut pair, function, referenced);
        assert_eq!(expect_response(&mut pair, request_tag), response, "function {function}");
    }
    let command = pair.expect_command();
    pair.complete_read(command.task, pattern(512));
    assert!(pair.receive().is_some());
}

/// One that was aborted is not in the task set any more, though the driver still has it.
#[test]
fn queries_do_not_find_what_was_aborted() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let tag = pair.send_read(512);
    pair.expect_command();
    send(&mut pair, 1, tag);
    expect_event(&mut pair);
    for (function, referenced) in [(9, tag), (10, InitiatorTaskTag::RESERVED)] {
        let request_tag = send(&mut pair, function, referenced);
        assert_eq!(expect_response(&mut pair, request_tag), 0, "function {function}");
    }
}

#[test]
fn functions_that_are_not_there() {
    for (function, response) in [(3, 5), (8, 4), (0, 5), (77, 5)] {
        let mut pair = Pair::established(OPEN_ISCSI);
        let request_tag = send(&mut pair, function, InitiatorTaskTag::RESERVED);
        assert_eq!(expect_response(&mut pair, request_tag), response, "function {function}");
    }
}

/// The request overtook its command.
#[test]
fn abort_of_a_task_that_is_still_to_come() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let late = pair.command(false, true, 512);
    let next = pair.command(true, false, 512);
    pair.send(next.emit(), &[]);
    pair.no_event();
    let request = TaskManagementRequestPdu {
        immediate: true,
        function: 1,
        lun: LogicalUnitNumber::ZERO,
        initiator_task_tag: pair.tag(),
        referenced_task_tag: late.initiator_task_tag,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
        ref_cmd_sn: late.cmd_sn,
        exp_data_sn: 0,
    };
    pair.send(request.emit(), &[]);
    let asked = expect_event(&mut pair);
    assert_eq!(asked.proposed, TaskManagementResponse::FunctionComplete);
    assert_eq!(pair.expect_command().cdb.head()[0], 0x28, "the one behind it has its turn");
    pair.send(late.emit(), &pattern(512));
    pair.no_event();
}

#[test]
fn a_reset_aborts_commands_that_wait_for_their_turn() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let missing = pair.command(true, false, 512);
    let waiting = pair.command(false, true, 512);
    pair.send(waiting.emit(), &pattern(512));
    send(&mut pair, 5, InitiatorTaskTag::RESERVED);
    expect_event(&mut pair);
    pair.send(missing.emit(), &[]);
    assert_eq!(pair.expect_command().cdb.head()[0], 0x28);
    pair.no_event();
    assert_eq!(pair.target.tasks_open(), 1);
}

#[test]
fn too_many_requests_are_rejected() {
    let mut pair = Pair::established(OPEN_ISCSI);
    for _ in 0..=crate::limits::TASK_MANAGEMENT_MAX {
        send(&mut pair, 5, InitiatorTaskTag::RESERVED);
    }
    let [pdu] = pair.receive_all().try_into().unwrap();
    assert_eq!(Reject::parse(&pdu.bhs).reason, RejectReason::TooManyImmediateCommands.code());
}

// ---- every function on every state of a task -------------------------------------------------------------------

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    /// Unsolicited data is announced.
    Announced,
    /// An R2T is on its way.
    Solicited,
    /// It waits for the driver.
    Ready,
    /// The driver has it.
    Executing,
    /// The driver has it, and another request aborts it.
    Aborted,
    /// A command before it is missing.
    Held,
}

/// A write of 4 KiB in this state; for one that the driver has, what it is known by there.
fn bring(pair: &mut Pair, state: State) -> (ScsiCommand, Option<crate::Command>, Option<ScsiCommand>) {
    let missing = (state == State::Held).then(|| pair.command(true, false, 512));
    let mut command = pair.command(false, true, 4096);
    command.is_final = state != State::Announced;
    let immediate = if matches!(state, State::Announced | State::Solicited) { 512 } else { 4096 };
    pair.send(command.emit(), &pattern(4096)[..immediate]);
    let is_solicited = pair.receive().is_some_and(|pdu| Opcode::of(&pdu.bhs) == Opcode::ReadyToTransfer);
    assert_eq!(is_solicited, state == State::Solicited);
    let has_it = matches!(state, State::Executing | State::Aborted);
    let executing = has_it.then(|| pair.expect_command());
    if state == State::Aborted {
        send_for(pair, 1, &command);
        let request = expect_event(pair);
        pair.target.complete_task_management(request.id, request.proposed);
    }
    (command, executing, missing)
}

fn send_for(pair: &mut Pair, function: u8, command: &ScsiCommand) -> InitiatorTaskTag {
    let request = TaskManagementRequestPdu {
        immediate: true,
        function,
        lun: command.lun,
        initiator_task_tag: pair.tag(),
        referenced_task_tag: if function == 1 {
            command.initiator_task_tag
        } else {
            InitiatorTaskTag::RESERVED
        },
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
        ref_cmd_sn: if function == 1 { command.cmd_sn } else { crate::serial::SerialNumber(0) },
        exp_data_sn: 0,
    };
    pair.send(request.emit(), &[]);
    request.initiator_task_tag
}

#[test]
fn every_function_that_aborts_stops_a_write_in_every_state() {
    let states =
        [State::Announced, State::Solicited, State::Ready, State::Executing, State::Aborted, State::Held];
    for function in [1, 2, 4, 5, 6, 7, 11] {
        for state in states {
            let mut pair = Pair::established(&[("InitialR2T", "No"), ("ImmediateData", "Yes")]);
            let (command, executing, missing) = bring(&mut pair, state);
            let tag = send_for(&mut pair, function, &command);
            let request = expect_event(&mut pair);
            assert_eq!(request.proposed, TaskManagementResponse::FunctionComplete, "{function} {state:?}");
            assert!(pair.receive().is_none(), "the logical unit's part comes first: {function} {state:?}");
            pair.target.complete_task_management(request.id, request.proposed);
            if let Some(executing) = executing {
                assert!(pair.receive().is_none(), "its write is still under way: {function} {state:?}");
                pair.complete_good(executing.task, 4096);
                if state == State::Aborted {
                    let first = TaskManagementResponsePdu::parse(&pair.receive().unwrap().bhs);
                    assert_eq!(first.response, 0);
                }
            }
            assert_eq!(expect_response(&mut pair, tag), 0, "{function} {state:?}");
            // What comes late finds nothing, and the one before it has its turn.
            if let Some(missing) = missing {
                pair.send(missing.emit(), &[]);
                let read = pair.expect_command();
                assert!(read.reads, "{function} {state:?}");
                pair.complete_read(read.task, pattern(512));
                pair.receive().unwrap();
            }
            let late = pair.data_out(command.initiator_task_tag, TargetTransferTag::RESERVED, 0, 512, true);
            pair.send(late, &pattern(3584));
            pair.no_event();
            assert!(pair.receive().is_none(), "{function} {state:?}");
            assert_eq!((pair.target.tasks_open(), pair.target.buffered_bytes()), (0, 0));
            pair.send_read(512);
            pair.expect_command();
        }
    }
}

/// SAM-5 §4.7.7: LUN 0 can be written in two ways, and a reset of the unit is one of all its tasks.
#[test]
fn a_reset_reaches_tasks_that_name_the_unit_in_the_other_way() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let mut command = pair.command(true, false, 512);
    command.lun = LogicalUnitNumber([0x40, 0, 0, 0, 0, 0, 0, 0]);
    pair.send(command.emit(), &[]);
    let executing = pair.expect_command();
    let request_tag = send(&mut pair, 5, InitiatorTaskTag::RESERVED);
    let request = expect_event(&mut pair);
    pair.target.complete_task_management(request.id, request.proposed);
    assert!(pair.receive().is_none(), "the task is still executing");
    pair.complete_read(executing.task, pattern(512));
    assert_eq!(expect_response(&mut pair, request_tag), 0);
    assert!(pair.receive().is_none(), "the task itself is not answered");
}

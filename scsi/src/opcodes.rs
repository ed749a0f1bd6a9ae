//! REPORT SUPPORTED OPERATION CODES and TASK MANAGEMENT FUNCTIONS (SPC-4), out of the table.

use bytes::BufMut;

use crate::commands::COMMANDS;
use crate::emit::{put, set_length32, truncated};
use crate::response::Response;
use crate::sense::Sense;
use crate::table::{CommandInfo, rows};
use crate::task::Plan;
use crate::unit::Decision;

const CTDP: u8 = 0x02;
const SERVACTV: u8 = 0x01;
const TIMEOUTS_LEN: u8 = 12;

pub(crate) fn report(timeouts: bool, options: u8, opcode: u8, action: u16, allocation: usize) -> Decision {
    const ALL: u8 = 0;
    const OPCODE: u8 = 1;
    const SERVICE_ACTION: u8 = 2;
    const EITHER: u8 = 3;
    let has_actions = rows(opcode).first().is_some_and(|info| info.service_action.is_some());
    let absent = rows(opcode).is_empty();
    let options_field = Sense::cdb_field(2, Some(2));
    let data = match options {
        ALL => all(timeouts),
        OPCODE if has_actions => return Err(options_field.into()),
        SERVICE_ACTION if !has_actions && !absent => return Err(options_field.into()),
        OPCODE => one(rows(opcode).first(), timeouts),
        SERVICE_ACTION => one(find(opcode, action), timeouts),
        EITHER if has_actions => one(find(opcode, action), timeouts),
        EITHER if action == 0 => one(rows(opcode).first(), timeouts),
        EITHER => one(None, timeouts),
        _ => return Err(options_field.into()),
    };
    Ok(Plan::Done(Response::data(truncated(data, allocation))))
}

fn find(opcode: u8, action: u16) -> Option<&'static CommandInfo> {
    rows(opcode).iter().find(|info| info.service_action.map(u16::from) == Some(action))
}

fn cdb_len(info: &CommandInfo) -> u16 {
    u16::try_from(info.usage.len()).unwrap_or(u16::MAX)
}

/// The all_commands parameter data format.
fn all(timeouts: bool) -> Vec<u8> {
    let mut data = vec![0; 4];
    for info in COMMANDS {
        data.put_u8(info.opcode);
        data.put_u8(0);
        data.put_u16(info.service_action.unwrap_or(0).into());
        data.put_u8(0);
        let servactv = if info.service_action.is_some() { SERVACTV } else { 0 };
        data.put_u8(servactv | if timeouts { CTDP } else { 0 });
        data.put_u16(cdb_len(info));
        if timeouts {
            timeouts_descriptor(&mut data, info);
        }
    }
    set_length32(&mut data, 0, 4);
    data
}

/// The one_command parameter data format, with the service action in its place in the CDB usage data.
fn one(info: Option<&CommandInfo>, timeouts: bool) -> Vec<u8> {
    const NOT_SUPPORTED: u8 = 0x01;
    const BY_THE_STANDARD: u8 = 0x03;
    const CTDP_ONE: u8 = 0x80;
    let Some(info) = info else { return vec![0, NOT_SUPPORTED, 0, 0] };
    let mut data = vec![0, BY_THE_STANDARD | if timeouts { CTDP_ONE } else { 0 }];
    data.put_u16(cdb_len(info));
    data.extend(info.usage);
    if let (Some(action), Some(&bits)) = (info.service_action, info.usage.get(1)) {
        put(&mut data, 5, &[(bits & !0x1F) | action]);
    }
    if timeouts {
        timeouts_descriptor(&mut data, info);
    }
    data
}

/// Command timeouts descriptor: nominal unknown, recommended from the table.
fn timeouts_descriptor(data: &mut Vec<u8>, info: &CommandInfo) {
    data.put_u16(u16::from(TIMEOUTS_LEN) - 2);
    data.put_u16(0);
    data.put_u32(0);
    data.put_u32(info.timeout_seconds);
}

/// ABORT TASK, ABORT TASK SET, CLEAR TASK SET, LOGICAL UNIT RESET and TARGET RESET; and, where the session agreed on a level
/// that has them (RFC 7144 §4.1, §6), I_T NEXUS RESET and the queries.
pub(crate) fn report_task_management(protocol_level: u8, extended: bool, allocation: usize) -> Plan {
    const ABORT_TASK: u8 = 0x80;
    const ABORT_TASK_SET: u8 = 0x40;
    const CLEAR_TASK_SET: u8 = 0x10;
    const UNIT_RESET: u8 = 0x08;
    const TARGET_RESET: u8 = 0x02;
    const QUERY_TASK: u8 = 0x04;
    const QUERY_ASYNCHRONOUS_EVENT: u8 = 0x04;
    const QUERY_TASK_SET: u8 = 0x02;
    const NEXUS_RESET: u8 = 0x01;
    let of_rfc_7144 = match protocol_level {
        0 | 1 => [0, 0],
        _ => [QUERY_TASK, QUERY_ASYNCHRONOUS_EVENT | QUERY_TASK_SET | NEXUS_RESET],
    };
    let always = ABORT_TASK | ABORT_TASK_SET | CLEAR_TASK_SET | UNIT_RESET | TARGET_RESET;
    let mut data = vec![always | of_rfc_7144[0], of_rfc_7144[1], 0, 0];
    if extended {
        put(&mut data, 3, &[12]);
        data.resize(16, 0);
    }
    Plan::Done(Response::data(truncated(data, allocation)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_command_shows_usage_and_service_action() {
        let data = one(find(0x9E, 0x12), false);
        assert_eq!(data[..6], [0, 3, 0, 16, 0x9E, 0x12]);
        assert_eq!(one(find(0x48, 1), false)[..6], [0, 3, 0, 10, 0x48, 0xA1]);
    }

    #[test]
    fn every_command_is_listed_once() {
        let data = all(false);
        assert_eq!(data.len(), 4 + 8 * COMMANDS.len());
        assert_eq!(all(true).len(), 4 + 20 * COMMANDS.len());
    }

    #[test]
    fn an_unknown_operation_code_is_reported_as_not_supported() {
        let plan = report(false, 1, 0xFF, 0, 255);
        let Ok(Plan::Done(response)) = plan else { panic!("{plan:?}") };
        assert_eq!(response.data_in[..], [0, 1, 0, 0]);
    }
}

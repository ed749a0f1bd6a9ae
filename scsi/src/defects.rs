//! READ DEFECT DATA (SBC-3): a volume has no defects to list.

use crate::emit::{put, truncated};
use crate::response::Response;
use crate::task::Plan;

/// REQ_PLIST, REQ_GLIST and the DEFECT LIST FORMAT come back as asked for: the lists exist, and are empty.
const LISTS: u8 = 0x1F;

pub(crate) fn read10(lists: u8, allocation: usize) -> Plan {
    answer(vec![0; 4], lists, allocation)
}

pub(crate) fn read12(lists: u8, allocation: usize) -> Plan {
    answer(vec![0; 8], lists, allocation)
}

fn answer(mut header: Vec<u8>, lists: u8, allocation: usize) -> Plan {
    put(&mut header, 1, &[lists & LISTS]);
    Plan::Done(Response::data(truncated(header, allocation)))
}

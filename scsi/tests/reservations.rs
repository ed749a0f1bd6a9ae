//! Two nexuses and every reservation: who may still do what, and who is told.

#![allow(clippy::panic, reason = "a failing test panics")]

mod support;

use bytes::Bytes;
use scsi::{Action, NexusId, Status};
use support::{Rig, cdb10, config, port};

const REGISTER: u8 = 0;
const RESERVE: u8 = 1;
const RELEASE: u8 = 2;
const CLEAR: u8 = 3;
const PREEMPT: u8 = 4;
const REGISTER_AND_IGNORE: u8 = 6;

const KEY_A: u64 = 0xA;
const KEY_B: u64 = 0xB;

fn out(rig: &mut Rig, nexus: NexusId, action: u8, kind: u8, key: u64, action_key: u64) -> Status {
    let list = [&key.to_be_bytes()[..], &action_key.to_be_bytes(), &[0; 8]].concat();
    rig.status(nexus, &[0x5F, action, kind, 0, 0, 0, 0, 0, 24, 0], &list)
}

fn read_in(rig: &mut Rig, nexus: NexusId, action: u8) -> Bytes {
    rig.good(nexus, &[0x5E, action, 0, 0, 0, 0, 0, 4, 0, 0], &[])
}

/// May it (read, write)?
fn may(rig: &mut Rig, nexus: NexusId) -> (bool, bool) {
    let allowed = |status| match status {
        Status::Good => true,
        Status::ReservationConflict => false,
        other => panic!("{other:?}"),
    };
    (
        allowed(rig.status(nexus, &cdb10(0x28, 0, 0, 1), &[])),
        allowed(rig.status(nexus, &cdb10(0x2A, 0, 0, 1), &[0; 512])),
    )
}

fn registered(b_too: bool) -> Rig {
    let mut rig = Rig::new();
    let (a, b) = (rig.a, rig.b);
    assert_eq!(out(&mut rig, a, REGISTER, 0, 0, KEY_A), Status::Good);
    if b_too {
        assert_eq!(out(&mut rig, b, REGISTER, 0, 0, KEY_B), Status::Good);
    }
    rig
}

#[test]
fn each_type_excludes_whom_it_should() {
    //            type, B unregistered,  B registered
    let table = [
        (1, (true, false), (true, false)),
        (3, (false, false), (false, false)),
        (5, (true, false), (true, true)),
        (6, (false, false), (true, true)),
        (7, (true, false), (true, true)),
        (8, (false, false), (true, true)),
    ];
    for (kind, stranger, registrant) in table {
        for (b_too, expected) in [(false, stranger), (true, registrant)] {
            let mut rig = registered(b_too);
            let (a, b) = (rig.a, rig.b);
            assert_eq!(out(&mut rig, a, RESERVE, kind, KEY_A, 0), Status::Good);
            assert_eq!(may(&mut rig, a), (true, true), "type {kind}");
            assert_eq!(may(&mut rig, b), expected, "type {kind}, registered {b_too}");
            assert_eq!(out(&mut rig, a, RELEASE, kind, KEY_A, 0), Status::Good);
            if b_too && kind > 3 {
                assert_eq!(rig.sense(b, &[0; 6], &[]), (6, 0x2A, 4), "type {kind}");
            }
            assert_eq!(may(&mut rig, b), (true, true), "type {kind}");
        }
    }
}

#[test]
fn what_everybody_may_do_is_not_excluded() {
    let mut rig = registered(false);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 3, KEY_A, 0);
    for cdb in
        [&[0; 6][..], &[0x12, 0, 0, 0, 36, 0], &cdb10(0x25, 0, 0, 0), &[0x5E, 0, 0, 0, 0, 0, 0, 0, 9, 0]]
    {
        rig.good(b, cdb, &[]);
    }
    for cdb in [&[0x1A, 0, 0x3F, 0, 255, 0][..], &cdb10(0x35, 0, 0, 0)] {
        assert_eq!(rig.status(b, cdb, &[]), Status::ReservationConflict);
    }
}

#[test]
fn keys_reservation_and_full_status_are_reported() {
    let mut rig = registered(true);
    let a = rig.a;
    out(&mut rig, a, RESERVE, 5, KEY_A, 0);
    let keys = [&[0, 0, 0, 2, 0, 0, 0, 16][..], &KEY_A.to_be_bytes(), &KEY_B.to_be_bytes()].concat();
    assert_eq!(read_in(&mut rig, a, 0), keys);
    let held = [&[0, 0, 0, 2, 0, 0, 0, 16][..], &KEY_A.to_be_bytes(), &[0, 0, 0, 0, 0, 5, 0, 0]].concat();
    assert_eq!(read_in(&mut rig, a, 1), held);
    assert_eq!(read_in(&mut rig, a, 2)[..], [0, 8, 0x0D, 0x80, 0xEA, 1, 0, 0]);
    let full = read_in(&mut rig, a, 3);
    let id = port("a", 1).transport_id().to_vec();
    assert_eq!(full[8..16], KEY_A.to_be_bytes());
    assert_eq!(full[20..28], [1, 5, 0, 0, 0, 0, 0, 1], "holder, type, relative target port");
    assert_eq!(full[28..32], u32::try_from(id.len()).unwrap().to_be_bytes());
    assert_eq!(full[32..32 + id.len()], id);
    assert_eq!(full[32 + id.len() + 12], 0, "the other is no holder");
}

#[test]
fn wrong_keys_and_strangers_meet_a_conflict() {
    let mut rig = registered(false);
    let (a, b) = (rig.a, rig.b);
    assert_eq!(out(&mut rig, a, REGISTER, 0, KEY_B, 1), Status::ReservationConflict);
    assert_eq!(out(&mut rig, b, REGISTER, 0, KEY_A, 1), Status::ReservationConflict);
    assert_eq!(out(&mut rig, b, RESERVE, 1, 0, 0), Status::ReservationConflict);
    assert_eq!(out(&mut rig, a, RESERVE, 1, KEY_B, 0), Status::ReservationConflict);
    assert_eq!(out(&mut rig, b, PREEMPT, 1, KEY_B, KEY_A), Status::ReservationConflict);
    assert_eq!(out(&mut rig, b, REGISTER_AND_IGNORE, 0, 99, KEY_B), Status::Good);
    assert_eq!(out(&mut rig, b, RESERVE, 1, KEY_B, 0), Status::Good);
    assert_eq!(out(&mut rig, a, RESERVE, 1, KEY_A, 0), Status::ReservationConflict);
    assert_eq!(out(&mut rig, a, RELEASE, 1, KEY_A, 0), Status::Good, "nothing of its own to release");
    assert_eq!(may(&mut rig, a), (true, false));
}

#[test]
fn preempting_the_holder_takes_the_reservation_over() {
    let mut rig = registered(true);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 3, KEY_A, 0);
    assert_eq!(out(&mut rig, b, PREEMPT, 1, KEY_B, KEY_A), Status::Good);
    assert_eq!(rig.sense(a, &[0; 6], &[]), (6, 0x2A, 5));
    assert_eq!(may(&mut rig, a), (true, false));
    assert_eq!(may(&mut rig, b), (true, true));
    assert_eq!(read_in(&mut rig, b, 0).len(), 16);
    assert_eq!(out(&mut rig, a, RESERVE, 1, KEY_A, 0), Status::ReservationConflict);
}

#[test]
fn preempting_all_registrants_with_key_zero_leaves_only_the_preemptor() {
    let mut rig = registered(true);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 8, KEY_A, 0);
    assert_eq!(read_in(&mut rig, a, 1)[8..16], [0; 8], "the key of all registrants is zero");
    assert_eq!(out(&mut rig, b, PREEMPT, 3, KEY_B, 0), Status::Good);
    assert_eq!(rig.sense(a, &[0; 6], &[]), (6, 0x2A, 5));
    assert_eq!(may(&mut rig, a), (false, false));
}

#[test]
fn preempt_and_abort_waits_for_what_is_at_work() {
    let mut rig = registered(true);
    let list = [&KEY_B.to_be_bytes()[..], &KEY_A.to_be_bytes(), &[0; 8]].concat();
    let task = rig.task(rig.b, &[0x5F, 5, 1, 0, 0, 0, 0, 0, 24, 0], &list);
    assert_eq!(task.action, Action::Quiesce { save_reservations: false });
}

#[test]
fn clear_removes_everything_and_tells_the_registered() {
    let mut rig = registered(true);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 1, KEY_A, 0);
    assert_eq!(out(&mut rig, b, CLEAR, 0, KEY_B, 0), Status::Good);
    assert_eq!(rig.sense(a, &[0; 6], &[]), (6, 0x2A, 3));
    assert_eq!(read_in(&mut rig, a, 0)[4..8], [0; 4]);
    assert_eq!(may(&mut rig, b), (true, true));
}

#[test]
fn the_holder_that_unregisters_releases() {
    for (kind, told) in [(1, false), (5, true)] {
        let mut rig = registered(true);
        let (a, b) = (rig.a, rig.b);
        out(&mut rig, a, RESERVE, kind, KEY_A, 0);
        assert_eq!(out(&mut rig, a, REGISTER, 0, KEY_A, 0), Status::Good);
        let expected = if told { Status::CheckCondition } else { Status::Good };
        assert_eq!(rig.status(b, &[0; 6], &[]), expected);
        assert_eq!(may(&mut rig, b), (true, true));
    }
}

#[test]
fn all_registrants_is_released_by_the_last() {
    let mut rig = registered(true);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 7, KEY_A, 0);
    out(&mut rig, a, REGISTER, 0, KEY_A, 0);
    assert_eq!(may(&mut rig, a), (true, false));
    assert_eq!(may(&mut rig, b), (true, true));
    out(&mut rig, b, REGISTER, 0, KEY_B, 0);
    assert_eq!(may(&mut rig, a), (true, true));
}

#[test]
fn a_release_of_another_type_is_invalid() {
    let mut rig = registered(false);
    let a = rig.a;
    out(&mut rig, a, RESERVE, 1, KEY_A, 0);
    let list = [&KEY_A.to_be_bytes()[..], &[0; 16]].concat();
    assert_eq!(rig.sense(a, &[0x5F, RELEASE, 3, 0, 0, 0, 0, 0, 24, 0], &list), (5, 0x26, 4));
}

#[test]
fn register_and_move_hands_the_reservation_over() {
    let mut rig = registered(false);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 3, KEY_A, 0);
    let id = port("b", 2).transport_id().to_vec();
    let id_len = u32::try_from(id.len()).unwrap();
    let list = [
        &KEY_A.to_be_bytes()[..],
        &KEY_B.to_be_bytes(),
        &[0, 0x02, 0, 1], // UNREG, relative target port 1
        &id_len.to_be_bytes(),
        &id,
    ]
    .concat();
    let len = u8::try_from(list.len()).unwrap();
    rig.good(a, &[0x5F, 7, 3, 0, 0, 0, 0, 0, len, 0], &list);
    assert_eq!(may(&mut rig, a), (false, false));
    assert_eq!(may(&mut rig, b), (true, true));
    assert_eq!(out(&mut rig, b, RELEASE, 3, KEY_B, 0), Status::Good);
}

#[test]
fn spec_i_pt_registers_others_too() {
    let mut rig = Rig::new();
    let (a, b) = (rig.a, rig.b);
    let id = port("b", 2).transport_id().to_vec();
    let list = [
        &[0; 8][..],
        &KEY_A.to_be_bytes(),
        &[0, 0, 0, 0, 0x08, 0, 0, 0],
        &u32::try_from(id.len()).unwrap().to_be_bytes(),
        &id,
    ]
    .concat();
    let len = u8::try_from(list.len()).unwrap();
    rig.good(a, &[0x5F, 0, 0, 0, 0, 0, 0, 0, len, 0], &list);
    assert_eq!(out(&mut rig, b, RESERVE, 3, KEY_A, 0), Status::Good);
    assert_eq!(may(&mut rig, a), (false, false));
}

/// SPC-4 §6.15.5: ALL_TG_PT speaks of the registration as it is, not as it once was.
#[test]
fn the_last_registration_says_whether_it_is_for_all_target_ports() {
    let mut rig = Rig::new();
    let a = rig.a;
    for (key, flags) in [(0, 0x04), (KEY_A, 0), (KEY_A, 0x04)] {
        let list = [&u64::to_be_bytes(key)[..], &KEY_A.to_be_bytes(), &[0, 0, 0, 0, flags, 0, 0, 0]].concat();
        rig.good(a, &[0x5F, REGISTER, 0, 0, 0, 0, 0, 0, 24, 0], &list);
        let all = read_in(&mut rig, a, 3)[20] & 0x02 != 0;
        assert_eq!(all, flags != 0, "registered with key {key}");
    }
}

#[test]
fn persistent_reservations_outlive_the_nexus_and_the_reset() {
    let mut rig = registered(false);
    let (a, b) = (rig.a, rig.b);
    out(&mut rig, a, RESERVE, 3, KEY_A, 0);
    rig.unit.logical_unit_reset();
    assert_eq!(rig.sense(b, &[0; 6], &[]), (6, 0x29, 3));
    rig.unit.detach(a);
    assert_eq!(may(&mut rig, b), (false, false));
    let back = rig.unit.attach(port("a", 1), 1).unwrap();
    assert_eq!(rig.sense(back, &[0; 6], &[]), (6, 0x29, 7), "I_T nexus loss");
    assert_eq!(may(&mut rig, back), (true, true));
}

#[test]
fn aptpl_asks_for_the_state_to_be_saved_and_finds_it_again() {
    let mut rig = Rig::new();
    let mut list = [0; 24];
    (list[15], list[20]) = (0x0A, 1);
    let task = rig.task(rig.a, &[0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list);
    assert_eq!(task.action, Action::SaveReservations);
    let a = rig.a;
    out(&mut rig, a, RESERVE, 3, KEY_A, 0);
    let state = rig.unit.reservations_to_save();
    let mut again = Rig::with(scsi::UnitConfig { reservations: Some(state), ..config() });
    let (a, b) = (again.a, again.b);
    assert_eq!(may(&mut again, a), (true, true));
    assert_eq!(may(&mut again, b), (false, false));
    assert_eq!(read_in(&mut again, a, 2)[3], 0x81, "PTPL_A");
    // Registering without APTPL takes it back.
    let list = [&KEY_A.to_be_bytes()[..], &KEY_A.to_be_bytes(), &[0; 8]].concat();
    let task = again.task(a, &[0x5F, REGISTER, 0, 0, 0, 0, 0, 0, 24, 0], &list);
    assert_eq!(task.action, Action::SaveReservations, "what was stored has to go");
    assert!(again.unit.reservations_to_save().is_empty());
}

#[test]
fn reserve_excludes_everybody_until_released_reset_or_lost() {
    let reserve = [0x16, 0, 0, 0, 0, 0];
    let release = [0x17, 0, 0, 0, 0, 0];
    let tur = [0; 6];
    for end in 0..3 {
        let mut rig = Rig::new();
        let (a, b) = (rig.a, rig.b);
        rig.good(a, &reserve, &[]);
        rig.good(a, &reserve, &[]);
        assert_eq!(rig.status(b, &tur, &[]), Status::ReservationConflict);
        assert_eq!(rig.status(b, &reserve, &[]), Status::ReservationConflict);
        rig.good(b, &[0x12, 0, 0, 0, 36, 0], &[]);
        rig.good(b, &release, &[]);
        assert_eq!(rig.status(b, &tur, &[]), Status::ReservationConflict, "not his to release");
        match end {
            0 => drop(rig.good(a, &release, &[])),
            1 => {
                rig.unit.logical_unit_reset();
                assert_eq!(rig.sense(b, &tur, &[]), (6, 0x29, 3));
            }
            _ => rig.unit.detach(a),
        }
        rig.good(b, &tur, &[]);
        rig.good(b, &reserve, &[]);
    }
}

#[test]
fn parameter_lists_of_a_wrong_length_are_refused() {
    let mut rig = Rig::new();
    let a = rig.a;
    for len in [0, 23, 25] {
        let cdb = [0x5F, 0, 0, 0, 0, 0, 0, 0, len, 0];
        assert_eq!(rig.sense(a, &cdb, &[0; 32]), (5, 0x1A, 0), "{len}");
    }
    assert_eq!(rig.sense(a, &[0x5F, RESERVE, 0x11, 0, 0, 0, 0, 0, 24, 0], &[0; 24]), (5, 0x24, 0), "scope");
}

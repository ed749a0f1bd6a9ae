//! Peers that send anything: never a panic, never more memory than the limits allow.

use super::pair::{OPEN_ISCSI, Pair, TARGET, pattern, text};
use crate::config::ConnectionConfig;
use crate::event::{Event, LoginAuthorization, ScsiResponse};
use crate::limits;
use crate::names::Tsih;
use crate::wire::*;
use proptest::prelude::*;

/// Answers everything at once, as a driver with a fast store would.
fn serve(pair: &mut Pair) {
    while let Some(event) = pair.event() {
        match event {
            Event::LoginRequested(_) => pair.target.authorize_login(LoginAuthorization::default()),
            Event::SessionRequested(_) => pair.target.establish_session(Tsih(1)),
            Event::Command(command) => {
                let moved = command.expected_data_transfer_bytes.min(4096);
                let data_in = if command.reads { pattern(moved as usize) } else { pattern(0) };
                let response = ScsiResponse {
                    data_in: data_in.into(),
                    transfer_bytes: moved.into(),
                    ..ScsiResponse::default()
                };
                pair.target.complete_task(command.task, response);
            }
            Event::TaskManagement(request) => {
                pair.target.complete_task_management(request.id, request.proposed)
            }
            Event::SendTargets(_) => pair.target.complete_send_targets(&[]),
            Event::SessionEstablished(_) | Event::Logout(_) | Event::Closed(_) => {}
        }
    }
}

fn drain(pair: &mut Pair) {
    let mut slices = [std::io::IoSlice::new(&[]); 64];
    let count = pair.target.transmit_slices(&mut slices);
    let bytes = slices[..count].iter().map(|slice| slice.len()).sum();
    pair.target.advance_transmit(bytes);
}

fn check_bounds(pair: &Pair) {
    assert!(pair.target.buffered_bytes() <= limits::BUFFERED_BYTES_MAX + (1 << 24));
    assert!(pair.target.tasks_open() <= limits::TASKS_MAX + limits::IMMEDIATE_TASKS_MAX);
    assert!(pair.target.transmit_bytes() <= limits::TRANSMIT_BYTES_MAX + (1 << 24));
}

/// A header that is likely to mean something.
fn plausible_header() -> impl Strategy<Value = Bhs> {
    let opcode = prop_oneof![
        4 => Just(1u8), 4 => Just(5), 1 => Just(0), 1 => Just(2), 1 => Just(4), 1 => Just(6), 1 => Just(3),
        1 => any::<u8>()
    ];
    (opcode, any::<[u8; 48]>(), 0u32..6, 0u32..4, prop::bool::weighted(0.9)).prop_map(
        |(opcode, mut bhs, cmd_sn, tag, small)| {
            bhs[0] = opcode;
            if small {
                bhs[4] = 0;
                bhs[8..16].fill(0);
                bhs[16..20].copy_from_slice(&tag.to_be_bytes());
                bhs[20..23].fill(if opcode == 5 { 0xff } else { 0 });
                if opcode == 5 {
                    bhs[23] = 0xff;
                    bhs[36..39].fill(0);
                    bhs[40..43].fill(0);
                    bhs[39] &= 1;
                } else {
                    bhs[22] |= 0x10;
                }
                bhs[24..28].copy_from_slice(&cmd_sn.to_be_bytes());
            }
            bhs
        },
    )
}

fn small_config() -> ConnectionConfig {
    ConnectionConfig { buffered_bytes_max: 1 << 20, tasks_max: 8, ..ConnectionConfig::default() }
}

/// `HOSTILE_CASES=1000000 cargo test -p iscsi --release hostile` tries more.
fn cases() -> u32 {
    std::env::var("HOSTILE_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_before_login(bytes in prop::collection::vec(any::<u8>(), 0..4096), step in 1usize..200) {
        let mut pair = Pair::new();
        pair.step = step;
        pair.deliver(&bytes);
        serve(&mut pair);
        check_bounds(&pair);
    }

    #[test]
    fn any_login_requests(
        headers in prop::collection::vec((any::<[u8; 48]>(), prop::collection::vec(any::<u8>(), 0..200)), 1..10)
    ) {
        let mut pair = Pair::new();
        for (mut bhs, data) in headers {
            bhs[0] = 0x43;
            bhs[3] = 0;
            bhs[4] = 0;
            pair.send(bhs, &data);
            serve(&mut pair);
            drain(&mut pair);
        }
        check_bounds(&pair);
    }

    #[test]
    fn logins_with_damaged_text(damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut pair = Pair::new();
        let keys = [&[("InitiatorName", super::pair::INITIATOR), ("TargetName", TARGET)], OPEN_ISCSI].concat();
        let request = LoginRequest {
            transit: true,
            current_stage: Stage::LoginOperationalNegotiation,
            next_stage: Stage::FullFeaturePhase,
            ..pair.login_request()
        };
        let mut frame = pair.frame(request.emit(), &text(&keys));
        for (at, byte) in damage {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        pair.deliver(&frame);
        serve(&mut pair);
        check_bounds(&pair);
    }

    #[test]
    fn any_requests_in_full_feature_phase(
        requests in prop::collection::vec((plausible_header(), 0usize..3000), 1..60),
        serves in prop::bool::ANY,
    ) {
        let mut pair = Pair::with_config(small_config());
        pair.establish(OPEN_ISCSI);
        for (bhs, bytes) in requests {
            pair.send(bhs, &pattern(bytes));
            if serves {
                serve(&mut pair);
            }
            drain(&mut pair);
            check_bounds(&pair);
        }
        serve(&mut pair);
    }

    #[test]
    fn any_bytes_in_full_feature_phase(bytes in prop::collection::vec(any::<u8>(), 0..8192), step in 1usize..500) {
        let mut pair = Pair::with_config(small_config());
        pair.establish(OPEN_ISCSI);
        pair.step = step;
        pair.deliver(&bytes);
        serve(&mut pair);
        check_bounds(&pair);
    }
}

#[test]
fn a_flood_of_pings_stops_at_the_transmit_limit() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let ping = NopOut {
        immediate: true,
        lun: crate::LogicalUnitNumber::ZERO,
        initiator_task_tag: crate::InitiatorTaskTag(1),
        target_transfer_tag: crate::TargetTransferTag::RESERVED,
        cmd_sn: pair.cmd_sn,
        exp_stat_sn: pair.exp_stat_sn.unwrap(),
    };
    let frame = pair.frame(ping.emit(), &[]);
    for _ in 0..limits::TRANSMIT_SEGMENTS_MAX + 100 {
        pair.deliver(&frame);
    }
    check_bounds(&pair);
    assert!(!pair.target.wants_read());
    assert_eq!(pair.undelivered(), 100 * frame.len());
}

#[test]
fn a_text_without_end_is_cut_off() {
    let mut pair = Pair::new();
    let mut request = pair.login_request();
    request.continues = true;
    request.current_stage = Stage::LoginOperationalNegotiation;
    for _ in 0..40 {
        pair.send(request.emit(), &[b'A'; 8192]);
    }
    assert!(pair.target.is_closed());
    let answers = pair.receive_all();
    assert!(answers.len() < 12);
    assert_eq!(LoginResponse::parse(&answers.last().unwrap().bhs).status, [3, 2]);
}

#[test]
fn a_segment_longer_than_ours_ends_the_connection_before_it_is_kept() {
    let mut pair = Pair::established(OPEN_ISCSI);
    let command = pair.command(false, true, 1 << 20);
    pair.deliver(&with_data_segment(command.emit(), 262_145));
    assert!(pair.target.is_closed());
}

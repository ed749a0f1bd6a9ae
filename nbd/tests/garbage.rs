//! Random bytes, whole and cut anywhere, on their own and behind sound beginnings: a clean end, never a panic, and
//! never more memory than the limits say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod peer;

use nbd::limits::{BUSY_BYTES_MAX, PAYLOAD_BYTES_MAX, RECEIVED_BYTES_MAX, REQUESTS_MAX};
use nbd::{Command, ErrorCode, Event, Export, Extent, Outcome};
use peer::{Peer, client_flags, context_data, export, go_data, option, request};
use proptest::prelude::*;

/// Answers every request, in whatever order and with whatever comes to mind.
fn serve(peer: &mut Peer, choice: u8) {
    let mut open: Vec<Event> = std::mem::take(&mut peer.events);
    if choice & 1 != 0 {
        open.reverse();
    }
    for event in open {
        let Event::Request(request) = event else { continue };
        let outcome = match &request.command {
            _ if choice & 2 != 0 => Outcome::Failed(ErrorCode::Io, "x".repeat(usize::from(choice) * 9)),
            Command::Read { bytes, .. } => Outcome::Data(vec![choice & 4; *bytes as usize].into()),
            Command::BlockStatus { bytes, .. } => {
                Outcome::Extents(vec![Extent { bytes: *bytes, allocated: choice & 4 != 0 }])
            }
            _ => Outcome::Done,
        };
        peer.machine.complete(request.ticket, outcome);
    }
}

fn check(peer: &mut Peer) {
    assert!(peer.machine.requests() <= REQUESTS_MAX);
    assert!(peer.machine.transmit_bytes() <= BUSY_BYTES_MAX + 2 * PAYLOAD_BYTES_MAX as usize + (1 << 20));
    assert!(peer.machine.receive_buffer().capacity() <= 2 * RECEIVED_BYTES_MAX);
}

fn feed(peer: &mut Peer, bytes: &[u8], cuts: &[usize], choice: u8) {
    let mut rest = bytes;
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() && peer.machine.wants_read() {
        let cut = (*cuts.next().unwrap_or(&1)).clamp(1, rest.len());
        let (now, later) = rest.split_at(cut);
        peer.send(now);
        rest = later;
        serve(peer, choice);
        check(peer);
        if choice & 8 != 0 {
            peer.received();
        }
    }
    peer.received();
    peer.drain();
    serve(peer, choice);
    peer.received();
}

fn some_request() -> impl Strategy<Value = Vec<u8>> {
    let offset = prop_oneof![(0..9_u64).prop_map(|n| n * 512), any::<u64>()];
    let bytes = prop_oneof![(0..9_u32).prop_map(|n| n * 512), any::<u32>()];
    let flags = prop_oneof![4 => 0..32_u16, 1 => any::<u16>()];
    (flags, 0..10_u16, any::<u64>(), offset, bytes).prop_map(|(flags, command, cookie, offset, bytes)| {
        let payload = if command == 1 && bytes <= 4096 { bytes as usize } else { 0 };
        [request(flags, command, cookie, offset, bytes), vec![3; payload]].concat()
    })
}

fn some_option() -> impl Strategy<Value = Vec<u8>> {
    let data = prop_oneof![
        Just(go_data("", &[])),
        Just(go_data("disk", &[1, 3])),
        Just(context_data("", &["base:allocation"])),
        Just(vec![]),
        prop::collection::vec(any::<u8>(), 0..40),
    ];
    (0..13_u32, data).prop_map(|(number, data)| option(number, &data))
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(1..90_usize, 1..9)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_of_any_kind(bytes in prop::collection::vec(any::<u8>(), 0..600), cuts in cuts(), choice: u8) {
        feed(&mut Peer::new(export()), &bytes, &cuts, choice);
        feed(&mut Peer::structured(export()), &bytes, &cuts, choice);
    }

    #[test]
    fn options_of_any_kind(options in prop::collection::vec(some_option(), 0..20), cuts in cuts(), choice: u8) {
        let bytes = [client_flags(3), options.concat()].concat();
        feed(&mut Peer::new(export()), &bytes, &cuts, choice);
    }

    #[test]
    fn requests_of_any_kind(requests in prop::collection::vec(some_request(), 0..40), cuts in cuts(), choice: u8) {
        let export = Export { read_only: choice & 16 != 0, ..export() };
        feed(&mut Peer::structured(export.clone()), &requests.concat(), &cuts, choice);
        feed(&mut Peer::in_transmission(export, &[]), &requests.concat(), &cuts, choice);
    }

    #[test]
    fn one_wrong_byte(
        requests in prop::collection::vec(some_request(), 1..9), at: prop::sample::Index, byte: u8, choice: u8,
    ) {
        let mut bytes = requests.concat();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        feed(&mut Peer::structured(export()), &bytes, &[bytes.len()], choice);
    }

    /// However a conversation is cut, the machine says the same.
    #[test]
    fn cuts_change_nothing(requests in prop::collection::vec(some_request(), 0..9), cuts in cuts()) {
        let bytes = requests.concat();
        prop_assert_eq!(said(&bytes, &cuts), said(&bytes, &[bytes.len().max(1)]));
    }
}

/// What the machine says when every request is answered before the next one is looked at.
fn said(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut peer = Peer::structured(export());
    let (mut all, mut rest) = (vec![], bytes);
    let mut cuts = cuts.iter().cycle();
    while !rest.is_empty() && peer.machine.wants_read() {
        let (now, later) = rest.split_at((*cuts.next().unwrap()).clamp(1, rest.len()));
        peer.machine.receive_buffer().extend_from_slice(now);
        rest = later;
        while let Some(event) = peer.machine.poll_event() {
            peer.events.push(event);
            serve(&mut peer, 0);
            all.extend(peer.received());
        }
    }
    all
}

//! Golden bytes of requests and replies, written from the protocol document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod peer;

use bytes::Bytes;
use nbd::{Command, Ending, ErrorCode, Event, Export, Extent, Outcome, ProtocolError};
use peer::{MIB, Peer, chunk, export, request, simple_reply};

const COOKIE: u64 = 0x1122_3344_5566_7788;
const READ: u16 = 0;
const WRITE: u16 = 1;
const DISC: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;
const BLOCK_STATUS: u16 = 7;
const FUA: u16 = 1;

fn simple() -> Peer {
    Peer::in_transmission(export(), &[])
}

fn data(bytes: usize) -> Bytes {
    vec![0xd7; bytes].into()
}

#[test]
fn a_simple_read() {
    let mut peer = simple();
    peer.send(&request(0, READ, COOKIE, 4096, 512));
    let request = peer.request();
    assert_eq!(request.command, Command::Read { offset: 4096, bytes: 512 });
    let said = peer.complete(request, Outcome::Data(data(512)));
    assert_eq!(said, [&simple_reply(0, COOKIE)[..], &data(512)].concat());
}

#[test]
fn a_write_comes_with_its_data_however_it_was_cut() {
    let bytes = [&request(FUA, WRITE, COOKIE, 512, 1024)[..], &data(1024)].concat();
    for cut in [1, 27, 28, 29, 1051] {
        let mut peer = simple();
        peer.send(&bytes[..cut]);
        assert!(peer.events.is_empty());
        peer.send(&bytes[cut..]);
        let request = peer.request();
        assert_eq!(request.command, Command::Write { offset: 512, data: data(1024), fua: true });
        assert_eq!(peer.complete(request, Outcome::Done), simple_reply(0, COOKIE));
    }
}

#[test]
fn changes_without_data() {
    let mut peer = simple();
    for (flags, number, bytes, command) in [
        (0, FLUSH, 0, Command::Flush),
        (FUA, FLUSH, 0, Command::Flush),
        (FUA, TRIM, 4096, Command::Trim { offset: 0, bytes: 4096, fua: true }),
        (0, WRITE_ZEROES, 512, Command::WriteZeroes { offset: 0, bytes: 512, fua: false, no_hole: false }),
        (3, WRITE_ZEROES, 512, Command::WriteZeroes { offset: 0, bytes: 512, fua: true, no_hole: true }),
    ] {
        peer.send(&request(flags, number, COOKIE, 0, bytes));
        let request = peer.request();
        assert_eq!(request.command, command);
        assert_eq!(peer.complete(request, Outcome::Done), simple_reply(0, COOKIE));
    }
}

#[test]
fn an_error_is_a_number_or_a_number_and_a_message() {
    for (mut peer, expected) in [
        (simple(), simple_reply(5, COOKIE)),
        (Peer::structured(export()), chunk(1, 0x8001, COOKIE, b"\0\0\0\x05\0\x04gone")),
    ] {
        peer.send(&request(0, READ, COOKIE, 0, 512));
        let request = peer.request();
        assert_eq!(peer.complete(request, Outcome::Failed(ErrorCode::Io, "gone".to_owned())), expected);
    }
}

#[test]
fn a_structured_read_sends_zeros_as_holes() {
    const PIECE: usize = 32 << 10;
    let mut peer = Peer::structured(export());
    let all = [vec![0; 2 * PIECE], vec![7; PIECE], vec![0; 512]].concat();
    peer.send(&request(0, READ, COOKIE, MIB, u32::try_from(all.len()).unwrap()));
    let read = peer.request();
    let said = peer.complete(read, Outcome::Data(all.clone().into()));
    let at = |offset: u64| (MIB + offset).to_be_bytes().to_vec();
    let expected = [
        chunk(0, 2, COOKIE, &[at(0), vec![0, 1, 0, 0]].concat()),
        chunk(0, 1, COOKIE, &[at(0x10000), vec![7; PIECE]].concat()),
        chunk(1, 2, COOKIE, &[at(0x18000), vec![0, 0, 2, 0]].concat()),
    ];
    assert_eq!(said, expected.concat());

    // DF: one chunk, whatever is in it.
    peer.send(&request(4, READ, COOKIE, MIB, u32::try_from(all.len()).unwrap()));
    let read = peer.request();
    let said = peer.complete(read, Outcome::Data(all.clone().into()));
    assert_eq!(said, chunk(1, 1, COOKIE, &[at(0), all].concat()));
}

#[test]
fn block_status_tells_holes_and_data() {
    let mut peer = Peer::structured(export());
    peer.send(&request(8, BLOCK_STATUS, COOKIE, 0, 0x0200_0000));
    let request = peer.request();
    assert_eq!(request.command, Command::BlockStatus { offset: 0, bytes: 0x0200_0000, one: true });
    let extents = vec![Extent { bytes: 4096, allocated: true }, Extent { bytes: 512, allocated: false }];
    let expected = [0, 0, 0, 1, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 3];
    assert_eq!(peer.complete(request, Outcome::Extents(extents)), chunk(1, 5, COOKIE, &expected));
}

#[test]
fn what_makes_no_sense_is_refused_and_it_goes_on() {
    let size = 64 * MIB;
    let refused = |peer: &mut Peer, bytes: &[u8], error: u32| {
        peer.send(bytes);
        assert!(matches!(peer.events.pop(), Some(Event::Refused(_))), "{bytes:?}");
        assert_eq!(peer.received(), simple_reply(error, COOKIE), "{bytes:?}");
        assert_eq!(peer.machine.requests(), 0);
    };
    let mut peer = simple();
    for (flags, command, offset, bytes) in [
        (0, READ, 0, 0),
        (0, READ, 1, 512),
        (0, READ, 0, 513),
        (0, READ, size, 512),
        (0, READ, size - 512, 1024),
        (0, READ, u64::MAX - 511, 512),
        (0, READ, 0, (32 << 20) + 512),
        (4, READ, 0, 512),
        (0, TRIM, size - 4096, 8192),
        (0, FLUSH, 512, 0),
        (16, WRITE_ZEROES, 0, 512),
        (0x8000, TRIM, 0, 512),
        (0, BLOCK_STATUS, 0, 512),
        (0, 5, 0, 512),
        (0, 8, 0, 512),
        (0, 0xffff, 0, 512),
    ] {
        refused(&mut peer, &request(flags, command, COOKIE, offset, bytes), 22);
    }
    refused(&mut peer, &[&request(0, WRITE, COOKIE, 7, 512)[..], &data(512)].concat(), 22);

    let mut peer = Peer::in_transmission(Export { read_only: true, ..export() }, &[]);
    refused(&mut peer, &[&request(0, WRITE, COOKIE, 0, 512)[..], &data(512)].concat(), 1);
    refused(&mut peer, &request(0, TRIM, COOKIE, 0, 512), 1);
    refused(&mut peer, &request(0, WRITE_ZEROES, COOKIE, 0, 512), 1);
    peer.send(&request(0, FLUSH, COOKIE, 0, 0));
    assert_eq!(peer.request().command, Command::Flush);
}

#[test]
fn a_disconnect_ends_and_what_was_begun_is_still_answered() {
    let mut peer = simple();
    peer.send(&request(0, READ, COOKIE, 0, 512));
    let read = peer.request();
    peer.send(&[request(0, DISC, 0, 0, 0), request(0, READ, 1, 0, 512)].concat());
    assert!(matches!(peer.events[..], [Event::Ended(Ending::Disconnected)]));
    assert!(!peer.machine.wants_read());
    let said = peer.complete(read, Outcome::Data(data(512)));
    assert_eq!(said.len(), 16 + 512);
}

#[test]
fn nonsense_ends_the_connection() {
    let mut peer = simple();
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let Some(Event::Ended(ending)) = peer.events.pop() else { panic!() };
    assert_eq!(ending, Ending::Broken(ProtocolError::RequestMagic(0x4745_5420)));

    let mut peer = simple();
    peer.send(&request(0, WRITE, COOKIE, 0, (32 << 20) + 1));
    let Some(Event::Ended(ending)) = peer.events.pop() else { panic!() };
    assert_eq!(ending, Ending::Broken(ProtocolError::PayloadTooLong { bytes: (32 << 20) + 1 }));
}

#[test]
fn a_full_machine_holds_requests_back_and_reads_no_more() {
    let mut peer = simple();
    (0..70).for_each(|cookie| peer.send(&request(0, FLUSH, cookie, 0, 0)));
    assert_eq!(peer.events.len(), 64);
    assert!(!peer.machine.wants_read());
    let Event::Request(first) = peer.events.remove(0) else { panic!() };
    peer.machine.complete(first.ticket, Outcome::Done);
    peer.drain();
    assert_eq!(peer.events.len(), 64);

    // By bytes: what is read and not sent counts too.
    let mut peer = simple();
    (0..3).for_each(|cookie| peer.send(&request(0, READ, cookie, 0, 8 << 20)));
    assert_eq!(peer.events.len(), 2);
    for event in std::mem::take(&mut peer.events) {
        let Event::Request(read) = event else { panic!() };
        peer.machine.complete(read.ticket, Outcome::Data(data(8 << 20)));
    }
    peer.drain();
    assert!(peer.events.is_empty() && !peer.machine.wants_read());
    peer.received();
    peer.drain();
    assert_eq!(peer.events.len(), 1);
}

#[test]
fn an_announcement_takes_no_memory() {
    let mut peer = simple();
    peer.send(&request(0, WRITE, COOKIE, 0, 32 << 20));
    assert!(peer.machine.receive_buffer().capacity() < 1 << 20);
}

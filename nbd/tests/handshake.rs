//! Golden bytes of the handshake, written from the protocol document.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod peer;

use nbd::{Ending, Event, Export, ProtocolError};
use peer::{MIB, Peer, client_flags, context_data, export, go_data, option, option_reply, text};

const ERR_UNSUP: u32 = 0x8000_0001;
const ERR_INVALID: u32 = 0x8000_0003;
const ERR_UNKNOWN: u32 = 0x8000_0006;

fn greeted(flags: u32) -> Peer {
    let mut peer = Peer::new(export());
    assert_eq!(peer.received(), [&b"NBDMAGIC"[..], b"IHAVEOPT", &[0, 3]].concat());
    peer.send(&client_flags(flags));
    assert!(peer.received().is_empty());
    peer
}

/// What one option is answered.
fn asked(peer: &mut Peer, number: u32, data: &[u8]) -> Vec<u8> {
    peer.send(&option(number, data));
    peer.received()
}

fn ended(peer: &mut Peer) -> Ending {
    assert!(peer.machine.is_ended() && !peer.machine.wants_read());
    match peer.events.pop() {
        Some(Event::Ended(ending)) => ending,
        other => panic!("{other:?}"),
    }
}

fn about_export(flags: u16) -> Vec<u8> {
    [&[0, 0][..], &(64 * MIB).to_be_bytes(), &flags.to_be_bytes()].concat()
}

fn about_blocks() -> Vec<u8> {
    vec![0, 3, 0, 0, 2, 0, 0, 0, 0x10, 0, 2, 0, 0, 0]
}

#[test]
fn go_tells_size_flags_and_block_sizes_and_begins_transmission() {
    let mut peer = greeted(3);
    let said = asked(&mut peer, 7, &go_data("", &[]));
    // HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, SEND_WRITE_ZEROES, CAN_MULTI_CONN
    let expected = [
        option_reply(7, 3, &about_export(0x016d)),
        option_reply(7, 3, &about_blocks()),
        option_reply(7, 1, b""),
    ];
    assert_eq!(said, expected.concat());
    assert!(matches!(peer.events[..], [Event::Started]));
}

#[test]
fn info_tells_the_same_and_goes_on() {
    let mut peer = greeted(3);
    let said = asked(&mut peer, 6, &go_data("disk", &[1, 2, 3]));
    let expected = [
        option_reply(6, 3, &about_export(0x016d)),
        option_reply(6, 3, &about_blocks()),
        option_reply(6, 3, b"\0\x01disk"),
        option_reply(6, 3, b"\0\x02a test"),
        option_reply(6, 1, b""),
    ];
    assert_eq!(said, expected.concat());
    assert!(peer.events.is_empty() && !peer.machine.is_transmission());
}

#[test]
fn a_read_only_export_says_so_and_offers_no_change() {
    let mut peer = Peer::new(Export { read_only: true, ..export() });
    peer.send(&client_flags(3));
    peer.received();
    let said = asked(&mut peer, 7, &go_data("", &[]));
    assert_eq!(said[..32], option_reply(7, 3, &about_export(0x010f)));
}

#[test]
fn structured_replies_bring_the_flag_df() {
    let mut peer = greeted(3);
    assert_eq!(asked(&mut peer, 8, b""), option_reply(8, 1, b""));
    let said = asked(&mut peer, 7, &go_data("", &[]));
    assert_eq!(said[..32], option_reply(7, 3, &about_export(0x01ed)));
}

#[test]
fn export_name_answers_without_a_head_and_with_zeros_for_those_who_want_them() {
    for (flags, zeros) in [(3, 0), (1, 124)] {
        let mut peer = greeted(flags);
        let said = asked(&mut peer, 1, b"disk");
        let expected = [&(64 * MIB).to_be_bytes()[..], &[1, 0x6d], &vec![0; zeros]].concat();
        assert_eq!(said, expected);
        assert!(peer.machine.is_transmission());
    }
}

#[test]
fn export_name_of_another_ends_the_connection() {
    let mut peer = greeted(3);
    assert!(asked(&mut peer, 1, b"other").is_empty());
    assert_eq!(ended(&mut peer), Ending::Broken(ProtocolError::UnknownExport));
}

#[test]
fn list_tells_the_one_export() {
    let mut peer = greeted(3);
    let expected = [option_reply(3, 2, &text("disk")), option_reply(3, 1, b"")].concat();
    assert_eq!(asked(&mut peer, 3, b""), expected);
    assert_eq!(asked(&mut peer, 3, b"x")[..16], option_reply(3, ERR_INVALID, b"")[..16]);
}

#[test]
fn abort_is_acknowledged_and_ends() {
    let mut peer = greeted(3);
    assert_eq!(asked(&mut peer, 2, b""), option_reply(2, 1, b""));
    assert_eq!(ended(&mut peer), Ending::Aborted);
}

#[test]
fn options_that_are_not_known_are_answered_and_it_goes_on() {
    let mut peer = greeted(3);
    // STARTTLS, PEEK_EXPORT, EXTENDED_HEADERS, and none.
    for number in [5, 4, 11, 0xffff_ffff] {
        assert_eq!(asked(&mut peer, number, b"data")[..16], option_reply(number, ERR_UNSUP, b"")[..16]);
    }
    assert_eq!(asked(&mut peer, 7, &go_data("other", &[]))[..16], option_reply(7, ERR_UNKNOWN, b"")[..16]);
    assert_eq!(asked(&mut peer, 8, b"x")[..16], option_reply(8, ERR_INVALID, b"")[..16]);
    peer.send(&option(7, &go_data("disk", &[])));
    assert!(peer.machine.is_transmission());
}

#[test]
fn lengths_that_do_not_fit_are_invalid() {
    let mut peer = greeted(3);
    asked(&mut peer, 8, b"");
    for data in [&b""[..], &[0, 0, 0, 9, b'x'], &[0, 0, 0, 0, 0, 2, 0, 0], &[0, 0, 0, 0, 0, 0, 9]] {
        assert_eq!(asked(&mut peer, 7, data)[..16], option_reply(7, ERR_INVALID, b"")[..16]);
    }
    for data in [&b""[..], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 5, 1]] {
        assert_eq!(asked(&mut peer, 10, data)[..16], option_reply(10, ERR_INVALID, b"")[..16]);
    }
}

#[test]
fn contexts_are_listed_and_chosen_after_structured_replies() {
    let mut peer = greeted(3);
    let wanted = context_data("", &["base:allocation", "qemu:dirty-bitmap:x"]);
    assert_eq!(asked(&mut peer, 10, &wanted)[..16], option_reply(10, ERR_INVALID, b"")[..16]);
    asked(&mut peer, 8, b"");
    let chosen = [option_reply(10, 4, b"\0\0\0\x01base:allocation"), option_reply(10, 1, b"")].concat();
    assert_eq!(asked(&mut peer, 10, &wanted), chosen);
    let listed = [option_reply(9, 4, b"\0\0\0\0base:allocation"), option_reply(9, 1, b"")].concat();
    for queries in [&[][..], &["base:"], &["x:y", "base:allocation"]] {
        assert_eq!(asked(&mut peer, 9, &context_data("", queries)), listed);
    }
    for queries in [&["base:"][..], &["x:y"], &[]] {
        assert_eq!(asked(&mut peer, 10, &context_data("", queries)), option_reply(10, 1, b""));
    }
    let unknown = asked(&mut peer, 10, &context_data("other", &["base:allocation"]));
    assert_eq!(unknown[..16], option_reply(10, ERR_UNKNOWN, b"")[..16]);
}

#[test]
fn nonsense_ends_the_connection() {
    let mut peer = greeted(3);
    peer.send(&[0; 16]);
    assert_eq!(ended(&mut peer), Ending::Broken(ProtocolError::OptionMagic(0)));

    let mut peer = Peer::new(export());
    peer.send(&client_flags(4));
    assert_eq!(ended(&mut peer), Ending::Broken(ProtocolError::ClientFlags(4)));

    let mut peer = greeted(3);
    peer.send(&[&b"IHAVEOPT"[..], &[0, 0, 0, 9, 0xff, 0xff, 0xff, 0xff]].concat());
    assert_eq!(ended(&mut peer), Ending::Broken(ProtocolError::OptionTooLong { option: 9, bytes: u32::MAX }));

    let mut peer = greeted(3);
    (0..=64).for_each(|_| peer.send(&option(3, b"")));
    assert_eq!(ended(&mut peer), Ending::Broken(ProtocolError::TooManyOptions));
}

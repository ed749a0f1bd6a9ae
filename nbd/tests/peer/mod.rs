//! A machine with its two ends in memory, and bytes written down field by field.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

use std::io::IoSlice;

use nbd::{Connection, Event, Export, Outcome, Request};

pub const MIB: u64 = 1 << 20;

pub fn export() -> Export {
    Export {
        name: "disk".to_owned(),
        description: "a test".to_owned(),
        size_bytes: 64 * MIB,
        read_only: false,
        multi_conn: true,
    }
}

pub struct Peer {
    pub machine: Connection,
    pub events: Vec<Event>,
}

impl Peer {
    pub fn new(export: Export) -> Self {
        Self { machine: Connection::new(export), events: vec![] }
    }

    /// The machine behind a handshake; what it said so far is forgotten.
    pub fn in_transmission(export: Export, options: &[Vec<u8>]) -> Self {
        let mut peer = Self::new(export);
        peer.send(&client_flags(3));
        options.iter().for_each(|option| peer.send(option));
        peer.send(&option(7, &go_data("", &[])));
        assert!(peer.machine.is_transmission());
        peer.events.clear();
        peer.received();
        peer
    }

    pub fn structured(export: Export) -> Self {
        Self::in_transmission(export, &[option(8, b""), option(10, &context_data("", &["base:allocation"]))])
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.machine.receive_buffer().extend_from_slice(bytes);
        self.drain();
    }

    pub fn drain(&mut self) {
        while let Some(event) = self.machine.poll_event() {
            self.events.push(event);
        }
    }

    /// Everything that the machine wants to send.
    pub fn received(&mut self) -> Vec<u8> {
        let mut all = vec![];
        while self.machine.transmit_bytes() > 0 {
            let mut slices = [IoSlice::new(&[]); 4];
            let count = self.machine.transmit_slices(&mut slices);
            let sent: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            self.machine.advance_transmit(sent.len());
            all.extend(sent);
        }
        all
    }

    /// The one request that came.
    pub fn request(&mut self) -> Request {
        assert_eq!(self.events.len(), 1, "{:?}", self.events);
        match self.events.remove(0) {
            Event::Request(request) => request,
            other => panic!("{other:?}"),
        }
    }

    pub fn complete(&mut self, request: Request, outcome: Outcome) -> Vec<u8> {
        self.machine.complete(request.ticket, outcome);
        self.received()
    }
}

pub fn client_flags(flags: u32) -> Vec<u8> {
    flags.to_be_bytes().to_vec()
}

pub fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT", &number.to_be_bytes()[..], &length.to_be_bytes(), data].concat()
}

pub fn text(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap();
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

pub fn go_data(name: &str, infos: &[u16]) -> Vec<u8> {
    let count = u16::try_from(infos.len()).unwrap();
    let infos: Vec<u8> = infos.iter().flat_map(|info| info.to_be_bytes()).collect();
    [text(name), count.to_be_bytes().to_vec(), infos].concat()
}

pub fn context_data(name: &str, queries: &[&str]) -> Vec<u8> {
    let count = u32::try_from(queries.len()).unwrap();
    let queries: Vec<u8> = queries.iter().flat_map(|query| text(query)).collect();
    [text(name), count.to_be_bytes().to_vec(), queries].concat()
}

/// A reply to an option.
pub fn option_reply(option: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap();
    let magic = [0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9];
    [&magic[..], &option.to_be_bytes(), &kind.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

pub fn request(flags: u16, command: u16, cookie: u64, offset: u64, bytes: u32) -> Vec<u8> {
    let magic = [0x25, 0x60, 0x95, 0x13];
    let head = [&magic[..], &flags.to_be_bytes(), &command.to_be_bytes(), &cookie.to_be_bytes()].concat();
    [&head[..], &offset.to_be_bytes(), &bytes.to_be_bytes()].concat()
}

pub fn simple_reply(error: u32, cookie: u64) -> Vec<u8> {
    [&[0x67, 0x44, 0x66, 0x98][..], &error.to_be_bytes(), &cookie.to_be_bytes()].concat()
}

pub fn chunk(flags: u16, kind: u16, cookie: u64, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap();
    let magic = [0x66, 0x8e, 0x33, 0xef];
    let head = [&magic[..], &flags.to_be_bytes(), &kind.to_be_bytes(), &cookie.to_be_bytes()].concat();
    [&head[..], &length.to_be_bytes(), payload].concat()
}

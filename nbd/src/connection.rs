//! One connection, from the greeting to its end.

use std::io::IoSlice;

use bytes::BytesMut;

use crate::error::ProtocolError;
use crate::export::Export;
use crate::handshake::{self, Agreed, Handshake, Progress};
use crate::limits::{BUSY_BYTES_MAX, RECEIVE_BYTES, RECEIVE_STEP_BYTES, REQUESTS_MAX};
use crate::outbox::Outbox;
use crate::reply::{self, Outcome};
use crate::transmission::{self, Cut, Refused, Request, Ticket};

/// What a connection has to say to its driver.
#[derive(Debug)]
pub enum Event {
    /// The handshake is over: requests may come.
    Started,
    /// A request: answer it, now or later, in any order.
    Request(Request),
    /// A request was answered with an error as it came.
    Refused(Refused),
    /// Nothing more is read. What was begun is still to be completed, and what is to be sent still sent.
    Ended(Ending),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The client said goodbye, in transmission.
    Disconnected,
    /// The client said goodbye, in the handshake.
    Aborted,
    /// The client said something that makes no sense.
    Broken(ProtocolError),
}

enum Phase {
    Handshake(Handshake),
    Transmission,
    Over,
}

/// The server's side of one connection.
pub struct Connection {
    export: Export,
    phase: Phase,
    /// What was agreed on, from transmission on.
    agreed: Agreed,
    input: BytesMut,
    out: Outbox,
    /// Requests that are begun and not answered, and the bytes they move.
    requests: usize,
    request_bytes: usize,
    /// What is missing to the end of the request that is coming.
    missing: usize,
}

impl Connection {
    /// A new connection; the greeting waits to be sent.
    #[must_use]
    pub fn new(export: Export) -> Self {
        let mut out = Outbox::default();
        handshake::greet(&mut out);
        Self {
            export,
            phase: Phase::Handshake(Handshake::default()),
            agreed: Agreed::default(),
            input: BytesMut::new(),
            out,
            requests: 0,
            request_bytes: 0,
            missing: 0,
        }
    }

    /// Whether requests may come.
    #[must_use]
    pub fn is_transmission(&self) -> bool {
        matches!(self.phase, Phase::Transmission)
    }

    /// Whether it has ended: nothing more is read.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Requests that wait to be completed.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Whether more is to be received now: not after the end, and not while too much is under way.
    #[must_use]
    pub fn wants_read(&self) -> bool {
        !self.is_ended() && !self.is_full()
    }

    /// Where received bytes are to be appended; it has room for some.
    pub fn receive_buffer(&mut self) -> &mut BytesMut {
        let step = RECEIVE_STEP_BYTES.max(self.input.len());
        self.input.reserve(self.missing.min(step).max(RECEIVE_BYTES));
        &mut self.input
    }

    /// What happens next.
    pub fn poll_event(&mut self) -> Option<Event> {
        loop {
            if self.is_full() {
                return None;
            }
            let stepped = match &mut self.phase {
                Phase::Over => return None,
                Phase::Handshake(handshake) => {
                    match handshake.step(&mut self.input, &self.export, &mut self.out) {
                        Ok(Progress::NeedsMore) => return None,
                        Ok(Progress::Again) => continue,
                        Ok(Progress::Started(agreed)) => {
                            (self.agreed, self.phase) = (agreed, Phase::Transmission);
                            return Some(Event::Started);
                        }
                        Ok(Progress::Aborted) => Ok(Ending::Aborted),
                        Err(error) => Err(error),
                    }
                }
                Phase::Transmission => match transmission::cut(&mut self.input) {
                    Ok(Cut::Missing(bytes)) => {
                        self.missing = bytes;
                        return None;
                    }
                    Ok(Cut::Disconnect) => Ok(Ending::Disconnected),
                    Ok(Cut::Request(header, data)) => return Some(self.begin(header, data)),
                    Err(error) => Err(error),
                },
            };
            (self.phase, self.input) = (Phase::Over, BytesMut::new());
            return Some(Event::Ended(stepped.unwrap_or_else(Ending::Broken)));
        }
    }

    fn begin(&mut self, header: transmission::Header, data: bytes::Bytes) -> Event {
        self.missing = 0;
        let ticket = header.ticket();
        match transmission::decide(header, data, &self.export, self.agreed) {
            Ok(command) => {
                self.requests += 1;
                self.request_bytes += ticket.bytes;
                Event::Request(Request { command, ticket })
            }
            Err(refused) => {
                let outcome = Outcome::Failed(refused.code, refused.why.clone());
                reply::answer(&mut self.out, self.agreed, &ticket, outcome);
                Event::Refused(refused)
            }
        }
    }

    /// Answers a request.
    pub fn complete(&mut self, ticket: Ticket, outcome: Outcome) {
        debug_assert!(!matches!(&outcome, Outcome::Data(data) if data.len() != ticket.bytes));
        self.requests -= 1;
        self.request_bytes -= ticket.bytes;
        reply::answer(&mut self.out, self.agreed, &ticket, outcome);
    }

    /// Ends it from our side. What was begun is still to be completed.
    pub fn end(&mut self) {
        (self.phase, self.input) = (Phase::Over, BytesMut::new());
    }

    /// There is nobody to send anything to any more.
    pub fn forget_transmit(&mut self) {
        self.out.clear();
    }

    /// Bytes to be sent.
    #[must_use]
    pub fn transmit_bytes(&self) -> usize {
        self.out.bytes()
    }

    /// Fills slices with what is to be sent, in order; gives how many.
    pub fn transmit_slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.out.slices(slices)
    }

    /// This many bytes were sent.
    pub fn advance_transmit(&mut self, bytes: usize) {
        self.out.advance(bytes);
    }

    fn is_full(&self) -> bool {
        self.requests >= REQUESTS_MAX || self.request_bytes + self.out.bytes() >= BUSY_BYTES_MAX
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let phase = match self.phase {
            Phase::Handshake(_) => "handshake",
            Phase::Transmission => "transmission",
            Phase::Over => "over",
        };
        f.debug_struct("Connection").field("phase", &phase).field("requests", &self.requests).finish()
    }
}

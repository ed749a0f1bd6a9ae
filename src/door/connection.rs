//! Drives one connection: bytes in, requests done, bytes out, until nothing moves; then waits.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nbd::{Connection, Ending, Event, Outcome, Request, Ticket};
use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::limits::{HANDSHAKE_TIME, WRITE_SLICES};
use super::{Shared, work};

/// Bytes looked for at a time when a door is being closed.
const LAST_BYTES: usize = 64 << 10;

/// One connection with everything it has.
pub(super) struct Driver {
    stream: UnixStream,
    machine: Connection,
    shared: Arc<Shared>,
    /// Requests that wait for the disk.
    jobs: JoinSet<(Ticket, Outcome)>,
    number: u64,
    leave: Arc<Notify>,
    /// It has a place among the clients.
    admitted: bool,
    /// The door is being closed: only what has arrived is looked at.
    closing: bool,
    /// How it ended, once it has.
    ended: Option<Result<(), String>>,
}

impl Driver {
    pub(super) fn new(stream: UnixStream, shared: Arc<Shared>) -> Self {
        let (number, leave) = shared.enter();
        Self {
            stream,
            machine: Connection::new(shared.export.clone()),
            shared,
            jobs: JoinSet::new(),
            number,
            leave,
            admitted: false,
            closing: false,
            ended: None,
        }
    }

    /// Runs until the connection is over and nothing of it has an effect any more.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let handshake_ends = Instant::now() + HANDSHAKE_TIME;
        loop {
            let moved = self.turn();
            if self.is_over() {
                break;
            }
            if moved {
                // Other connections of this thread have their turn.
                tokio::task::yield_now().await;
                continue;
            }
            if self.closing && self.jobs.is_empty() {
                self.end(Err("the client had not disconnected when its job ended".to_owned()));
                break;
            }
            let in_handshake = !self.admitted && self.ended.is_none();
            let (interest, waits_for_socket) = (self.interest(), self.waits_for_socket());
            tokio::select! {
                _ = stop.wait_for(|stopped| *stopped), if !self.closing => self.closing = true,
                Some(done) = self.jobs.join_next() => self.complete(done),
                ready = self.stream.ready(interest), if waits_for_socket => {
                    if let Err(error) = ready {
                        self.end(Err(error.to_string()));
                    }
                }
                () = self.leave.notified(), if in_handshake => self.end(Ok(())),
                () = tokio::time::sleep_until(handshake_ends), if in_handshake => self.end(Ok(())),
            }
        }
    }

    /// Receives, decides and sends what can be at once; whether anything moved.
    fn turn(&mut self) -> bool {
        let mut moved = self.receive();
        while let Some(event) = self.machine.poll_event() {
            self.take(event);
            moved = true;
        }
        moved | self.send()
    }

    fn is_over(&self) -> bool {
        self.ended.is_some() && self.jobs.is_empty() && self.machine.transmit_bytes() == 0
    }

    fn waits_for_socket(&self) -> bool {
        !self.closing && (self.machine.wants_read() || self.machine.transmit_bytes() > 0)
    }

    fn interest(&self) -> Interest {
        match (self.machine.wants_read(), self.machine.transmit_bytes() > 0) {
            (true, true) => Interest::READABLE | Interest::WRITABLE,
            (false, true) => Interest::WRITABLE,
            (_, false) => Interest::READABLE,
        }
    }

    // ---- bytes ----------------------------------------------------------------------------------------------

    fn receive(&mut self) -> bool {
        if !self.machine.wants_read() {
            return false;
        }
        let received = match self.closing {
            false => self.stream.try_read_buf(self.machine.receive_buffer()),
            true => self.receive_last(),
        };
        match received {
            Ok(0) => {
                self.end(Err("the client is gone".to_owned()));
                true
            }
            Ok(_) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                self.end(Err(error.to_string()));
                true
            }
        }
    }

    /// What the system has for us now, whether or not the runtime has heard of it yet.
    fn receive_last(&mut self) -> io::Result<usize> {
        let mut bytes = vec![0; LAST_BYTES];
        let (received, _) = recv(&self.stream, bytes.as_mut_slice(), RecvFlags::DONTWAIT)?;
        self.machine.receive_buffer().extend_from_slice(bytes.get(..received).unwrap_or_default());
        Ok(received)
    }

    fn send(&mut self) -> bool {
        let mut moved = false;
        while self.machine.transmit_bytes() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let count = self.machine.transmit_slices(&mut slices);
            match self.stream.try_write_vectored(slices.get(..count).unwrap_or_default()) {
                Ok(sent) => {
                    self.machine.advance_transmit(sent);
                    moved = true;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    self.machine.forget_transmit();
                    self.end(Err(error.to_string()));
                    return true;
                }
            }
        }
        moved
    }

    // ---- requests -------------------------------------------------------------------------------------------

    fn take(&mut self, event: Event) {
        match event {
            Event::Started => self.start(),
            Event::Request(request) => self.begin(request),
            Event::Refused(refused) => self.shared.ledger.fault(refused.why),
            Event::Ended(Ending::Disconnected | Ending::Aborted) => self.end(Ok(())),
            Event::Ended(Ending::Broken(error)) => self.end(Err(error.to_string())),
        }
    }

    fn start(&mut self) {
        self.shared.leave(self.number);
        if self.shared.admit() {
            self.admitted = true;
            self.shared.ledger.connected();
            return;
        }
        tracing::warn!("an NBD client is turned away: there are {} already", self.shared.clients_max);
        self.machine.forget_transmit();
        self.end(Ok(()));
    }

    fn begin(&mut self, Request { command, ticket }: Request) {
        if let Some(outcome) = work::at_once(&self.shared, &command) {
            self.machine.complete(ticket, outcome);
        } else {
            let shared = self.shared.clone();
            self.jobs.spawn(async move {
                let place = shared.pool.clone().acquire_owned().await;
                let worker = shared.clone();
                let done = tokio::task::spawn_blocking(move || {
                    let outcome = work::waiting(&worker, &command);
                    drop(place);
                    outcome
                });
                let outcome = done.await.unwrap_or_else(|_| work::panicked(&shared));
                (ticket, outcome)
            });
        }
        if self.shared.injected.loses() {
            self.machine.forget_transmit();
            self.end(Err("as a test has asked".to_owned()));
        }
    }

    fn complete(&mut self, done: Result<(Ticket, Outcome), tokio::task::JoinError>) {
        match done {
            Ok((ticket, outcome)) if self.is_connected() => self.machine.complete(ticket, outcome),
            // There is nobody to tell.
            Ok(_) => {}
            Err(error) => self.end(Err(format!("a request ended without an answer: {error}"))),
        }
    }

    /// Whether there is anybody to answer: also after a disconnect, for what was asked before.
    fn is_connected(&self) -> bool {
        !matches!(self.ended, Some(Err(_)))
    }

    /// Nothing more is read. Only the first reason counts, and only of a client that had begun.
    fn end(&mut self, how: Result<(), String>) {
        self.machine.end();
        if self.ended.is_some() {
            return;
        }
        if let Err(why) = &how {
            self.machine.forget_transmit();
            match self.admitted {
                true => self.shared.ledger.lost(why),
                false => tracing::debug!("an NBD handshake ended: {why}"),
            }
        }
        self.ended = Some(how);
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.leave(self.number);
        if self.admitted {
            self.shared.clients.fetch_sub(1, Ordering::AcqRel);
            if self.ended.is_none() {
                self.shared.ledger.lost("it was ended");
            }
        }
    }
}

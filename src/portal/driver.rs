//! Drives one connection: bytes in, events answered, bytes out, until nothing moves; then waits.
//!
//! A round parses all PDUs of one receive, executes what they ask, and sends all responses with one vectored write.
//! A turn that never runs dry ends after some rounds, so that connections share a thread fairly. In the middle of a round
//! the driver is given up for as long as a command is executed (`lookout.rs`).

use std::future::poll_fn;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::BytesMut;
use iscsi::{CloseReason, Connection, ScsiResponse, TaskScope};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Sleep;

use super::Shared;
use super::gatekeeper::{HalfOpen, Place};
use super::limits::{
    BULK_BUFFER_BYTES, BULK_BYTES, IDLE_BUFFER_TIME, LINGER_TIME, READ_BYTES_MIN, RECEIVE_BUFFER_BYTES,
    ROUND_BYTES_MAX, ROUND_EVENTS_MAX, ROUNDS_MAX, WRITE_SLICES,
};
use super::lines::SESSIONS;
use super::lookout;
use super::mailbox::{Letter, Mailbox};
use super::session::Session;
use super::work::{Jobs, Work};
use crate::exports::Terms;

/// Waits until the gatekeeper wants a connection in login to make room.
async fn told_to_leave(half_open: Option<Arc<HalfOpen>>) {
    match half_open {
        Some(half_open) => half_open.leave.notified().await,
        None => std::future::pending().await,
    }
}

/// What a turn has come to.
pub(super) enum Turn {
    /// Nothing moves.
    Waits,
    /// A command is to be executed; then the turn goes on.
    Executes(Work),
    /// The connection is over.
    Over,
}

/// A round that has begun.
pub(super) struct Round {
    /// Something has moved.
    pub(super) moves: bool,
    /// What may still be answered before what is there is sent.
    pub(super) events_left: usize,
    pub(super) bytes_left: usize,
    /// When the first event was answered.
    pub(super) begin: Option<Instant>,
}

/// One connection with everything it has.
pub(super) struct Driver {
    socket: TcpStream,
    pub(super) connection: Connection,
    received: BytesMut,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) place: Place,
    pub(super) mailbox: Mailbox,
    letters: mpsc::UnboundedReceiver<Letter>,
    pub(super) session: Option<Box<Session>>,
    /// A session is being made ready; its letter is to come.
    pub(super) begins_session: bool,
    /// The terms that the login was let in on.
    pub(super) terms: Option<Arc<Terms>>,
    /// Others that wait for aborted tasks to end.
    pub(super) waiting: Vec<(TaskScope, oneshot::Sender<()>)>,
    /// Until then commands are executed on the blocking pool.
    pub(super) slow_until: Option<Instant>,
    pub(super) jobs: Jobs,
    /// A command that came in the turn in which the login ended.
    kept: Option<Work>,
    round: Option<Round>,
    rounds_left: usize,
    stopped: watch::Receiver<bool>,
    socket_is_over: bool,
    /// What the peer sent last came after this look at the receive buffer.
    was_active: bool,
    next_look: Option<Instant>,
    /// Memory accounted for this connection.
    used_bytes: usize,
    sleep: Pin<Box<Sleep>>,
    sleeps_until: Option<Instant>,
}

impl Driver {
    pub(super) fn new(
        socket: TcpStream,
        peer: SocketAddr,
        local: SocketAddr,
        shared: Arc<Shared>,
        place: Place,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        let (mailbox, letters) = Mailbox::new();
        let jobs = Jobs::new(shared.jobs.clone());
        Self {
            socket,
            connection: Connection::new(shared.connection_config.clone(), Instant::now()),
            received: BytesMut::new(),
            peer,
            local,
            shared,
            place,
            mailbox,
            letters,
            session: None,
            begins_session: false,
            terms: None,
            waiting: Vec::new(),
            slow_until: None,
            jobs,
            kept: None,
            round: None,
            rounds_left: ROUNDS_MAX,
            stopped,
            socket_is_over: false,
            was_active: false,
            next_look: None,
            used_bytes: 0,
            sleep: Box::pin(tokio::time::sleep(IDLE_BUFFER_TIME)),
            sleeps_until: None,
        }
    }

    /// Runs until the connection is over and none of its commands has an effect any more.
    pub(super) async fn run(mut self: Box<Self>) {
        while !self.connection.is_full_feature() && !self.is_over() {
            let half_open = self.place.half_open().cloned();
            let mut stopped = self.stopped.clone();
            tokio::select! {
                biased;
                () = poll_fn(|context| self.poll_login(context)) => {}
                // Once: after that it would be ready all the time that a session takes to begin.
                _ = stopped.wait_for(|stopped| *stopped), if !self.connection.is_closed() => {
                    self.connection.close(CloseReason::Requested);
                }
                () = told_to_leave(half_open) => {
                    self.connection.close(CloseReason::LoginTimeout);
                    self.socket_is_over = true;
                }
            }
        }
        self.place.leave_login();
        lookout::serve(self).await;
    }

    /// Like `poll`, but ends with the login too. A command that came with it is kept.
    fn poll_login(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.poll(context) {
            Turn::Waits if !self.connection.is_full_feature() => Poll::Pending,
            Turn::Waits | Turn::Over => Poll::Ready(()),
            Turn::Executes(work) => {
                self.kept = Some(work);
                Poll::Ready(())
            }
        }
    }

    /// Goes on until a command is to be executed or nothing moves any more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Turn {
        if let Some(work) = self.kept.take() {
            return Turn::Executes(work);
        }
        loop {
            let mut round = match self.round.take() {
                Some(round) => round,
                None if self.rounds_left == 0 => {
                    self.rounds_left = ROUNDS_MAX;
                    context.waker().wake_by_ref();
                    return Turn::Waits;
                }
                None => self.begin_round(context),
            };
            if let Some(work) = self.answer_events(&mut round) {
                self.round = Some(round);
                return Turn::Executes(work);
            }
            round.moves |= self.transmit(context);
            self.account();
            self.let_go();
            if self.is_over() {
                return Turn::Over;
            }
            if !round.moves && !self.poll_time(context) {
                self.rounds_left = ROUNDS_MAX;
                return Turn::Waits;
            }
        }
    }

    fn begin_round(&mut self, context: &mut Context<'_>) -> Round {
        self.rounds_left -= 1;
        let letters = self.take_letters(context);
        let received = self.receive(context);
        Round {
            moves: letters || received,
            events_left: ROUND_EVENTS_MAX,
            bytes_left: ROUND_BYTES_MAX,
            begin: None,
        }
    }

    /// Closed, everything sent that can be, and no command left.
    fn is_over(&self) -> bool {
        let is_quiet = self.connection.is_closed() && self.session.is_none() && !self.begins_session;
        is_quiet && (self.socket_is_over || self.connection.transmit_bytes() == 0)
    }

    fn take_letters(&mut self, context: &mut Context<'_>) -> bool {
        let mut moves = false;
        while let Poll::Ready(Some(letter)) = self.letters.poll_recv(context) {
            self.open_letter(letter);
            moves = true;
        }
        moves
    }

    /// The peer, or the daemon, wants no more of this connection: nothing is sent any more either.
    pub(super) fn drop_socket(&mut self) {
        self.connection.close(CloseReason::Requested);
        self.socket_is_over = true;
    }

    // ---- bytes ----------------------------------------------------------------------------------------------

    fn receive(&mut self, context: &mut Context<'_>) -> bool {
        if !self.received.is_empty() {
            // What had to wait for an answer of ours or for room in the transmit queue.
            self.connection.handle_bytes(Instant::now(), &mut self.received);
        }
        if self.socket_is_over || !self.connection.wants_read() {
            return false;
        }
        self.make_room();
        match pin!(self.socket.read_buf(&mut self.received)).poll(context) {
            Poll::Pending => false,
            Poll::Ready(Ok(0)) => self.lose("closed by the peer"),
            Poll::Ready(Ok(_)) => {
                self.was_active = true;
                self.place.note_speech();
                self.connection.shed_writes(self.shared.budget.is_exhausted());
                self.connection.handle_bytes(Instant::now(), &mut self.received);
                true
            }
            Poll::Ready(Err(error)) => self.lose(&error.to_string()),
        }
    }

    /// Tells what this connection uses, and hears what it may.
    fn account(&mut self) {
        let now_bytes = self.connection.buffered_bytes() + self.connection.transmit_bytes();
        if now_bytes == 0 && self.used_bytes == 0 {
            return;
        }
        let budget = &self.shared.budget;
        budget.account(&mut self.used_bytes, now_bytes);
        let share = budget.share();
        self.connection.limit_memory(share.buffered_bytes_max, share.transmit_bytes_max);
    }

    fn make_room(&mut self) {
        let wanted = self.connection.receive_bytes_wanted(&self.received).max(READ_BYTES_MIN);
        if self.received.capacity() - self.received.len() < wanted {
            // Long PDUs come in rows: a buffer for several, so that only the last of a receive is moved.
            let usual = if wanted > BULK_BYTES { BULK_BUFFER_BYTES } else { RECEIVE_BUFFER_BYTES };
            self.received.reserve(wanted.max(usual));
        }
    }

    fn transmit(&mut self, context: &mut Context<'_>) -> bool {
        let mut moves = false;
        while !self.socket_is_over && self.connection.transmit_bytes() > 0 {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES];
            let count = self.connection.transmit_slices(&mut slices);
            let filled = slices.get(..count).unwrap_or_default();
            match Pin::new(&mut self.socket).poll_write_vectored(context, filled) {
                Poll::Pending => break,
                Poll::Ready(Ok(bytes)) => {
                    self.connection.advance_transmit(bytes);
                    moves = true;
                }
                Poll::Ready(Err(error)) => moves = self.lose(&error.to_string()),
            }
        }
        moves
    }

    /// The peer is gone. At boot that is the normal case (nobody logs out), so it is no more than a note.
    fn lose(&mut self, why: &str) -> bool {
        tracing::debug!(peer = %self.peer, why, "connection lost");
        self.drop_socket();
        true
    }

    // ---- time -----------------------------------------------------------------------------------------------

    /// Waits for the next deadline; true when one has come.
    fn poll_time(&mut self, context: &mut Context<'_>) -> bool {
        if self.next_look.is_none() && self.received.capacity() > 0 {
            self.next_look = Some(Instant::now() + IDLE_BUFFER_TIME);
        }
        let deadline = self.connection.poll_timeout().into_iter().chain(self.next_look).min();
        let Some(deadline) = deadline else { return false };
        if self.sleeps_until != Some(deadline) {
            self.sleep.as_mut().reset(deadline.into());
            self.sleeps_until = Some(deadline);
        }
        if self.sleep.as_mut().poll(context).is_pending() {
            return false;
        }
        self.sleeps_until = None;
        let now = Instant::now();
        self.connection.handle_timeout(now);
        if self.next_look.is_some_and(|look| look <= now) {
            self.next_look = None;
            self.look_at_buffer();
        }
        true
    }

    /// An idle connection needs no receive buffer: a thousand of them would.
    fn look_at_buffer(&mut self) {
        let was_active = std::mem::take(&mut self.was_active);
        if !was_active && self.received.is_empty() {
            self.received = BytesMut::new();
        }
    }

    // ---- the end --------------------------------------------------------------------------------------------

    /// Gives the session back as soon as none of its commands can have an effect any more: others wait for that.
    fn let_go(&mut self) {
        if self.connection.is_closed() {
            for command in self.jobs.give_up() {
                self.connection.complete_task(command.task, ScsiResponse::default());
            }
        }
        let connection = &self.connection;
        if !self.waiting.is_empty() {
            // A session that begins may replace one that is in no list any more: it has begun when the commands of that
            // one have ended, and not before.
            let begins = self.begins_session;
            self.waiting.retain(|(scope, _)| begins || connection.has_aborted_tasks(*scope));
        }
        if connection.is_closed() && connection.tasks_executing() == 0 && !self.begins_session {
            let session = self.session.take();
            if let Some(units) = session.as_ref().and_then(|session| session.units.as_ref())
                && let Some(unsaid) = SESSIONS.say()
            {
                tracing::info!(peer = %self.peer, target = %units.target.name(), unsaid, "session ended");
            }
        }
    }

    /// Says goodbye so that the last response arrives: a socket closed with unread bytes would reset the connection.
    pub(super) async fn linger(mut self: Box<Self>) {
        self.shared.budget.account(&mut self.used_bytes, 0);
        if self.socket_is_over {
            return;
        }
        let mut rest = [0; 4096];
        let goodbye = async {
            poll_fn(|context| Pin::new(&mut self.socket).poll_shutdown(context)).await?;
            while self.socket.read(&mut rest).await? > 0 {}
            std::io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER_TIME, goodbye).await;
    }
}

//! The handshake: fixed newstyle, option by option, until one of them begins transmission.

use bytes::{Buf, BufMut, BytesMut};

use crate::error::ProtocolError;
use crate::export::Export;
use crate::limits::{
    BLOCK_BYTES_MIN, BLOCK_BYTES_PREFERRED, OPTION_BYTES_MAX, OPTIONS_MAX, PAYLOAD_BYTES_MAX,
};
use crate::outbox::Outbox;
use crate::wire::{
    BASE_ALLOCATION, BASE_ALLOCATION_ID, Fields, GREETING_MAGIC, OPTION_BYTES, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, handshake_flags, info, option, option_reply,
};

const CLIENT_FLAGS_BYTES: usize = 4;
/// What follows the answer to EXPORT_NAME unless the client does without.
const ZEROES: [u8; 124] = [0; 124];
/// Beginning of the names of all contexts in our one namespace, which a query may end after.
const BASE: &str = "base:";

/// What was agreed on for transmission.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// Structured replies.
    pub(crate) structured: bool,
    /// The metadata context `base:allocation`.
    pub(crate) allocation: bool,
}

/// How far a step came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    NeedsMore,
    /// There may be another step.
    Again,
    /// Transmission begins.
    Started(Agreed),
    /// The client ended the handshake.
    Aborted,
}

/// The state of a handshake.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    has_client_flags: bool,
    no_zeroes: bool,
    options: usize,
    agreed: Agreed,
}

/// What the server says first.
pub(crate) fn greet(out: &mut Outbox) {
    let mut greeting = BytesMut::with_capacity(18);
    greeting.put_u64(GREETING_MAGIC);
    greeting.put_u64(OPTION_MAGIC);
    greeting.put_u16(handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES);
    out.push(greeting);
}

impl Handshake {
    /// Takes the client's flags or one option off the input, and answers.
    pub(crate) fn step(
        &mut self,
        input: &mut BytesMut,
        export: &Export,
        out: &mut Outbox,
    ) -> Result<Progress, ProtocolError> {
        if !self.has_client_flags {
            return self.client_flags(input);
        }
        let mut fields = Fields(input);
        let (Some(magic), Some(option), Some(bytes)) = (fields.u64(), fields.u32(), fields.u32()) else {
            return Ok(Progress::NeedsMore);
        };
        if magic != OPTION_MAGIC {
            return Err(ProtocolError::OptionMagic(magic));
        }
        if bytes > OPTION_BYTES_MAX {
            return Err(ProtocolError::OptionTooLong { option, bytes });
        }
        let bytes = bytes as usize;
        if fields.take(bytes).is_none() {
            return Ok(Progress::NeedsMore);
        }
        self.options += 1;
        if self.options > OPTIONS_MAX {
            return Err(ProtocolError::TooManyOptions);
        }
        input.advance(OPTION_BYTES);
        let data = input.split_to(bytes);
        self.answer(option, &data, export, out)
    }

    fn client_flags(&mut self, input: &mut BytesMut) -> Result<Progress, ProtocolError> {
        const KNOWN: u32 = (handshake_flags::FIXED_NEWSTYLE | handshake_flags::NO_ZEROES) as u32;
        let Some(flags) = Fields(input).u32() else { return Ok(Progress::NeedsMore) };
        if flags & !KNOWN != 0 {
            return Err(ProtocolError::ClientFlags(flags));
        }
        input.advance(CLIENT_FLAGS_BYTES);
        self.has_client_flags = true;
        self.no_zeroes = flags & u32::from(handshake_flags::NO_ZEROES) != 0;
        Ok(Progress::Again)
    }

    fn answer(
        &mut self,
        option: u32,
        data: &[u8],
        export: &Export,
        out: &mut Outbox,
    ) -> Result<Progress, ProtocolError> {
        match option {
            option::EXPORT_NAME => return self.export_name(data, export, out),
            option::ABORT => {
                reply(out, option, option_reply::ACK, &[]);
                return Ok(Progress::Aborted);
            }
            option::LIST if data.is_empty() => {
                reply(out, option, option_reply::SERVER, &with_length(&export.name));
                reply(out, option, option_reply::ACK, &[]);
            }
            option::LIST => refuse(out, option, option_reply::ERR_INVALID, "LIST takes no data"),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.agreed.structured = true;
                reply(out, option, option_reply::ACK, &[]);
            }
            option::STRUCTURED_REPLY => {
                refuse(out, option, option_reply::ERR_INVALID, "STRUCTURED_REPLY takes no data");
            }
            option::INFO | option::GO => {
                if self.describe(option, data, export, out) && option == option::GO {
                    return Ok(Progress::Started(self.agreed));
                }
            }
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => {
                self.meta_context(option, data, export, out);
            }
            _ => refuse(out, option, option_reply::ERR_UNSUP, "this option is not known here"),
        }
        Ok(Progress::Again)
    }

    fn export_name(&self, name: &[u8], export: &Export, out: &mut Outbox) -> Result<Progress, ProtocolError> {
        if !export.is_named(name) {
            return Err(ProtocolError::UnknownExport);
        }
        let mut answer = BytesMut::with_capacity(10 + ZEROES.len());
        answer.put_u64(export.size_bytes);
        answer.put_u16(export.transmission_flags(self.agreed.structured));
        if !self.no_zeroes {
            answer.put_slice(&ZEROES);
        }
        out.push(answer);
        Ok(Progress::Started(self.agreed))
    }

    /// INFO and GO; whether the export was found.
    fn describe(&self, option: u32, data: &[u8], export: &Export, out: &mut Outbox) -> bool {
        let Some((name, wanted)) = info_request(data) else {
            refuse(out, option, option_reply::ERR_INVALID, "the option's lengths do not fit");
            return false;
        };
        if !export.is_named(name) {
            refuse(out, option, option_reply::ERR_UNKNOWN, "there is no export of this name");
            return false;
        }
        let mut about = BytesMut::with_capacity(14);
        about.put_u16(info::EXPORT);
        about.put_u64(export.size_bytes);
        about.put_u16(export.transmission_flags(self.agreed.structured));
        reply(out, option, option_reply::INFO, &about);
        let mut about = BytesMut::with_capacity(14);
        about.put_u16(info::BLOCK_SIZE);
        about.put_u32(BLOCK_BYTES_MIN);
        about.put_u32(BLOCK_BYTES_PREFERRED);
        about.put_u32(PAYLOAD_BYTES_MAX);
        reply(out, option, option_reply::INFO, &about);
        for (kind, text) in [(info::NAME, &export.name), (info::DESCRIPTION, &export.description)] {
            if wanted.chunks_exact(2).any(|wanted| wanted == kind.to_be_bytes()) {
                let mut about = BytesMut::from(&kind.to_be_bytes()[..]);
                about.put_slice(text.as_bytes());
                reply(out, option, option_reply::INFO, &about);
            }
        }
        reply(out, option, option_reply::ACK, &[]);
        true
    }

    /// LIST_META_CONTEXT and SET_META_CONTEXT: of what is asked for, we have `base:allocation`.
    fn meta_context(&mut self, option: u32, data: &[u8], export: &Export, out: &mut Outbox) {
        let sets = option == option::SET_META_CONTEXT;
        if sets {
            // A later SET replaces an earlier one, also when it fails.
            self.agreed.allocation = false;
        }
        let Some((name, queries)) = context_request(data) else {
            return refuse(out, option, option_reply::ERR_INVALID, "the option's lengths do not fit");
        };
        if !self.agreed.structured {
            let message = "metadata contexts need structured replies, which come first";
            return refuse(out, option, option_reply::ERR_INVALID, message);
        }
        if !export.is_named(name) {
            return refuse(out, option, option_reply::ERR_UNKNOWN, "there is no export of this name");
        }
        let is_ours =
            |query: &[u8]| query == BASE_ALLOCATION.as_bytes() || (!sets && query == BASE.as_bytes());
        let lists_all = !sets && queries.is_empty();
        if lists_all || queries.into_iter().any(is_ours) {
            self.agreed.allocation |= sets;
            let mut context = BytesMut::with_capacity(4 + BASE_ALLOCATION.len());
            context.put_u32(if sets { BASE_ALLOCATION_ID } else { 0 });
            context.put_slice(BASE_ALLOCATION.as_bytes());
            reply(out, option, option_reply::META_CONTEXT, &context);
        }
        reply(out, option, option_reply::ACK, &[]);
    }
}

/// Name of the export, and the kinds of information asked for.
fn info_request(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut fields = Fields(data);
    let name = fields.text()?;
    let kinds = fields.u16()?;
    let kinds = fields.take(usize::from(kinds) * 2)?;
    fields.0.is_empty().then_some((name, kinds))
}

/// Name of the export, and the queries. Each takes four bytes at least, so their number is bounded by the data.
fn context_request(data: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let mut fields = Fields(data);
    let name = fields.text()?;
    let count = fields.u32()?;
    let mut queries = Vec::new();
    for _ in 0..count {
        queries.push(fields.text()?);
    }
    fields.0.is_empty().then_some((name, queries))
}

fn with_length(text: &str) -> BytesMut {
    let mut out = BytesMut::with_capacity(4 + text.len());
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
    out
}

fn reply(out: &mut Outbox, option: u32, kind: u32, data: &[u8]) {
    let mut bytes = BytesMut::with_capacity(20 + data.len());
    bytes.put_u64(OPTION_REPLY_MAGIC);
    bytes.put_u32(option);
    bytes.put_u32(kind);
    bytes.put_u32(u32::try_from(data.len()).unwrap_or(u32::MAX));
    bytes.put_slice(data);
    out.push(bytes);
}

fn refuse(out: &mut Outbox, option: u32, kind: u32, message: &str) {
    reply(out, option, kind, message.as_bytes());
}

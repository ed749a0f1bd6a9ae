//! Text requests in full feature phase: SendTargets, and the few keys that may still change (RFC 7143 §11.10).
//!
//! ```text
//!   request C=1 ──▶ empty response with a tag ──▶ request with the tag …         gathering
//!   request C=0 ──▶ answered at once, or by the driver when it has SendTargets    asking
//!   answer too long ──▶ response C=1 with a tag ──▶ empty request with the tag …  answering
//! ```

use super::Connection;
use crate::event::{Event, SendTargetsRequested, SendTargetsScope, TargetRecord};
use crate::limits::{TEXT_BYTES_MAX, TEXT_RESPONSE_BYTES_MAX};
use crate::names::{InitiatorTaskTag, IscsiName, SessionType, TargetTransferTag};
use crate::text::{KeyRow, Negotiation, Pairs, Parameters, Rule, append_pair};
use crate::wire::{Bhs, Pdu, RejectReason, TextRequest, TextResponse};

/// A text exchange under way; a session has one at a time (§6.2), and its requests have one tag (§11.10.3).
#[derive(Debug)]
pub(super) struct TextExchange {
    initiator_task_tag: InitiatorTaskTag,
    /// Tag of our last response; the next request must bear it.
    target_transfer_tag: TargetTransferTag,
    /// F bit of the last request.
    is_final: bool,
    gathered: Vec<u8>,
    outgoing: Vec<u8>,
    waits_for_driver: bool,
    /// What will hold when the exchange is complete, and not before (§6.4, §7.12).
    negotiation: Negotiation,
}

impl TextExchange {
    fn new(initiator_task_tag: InitiatorTaskTag, parameters: &Parameters) -> Self {
        Self {
            initiator_task_tag,
            target_transfer_tag: TargetTransferTag::RESERVED,
            is_final: false,
            gathered: Vec::new(),
            outgoing: Vec::new(),
            waits_for_driver: false,
            negotiation: Negotiation::resume(parameters.clone()),
        }
    }

    /// Text that waits for its rest, or for the peer to ask for it.
    pub(super) fn kept_bytes(&self) -> usize {
        self.gathered.len() + self.outgoing.len()
    }

    fn is_continued_by(&self, request: &TextRequest) -> bool {
        self.initiator_task_tag == request.initiator_task_tag
            && self.target_transfer_tag == request.target_transfer_tag
            && !self.waits_for_driver
    }
}

impl Connection {
    pub(super) fn handle_text(&mut self, request: &TextRequest, pdu: &Pdu) {
        let mut exchange = match self.text.take() {
            Some(exchange) if exchange.waits_for_driver => {
                self.text = Some(exchange);
                return self.refuse(RejectReason::ProtocolError, &pdu.bhs);
            }
            Some(exchange) if exchange.is_continued_by(request) => exchange,
            // A reserved tag begins anew; what was under way is forgotten (§11.10.4).
            _ if request.target_transfer_tag == TargetTransferTag::RESERVED => {
                TextExchange::new(request.initiator_task_tag, &self.parameters)
            }
            _ => return self.refuse(RejectReason::ProtocolError, &pdu.bhs),
        };
        // §11.10.2: C excludes F.
        if request.continues && request.is_final || exchange.gathered.len() + pdu.data.len() > TEXT_BYTES_MAX
        {
            return self.refuse(RejectReason::ProtocolError, &pdu.bhs);
        }
        exchange.gathered.extend_from_slice(&pdu.data);
        exchange.is_final = request.is_final;
        if request.continues {
            return self.send_text(exchange);
        }
        let text = std::mem::take(&mut exchange.gathered);
        let Ok(pairs) = Pairs::parse(&text) else {
            return self.refuse(RejectReason::ProtocolError, &pdu.bhs);
        };
        if !exchange.outgoing.is_empty() && !pairs.is_empty() {
            return self.refuse(RejectReason::ProtocolError, &pdu.bhs);
        }
        self.answer_pairs(exchange, &pairs, &pdu.bhs);
    }

    fn answer_pairs(&mut self, mut exchange: TextExchange, pairs: &Pairs, bhs: &Bhs) {
        let policy = self.config.negotiation.clone();
        let mut asked = None;
        for (key, value) in pairs.iter() {
            match KeyRow::find(key) {
                Some(row) if key == "SendTargets" && row.rule == Rule::Special => {
                    match self.send_targets_scope(value) {
                        Some(scope) if asked.is_none() => asked = Some(scope),
                        _ => append_pair(&mut exchange.outgoing, key, "Reject"),
                    }
                }
                Some(row) if !row.in_full_feature => append_pair(&mut exchange.outgoing, key, "Reject"),
                _ => match exchange.negotiation.offer(key, value, &policy) {
                    Ok(Some(answer)) => append_pair(&mut exchange.outgoing, key, &answer),
                    Ok(None) => {}
                    // §6.4: the exchange is over, and nothing of it takes effect.
                    Err(_) => return self.refuse(RejectReason::ProtocolError, bhs),
                },
            }
        }
        let Some(scope) = asked else { return self.send_text(exchange) };
        let Some(initiator_name) = self.session.initiator_name.clone() else {
            return self.send_text(exchange);
        };
        exchange.waits_for_driver = true;
        self.text = Some(exchange);
        self.events.push_back(Event::SendTargets(SendTargetsRequested { initiator_name, scope }));
    }

    /// Appendix C: `All` in discovery sessions only; in a normal session the target itself, by name or by nothing.
    /// There `All` is not supported, as it must not be: it asks for no more than nothing does. A refusal would tell
    /// initiators that ask so, libiscsi among them, that SendTargets does not work, which it must in every session.
    fn send_targets_scope(&self, value: &str) -> Option<SendTargetsScope> {
        let own = self.session.target_name.clone();
        match (value, self.session.session_type) {
            ("All", SessionType::Discovery) => Some(SendTargetsScope::All),
            ("All" | "", SessionType::Normal) => own.map(SendTargetsScope::Target),
            ("", SessionType::Discovery) => None,
            (name, SessionType::Discovery) => IscsiName::parse(name).ok().map(SendTargetsScope::Target),
            (name, SessionType::Normal) => IscsiName::parse(name)
                .ok()
                .filter(|name| Some(name) == own.as_ref())
                .map(SendTargetsScope::Target),
        }
    }

    pub(super) fn answer_send_targets(&mut self, targets: &[TargetRecord]) {
        let Some(mut exchange) = self.text.take_if(|exchange| exchange.waits_for_driver) else { return };
        exchange.waits_for_driver = false;
        for target in targets {
            let before = exchange.outgoing.len();
            append_pair(&mut exchange.outgoing, "TargetName", target.name.as_str());
            for address in &target.addresses {
                append_pair(&mut exchange.outgoing, "TargetAddress", address);
            }
            if exchange.outgoing.len() > TEXT_RESPONSE_BYTES_MAX {
                exchange.outgoing.truncate(before);
                break;
            }
        }
        self.send_text(exchange);
    }

    /// Sends what fits the initiator's limit (§11.11.6), with the C bit and without F when something is left (§11.11.2).
    /// As long as that is so, or the peer is not done, a tag keeps the exchange open; with the F bit it is the reserved
    /// one (§11.11.1, §11.11.4).
    fn send_text(&mut self, mut exchange: TextExchange) {
        let bytes_max = self.parameters.transmit_segment_bytes_max as usize;
        let continues = exchange.outgoing.len() > bytes_max;
        let rest = if continues { exchange.outgoing.split_off(bytes_max) } else { Vec::new() };
        let text = std::mem::replace(&mut exchange.outgoing, rest);
        let is_final = exchange.is_final && !continues;
        exchange.target_transfer_tag =
            if is_final { TargetTransferTag::RESERVED } else { self.next_transfer_tag(0) };
        let response = TextResponse {
            is_final,
            continues,
            initiator_task_tag: exchange.initiator_task_tag,
            target_transfer_tag: exchange.target_transfer_tag,
            sequence: self.next_sequence(),
        };
        self.transmit.push_with(response.emit(), text.into());
        if is_final {
            self.parameters = exchange.negotiation.parameters;
        } else {
            self.text = Some(exchange);
        }
    }
}

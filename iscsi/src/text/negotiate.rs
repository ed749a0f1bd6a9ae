//! Settles operational keys by the table's rules (RFC 7143 §6.2, §13).

use super::table::{Key, KeyRow, Rule, Senders};
use super::values::parse_number;
use crate::config::NegotiationPolicy;
use thiserror::Error;

/// What has been agreed; defaults of RFC 7143 §13 until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// HeaderDigest=CRC32C.
    pub header_digest: bool,
    /// DataDigest=CRC32C.
    pub data_digest: bool,
    /// InitialR2T.
    pub initial_r2t: bool,
    /// ImmediateData.
    pub immediate_data: bool,
    /// The peer's MaxRecvDataSegmentLength: what we may send.
    pub transmit_segment_bytes_max: u32,
    /// Our MaxRecvDataSegmentLength, once declared.
    pub receive_segment_bytes_max: u32,
    /// MaxBurstLength.
    pub burst_bytes_max: u32,
    /// FirstBurstLength.
    pub first_burst_bytes_max: u32,
    /// DefaultTime2Wait in seconds.
    pub time2wait: u16,
    /// DefaultTime2Retain in seconds.
    pub time2retain: u16,
    /// MaxOutstandingR2T.
    pub outstanding_r2t_max: u32,
    /// iSCSIProtocolLevel.
    pub protocol_level: u8,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            header_digest: false,
            data_digest: false,
            initial_r2t: true,
            immediate_data: true,
            transmit_segment_bytes_max: 8192,
            receive_segment_bytes_max: 8192,
            burst_bytes_max: 262_144,
            first_burst_bytes_max: 65_536,
            time2wait: 2,
            time2retain: 20,
            outstanding_r2t_max: 1,
            protocol_level: 1,
        }
    }
}

impl Parameters {
    /// Unsolicited data that a command may bring: a first burst is never longer than a burst (§13.14).
    #[must_use]
    pub fn unsolicited_bytes_max(&self) -> u32 {
        self.first_burst_bytes_max.min(self.burst_bytes_max)
    }
}

/// A peer that negotiates what cannot be negotiated.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum ValueError {
    /// §6.3, §6.4: a key is negotiated or declared once.
    #[error("a key was negotiated twice")]
    Twice,
    /// §6.2: every key of the standard must be understood.
    #[error("the peer says that it does not understand a key of the standard")]
    NotUnderstood,
}

/// The state of a negotiation: what is agreed, and which keys were on the table.
#[derive(Clone, Debug, Default)]
pub struct Negotiation {
    /// What has been agreed so far.
    pub parameters: Parameters,
    settled: Vec<Key>,
    receive_segment_declared: bool,
}

/// Answers that stand for "no value" (RFC 7143 §6.1); they end a negotiation and are never answered.
const CONSTANTS: [&str; 3] = ["NotUnderstood", "Irrelevant", "Reject"];

impl Negotiation {
    /// A negotiation that goes on from what has been agreed before.
    #[must_use]
    pub fn resume(parameters: Parameters) -> Self {
        Self { parameters, ..Self::default() }
    }

    /// Takes one pair of the peer, and gives the value to answer with, if it is to be answered.
    ///
    /// # Errors
    /// When the key has been settled before, or the peer claims not to know a key of the standard.
    pub fn offer(
        &mut self,
        name: &str,
        value: &str,
        policy: &NegotiationPolicy,
    ) -> Result<Option<String>, ValueError> {
        let row = KeyRow::find(name);
        if row.is_some() && value == "NotUnderstood" {
            return Err(ValueError::NotUnderstood);
        }
        if CONSTANTS.contains(&value) {
            return Ok(None);
        }
        // Vendors' keys among them (§13.22).
        let Some(row) = row else { return Ok(Some("NotUnderstood".to_owned())) };
        if row.senders == Senders::Target {
            // A declaration that only a target makes: nothing to negotiate, and nothing to learn.
            return Ok(Some("Reject".to_owned()));
        }
        // §6.3, §6.4: once a negotiation, whether settled or declared.
        if row.is_negotiated() || matches!(row.rule, Rule::DeclaredNumber(..)) {
            if self.settled.contains(&row.key) {
                return Err(ValueError::Twice);
            }
            self.settled.push(row.key);
        }
        Ok(self.settle(row, value, policy))
    }

    /// Our MaxRecvDataSegmentLength, to be declared once and only to a peer that negotiates at all.
    pub fn declare_receive_segment(&mut self, policy: &NegotiationPolicy) -> Option<String> {
        if self.receive_segment_declared {
            return None;
        }
        self.receive_segment_declared = true;
        self.parameters.receive_segment_bytes_max = policy.receive_segment_bytes_max;
        Some(policy.receive_segment_bytes_max.to_string())
    }

    /// The answer by the key's rule; out of its bounds it is Reject (§6.2.2).
    fn settle(&mut self, row: &KeyRow, value: &str, policy: &NegotiationPolicy) -> Option<String> {
        let answer = match row.rule {
            Rule::Special => return None,
            Rule::Declared => return None,
            Rule::DeclaredNumber(low, high) => {
                let Some(number) = number_in(value, low, high) else { return Some("Reject".to_owned()) };
                self.store_number(row.key, number);
                return None;
            }
            Rule::Obsolete(answer) => Some(answer.to_owned()),
            Rule::Choice(ours) => self.choose(row.key, value, ours, policy),
            Rule::And | Rule::Or => self.settle_boolean(row, value, policy),
            Rule::Minimum(low, high) | Rule::Maximum(low, high) => {
                number_in(value, low, high).map(|number| self.settle_number(row, number, policy))
            }
        };
        Some(answer.unwrap_or_else(|| "Reject".to_owned()))
    }

    /// The first of the peer's list that we allow: lists are in the order of the peer's preference, and what is not
    /// understood is passed over (§6.2.1). TaskReporting is RFC3720 (§13.23).
    fn choose(&mut self, key: Key, value: &str, ours: &[&str], policy: &NegotiationPolicy) -> Option<String> {
        let allowed = |choice: &str| match key {
            Key::HeaderDigest => choice == "None" || policy.header_digest,
            Key::DataDigest => choice == "None" || policy.data_digest,
            _ => true,
        };
        let choice =
            value.split(',').map(str::trim).find(|choice| ours.contains(choice) && allowed(choice))?;
        match key {
            Key::HeaderDigest => self.parameters.header_digest = choice == "CRC32C",
            Key::DataDigest => self.parameters.data_digest = choice == "CRC32C",
            _ => {}
        }
        Some(choice.to_owned())
    }

    fn settle_boolean(&mut self, row: &KeyRow, value: &str, policy: &NegotiationPolicy) -> Option<String> {
        let offered = match value {
            "Yes" => true,
            "No" => false,
            _ => return None,
        };
        let ours = match row.key {
            Key::InitialR2T => policy.initial_r2t,
            Key::ImmediateData => policy.immediate_data,
            // Data in order, always: ErrorRecoveryLevel 0 has no use for anything else.
            _ => true,
        };
        let result = if row.rule == Rule::And { offered && ours } else { offered || ours };
        match row.key {
            Key::InitialR2T => self.parameters.initial_r2t = result,
            Key::ImmediateData => self.parameters.immediate_data = result,
            _ => {}
        }
        Some(if result { "Yes" } else { "No" }.to_owned())
    }

    fn settle_number(&mut self, row: &KeyRow, offered: u64, policy: &NegotiationPolicy) -> String {
        let ours = match row.key {
            Key::MaxBurstLength => u64::from(policy.burst_bytes_max),
            Key::FirstBurstLength => u64::from(self.first_burst_bytes_max(policy)),
            Key::MaxOutstandingR2T => u64::from(policy.outstanding_r2t_max),
            // §13.21: in discovery sessions too.
            Key::MaxConnections => 1,
            // §13.24: RFC 7144 §4.1.
            Key::ProtocolLevel => 2,
            // ErrorRecoveryLevel 0 (§7.1.5, §7.4.1); a lost connection's tasks are gone at once, and a peer may come back at once.
            _ => 0,
        };
        let result =
            if matches!(row.rule, Rule::Maximum(..)) { offered.max(ours) } else { offered.min(ours) };
        self.store_number(row.key, result);
        result.to_string()
    }

    /// §13.14: not more than MaxBurstLength, where that was settled before.
    fn first_burst_bytes_max(&self, policy: &NegotiationPolicy) -> u32 {
        let is_settled = self.settled.contains(&Key::MaxBurstLength);
        let burst_bytes_max = if is_settled { self.parameters.burst_bytes_max } else { u32::MAX };
        policy.first_burst_bytes_max.min(burst_bytes_max)
    }

    fn store_number(&mut self, key: Key, number: u64) {
        let wide = u32::try_from(number).unwrap_or(u32::MAX);
        let narrow = u16::try_from(number).unwrap_or(u16::MAX);
        let parameters = &mut self.parameters;
        match key {
            Key::MaxRecvDataSegmentLength => parameters.transmit_segment_bytes_max = wide,
            Key::MaxBurstLength => parameters.burst_bytes_max = wide,
            Key::FirstBurstLength => parameters.first_burst_bytes_max = wide,
            Key::MaxOutstandingR2T => parameters.outstanding_r2t_max = wide,
            Key::DefaultTime2Wait => parameters.time2wait = narrow,
            Key::DefaultTime2Retain => parameters.time2retain = narrow,
            Key::ProtocolLevel => parameters.protocol_level = u8::try_from(number).unwrap_or(u8::MAX),
            // MaxConnections=1 and ErrorRecoveryLevel=0 are what everything here is built on.
            _ => {}
        }
    }
}

fn number_in(value: &str, low: u64, high: u64) -> Option<u64> {
    parse_number(value).filter(|number| (low..=high).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(pairs: &[(&str, &str)]) -> (Vec<Option<String>>, Parameters) {
        let mut negotiation = Negotiation::default();
        let policy = NegotiationPolicy::default();
        let answers =
            pairs.iter().map(|(key, value)| negotiation.offer(key, value, &policy).unwrap()).collect();
        (answers, negotiation.parameters)
    }

    #[track_caller]
    fn check(key: &str, value: &str, answer: Option<&str>) {
        assert_eq!(answers(&[(key, value)]).0, [answer.map(str::to_owned)], "{key}={value}");
    }

    #[test]
    fn every_rule_of_the_table() {
        check("HeaderDigest", "None,CRC32C", Some("None"));
        check("HeaderDigest", "CRC32C,None", Some("CRC32C"));
        check("DataDigest", "X-other,CRC32C", Some("CRC32C"));
        check("DataDigest", "X-other", Some("Reject"));
        check("MaxConnections", "8", Some("1"));
        check("InitialR2T", "No", Some("No"));
        check("InitialR2T", "Yes", Some("Yes"));
        check("InitialR2T", "yes", Some("Reject"));
        check("ImmediateData", "No", Some("No"));
        check("MaxRecvDataSegmentLength", "8192", None);
        check("MaxRecvDataSegmentLength", "511", Some("Reject"));
        check("MaxBurstLength", "0x10000", Some("65536"));
        check("MaxBurstLength", "16777216", Some("Reject"));
        check("FirstBurstLength", "512", Some("512"));
        check("DefaultTime2Wait", "5", Some("5"));
        check("DefaultTime2Wait", "0", Some("0"));
        check("DefaultTime2Retain", "20", Some("0"));
        check("MaxOutstandingR2T", "1", Some("1"));
        check("DataPDUInOrder", "No", Some("Yes"));
        check("ErrorRecoveryLevel", "2", Some("0"));
        check("TaskReporting", "FastAbort,RFC3720", Some("RFC3720"));
        check("iSCSIProtocolLevel", "1", Some("1"));
        check("IFMarker", "Yes", Some("No"));
        check("OFMarkInt", "2048~8192", Some("Reject"));
        check("X-com.example.key", "1", Some("NotUnderstood"));
        check("TargetAddress", "1.2.3.4", Some("Reject"));
        check("InitiatorAlias", "me", None);
    }

    #[test]
    fn constants_are_never_answered() {
        for constant in CONSTANTS {
            check("X-com.example.key", constant, None);
        }
        check("HeaderDigest", "Irrelevant", None);
        check("HeaderDigest", "Reject", None);
    }

    #[test]
    fn a_key_of_the_standard_must_be_understood() {
        for row in super::super::table::KEYS {
            let answer =
                Negotiation::default().offer(row.name, "NotUnderstood", &NegotiationPolicy::default());
            assert_eq!(answer, Err(ValueError::NotUnderstood), "{}", row.name);
        }
    }

    #[test]
    fn a_rejected_value_leaves_the_default() {
        assert_eq!(
            answers(&[("MaxBurstLength", "1"), ("MaxRecvDataSegmentLength", "7")]).1,
            Parameters::default()
        );
    }

    #[test]
    fn a_key_is_negotiated_or_declared_once() {
        let mut negotiation = Negotiation::default();
        let policy = NegotiationPolicy::default();
        negotiation.offer("MaxBurstLength", "512", &policy).unwrap();
        assert_eq!(negotiation.offer("MaxBurstLength", "1024", &policy), Err(ValueError::Twice));
        negotiation.offer("MaxRecvDataSegmentLength", "512", &policy).unwrap();
        let again = negotiation.offer("MaxRecvDataSegmentLength", "1024", &policy);
        assert_eq!(again, Err(ValueError::Twice));
        assert_eq!(negotiation.parameters.transmit_segment_bytes_max, 512);
    }

    /// COMPAT L2: iPXE gives up at any Reject.
    #[test]
    fn no_legal_value_is_rejected() {
        for row in super::super::table::KEYS.iter().filter(|row| row.is_negotiated()) {
            let values: Vec<String> = match row.rule {
                Rule::And | Rule::Or => vec!["Yes".into(), "No".into()],
                Rule::Minimum(low, high) | Rule::Maximum(low, high) => {
                    [low, (low + high) / 2, high].map(|number| number.to_string()).into()
                }
                Rule::Choice(choices) => choices.iter().map(|choice| (*choice).to_owned()).collect(),
                _ => continue,
            };
            for value in values {
                let (answers, _) = answers(&[(row.name, &value)]);
                assert_ne!(answers[0].as_deref(), Some("Reject"), "{}={value}", row.name);
            }
        }
    }

    #[test]
    fn a_first_burst_is_never_longer_than_a_burst() {
        let (_, parameters) = answers(&[("FirstBurstLength", "65536"), ("MaxBurstLength", "4096")]);
        assert_eq!(parameters.unsolicited_bytes_max(), 4096);
        let (answers, _) = answers(&[("MaxBurstLength", "4096"), ("FirstBurstLength", "65536")]);
        assert_eq!(answers[1].as_deref(), Some("4096"));
    }
}

//! Text as it comes from a peer: pairs, the values of every format, and the negotiation of all keys.

use super::Meter;
use crate::config::NegotiationPolicy;
use crate::limits::{CHAP_BINARY_BYTES_MAX, NAME_BYTES_MAX, TEXT_KEYS_MAX};
use crate::names::IscsiName;
use crate::text::{Negotiation, Pairs, append_pair, binary_to_hex, decode_binary, parse_number};
use std::borrow::Cow;

/// The first byte picks our side of the negotiation; the rest is text. So that a fuzzer, which knows no zero bytes at
/// first, gets to several pairs soon, a line feed counts as one.
pub(super) fn run(input: &[u8], _: Meter) {
    let Some((&mode, text)) = input.split_first() else { return };
    let text: Cow<'_, [u8]> = if mode & 0x80 != 0 {
        text.iter().map(|byte| if *byte == b'\n' { 0 } else { *byte }).collect()
    } else {
        text.into()
    };
    let Ok(pairs) = Pairs::parse(&text) else { return };
    assert!(pairs.iter().count() <= TEXT_KEYS_MAX);
    let mut again = Vec::with_capacity(text.len() + 1);
    for (key, value) in pairs.iter() {
        append_pair(&mut again, key, value);
        values(value);
    }
    assert_eq!(Pairs::parse(&again).as_ref(), Ok(&pairs));
    negotiate(&pairs, &policy(mode));
}

fn policy(mode: u8) -> NegotiationPolicy {
    let small = mode & 8 != 0;
    NegotiationPolicy {
        header_digest: mode & 1 != 0,
        data_digest: mode & 2 != 0,
        initial_r2t: mode & 4 != 0,
        immediate_data: mode & 16 != 0,
        burst_bytes_max: if small { 512 } else { 1 << 20 },
        first_burst_bytes_max: if small { 4096 } else { 256 << 10 },
        ..NegotiationPolicy::default()
    }
}

fn values(value: &str) {
    if let Some(number) = parse_number(value) {
        assert_eq!(parse_number(&number.to_string()), Some(number));
        assert_eq!(parse_number(&format!("{number:#x}")), Some(number));
    }
    if let Some(bytes) = decode_binary(value) {
        assert!((1..=CHAP_BINARY_BYTES_MAX).contains(&bytes.len()), "{value:?}");
        assert_eq!(decode_binary(&binary_to_hex(&bytes)), Some(bytes));
    }
    if let Ok(name) = IscsiName::parse(value) {
        assert!(name.as_str().len() <= NAME_BYTES_MAX, "{value:?}");
        assert_eq!(IscsiName::parse(name.as_str()), Ok(name));
    }
}

/// Whatever is offered, what is agreed lies in the ranges of RFC 7143 §13 and on our side of the policy.
fn negotiate(pairs: &Pairs, policy: &NegotiationPolicy) {
    let mut negotiation = Negotiation::default();
    let mut answers = Vec::new();
    for (key, value) in pairs.iter() {
        let Ok(answer) = negotiation.offer(key, value, policy) else { break };
        if let Some(answer) = answer {
            append_pair(&mut answers, key, &answer);
        }
    }
    if let Some(limit) = negotiation.declare_receive_segment(policy) {
        append_pair(&mut answers, "MaxRecvDataSegmentLength", &limit);
    }
    assert!(Pairs::parse(&answers).is_ok() || pairs.iter().count() == TEXT_KEYS_MAX);
    let agreed = &negotiation.parameters;
    let length = 512..1 << 24;
    assert!(length.contains(&agreed.transmit_segment_bytes_max));
    assert!(length.contains(&agreed.burst_bytes_max) && length.contains(&agreed.first_burst_bytes_max));
    assert!(agreed.unsolicited_bytes_max() <= agreed.burst_bytes_max);
    assert!((1..=policy.outstanding_r2t_max).contains(&agreed.outstanding_r2t_max));
    assert!(agreed.time2wait <= 3600 && agreed.time2retain <= 3600);
    assert!(!agreed.header_digest || policy.header_digest);
    assert!(!agreed.data_digest || policy.data_digest);
    assert_eq!(agreed.receive_segment_bytes_max, policy.receive_segment_bytes_max);
}

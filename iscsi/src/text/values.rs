//! The formats of values (RFC 7143 §6.1): numbers and binary strings.

use crate::limits::CHAP_BINARY_BYTES_MAX;

/// A decimal or hexadecimal constant.
#[must_use]
pub fn parse_number(text: &str) -> Option<u64> {
    match strip_prefix_any_case(text, "0x") {
        Some(digits) if !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_hexdigit()) => {
            u64::from_str_radix(digits, 16).ok()
        }
        Some(_) => None,
        None if text.bytes().all(|c| c.is_ascii_digit()) => text.parse().ok(),
        None => None,
    }
}

/// A binary value: `0x` and hexadecimal digits, or `0b` and base64; at most 1024 bytes (§12.1.3).
#[must_use]
pub fn decode_binary(text: &str) -> Option<Vec<u8>> {
    let bytes = if let Some(digits) = strip_prefix_any_case(text, "0x") {
        decode_hex(digits)?
    } else {
        decode_base64(strip_prefix_any_case(text, "0b")?)?
    };
    (bytes.len() <= CHAP_BINARY_BYTES_MAX).then_some(bytes)
}

/// `0x` and lower-case hexadecimal digits.
#[must_use]
pub fn binary_to_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}

fn strip_prefix_any_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// An odd number of digits has a zero before it: the value is a number.
fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if digits.is_empty() || digits.len() > 2 * CHAP_BINARY_BYTES_MAX {
        return None;
    }
    let digits: Option<Vec<u8>> =
        digits.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits?;
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    Some(odd.iter().copied().chain(pairs.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1])).collect())
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let body = text.trim_end_matches('=');
    // Four characters a group; one left over carries less than a byte.
    if body.is_empty() || text.len() - body.len() > 2 || body.len() % 4 == 1 {
        return None;
    }
    if text.len() != body.len() && !text.len().is_multiple_of(4)
        || body.len() > CHAP_BINARY_BYTES_MAX * 4 / 3 + 3
    {
        return None;
    }
    let mut bytes = Vec::with_capacity(body.len() * 3 / 4);
    let (mut bits, mut bit_count) = (0u32, 0);
    for character in body.bytes() {
        bits = bits << 6 | base64_digit(character)?;
        bit_count += 6;
        if bit_count >= 8 {
            bit_count -= 8;
            bytes.push(u8::try_from(bits >> bit_count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn base64_digit(character: u8) -> Option<u32> {
    Some(u32::from(match character {
        b'A'..=b'Z' => character - b'A',
        b'a'..=b'z' => character - b'a' + 26,
        b'0'..=b'9' => character - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_both_bases() {
        assert_eq!(parse_number("262144"), Some(262_144));
        assert_eq!(parse_number("0x40000"), Some(262_144));
        assert_eq!(parse_number("0XfF"), Some(255));
        for text in ["", "0x", "-1", "+1", "12 ", "0xg", "1e3", "99999999999999999999"] {
            assert_eq!(parse_number(text), None, "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_binaries() {
        assert_eq!(decode_binary("0x00ffA1").unwrap(), [0, 0xff, 0xa1]);
        assert_eq!(decode_binary("0X1ff").unwrap(), [1, 0xff]);
        assert_eq!(decode_binary("0x"), None);
        assert_eq!(decode_binary("0x0g"), None);
        assert_eq!(decode_binary("ff"), None);
        assert_eq!(binary_to_hex(&[0, 0xa1]), "0x00a1");
    }

    /// RFC 4648 §10.
    #[test]
    fn base64_binaries() {
        let cases =
            [("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar"), ("Zm9vYg", "foob")];
        for (text, bytes) in cases {
            assert_eq!(decode_binary(&format!("0b{text}")).unwrap(), bytes.as_bytes());
            assert_eq!(decode_binary(&format!("0B{text}")).unwrap(), bytes.as_bytes());
        }
        for text in ["0b", "0bA", "0b=", "0bZg=", "0bZm9v====", "0bZm 9v", "0bZm9v\u{e9}"] {
            assert_eq!(decode_binary(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_longest_binary_passes_and_one_byte_more_does_not() {
        assert_eq!(decode_binary(&format!("0x{}", "ab".repeat(1024))).unwrap().len(), 1024);
        assert_eq!(decode_binary(&format!("0x{}", "ab".repeat(1025))), None);
        assert_eq!(decode_binary(&format!("0b{}", "AAAA".repeat(341))).unwrap().len(), 1023);
        assert_eq!(decode_binary(&format!("0b{}", "AAAA".repeat(342))), None);
    }
}

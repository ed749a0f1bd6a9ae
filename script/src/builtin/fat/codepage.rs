//! Code page 437: what short names are written in.

/// Characters of the bytes from 0x80.
const UPPER_HALF: &str = "ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u{A0}";
/// Lower case and upper case letters of the upper half.
const CASES: [(u8, u8); 11] = [
    (0x81, 0x9A),
    (0x82, 0x90),
    (0x84, 0x8E),
    (0x86, 0x8F),
    (0x87, 0x80),
    (0x91, 0x92),
    (0x94, 0x99),
    (0xA4, 0xA5),
    (0xE5, 0xE4),
    (0xED, 0xE8),
    (0xE6, 0xE6),
];

pub(super) fn decode(byte: u8) -> char {
    match byte.checked_sub(0x80) {
        None => char::from(byte),
        Some(index) => UPPER_HALF.chars().nth(usize::from(index)).unwrap_or('?'),
    }
}

pub(super) fn encode(c: char) -> Option<u8> {
    if c.is_ascii() {
        return u8::try_from(c).ok();
    }
    let index = UPPER_HALF.chars().position(|one| one == c)?;
    u8::try_from(index).ok()?.checked_add(0x80)
}

pub(super) fn upper_case(byte: u8) -> u8 {
    let case = CASES.iter().find(|(lower, _)| *lower == byte);
    case.map_or(byte.to_ascii_uppercase(), |(_, upper)| *upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character() {
        for byte in 0..=u8::MAX {
            assert_eq!(encode(decode(byte)), Some(byte), "{byte:#x}");
        }
        assert_eq!(encode('日'), None);
        assert_eq!((decode(0x82), upper_case(0x82), upper_case(b'z')), ('é', 0x90, b'Z'));
    }
}

//! Additional header segments (RFC 7143 §11.2.2): an extended CDB and a bidirectional read length.

use super::bhs::padding;
use bytes::Bytes;
use thiserror::Error;

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;
const EXTENDED_CDB_BYTES_MAX: usize = 260 - 16;
/// AHSLength (2), AHSType (1).
const FIXED_BYTES: usize = 3;

/// What the additional headers of a SCSI command said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdditionalHeaders {
    /// CDB bytes after the sixteenth.
    pub extended_cdb: Bytes,
    /// Expected length of the read of a bidirectional command.
    pub bidirectional_read_bytes: Option<u32>,
}

/// Additional headers that make no sense.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("additional header segment is malformed")]
pub struct AhsError;

impl AdditionalHeaders {
    /// Reads a list of additional headers; kinds we do not know are passed over (§11.2.2.1).
    ///
    /// # Errors
    /// When a length does not fit.
    pub fn parse(ahs: &Bytes) -> Result<Self, AhsError> {
        let mut headers = Self::default();
        let mut at = 0;
        while at < ahs.len() {
            let [length_high, length_low, kind] =
                *ahs.get(at..).and_then(<[u8]>::first_chunk).ok_or(AhsError)?;
            let length = usize::from(u16::from_be_bytes([length_high, length_low]));
            let body = at + FIXED_BYTES;
            let end = body.checked_add(length).filter(|end| *end <= ahs.len()).ok_or(AhsError)?;
            match kind & 0x3f {
                EXTENDED_CDB => {
                    // The first byte of the body is reserved: AHSLength is CDBLength - 15 (§11.2.2.3).
                    if length == 0 || length - 1 > EXTENDED_CDB_BYTES_MAX {
                        return Err(AhsError);
                    }
                    // A copy: a command may wait for long, and must not keep the buffer in memory that it came in.
                    headers.extended_cdb = Bytes::copy_from_slice(ahs.get(body + 1..end).unwrap_or_default());
                }
                BIDIRECTIONAL_READ_LENGTH => {
                    let bytes = ahs.get(body + 1..end).and_then(|b| b.try_into().ok()).ok_or(AhsError)?;
                    headers.bidirectional_read_bytes = Some(u32::from_be_bytes(bytes));
                }
                _ => {}
            }
            at = end + padding(FIXED_BYTES + length);
        }
        Ok(headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extended_cdb_follows_its_reserved_byte() {
        // AHSLength 17 = 32 - 15, type 1, reserved, sixteen bytes of CDB.
        let mut bytes = vec![0, 17, 1, 0];
        bytes.extend(16..32);
        let headers = AdditionalHeaders::parse(&bytes.into()).unwrap();
        assert_eq!(&headers.extended_cdb[..], (16..32).collect::<Vec<u8>>());
    }

    #[test]
    fn a_bidirectional_length_after_an_unknown_header() {
        let bytes = [[0, 2, 0x3f, 0], [9, 0, 0, 0], [0, 5, 2, 0], [0, 1, 0, 0]].concat();
        let headers = AdditionalHeaders::parse(&bytes.into()).unwrap();
        assert_eq!(headers.bidirectional_read_bytes, Some(0x10000));
    }

    #[test]
    fn lengths_that_do_not_fit_are_errors() {
        for bytes in
            [&[0u8, 9, 1, 0][..], &[0, 0, 1, 0], &[0xff, 0xff, 1, 0], &[0, 4, 2, 0, 0, 0, 0, 0], &[0, 1]]
        {
            assert_eq!(AdditionalHeaders::parse(&Bytes::copy_from_slice(bytes)), Err(AhsError), "{bytes:?}");
        }
    }
}

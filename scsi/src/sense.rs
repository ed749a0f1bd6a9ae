//! Sense data, fixed and descriptor format (SPC-4).

use bytes::Bytes;

/// Sense keys (SPC-4) that this unit reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "the standard's own names")]
pub enum SenseKey {
    NoSense = 0x0,
    NotReady = 0x2,
    MediumError = 0x3,
    HardwareError = 0x4,
    IllegalRequest = 0x5,
    UnitAttention = 0x6,
    DataProtect = 0x7,
    CopyAborted = 0xA,
    AbortedCommand = 0xB,
    Miscompare = 0xE,
}

/// The additional sense code and its qualifier (SPC-4 annex F).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asc(pub u8, pub u8);

#[expect(missing_docs, reason = "the standard's own names")]
impl Asc {
    pub const NONE: Self = Self(0x00, 0x00);
    pub const SANITIZE_IN_PROGRESS: Self = Self(0x04, 0x1B);
    pub const SANITIZE_FAILED: Self = Self(0x31, 0x03);
    pub const WRITE_ERROR: Self = Self(0x0C, 0x00);
    pub const INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT: Self = Self(0x0E, 0x03);
    pub const UNRECOVERED_READ_ERROR: Self = Self(0x11, 0x00);
    pub const PARAMETER_LIST_LENGTH_ERROR: Self = Self(0x1A, 0x00);
    pub const MISCOMPARE_DURING_VERIFY: Self = Self(0x1D, 0x00);
    pub const INVALID_COMMAND_OPERATION_CODE: Self = Self(0x20, 0x00);
    pub const LBA_OUT_OF_RANGE: Self = Self(0x21, 0x00);
    pub const INVALID_FIELD_IN_CDB: Self = Self(0x24, 0x00);
    pub const LOGICAL_UNIT_NOT_SUPPORTED: Self = Self(0x25, 0x00);
    pub const INVALID_FIELD_IN_PARAMETER_LIST: Self = Self(0x26, 0x00);
    pub const INVALID_RELEASE_OF_PERSISTENT_RESERVATION: Self = Self(0x26, 0x04);
    pub const TOO_MANY_TARGET_DESCRIPTORS: Self = Self(0x26, 0x06);
    pub const UNSUPPORTED_TARGET_DESCRIPTOR_TYPE: Self = Self(0x26, 0x07);
    pub const TOO_MANY_SEGMENT_DESCRIPTORS: Self = Self(0x26, 0x08);
    pub const UNSUPPORTED_SEGMENT_DESCRIPTOR_TYPE: Self = Self(0x26, 0x09);
    pub const SAVING_PARAMETERS_NOT_SUPPORTED: Self = Self(0x39, 0x00);
    pub const WRITE_PROTECTED: Self = Self(0x27, 0x00);
    pub const SOFTWARE_WRITE_PROTECTED: Self = Self(0x27, 0x02);
    pub const SPACE_ALLOCATION_FAILED: Self = Self(0x27, 0x07);
    pub const POWER_ON_OCCURRED: Self = Self(0x29, 0x00);
    pub const SCSI_BUS_RESET_OCCURRED: Self = Self(0x29, 0x02);
    pub const BUS_DEVICE_RESET_OCCURRED: Self = Self(0x29, 0x03);
    pub const I_T_NEXUS_LOSS_OCCURRED: Self = Self(0x29, 0x07);
    pub const MODE_PARAMETERS_CHANGED: Self = Self(0x2A, 0x01);
    pub const RESERVATIONS_PREEMPTED: Self = Self(0x2A, 0x03);
    pub const RESERVATIONS_RELEASED: Self = Self(0x2A, 0x04);
    pub const REGISTRATIONS_PREEMPTED: Self = Self(0x2A, 0x05);
    pub const ASYMMETRIC_ACCESS_STATE_CHANGED: Self = Self(0x2A, 0x06);
    pub const CAPACITY_DATA_HAS_CHANGED: Self = Self(0x2A, 0x09);
    pub const COMMANDS_CLEARED_BY_ANOTHER_INITIATOR: Self = Self(0x2F, 0x00);
    pub const COPY_TARGET_DEVICE_NOT_REACHABLE: Self = Self(0x0D, 0x02);
    pub const THIN_PROVISIONING_SOFT_THRESHOLD_REACHED: Self = Self(0x38, 0x07);
    pub const REPORTED_LUNS_DATA_HAS_CHANGED: Self = Self(0x3F, 0x0E);
    pub const INTERNAL_TARGET_FAILURE: Self = Self(0x44, 0x00);
    pub const INSUFFICIENT_REGISTRATION_RESOURCES: Self = Self(0x55, 0x04);
    pub const FAILURE_PREDICTION_THRESHOLD_EXCEEDED: Self = Self(0x5D, 0x00);
}

/// How sense data is laid out: D_SENSE of the control mode page decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SenseFormat {
    /// Response code 70h.
    #[default]
    Fixed,
    /// Response code 72h.
    Descriptor,
}

/// Where an ILLEGAL REQUEST points (SPC-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldPointer {
    /// The field is in the CDB (C/D = 1), else in the parameter list.
    pub in_cdb: bool,
    /// Most significant bit of the field, where known.
    pub bit: Option<u8>,
    /// Byte in error.
    pub byte: u16,
}

/// SENSE KEY SPECIFIC, as far as this unit uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Specific {
    /// The field in error.
    Field(FieldPointer),
    /// Progress of a background operation, in 1/65536.
    Progress(u16),
}

/// One condition to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sense {
    /// Sense key.
    pub key: SenseKey,
    /// Additional sense code and qualifier.
    pub asc: Asc,
    /// INFORMATION, for instance the LBA of an unrecovered error.
    pub information: Option<u64>,
    /// SENSE KEY SPECIFIC.
    pub specific: Option<Specific>,
}

impl Sense {
    /// A condition without further detail.
    #[must_use]
    pub const fn new(key: SenseKey, asc: Asc) -> Self {
        Self { key, asc, information: None, specific: None }
    }

    /// ILLEGAL REQUEST.
    #[must_use]
    pub const fn illegal(asc: Asc) -> Self {
        Self::new(SenseKey::IllegalRequest, asc)
    }

    /// INVALID FIELD IN CDB, pointing at the byte (and bit) in error.
    #[must_use]
    pub const fn cdb_field(byte: u16, bit: Option<u8>) -> Self {
        let mut sense = Self::illegal(Asc::INVALID_FIELD_IN_CDB);
        sense.specific = Some(Specific::Field(FieldPointer { in_cdb: true, bit, byte }));
        sense
    }

    /// INVALID FIELD IN PARAMETER LIST, pointing at the byte in error.
    #[must_use]
    pub const fn parameter_field(byte: u16) -> Self {
        let mut sense = Self::illegal(Asc::INVALID_FIELD_IN_PARAMETER_LIST);
        sense.specific = Some(Specific::Field(FieldPointer { in_cdb: false, bit: None, byte }));
        sense
    }

    /// The same with INFORMATION.
    #[must_use]
    pub const fn with_information(mut self, information: u64) -> Self {
        self.information = Some(information);
        self
    }

    /// The bytes, in the format asked for.
    #[must_use]
    pub fn encode(&self, format: SenseFormat) -> Bytes {
        match format {
            SenseFormat::Fixed => Bytes::copy_from_slice(&self.fixed()),
            SenseFormat::Descriptor => Bytes::from(self.descriptor()),
        }
    }

    /// SPC-4: 18 bytes. INFORMATION that needs more than 32 bits leaves VALID at zero.
    fn fixed(&self) -> [u8; 18] {
        let mut b = [0; 18];
        b[0] = 0x70;
        b[2] = self.key as u8;
        if let Some(Ok(information)) = self.information.map(u32::try_from) {
            b[0] |= 0x80;
            b[3..7].copy_from_slice(&information.to_be_bytes());
        }
        b[7] = 10; // additional sense length
        b[12] = self.asc.0;
        b[13] = self.asc.1;
        if let Some(specific) = self.specific {
            b[15..18].copy_from_slice(&specific.encode());
        }
        b
    }

    /// SPC-4: header of 8 bytes, then an information and a sense key specific descriptor where present.
    fn descriptor(&self) -> Vec<u8> {
        let mut b = vec![0x72, self.key as u8, self.asc.0, self.asc.1, 0, 0, 0, 0];
        if let Some(information) = self.information {
            b.extend([0x00, 0x0A, 0x80, 0x00]);
            b.extend(information.to_be_bytes());
        }
        if let Some(specific) = self.specific {
            b.extend([0x02, 0x06, 0x00, 0x00]);
            b.extend(specific.encode());
            b.push(0);
        }
        b[7] = u8::try_from(b.len() - 8).unwrap_or(u8::MAX);
        b
    }
}

impl Specific {
    fn encode(self) -> [u8; 3] {
        match self {
            Self::Field(p) => {
                let [high, low] = p.byte.to_be_bytes();
                let bit = p.bit.map_or(0, |bit| 0x08 | (bit & 7));
                [0x80 | if p.in_cdb { 0x40 } else { 0 } | bit, high, low]
            }
            Self::Progress(done) => {
                let [high, low] = done.to_be_bytes();
                [0x80, high, low]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_carries_information_and_key() {
        let sense =
            Sense::new(SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR).with_information(0x0102_0304);
        let golden = [0xF0, 0, 0x03, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0];
        assert_eq!(&sense.encode(SenseFormat::Fixed)[..], &golden);
    }

    #[test]
    fn fixed_format_leaves_out_information_that_does_not_fit() {
        let sense = Sense::new(SenseKey::MediumError, Asc::UNRECOVERED_READ_ERROR).with_information(1 << 32);
        assert_eq!(sense.encode(SenseFormat::Fixed)[..7], [0x70, 0, 0x03, 0, 0, 0, 0]);
    }

    #[test]
    fn descriptor_format_carries_information_and_field_pointer() {
        let sense = Sense::cdb_field(2, Some(7)).with_information(5);
        let golden = [
            &[0x72, 0x05, 0x24, 0x00, 0, 0, 0, 20][..],
            &[0x00, 0x0A, 0x80, 0x00, 0, 0, 0, 0, 0, 0, 0, 5],
            &[0x02, 0x06, 0x00, 0x00, 0xCF, 0x00, 0x02, 0x00],
        ]
        .concat();
        assert_eq!(sense.encode(SenseFormat::Descriptor), golden);
    }

    #[test]
    fn field_pointer_into_the_parameter_list_clears_command_data() {
        assert_eq!(Sense::parameter_field(0x0102).encode(SenseFormat::Fixed)[15..18], [0x80, 1, 2]);
    }
}

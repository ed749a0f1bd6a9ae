//! Identifiers of what the store holds: 128 random bits each, written as 32 hex digits.

use std::{fmt, str::FromStr};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 16]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }
        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                parse(text).map($name)
            }
        }
    };
}

id!(/// One store.
    StoreId);
id!(/// One golden image.
    ImageId);
id!(/// One OS volume.
    VolumeId);
id!(/// One layer of written blocks; a volume is a stack of them on an image.
    LayerId);
id!(/// One boot of the kernel: page cache outlives the daemon, but not this.
    BootId);
id!(/// One snapshot of a volume.
    SnapshotId);

/// A text that is not 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of 32 hex digits")]
pub struct BadId;

fn parse(text: &str) -> Result<[u8; 16], BadId> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(BadId);
    }
    let mut id = [0; 16];
    for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| BadId)?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| BadId)?;
    }
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_survives_its_text() {
        let id = VolumeId(*b"0123456789abcdef");
        assert_eq!(id.to_string(), "30313233343536373839616263646566");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("xyz".parse::<VolumeId>(), Err(BadId));
        assert_eq!("+0313233343536373839616263646566".parse::<VolumeId>(), Err(BadId));
    }
}

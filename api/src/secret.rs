//! A text that is never printed.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A password or the like. It is read from a body and written into one, and shown nowhere else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", Secret("hunter2".into())), "(secret)");
        assert_eq!(serde_json::from_str::<Secret>("\"hunter2\"").unwrap().0, "hunter2");
    }
}

//! Values of attributes.

/// The value of an attribute, or of a member of one.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// What a placeholder becomes.
    pub text: String,
    /// It is a password: it is in no log, error or listing.
    pub secret: bool,
}

/// It may be a password: it is not for logs.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Value").field("secret", &self.secret).finish_non_exhaustive()
    }
}

/// Values by name; members of interfaces and the system's own as `NIC1.ipaddress`, `_Initiator1.mac`.
/// The case of a name does not matter.
#[derive(Debug, Clone, Default)]
pub struct Values(std::collections::HashMap<String, Value>);

impl Values {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives a name a value, in place of the one that it had.
    pub fn set(&mut self, name: &str, text: impl Into<String>, secret: bool) {
        self.0.insert(name.to_ascii_lowercase(), Value { text: text.into(), secret });
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(&name.to_ascii_lowercase())
    }

    /// All passwords that are not empty.
    pub fn secrets(&self) -> impl Iterator<Item = &str> {
        self.0
            .values()
            .filter(|value| value.secret && !value.text.is_empty())
            .map(|value| value.text.as_str())
    }

    /// The names that have a value.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

//! Custom attributes as plan scripts write them: `@Name@`, `@Name:default@`, `@NIC1.ipaddress@`.
//!
//! What stands behind the colon is a default, not a type. Names that begin with `_` are the system's own
//! (`@_Initiator1.mac@`), and nobody gives them a value.

use api::{AttributeType, CustomAttribute, PlanType};

/// Longest name of an attribute.
pub const NAME_BYTES_MAX: usize = 128;

/// An attribute that a script uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placeholder {
    /// Its name, without a member.
    pub name: String,
    /// Whether the script asks for one of its members: then it is a network interface.
    pub has_members: bool,
    /// The first default that the script gives it.
    pub default: Option<String>,
}

/// The attributes of a script in the order of their first use. Only scripts that deploy have any.
#[must_use]
pub fn of_script(kind: PlanType, content: &str) -> Vec<Placeholder> {
    match kind {
        PlanType::Deploy => of_text(content),
        PlanType::Capture | PlanType::General => Vec::new(),
    }
}

fn of_text(content: &str) -> Vec<Placeholder> {
    let mut found: Vec<Placeholder> = Vec::new();
    for line in content.lines() {
        let mut rest = line;
        while let Some(at) = rest.find('@') {
            rest = &rest[at + 1..];
            let Some((placeholder, after)) = placeholder(rest) else { continue };
            rest = after;
            if placeholder.name.starts_with('_') {
                continue;
            }
            match found.iter_mut().find(|known| known.name == placeholder.name) {
                Some(known) => {
                    known.has_members |= placeholder.has_members;
                    known.default = known.default.take().or(placeholder.default);
                }
                None => found.push(placeholder),
            }
        }
    }
    found
}

/// One placeholder behind its first `@`, and what follows its last.
fn placeholder(text: &str) -> Option<(Placeholder, &str)> {
    let in_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let end = text.find(|c: char| !in_name(c))?;
    let (full, rest) = text.split_at(end);
    let (name, member) = match full.split_once('.') {
        Some((name, member)) => (name, Some(member)),
        None => (full, None),
    };
    if !is_name(name) || member.is_some_and(|member| !member.chars().all(|c| c.is_ascii_alphanumeric())) {
        return None;
    }
    let (default, rest) = match rest.strip_prefix('@') {
        Some(rest) => (None, rest),
        None => {
            let (default, rest) = rest.strip_prefix(':')?.split_once('@')?;
            (Some(default.to_owned()), rest)
        }
    };
    Some((Placeholder { name: name.to_owned(), has_members: member.is_some(), default }, rest))
}

/// Whether a text can be the name of an attribute.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    let rest = text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    begins && rest && text.len() <= NAME_BYTES_MAX
}

impl Placeholder {
    /// The attribute as a build plan has it as long as nobody says more of it.
    #[must_use]
    pub fn attribute(&self) -> CustomAttribute {
        let kind = match () {
            () if self.has_members => AttributeType::Nic,
            () if self.name.eq_ignore_ascii_case(super::attributes::VOLUME_SIZE) => AttributeType::Number,
            () => AttributeType::String,
        };
        CustomAttribute {
            name: self.name.clone(),
            kind,
            value: match kind {
                AttributeType::Nic => None,
                _ => Some(self.default.clone().unwrap_or_default()),
            },
            description: String::new(),
            constraints: "{}".to_owned(),
            id: None,
            visible: None,
            editable: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(content: &str) -> Vec<(String, Option<String>)> {
        let found = of_script(PlanType::Deploy, content);
        found.into_iter().map(|placeholder| (placeholder.name, placeholder.default)).collect()
    }

    fn named(name: &str, default: Option<&str>) -> (String, Option<String>) {
        (name.to_owned(), default.map(str::to_owned))
    }

    #[test]
    fn names_and_defaults_are_found_once_each() {
        let script = "echo \"@Greeting:Hello World!@ @Name@\"\necho @Name:nobody@ @Greeting@";
        assert_eq!(found(script), [named("Greeting", Some("Hello World!")), named("Name", Some("nobody"))]);
    }

    #[test]
    fn members_make_it_an_interface_and_the_systems_own_names_are_none() {
        let script = "@NIC1.mac@ @NIC1.ipaddress@ @_Initiator1.mac@";
        let found = of_script(PlanType::Deploy, script);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].attribute().kind, AttributeType::Nic);
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        for script in
            ["mail root@example.com now", "getty@tty1.service getty@tty2.service", "@@", "@a b@", "@x:\ny@"]
        {
            assert_eq!(found(script), [], "{script:?}");
        }
    }

    #[test]
    fn scripts_that_capture_have_none() {
        assert_eq!(of_script(PlanType::Capture, "@Name@"), []);
        assert_eq!(of_script(PlanType::General, "@Name@"), []);
    }
}

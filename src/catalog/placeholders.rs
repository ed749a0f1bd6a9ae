//! The custom attributes that a script uses, by the placeholders in it.

use std::collections::HashMap;

use api::{AttributeType, CustomAttribute, PlanType};
use script::placeholder;

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
    of_scripts([(kind, content)])
}

/// The attributes of scripts that are run one after the other: what any of them says of one, all do.
pub(super) fn of_scripts<'a>(scripts: impl IntoIterator<Item = (PlanType, &'a str)>) -> Vec<Placeholder> {
    of_texts(scripts.into_iter().filter(|(kind, _)| *kind == PlanType::Deploy).map(|(_, content)| content))
}

/// The same of any texts. Names are compared without regard to case.
pub(super) fn of_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<Placeholder> {
    let mut found: Vec<Placeholder> = Vec::new();
    let mut places = HashMap::new();
    let all = texts.into_iter().flat_map(str::lines).flat_map(placeholder::of_line);
    for one in all.filter(|one| !one.name.starts_with('_')) {
        let (has_members, default) = (one.member.is_some(), one.default.map(str::to_owned));
        let place = *places.entry(one.name.to_ascii_lowercase()).or_insert(found.len());
        match found.get_mut(place) {
            Some(known) => {
                known.has_members |= has_members;
                known.default = known.default.take().or(default);
            }
            None => found.push(Placeholder { name: one.name.to_owned(), has_members, default }),
        }
    }
    found
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
    fn scripts_that_capture_have_none() {
        assert_eq!(of_script(PlanType::Capture, "@Name@"), []);
        assert_eq!(of_script(PlanType::General, "@Name@"), []);
    }
}

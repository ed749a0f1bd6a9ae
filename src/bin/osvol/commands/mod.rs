//! The commands.

mod access;
pub(crate) mod appliance;
pub(crate) mod asking;
pub(crate) mod attach;
pub(crate) mod build_plan;
pub(crate) mod bundle;
pub(crate) mod doctor;
pub(crate) mod enclosure;
pub(crate) mod enclosure_group;
pub(crate) mod export;
pub(crate) mod hardware;
pub(crate) mod hardware_type;
pub(crate) mod image;
pub(crate) mod named;
pub(crate) mod plan;
pub(crate) mod plan_work;
pub(crate) mod profile;
pub(crate) mod script;
pub(crate) mod scrub;
pub(crate) mod seed;
pub(crate) mod serve;
pub(crate) mod session;
pub(crate) mod snapshot;
pub(crate) mod status;
pub(crate) mod store;
pub(crate) mod task;
pub(crate) mod user;
pub(crate) mod volume;

use crate::failure::Failure;

/// Path of a resource by the name or id that a user gave. What could not be a name never gets into a path.
fn resource(collection: &str, name_or_id: &str) -> Result<String, Failure> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let plausible =
        name_or_id.starts_with(|c: char| c.is_ascii_alphanumeric()) && name_or_id.chars().all(allowed);
    match plausible {
        true => Ok(format!("{collection}/{name_or_id}")),
        false => Err(Failure::BadName(name_or_id.to_owned())),
    }
}

/// Path of a resource by a name that may have spaces and more in it, an id, or its path.
fn path(collection: &str, reference: &str) -> String {
    let rest = reference.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/'));
    let encoded = match rest.unwrap_or(reference) {
        // Would be a step in the path.
        dots @ ("." | "..") => dots.replace('.', "%2E"),
        name => encoded(name),
    };
    format!("{collection}/{encoded}")
}

/// A text as a part of a path or a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    let byte = |byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(byte).collect()
}

/// A value, or `none`.
fn or_none(value: Option<String>) -> String {
    value.unwrap_or_else(|| "none".to_owned())
}

/// `1 session`, `2 sessions`.
fn counted(count: u64, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    }
}

/// `3 d 4 h`, `5 min`: the two largest units.
fn time(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, 0) => format!("{hours} h"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, 0, _) => format!("{days} d"),
        _ => format!("{days} d {hours} h"),
    }
}

/// `OK`, or a health that is not, with its reason.
fn health(health: api::Health, reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{health} ({reason})"),
        None => health.to_string(),
    }
}

/// `label:   value` lines that line up.
fn facts(facts: &[(&str, String)]) -> String {
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
    facts.iter().map(|(label, value)| format!("{:<width$} {value}\n", format!("{label}:"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_a_name_never_gets_into_a_path() {
        assert_eq!(resource("/c", "web-01").unwrap(), "/c/web-01");
        for bad in ["", "a/b", "..", "a?force=True", "a b", "a\r\nX: y", "ä"] {
            assert!(resource("/c", bad).is_err(), "{bad:?}");
        }
    }
}

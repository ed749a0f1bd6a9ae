//! Values of custom attributes: what each type takes, and what an attribute's constraints add to that. Pure.
//!
//! A plan that somebody writes must be right in itself ([`check_definition`]). One that comes in a bundle is taken as it
//! is: a constraint that cannot be understood then checks nothing.

use std::net::Ipv4Addr;

use api::{AttributeType, CustomAttribute, truth};
use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer};

/// The attribute that says how large a volume without a golden image is, in MiB.
pub const VOLUME_SIZE: &str = "VolumeSize";
/// Bytes of a MiB.
pub const MIB: u64 = 1 << 20;

/// Longest value.
const VALUE_CHARS_MAX: usize = 254;
/// Longest text of constraints.
const CONSTRAINTS_BYTES_MAX: usize = 16 << 10;
/// Most memory of a pattern, compiled.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// How far from a whole number of steps a number may be and still count as one.
const STEP_TOLERANCE: f64 = 1e-9;

/// Members of a network interface.
pub(super) const NIC_MEMBERS: [&str; 20] = [
    "ipaddress",
    "netmask",
    "gateway",
    "dns1",
    "dns2",
    "dns3",
    "domain",
    "mac",
    "vlanid",
    "dhcp",
    "networkuri",
    "ipv4disable",
    "connectionid",
    "constraint",
    "mac1",
    "mac2",
    "ipaddress1",
    "ipaddress2",
    "network",
    "broadcast",
];

/// Constraints of every type; HPE writes numbers as texts.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Constraints {
    regex: Option<String>,
    options: Option<Vec<String>>,
    #[serde(deserialize_with = "number")]
    minlen: Option<f64>,
    #[serde(deserialize_with = "number")]
    maxlen: Option<f64>,
    #[serde(deserialize_with = "number")]
    minimum: Option<f64>,
    #[serde(deserialize_with = "number")]
    maximum: Option<f64>,
    #[serde(deserialize_with = "number")]
    increment: Option<f64>,
    unit: Option<String>,
    /// Of a network interface: whether it may be left out.
    #[serde(deserialize_with = "truth::maybe")]
    ipv4disable: Option<bool>,
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Number(f64),
        Text(String),
    }
    match Option::<Number>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Number::Number(number)) => Ok(Some(number)),
        Some(Number::Text(text)) if text.trim().is_empty() => Ok(None),
        Some(Number::Text(text)) => parse_number(text.trim())
            .map(Some)
            .ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no number"))),
    }
}

impl Constraints {
    fn parse(text: &str) -> Result<Self, String> {
        match text.trim() {
            "" => Ok(Self::default()),
            _ if text.len() > CONSTRAINTS_BYTES_MAX => Err("they are too long".to_owned()),
            text => serde_json::from_str(text).map_err(|error| format!("they are not understood: {error}")),
        }
    }

    fn pattern(&self) -> Result<Option<Regex>, String> {
        let Some(pattern) = self.regex.as_deref().filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        let built = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
        built.map(Some).map_err(|error| format!("the regex {pattern:?} is not understood: {error}"))
    }
}

/// Checks what a build plan says of an attribute.
///
/// # Errors
/// In words.
pub fn check_definition(attribute: &CustomAttribute) -> Result<(), String> {
    check_name(&attribute.name)?;
    let constraints =
        Constraints::parse(&attribute.constraints).map_err(|error| format!("its constraints: {error}"))?;
    constraints.pattern().map_err(|error| format!("its constraints: {error}"))?;
    let crossed =
        |low: Option<f64>, high: Option<f64>| matches!((low, high), (Some(low), Some(high)) if low > high);
    if crossed(constraints.minimum, constraints.maximum) || crossed(constraints.minlen, constraints.maxlen) {
        return Err("its constraints leave no value: the least is more than the most".to_owned());
    }
    if attribute.kind == AttributeType::Option && constraints.options.as_ref().is_none_or(Vec::is_empty) {
        return Err("an option needs its options: {\"options\": [\"a\", \"b\"]} as constraints".to_owned());
    }
    match attribute.value.as_deref() {
        None | Some("") => Ok(()),
        Some(value) => check_value(attribute, value).map_err(|error| format!("its default: {error}")),
    }
}

/// A name that scripts can use.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    match script::placeholder::is_name(name) && !name.starts_with('_') {
        true => Ok(()),
        false => Err(format!(
            "{name:?} cannot be the name of an attribute: letters, digits, '_' and '-', the first a letter or a digit"
        )),
    }
}

/// Checks a value that is not empty. The words never repeat a password.
///
/// # Errors
/// In words.
pub fn check_value(attribute: &CustomAttribute, value: &str) -> Result<(), String> {
    if value.chars().any(char::is_control) {
        return Err("a value must be on one line, without control characters".to_owned());
    }
    let chars = value.chars().count();
    if chars > VALUE_CHARS_MAX {
        return Err(format!("the value has {chars} characters; at most {VALUE_CHARS_MAX} are allowed"));
    }
    let constraints = Constraints::parse(&attribute.constraints).unwrap_or_default();
    match attribute.kind {
        AttributeType::String => check_pattern(&constraints, value, &format!("{value:?}")),
        AttributeType::Password => check_password(&constraints, value, chars),
        AttributeType::Number => check_number(&constraints, value),
        AttributeType::Option => check_option(&constraints, value),
        AttributeType::Fqdn => check_fqdn(value),
        AttributeType::Hostname => check_hostname(value),
        AttributeType::Ipv4 => check_ipv4(value),
        AttributeType::Nic => {
            Err("a network interface has values for its members, such as NIC1.ipaddress".to_owned())
        }
    }
}

fn check_pattern(constraints: &Constraints, value: &str, shown: &str) -> Result<(), String> {
    match constraints.pattern() {
        Ok(Some(pattern)) if !pattern.is_match(value) => {
            Err(format!("{shown} does not match {:?}", pattern.as_str()))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

fn check_password(constraints: &Constraints, value: &str, chars: usize) -> Result<(), String> {
    #[expect(clippy::cast_precision_loss, reason = "at most 254")]
    let chars = chars as f64;
    if constraints.minlen.is_some_and(|least| chars < least) {
        return Err("the password is too short".to_owned());
    }
    if constraints.maxlen.is_some_and(|most| chars > most) {
        return Err("the password is too long".to_owned());
    }
    check_pattern(constraints, value, "the password")
}

fn check_number(constraints: &Constraints, value: &str) -> Result<(), String> {
    let number = parse_number(value).ok_or_else(|| format!("{value:?} is not a number"))?;
    let unit = constraints.unit.as_deref().unwrap_or_default();
    if let Some(least) = constraints.minimum.filter(|least| number < *least) {
        return Err(format!("{value} is less than {least} {unit}").trim_end().to_owned());
    }
    if let Some(most) = constraints.maximum.filter(|most| number > *most) {
        return Err(format!("{value} is more than {most} {unit}").trim_end().to_owned());
    }
    let from = constraints.minimum.unwrap_or(0.0);
    match constraints.increment.filter(|step| *step > 0.0) {
        Some(step) if ((number - from) / step - ((number - from) / step).round()).abs() > STEP_TOLERANCE => {
            Err(format!("{value} is not {from} and a multiple of {step}"))
        }
        _ => Ok(()),
    }
}

/// An integer or a decimal; no exponents, no infinities.
fn parse_number(text: &str) -> Option<f64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match all_digits(whole) && all_digits(part) {
        true => text.parse().ok().filter(|number: &f64| number.is_finite()),
        false => None,
    }
}

fn check_option(constraints: &Constraints, value: &str) -> Result<(), String> {
    let options = constraints.options.as_deref().unwrap_or_default();
    match options.is_empty() || options.iter().any(|option| option == value) {
        true => Ok(()),
        false => Err(format!("{value:?} is none of {}", options.join(", "))),
    }
}

fn check_fqdn(value: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match value {
        _ if !value.contains('.') => Err(format!("{value:?} is no fully qualified name: it has no dot")),
        _ if !value.chars().all(allowed) => {
            Err(format!("{value:?} has a character that no name of a host has"))
        }
        _ if value.starts_with(['-', '_']) => Err(format!("{value:?} must not begin with '-' or '_'")),
        _ => Ok(()),
    }
}

fn check_hostname(value: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match value {
        _ if value.contains('.') => Err(format!("{value:?} is a name with a domain: it has a dot")),
        _ if !value.chars().all(allowed) => {
            Err(format!("{value:?} has a character that no name of a host has"))
        }
        _ if value.starts_with(['-', '_']) => Err(format!("{value:?} must not begin with '-' or '_'")),
        _ => Ok(()),
    }
}

fn check_ipv4(value: &str) -> Result<(), String> {
    value.parse::<Ipv4Addr>().map(drop).map_err(|_| format!("{value:?} is not an IPv4 address"))
}

/// Checks the value of a member of a network interface.
///
/// # Errors
/// In words.
pub fn check_member(member: &str, value: &str) -> Result<(), String> {
    let known = NIC_MEMBERS.iter().any(|known| known.eq_ignore_ascii_case(member));
    if !known {
        let near = api::nearest(member, NIC_MEMBERS).map(|near| format!("; did you mean {near:?}?"));
        return Err(format!("a network interface has no {member:?}{}", near.unwrap_or_default()));
    }
    if value.chars().any(char::is_control) || value.chars().count() > VALUE_CHARS_MAX {
        return Err(format!("a value must be on one line, of at most {VALUE_CHARS_MAX} characters"));
    }
    if value.is_empty() {
        return Ok(());
    }
    match member.to_ascii_lowercase().as_str() {
        "ipaddress" | "ipaddress1" | "ipaddress2" | "netmask" | "gateway" | "dns1" | "dns2" | "dns3" => {
            check_ipv4(value)
        }
        "dhcp" | "ipv4disable" => api::truth::parse(value).map(drop),
        "constraint" if !["auto", "dhcp", "userspecified"].contains(&value.to_ascii_lowercase().as_str()) => {
            Err(format!("{value:?} is not auto, dhcp or userspecified"))
        }
        _ => Ok(()),
    }
}

/// Whether an attribute needs a value before anything can be deployed.
#[must_use]
pub fn needs_value(attribute: &CustomAttribute, has_image: bool) -> bool {
    if attribute.name.eq_ignore_ascii_case(VOLUME_SIZE) {
        return !has_image;
    }
    match attribute.kind {
        AttributeType::Number
        | AttributeType::Option
        | AttributeType::Fqdn
        | AttributeType::Hostname
        | AttributeType::Ipv4 => true,
        AttributeType::Password => Constraints::parse(&attribute.constraints)
            .unwrap_or_default()
            .minlen
            .is_some_and(|least| least > 0.0),
        AttributeType::String | AttributeType::Nic => false,
    }
}

/// Whether a plan says that a network interface must not be left out.
pub(super) fn is_mandatory_interface(attribute: &CustomAttribute) -> bool {
    Constraints::parse(&attribute.constraints).unwrap_or_default().ipv4disable == Some(false)
}

/// Size of a volume in bytes, from the value of [`VOLUME_SIZE`] in MiB.
///
/// # Errors
/// In words.
pub fn volume_size_bytes(value: &str) -> Result<u64, String> {
    let mib = value.trim().parse::<u64>().ok().filter(|mib| *mib > 0);
    mib.and_then(|mib| mib.checked_mul(MIB)).ok_or_else(|| format!("{value:?} is not a whole number of MiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute(kind: AttributeType, constraints: &str) -> CustomAttribute {
        CustomAttribute {
            name: "A".into(),
            kind,
            value: None,
            description: String::new(),
            constraints: constraints.into(),
            id: None,
            visible: None,
            editable: None,
        }
    }

    #[track_caller]
    fn sorted(kind: AttributeType, constraints: &str, good: &[&str], bad: &[&str]) {
        let attribute = attribute(kind, constraints);
        for value in good {
            assert_eq!(check_value(&attribute, value), Ok(()), "{kind} {value:?}");
        }
        for value in bad {
            assert!(check_value(&attribute, value).is_err(), "{kind} {value:?}");
        }
    }

    #[test]
    fn each_type_takes_its_values() {
        use AttributeType::*;
        let long = "x".repeat(255);
        sorted(String, "{}", &["x", "a b", "Ä"], &["a\nb", "a\0", &long]);
        sorted(
            Fqdn,
            r#"{"helpText":""}"#,
            &["a.b", "web-1.x_y.example.com"],
            &["web", "-a.b", "_a.b", "a b.c"],
        );
        sorted(Hostname, "{}", &["web", "web-1"], &["a.b", "-a", "_a", "a b"]);
        sorted(Ipv4, "{}", &["10.0.0.1"], &["10.0.0", "10.0.0.256", "::1", "010.0.0.1"]);
        sorted(
            Number,
            "{}",
            &["1", "-1.5", "+3", "0.25"],
            &["", "1e3", "inf", "NaN", "0x1", "1.", ".5", "1,5"],
        );
        sorted(Nic, "{}", &[], &["anything"]);
    }

    #[test]
    fn constraints_narrow_what_a_type_takes() {
        use AttributeType::*;
        sorted(String, r#"{"regex":"^[a-z]+$"}"#, &["abc"], &["abc1", "ABC"]);
        sorted(String, r#"{"regex":"[a-z]+"}"#, &["1abc2"], &["123"]);
        sorted(Option, r#"{"options":["Enabled","Disabled"]}"#, &["Enabled"], &["enabled", "x"]);
        sorted(Password, r#"{"minlen":"3","maxlen":5}"#, &["abc", "abcde"], &["ab", "abcdef"]);
        sorted(Number, r#"{"minimum":"1","maximum":"51200","unit":"MiB"}"#, &["1", "51200"], &["0", "51201"]);
        sorted(Number, r#"{"minimum":"1","increment":"0.5"}"#, &["1", "2.5"], &["1.3"]);
    }

    #[test]
    fn a_password_is_not_in_the_words_about_it() {
        let attribute = attribute(AttributeType::Password, r#"{"maxlen":"3","regex":"^x"}"#);
        for value in ["s3cret", "s3"] {
            assert!(!check_value(&attribute, value).unwrap_err().contains(value), "{value}");
        }
    }

    #[test]
    fn a_definition_that_makes_no_sense_is_refused() {
        use AttributeType::*;
        let wrong = [
            attribute(Option, "{}"),
            attribute(Number, r#"{"minimum":"5","maximum":"1"}"#),
            attribute(String, "not JSON"),
            attribute(String, r#"{"regex":"("}"#),
            CustomAttribute { value: Some("x".into()), ..attribute(Number, "{}") },
            CustomAttribute { name: "a b".into(), ..attribute(String, "{}") },
            CustomAttribute { name: "_Initiator1".into(), ..attribute(String, "{}") },
        ];
        for attribute in wrong {
            assert!(check_definition(&attribute).is_err(), "{attribute:?}");
        }
        check_definition(&attribute(Nic, r#"{"ipv4static":true,"parameters":["mac"]}"#)).unwrap();
        check_definition(&CustomAttribute { value: Some("".into()), ..attribute(Number, "") }).unwrap();
    }

    #[test]
    fn a_pattern_that_is_no_pattern_checks_nothing() {
        sorted(AttributeType::String, r#"{"regex":"(?=x)"}"#, &["anything"], &[]);
    }

    #[test]
    fn members_of_an_interface_have_their_own_rules() {
        for (member, value) in [
            ("ipaddress", "10.0.0.1"),
            ("dhcp", "True"),
            ("constraint", "auto"),
            ("mac", "x"),
            ("vlanid", ""),
        ] {
            assert_eq!(check_member(member, value), Ok(()), "{member}");
        }
        for (member, value) in
            [("ipadress", "10.0.0.1"), ("netmask", "x"), ("dhcp", "maybe"), ("constraint", "x")]
        {
            assert!(check_member(member, value).is_err(), "{member}");
        }
    }

    #[test]
    fn the_size_of_a_volume_is_a_whole_number_of_mib() {
        assert_eq!(volume_size_bytes("10"), Ok(10 << 20));
        for bad in ["", "0", "-1", "1.5", "99999999999999999999", "18446744073709551615"] {
            assert!(volume_size_bytes(bad).is_err(), "{bad}");
        }
    }
}

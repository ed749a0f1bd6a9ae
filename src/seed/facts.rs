//! What is known of a machine from its plan's attributes: by their types, and by names that people give them.

use std::net::Ipv4Addr;

use api::{AttributeType, CustomAttribute};
use script::Values;

use super::Fault;

/// Longest name of a host (RFC 1123).
const HOST_NAME_BYTES_MAX: usize = 63;

/// What a seed says of a machine.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The values of all attributes, for templates.
    pub values: Values,
    /// Name without a domain.
    pub host_name: String,
    /// Name with its domain.
    pub fqdn: Option<String>,
    /// Keys that may log in.
    pub ssh_keys: Vec<String>,
    /// crypt(3)'s hash of the password of whoever may log in.
    pub password_hash: Option<String>,
    /// Network interfaces that somebody said something of.
    pub interfaces: Vec<Interface>,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// The attribute's name.
    pub name: String,
    /// Its place among the attributes that are interfaces, from 0.
    pub place: usize,
    /// Hardware address, in lower case.
    pub mac: Option<String>,
    /// It asks for its address.
    pub dhcp: bool,
    /// Address and length of its prefix.
    pub address: Option<(Ipv4Addr, u8)>,
    /// The way out.
    pub gateway: Option<Ipv4Addr>,
    /// Name servers.
    pub dns: Vec<Ipv4Addr>,
    /// Domain that names are looked up in.
    pub domain: Option<String>,
    /// VLAN of its addresses.
    pub vlan: Option<u16>,
}

impl Facts {
    /// What attributes and their values say; `profile` is whose machine it is.
    ///
    /// # Errors
    /// For an interface whose values make no address.
    pub fn gather(attributes: &[CustomAttribute], values: Values, profile: &str) -> Result<Self, Fault> {
        let of_kind = |kind: AttributeType| {
            attributes.iter().filter(move |one| one.kind == kind).find_map(|one| said(&values, &one.name))
        };
        let named = |names: &[&str]| {
            attributes
                .iter()
                .filter(|one| names.contains(&plain(&one.name).as_str()))
                .find_map(|one| said(&values, &one.name))
        };
        let full = of_kind(AttributeType::Fqdn);
        let host_name = of_kind(AttributeType::Hostname)
            .or_else(|| named(&["hostname", "servername", "nodename"]))
            .or_else(|| full.clone())
            .map_or_else(|| host_name(profile), |name| name.split('.').next().unwrap_or_default().to_owned());
        let interfaces = interfaces(attributes, &values)?;
        let domain = named(&["domain", "domainname", "dnsdomain"])
            .or_else(|| interfaces.iter().find_map(|one| one.domain.clone()));
        let fqdn = full.or_else(|| domain.map(|domain| format!("{host_name}.{domain}")));
        let is_key = |one: &&CustomAttribute| {
            ["sshkey", "sshpublickey", "sshauthorizedkey", "sshauthorizedkeys", "authorizedkey", "publickey"]
                .contains(&plain(&one.name).trim_end_matches(|c: char| c.is_ascii_digit()))
        };
        let ssh_keys = attributes.iter().filter(is_key).filter_map(|one| said(&values, &one.name)).collect();
        let passwords = attributes.iter().filter(|one| one.kind == AttributeType::Password);
        let password_hash = passwords
            .filter_map(|one| said(&values, &one.name))
            .find(|value| value.starts_with('$') && value.matches('$').count() >= 3);
        Ok(Self { host_name, fqdn, ssh_keys, password_hash, interfaces, values })
    }
}

/// A name without its case and its separators.
fn plain(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase()
}

/// A value that says something.
fn said(values: &Values, name: &str) -> Option<String> {
    let text = values.get(name)?.text.trim();
    (!text.is_empty() && !text.eq_ignore_ascii_case("none")).then(|| text.to_owned())
}

/// A host's name made of a profile's.
fn host_name(profile: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = profile.chars().map(allowed).take(HOST_NAME_BYTES_MAX).collect();
    match name.trim_matches('-') {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}

fn interfaces(attributes: &[CustomAttribute], values: &Values) -> Result<Vec<Interface>, Fault> {
    let nics = attributes.iter().filter(|one| one.kind == AttributeType::Nic).enumerate();
    let read = nics.map(|(place, one)| interface(values, &one.name, place));
    let read: Vec<Interface> = read.collect::<Result<_, _>>()?;
    Ok(read.into_iter().filter(|one| one.dhcp || one.address.is_some()).collect())
}

fn interface(values: &Values, name: &str, place: usize) -> Result<Interface, Fault> {
    let member = |member: &str| said(values, &format!("{name}.{member}"));
    let address_of = |which: &str| match member(which) {
        None => Ok(None),
        Some(text) => text.parse::<Ipv4Addr>().map(Some).map_err(|_| Fault {
            attribute: Some(format!("{name}.{which}")),
            place: "networkConfig".to_owned(),
            message: format!("{text:?} is not an IPv4 address"),
        }),
    };
    let dhcp = member("dhcp").is_some_and(|text| api::truth::parse(&text).unwrap_or(false))
        || member("constraint").is_some_and(|text| text.eq_ignore_ascii_case("dhcp"));
    let mut dns = Vec::new();
    for which in ["dns1", "dns2", "dns3"] {
        dns.extend(address_of(which)?);
    }
    let address = match (address_of("ipaddress")?, address_of("netmask")?) {
        (None, _) => None,
        (Some(address), Some(mask)) => {
            let prefix = prefix_of(mask).ok_or_else(|| Fault {
                attribute: Some(format!("{name}.netmask")),
                place: "networkConfig".to_owned(),
                message: format!("{mask} is no netmask"),
            })?;
            Some((address, prefix))
        }
        (Some(_), None) => {
            return Err(Fault {
                attribute: Some(format!("{name}.netmask")),
                place: "networkConfig".to_owned(),
                message: format!("{name} has an address and no netmask"),
            });
        }
    };
    Ok(Interface {
        name: name.to_owned(),
        place,
        mac: member("mac").map(|mac| mac.to_ascii_lowercase().replace('-', ":")).filter(|mac| is_mac(mac)),
        dhcp,
        address: address.filter(|_| !dhcp),
        gateway: address_of("gateway")?.filter(|_| !dhcp),
        dns,
        domain: member("domain"),
        vlan: member("vlanid").and_then(|id| id.parse().ok()).filter(|id| (1..4095).contains(id)),
    })
}

fn is_mac(text: &str) -> bool {
    let is_byte = |part: &str| part.len() == 2 && part.chars().all(|c| c.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(is_byte)
}

/// Length of the prefix that a netmask leaves.
fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = u32::from(mask);
    let prefix = bits.leading_ones();
    (bits.checked_shl(prefix).unwrap_or(0) == 0).then_some(u8::try_from(prefix).ok()?)
}

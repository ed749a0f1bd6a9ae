//! What the members of a network interface (`@NIC1.ipaddress@`) become in scripts.
//!
//! What a profile says goes first; then what its connections and its server's cards tell; then the default that a script
//! gives the member; then `none`, which is what Image Streamer's scripts compare with. All of an interface that a profile
//! leaves out is `none`, unless the plan says that it must be there: then it has no value, and what asks for it is refused.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use api::{CustomAttribute, truth};
use script::Values;

use super::attributes::{NIC_MEMBERS, is_mandatory_interface};
use super::connections::{Connection, Network};

/// What there is not.
const NONE: &str = "none";
/// The VLAN of what is not tagged.
const UNTAGGED: &str = "0";

/// What a profile says of one interface: values that are not empty, by member in lower case.
#[derive(Debug, Default)]
pub(super) struct Given(HashMap<String, String>);

impl Given {
    pub(super) fn set(&mut self, member: &str, value: &str) {
        if !value.is_empty() {
            self.0.insert(member.to_ascii_lowercase(), value.to_owned());
        }
    }

    fn get(&self, member: &str) -> Option<&str> {
        self.0.get(member).map(String::as_str)
    }

    fn is_true(&self, member: &str) -> bool {
        self.get(member).is_some_and(|value| truth::parse(value) == Ok(true))
    }

    /// Whether the interface is used. Clients send `false`, VLAN 0 and the constraint of one that is not as well.
    fn is_used(&self) -> bool {
        self.0.iter().any(|(member, value)| match member.as_str() {
            "dhcp" | "ipv4disable" => truth::parse(value) == Ok(true),
            "vlanid" => value != UNTAGGED,
            "constraint" => value.eq_ignore_ascii_case("dhcp"),
            _ => true,
        })
    }
}

/// An interface of a plan.
pub(super) struct Interface<'a> {
    pub(super) attribute: &'a CustomAttribute,
    /// Which of the plan's interfaces it is, from 0.
    pub(super) place: usize,
    pub(super) given: &'a Given,
}

impl Interface<'_> {
    /// Gives the interface and its members their values. `default` is what a script gives a member.
    pub(super) fn fill(
        &self,
        values: &mut Values,
        network: &Network,
        default: impl Fn(&str) -> Option<String>,
    ) {
        let name = &self.attribute.name;
        if !self.given.is_used() {
            if !is_mandatory_interface(self.attribute) {
                values.set(name, NONE, false);
                NIC_MEMBERS.iter().for_each(|member| values.set(&format!("{name}.{member}"), NONE, false));
            }
            return;
        }
        let known = self.known(network);
        let mac = known.get("mac").cloned().unwrap_or_else(|| name.clone());
        values.set(name, mac, false);
        let waits_for_a_pool = self.is_auto() && !known.contains_key("ipaddress");
        for member in NIC_MEMBERS {
            let full = format!("{name}.{member}");
            let of_the_pool =
                waits_for_a_pool && matches!(member, "ipaddress" | "netmask" | "network" | "broadcast");
            let value = known.get(member).cloned().or_else(|| default(&full));
            if let Some(value) = value.or_else(|| (!of_the_pool).then(|| NONE.to_owned())) {
                values.set(&full, value, false);
            }
        }
    }

    /// A client wants an address out of a pool, as OneView has them and osvold has not.
    fn is_auto(&self) -> bool {
        self.given.get("constraint").is_some_and(|value| value.eq_ignore_ascii_case("auto"))
    }

    fn is_dhcp(&self) -> bool {
        let constraint = self.given.get("constraint");
        self.given.is_true("dhcp") || constraint.is_some_and(|value| value.eq_ignore_ascii_case("dhcp"))
    }

    /// The members that have a value.
    fn known(&self, network: &Network) -> HashMap<&'static str, String> {
        let connection = self.connection(network).unwrap_or_default();
        let mut known: HashMap<&'static str, String> = HashMap::new();
        for member in NIC_MEMBERS {
            if let Some(value) = self.given.get(member) {
                known.insert(member, value.to_owned());
            }
        }
        let mut add = |member, value: Option<String>| {
            if let Some(value) = value {
                known.entry(member).or_insert(value);
            }
        };
        let (dhcp, disabled) = (self.is_dhcp(), self.given.is_true("ipv4disable"));
        add("mac", connection.mac.clone());
        if !dhcp && !disabled && (self.is_auto() || self.given.get("ipaddress").is_none()) {
            let text = |address: Option<Ipv4Addr>| address.map(|address| address.to_string());
            add("ipaddress", text(connection.address));
            add("netmask", text(connection.netmask));
            add("gateway", text(connection.gateway));
        }
        known.insert("dhcp", truth_word(dhcp));
        known.insert("ipv4disable", truth_word(disabled));
        known.entry("vlanid").or_insert_with(|| UNTAGGED.to_owned());
        let has_address = known.contains_key("ipaddress");
        let constraint = if dhcp { "dhcp" } else { "userspecified" };
        if dhcp || has_address {
            known.entry("constraint").or_insert_with(|| constraint.to_owned());
        }
        for (member, of) in [("mac1", "mac"), ("ipaddress1", "ipaddress")] {
            if let Some(value) = known.get(of).cloned() {
                known.entry(member).or_insert(value);
            }
        }
        if let Some((network, broadcast)) = range(&known) {
            known.entry("network").or_insert(network);
            known.entry("broadcast").or_insert(broadcast);
        }
        known
    }

    /// Its connection: the one that the profile names, else the card at its place.
    fn connection(&self, network: &Network) -> Option<Connection> {
        match self.given.get("connectionid") {
            Some(id) => network
                .connection(id)
                .or_else(|| network.card(id.parse::<usize>().ok().and_then(|id| id.checked_sub(1))?)),
            None => network.card(self.place),
        }
    }
}

/// As OneView's clients write it.
fn truth_word(truth: bool) -> String {
    if truth { "True" } else { "False" }.to_owned()
}

/// The first and the last address of the network that an address is in.
fn range(known: &HashMap<&'static str, String>) -> Option<(String, String)> {
    let number = |member| known.get(member)?.parse::<Ipv4Addr>().ok().map(u32::from);
    let (address, mask) = (number("ipaddress")?, number("netmask")?);
    Some((Ipv4Addr::from(address & mask).to_string(), Ipv4Addr::from(address | !mask).to_string()))
}

//! What is known of a server's network: its cards' addresses, and the connections that OneView's clients give a profile.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::hardware::parse_mac;

/// The network of a server, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Addresses of its cards, in order.
    pub mac_addresses: Vec<String>,
    /// The connections of its profile.
    pub connections: Vec<Connection>,
}

/// A connection of a profile: `connectionSettings.connections[]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connection {
    /// Its number; 1 and 2 are those that the server boots by.
    pub id: String,
    /// Its address.
    pub mac: Option<String>,
    /// Its IPv4 address.
    pub address: Option<Ipv4Addr>,
    /// Mask of its network.
    pub netmask: Option<Ipv4Addr>,
    /// The way out of it.
    pub gateway: Option<Ipv4Addr>,
    /// `Primary`, `Secondary` or nothing that matters.
    priority: String,
}

impl Network {
    /// What a profile's fields of OneView, and its server, tell.
    #[must_use]
    pub fn of(extra: &Map<String, Value>, mac_addresses: &[String]) -> Self {
        let settings = extra.get("connectionSettings").and_then(|settings| settings.get("connections"));
        let found = settings.or_else(|| extra.get("connections")).and_then(Value::as_array);
        Self {
            mac_addresses: mac_addresses.to_vec(),
            connections: found.into_iter().flatten().map(Connection::of).collect(),
        }
    }

    /// The connection with this number, its card's address filled in.
    #[must_use]
    pub fn connection(&self, id: &str) -> Option<Connection> {
        self.connections
            .iter()
            .find(|connection| connection.id == id)
            .cloned()
            .map(|found| self.complete(found))
    }

    /// The first or the second connection that the server boots by; of a server without connections its card.
    #[must_use]
    pub fn initiator(&self, number: usize) -> Option<Connection> {
        let priority = ["Primary", "Secondary"].get(number.checked_sub(1)?)?;
        let wanted = self.connections.iter().find(|one| one.priority.eq_ignore_ascii_case(priority));
        let found = wanted.cloned().map(|found| self.complete(found));
        found
            .or_else(|| self.connection(&number.to_string()))
            .or_else(|| self.card(number - 1).filter(|_| self.connections.is_empty()))
    }

    /// A card of the server, from 0, as a connection of which nothing else is known.
    #[must_use]
    pub fn card(&self, place: usize) -> Option<Connection> {
        let mac = self.mac_addresses.get(place)?.clone();
        Some(Connection { mac: Some(mac), ..Connection::default() })
    }

    /// Connections are numbered as the cards are, from 1.
    fn complete(&self, mut connection: Connection) -> Connection {
        let card = connection.id.parse::<usize>().ok().and_then(|id| id.checked_sub(1));
        connection.mac = connection.mac.or_else(|| self.mac_addresses.get(card?).cloned());
        connection
    }
}

impl Connection {
    fn of(json: &Value) -> Self {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let ipv4 = json.get("ipv4");
        let address = |field: &str| text(ipv4.and_then(|ipv4| ipv4.get(field))).parse().ok();
        Self {
            id: match json.get("id") {
                Some(Value::Number(number)) => number.to_string(),
                other => text(other),
            },
            mac: parse_mac(&text(json.get("mac"))),
            address: address("ipAddress"),
            netmask: address("subnetMask"),
            gateway: address("gateway"),
            priority: text(json.get("boot").and_then(|boot| boot.get("priority"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CARDS: [&str; 3] = ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"];

    fn network(extra: &Value) -> Network {
        let cards: Vec<String> = CARDS.iter().map(|mac| (*mac).to_owned()).collect();
        Network::of(extra.as_object().unwrap(), &cards)
    }

    #[test]
    fn a_connection_has_its_own_address_or_that_of_its_card() {
        let network = network(&serde_json::json!({"connectionSettings": {"connections": [
            {"id": 1, "mac": "AA:00:00:00:00:01", "boot": {"priority": "Secondary"}, "ipv4": {"ipAddress": "10.0.0.1"}},
            {"id": "2", "boot": {"priority": "Primary"}, "ipv4": null},
            {"id": 3, "mac": "nonsense", "ipv4": {"ipAddress": "nonsense", "subnetMask": "255.0.0.0"}},
        ]}}));
        let mac = |found: Option<Connection>| found.unwrap().mac;
        assert_eq!(mac(network.connection("1")).as_deref(), Some("aa:00:00:00:00:01"));
        assert_eq!(mac(network.connection("3")).as_deref(), Some(CARDS[2]));
        assert_eq!(mac(network.initiator(1)).as_deref(), Some(CARDS[1]));
        assert_eq!(network.initiator(2).unwrap().address, Some(Ipv4Addr::new(10, 0, 0, 1)));
        assert_eq!(network.connection("4"), None);
    }

    #[test]
    fn a_server_without_connections_boots_by_its_first_cards() {
        let network = network(&serde_json::json!({"bios": {}}));
        assert_eq!(network.initiator(1).unwrap().mac.as_deref(), Some(CARDS[0]));
        assert_eq!(network.initiator(3), None);
        assert_eq!(network.initiator(0), None);
    }

    #[test]
    fn what_is_no_list_of_connections_is_none() {
        for extra in [
            serde_json::json!({"connections": 7}),
            serde_json::json!({"connectionSettings": {"connections": [7, null, {"id": null}]}}),
        ] {
            assert_eq!(network(&extra).connection("1"), None, "{extra}");
        }
    }
}

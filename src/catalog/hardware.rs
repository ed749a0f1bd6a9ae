//! Server hardware: the machines that profiles are assigned to.
//!
//! While a profile is assigned to a server, the server stays what and where it is: its type and its enclosure decide
//! what becomes of the profile's volume, its initiator name who may log in.

use api::{Extra, PowerState};
use iscsi::IscsiName;
use rusqlite::{OptionalExtension, Row, params};
use uuid::Uuid;

use super::lookup::{self, check_unused, found, id_or_null, to_json, users};
use super::{Changed, Envelope, Error, Kind, Result, Tx, Use, holds, id_of, json, uuid, uuid_or_null};

const KIND: Kind = Kind::ServerHardware;
const TABLE: &str = "server_hardware";
const OWN_COLUMNS: &str = "server_hardware_type_id, logical_enclosure_id, position, power_state, uuid, serial_number, \
                           initiator_name, mac_addresses, extra";
/// Most addresses of one server.
const MACS_MAX: usize = 64;

/// A server.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerHardware {
    /// Id, name and history.
    pub envelope: Envelope,
    /// What and where it is.
    pub facts: HardwareFacts,
    /// Whether it runs, as it was last recorded.
    pub power_state: PowerState,
    /// Fields of clients: `uidState`.
    pub extra: Extra,
}

/// What a server is, but for its name and its power.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HardwareFacts {
    /// Its hardware type.
    pub hardware_type: Uuid,
    /// Its logical enclosure; `None`: a host outside any enclosure.
    pub logical_enclosure: Option<Uuid>,
    /// Its bay.
    pub position: Option<u32>,
    /// What its firmware gives.
    pub uuid: Uuid,
    /// Its serial number.
    pub serial_number: Option<String>,
    /// The iSCSI name that it has and keeps.
    pub initiator_name: Option<String>,
    /// Addresses of its network cards, in lower case.
    pub mac_addresses: Vec<String>,
}

/// Adds one.
///
/// # Errors
/// When a value cannot be, or the name, the UUID, an address or the initiator name is another server's.
pub fn insert(
    tx: &Tx<'_>,
    (name, description): (&str, &str),
    power_state: PowerState,
    facts: HardwareFacts,
) -> Result<ServerHardware> {
    let envelope = Envelope::new(tx, name, description)?;
    if let Some(enclosure) = facts.logical_enclosure {
        holds::check_steady(tx, Kind::LogicalEnclosure, enclosure)?;
    }
    let row = ServerHardware { envelope, facts: checked(facts)?, power_state, extra: Extra::new() };
    check_unique(tx, &row)?;
    write(tx, &row)?;
    tx.changed(KIND, row.envelope.id, name, Changed::Created);
    Ok(row)
}

/// Finds one by path, id, name, or what its firmware gives.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<ServerHardware> {
    if let Ok(uuid) = Uuid::try_parse(KIND.key(reference))
        && let Some(row) = by_uuid(tx, uuid)?
    {
        return Ok(row);
    }
    get(tx, id_of(tx, KIND, TABLE, reference)?)
}

/// The one whose firmware gives this UUID.
///
/// # Errors
/// The database's.
pub fn by_uuid(tx: &Tx<'_>, uuid: Uuid) -> Result<Option<ServerHardware>> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} WHERE uuid = ?1", Envelope::COLUMNS);
    Ok(tx.prepare_cached(&sql)?.query_row([uuid.to_string()], read).optional()?)
}

/// The one with this address on a network card; `None` also for what is no address.
///
/// # Errors
/// The database's.
pub fn by_mac(tx: &Tx<'_>, mac: &str) -> Result<Option<ServerHardware>> {
    let Some(mac) = parse_mac(mac) else { return Ok(None) };
    let sql = format!(
        "SELECT {}, {OWN_COLUMNS} FROM {TABLE}
         WHERE id = (SELECT server_hardware_id FROM server_hardware_macs WHERE mac = ?1)",
        Envelope::COLUMNS
    );
    Ok(tx.prepare_cached(&sql)?.query_row([mac], read).optional()?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<ServerHardware> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let row = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    found(tx, (KIND, TABLE), id, row)
}

/// Names and histories of all of them, by name.
///
/// # Errors
/// The database's.
pub fn envelopes(tx: &Tx<'_>) -> Result<Vec<Envelope>> {
    lookup::envelopes(tx, TABLE)
}

/// Id and name of the profile that is assigned to a server.
///
/// # Errors
/// The database's.
pub fn profile_of(tx: &Tx<'_>, id: Uuid) -> Result<Option<(Uuid, String)>> {
    let sql = "SELECT id, name FROM server_profiles WHERE server_hardware_id = ?1";
    let read = |row: &Row<'_>| Ok((uuid(row, 0)?, row.get(1)?));
    Ok(tx.prepare_cached(sql)?.query_row([id.to_string()], read).optional()?)
}

/// Changes one, as a whole, but for its power.
///
/// # Errors
/// When it is not there, was changed meanwhile, a value cannot be or is another server's; when the assigned profile
/// relies on what would change.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    (name, description): (&str, &str),
    facts: HardwareFacts,
) -> Result<ServerHardware> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    let facts = checked(facts)?;
    if facts == old.facts && (name, description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    holds::check_free(tx, KIND, id)?;
    if let Some(enclosure) = facts.logical_enclosure.filter(|new| Some(*new) != old.facts.logical_enclosure) {
        holds::check_steady(tx, Kind::LogicalEnclosure, enclosure)?;
    }
    check_steady(tx, &old, &facts)?;
    let envelope = old.envelope.changed(tx, name, description)?;
    let changed = ServerHardware { envelope, facts, ..old };
    check_unique(tx, &changed)?;
    write(tx, &changed)?;
    tx.changed(KIND, id, name, Changed::Updated);
    Ok(changed)
}

/// What an assigned profile relies on stays.
fn check_steady(tx: &Tx<'_>, old: &ServerHardware, new: &HardwareFacts) -> Result<()> {
    let same = new.hardware_type == old.facts.hardware_type
        && new.logical_enclosure == old.facts.logical_enclosure
        && new.initiator_name == old.facts.initiator_name;
    match profile_of(tx, old.envelope.id)? {
        Some((_, name)) if !same => {
            let by = vec![Use { kind: Kind::ServerProfile, name }];
            check_unused(KIND, &old.envelope.name, by)
        }
        _ => Ok(()),
    }
}

/// Records whether it runs.
///
/// # Errors
/// When it is not there.
pub fn set_power(tx: &Tx<'_>, id: Uuid, power_state: PowerState) -> Result<ServerHardware> {
    let old = get(tx, id)?;
    if old.power_state == power_state {
        return Ok(old);
    }
    let envelope = old.envelope.changed(tx, &old.envelope.name, &old.envelope.description)?;
    let changed = ServerHardware { envelope, power_state, ..old };
    write(tx, &changed)?;
    tx.changed(KIND, id, &changed.envelope.name, Changed::Updated);
    Ok(changed)
}

/// Records the locator light.
///
/// # Errors
/// When it is not there.
pub fn set_extra(tx: &Tx<'_>, id: Uuid, field: &str, value: serde_json::Value) -> Result<ServerHardware> {
    let mut row = get(tx, id)?;
    row.extra.insert(field.to_owned(), value);
    write(tx, &row)?;
    Ok(row)
}

/// Removes one that no profile is assigned to. Only the lifecycle service may.
///
/// # Errors
/// When it is not there, or a profile is assigned to it.
pub fn remove(tx: &Tx<'_>, id: Uuid) -> Result<()> {
    let old = get(tx, id)?;
    let profiles = "SELECT name FROM server_profiles WHERE server_hardware_id = ?1";
    check_unused(KIND, &old.envelope.name, users(tx, Kind::ServerProfile, profiles, id)?)?;
    tx.execute("DELETE FROM server_hardware WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// Addresses and the initiator name in their one form.
fn checked(mut facts: HardwareFacts) -> Result<HardwareFacts> {
    if facts.mac_addresses.len() > MACS_MAX {
        return Err(Error::invalid("macAddresses", format!("a server has at most {MACS_MAX} addresses")));
    }
    let mut macs = Vec::with_capacity(facts.mac_addresses.len());
    for text in &facts.mac_addresses {
        let Some(mac) = parse_mac(text) else {
            let message = format!("{text:?} is no MAC address; write it as 52:54:00:12:34:56");
            return Err(Error::invalid("macAddresses", message));
        };
        if !macs.contains(&mac) {
            macs.push(mac);
        }
    }
    facts.mac_addresses = macs;
    facts.initiator_name =
        facts.initiator_name.map(|name| check_initiator_name("initiatorName", &name)).transpose()?;
    Ok(facts)
}

/// `52:54:00:12:34:56` of any of the forms that people write; `None` for what is none, or a group's.
#[must_use]
pub fn parse_mac(text: &str) -> Option<String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ':' | '-' | '.')).collect();
    let separators = text.len() - digits.len();
    if digits.len() != 12
        || !matches!(separators, 0 | 2 | 5)
        || !digits.bytes().all(|b| b.is_ascii_hexdigit())
    {
        return None;
    }
    let digits = digits.to_ascii_lowercase();
    let bytes: Vec<&str> = (0..6).map(|i| &digits[2 * i..2 * i + 2]).collect();
    let group = u8::from_str_radix(bytes[0], 16).is_ok_and(|first| first & 1 == 1);
    (!group).then(|| bytes.join(":"))
}

/// An initiator's name in the form that logins are compared in.
///
/// # Errors
/// For what is no iSCSI name.
pub fn check_initiator_name(field: &str, name: &str) -> Result<String> {
    IscsiName::parse(name).map(|name| name.as_str().to_owned()).map_err(|error| {
        let message =
            format!("{name:?} is no iSCSI name ({error}); write it as iqn.2026-01.com.example:web01");
        Error::invalid(field, message)
    })
}

/// UUID, addresses and initiator name are no other server's, and the initiator name is no profile's either: whoever has
/// a name can log in with it.
fn check_unique(tx: &Tx<'_>, row: &ServerHardware) -> Result<()> {
    let id = row.envelope.id.to_string();
    let taken = |what: &str, sql: &str, value: &str, field: &str| -> Result<()> {
        let owner: Option<String> =
            tx.prepare_cached(sql)?.query_row(params![value, id], |row| row.get(0)).optional()?;
        match owner {
            Some(owner) => Err(Error::invalid(field, format!("{what} {value} is that of {owner:?}"))),
            None => Ok(()),
        }
    };
    let facts = &row.facts;
    let uuids = "SELECT name FROM server_hardware WHERE uuid = ?1 AND id != ?2";
    taken("the UUID", uuids, &facts.uuid.to_string(), "uuid")?;
    let macs = "SELECT name FROM server_hardware WHERE id != ?2
                AND id = (SELECT server_hardware_id FROM server_hardware_macs WHERE mac = ?1)";
    for mac in &facts.mac_addresses {
        taken("the MAC address", macs, mac, "macAddresses")?;
    }
    if let Some(name) = &facts.initiator_name {
        let servers = "SELECT name FROM server_hardware WHERE initiator_name = ?1 AND id != ?2";
        taken("the initiator name", servers, name, "initiatorName")?;
        let profiles = "SELECT name FROM server_profiles WHERE initiator_name = ?1 AND ?2 IS NOT NULL";
        taken("the initiator name", profiles, name, "initiatorName")?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<ServerHardware> {
    let power: String = row.get(9)?;
    let facts = HardwareFacts {
        hardware_type: uuid(row, 6)?,
        logical_enclosure: uuid_or_null(row, 7)?,
        position: row.get(8)?,
        uuid: uuid(row, 10)?,
        serial_number: row.get(11)?,
        initiator_name: row.get(12)?,
        mac_addresses: json(row, 13)?,
    };
    Ok(ServerHardware {
        envelope: Envelope::read(row)?,
        facts,
        power_state: PowerState::parse(&power).unwrap_or_default(),
        extra: json(row, 14)?,
    })
}

fn write(tx: &Tx<'_>, row: &ServerHardware) -> Result<()> {
    let (e, f) = (&row.envelope, &row.facts);
    let id = e.id.to_string();
    let sql = "INSERT INTO server_hardware
                   (id, name, description, created_ms, modified_ms, revision,
                    server_hardware_type_id, logical_enclosure_id, position, power_state, uuid, serial_number,
                    initiator_name, mac_addresses, extra)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   server_hardware_type_id = ?7, logical_enclosure_id = ?8, position = ?9, power_state = ?10,
                   uuid = ?11, serial_number = ?12, initiator_name = ?13, mac_addresses = ?14, extra = ?15";
    let values = params![
        id,
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        f.hardware_type.to_string(),
        id_or_null(f.logical_enclosure),
        f.position,
        row.power_state.as_str(),
        f.uuid.to_string(),
        f.serial_number,
        f.initiator_name,
        to_json(&f.mac_addresses)?,
        to_json(&row.extra)?
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    tx.execute("DELETE FROM server_hardware_macs WHERE server_hardware_id = ?1", [&id])?;
    for mac in &f.mac_addresses {
        tx.execute("INSERT INTO server_hardware_macs (mac, server_hardware_id) VALUES (?1, ?2)", [mac, &id])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_every_form_and_leave_in_one() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "5254.00ab.cd01", "525400abcd01"] {
            assert_eq!(parse_mac(text).as_deref(), Some("52:54:00:ab:cd:01"), "{text}");
        }
        for text in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0g", "53:54:00:ab:cd:01", "52:54:00:ab:cd:01:02", "ü"]
        {
            assert_eq!(parse_mac(text), None, "{text}");
        }
    }

    #[test]
    fn initiator_names_are_kept_as_logins_are_compared() {
        let name = check_initiator_name("f", "IQN.1993-08.org.debian:01:ABC").unwrap();
        assert_eq!(name, "iqn.1993-08.org.debian:01:abc");
        assert!(
            check_initiator_name("f", "web01").unwrap_err().to_string().contains("iqn.2026-01.com.example")
        );
    }
}

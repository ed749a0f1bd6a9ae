//! Those who may log in to the API. Passwords come here as hashes, and never leave.

use api::Role;
use rusqlite::{Row, params};
use uuid::Uuid;

use super::lookup::{found, to_json};
use super::{Changed, Envelope, Error, Kind, Result, Tx, id_of, json};

const KIND: Kind = Kind::User;
const TABLE: &str = "users";
const OWN_COLUMNS: &str = "full_name, password_hash, roles, enabled";
/// Longest name that somebody logs in with.
const NAME_BYTES_MAX: usize = 64;
/// Longest full name in characters.
const FULL_NAME_CHARS_MAX: usize = 255;
/// Most users.
const USERS_MAX: u32 = 10_000;

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// Id, name and history.
    pub envelope: Envelope,
    /// The rest, but for the password.
    pub settings: UserSettings,
    /// What the password is compared with.
    pub password_hash: String,
}

/// Everything but the hash.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("envelope", &self.envelope)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// What a user is, but for name and password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserSettings {
    /// What people call them.
    pub full_name: String,
    /// What they may do.
    pub roles: Vec<Role>,
    /// Whether they may log in.
    pub enabled: bool,
}

/// Adds one.
///
/// # Errors
/// When the name cannot be, or is taken.
pub fn insert(
    tx: &Tx<'_>,
    (name, description): (&str, &str),
    settings: UserSettings,
    password_hash: String,
) -> Result<User> {
    check(name, &settings)?;
    let count: u32 = tx.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?;
    if count >= USERS_MAX {
        return Err(Error::invalid("userName", format!("there are {count} users; more are not kept")));
    }
    let user = User { envelope: Envelope::new(tx, name, description)?, settings, password_hash };
    write(tx, &user)?;
    tx.changed(KIND, user.envelope.id, name, Changed::Created);
    Ok(user)
}

/// Finds one by path, id or name.
///
/// # Errors
/// When there is none.
pub fn find(tx: &Tx<'_>, reference: &str) -> Result<User> {
    get(tx, id_of(tx, KIND, TABLE, reference)?)
}

/// The one with this id.
///
/// # Errors
/// When there is none.
pub fn get(tx: &Tx<'_>, id: Uuid) -> Result<User> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} WHERE id = ?1", Envelope::COLUMNS);
    let row = tx.prepare_cached(&sql)?.query_row([id.to_string()], read);
    found(tx, (KIND, TABLE), id, row)
}

/// All of them, by name.
///
/// # Errors
/// The database's.
pub fn list(tx: &Tx<'_>) -> Result<Vec<User>> {
    let sql = format!("SELECT {}, {OWN_COLUMNS} FROM {TABLE} ORDER BY name", Envelope::COLUMNS);
    let mut statement = tx.prepare_cached(&sql)?;
    Ok(statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?)
}

/// Changes one, but for the password.
///
/// # Errors
/// When it is not there, was changed meanwhile, or the new name cannot be.
pub fn update(
    tx: &Tx<'_>,
    id: Uuid,
    if_match: Option<&str>,
    (name, description): (&str, &str),
    settings: UserSettings,
) -> Result<User> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    check(name, &settings)?;
    if settings == old.settings && (name, description) == (&old.envelope.name, &old.envelope.description) {
        return Ok(old);
    }
    let envelope = old.envelope.changed(tx, name, description)?;
    let user = User { envelope, settings, password_hash: old.password_hash };
    write(tx, &user)?;
    tx.changed(KIND, id, name, Changed::Updated);
    Ok(user)
}

/// Gives one another password.
///
/// # Errors
/// When it is not there.
pub fn set_password(tx: &Tx<'_>, id: Uuid, password_hash: String) -> Result<User> {
    let old = get(tx, id)?;
    let envelope = old.envelope.changed(tx, &old.envelope.name, &old.envelope.description)?;
    let user = User { envelope, settings: old.settings, password_hash };
    write(tx, &user)?;
    tx.changed(KIND, id, &user.envelope.name, Changed::Updated);
    Ok(user)
}

/// Removes one.
///
/// # Errors
/// When it is not there, or was changed meanwhile.
pub fn remove(tx: &Tx<'_>, id: Uuid, if_match: Option<&str>) -> Result<()> {
    let old = get(tx, id)?;
    old.envelope.check(KIND, if_match)?;
    tx.execute("DELETE FROM users WHERE id = ?1", [id.to_string()])?;
    tx.changed(KIND, id, &old.envelope.name, Changed::Deleted);
    Ok(())
}

/// A name is what people type and what logs say: plain characters only.
fn check(name: &str, settings: &UserSettings) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(allowed) {
        let message =
            format!("a user's name has 1 to {NAME_BYTES_MAX} letters, digits, '.', '_', '-' and '@'");
        return Err(Error::invalid("userName", message));
    }
    let full_name = &settings.full_name;
    if full_name.chars().count() > FULL_NAME_CHARS_MAX || full_name.chars().any(char::is_control) {
        let message = format!("a full name has at most {FULL_NAME_CHARS_MAX} characters, none of control");
        return Err(Error::invalid("fullName", message));
    }
    if settings.roles.is_empty() {
        return Err(Error::invalid("roles", "a user needs at least one role, such as \"Read only\""));
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<User> {
    let settings = UserSettings { full_name: row.get(6)?, roles: json(row, 8)?, enabled: row.get(9)? };
    Ok(User { envelope: Envelope::read(row)?, settings, password_hash: row.get(7)? })
}

fn write(tx: &Tx<'_>, user: &User) -> Result<()> {
    let (e, s) = (&user.envelope, &user.settings);
    let sql = "INSERT INTO users
                   (id, name, description, created_ms, modified_ms, revision,
                    full_name, password_hash, roles, enabled)
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
               ON CONFLICT (id) DO UPDATE SET name = ?2, description = ?3, modified_ms = ?5, revision = ?6,
                   full_name = ?7, password_hash = ?8, roles = ?9, enabled = ?10";
    let values = params![
        e.id.to_string(),
        e.name,
        e.description,
        e.created_ms,
        e.modified_ms,
        e.revision,
        s.full_name,
        user.password_hash,
        to_json(&s.roles)?,
        s.enabled
    ];
    tx.prepare_cached(sql)?.execute(values).map_err(|error| Error::of_write(error, KIND, &e.name))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Catalog;
    use super::*;

    fn settings(roles: &[Role]) -> UserSettings {
        UserSettings { full_name: "A. Dmin".into(), roles: roles.to_vec(), enabled: true }
    }

    #[test]
    fn a_user_lives_and_goes_and_its_hash_is_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        let admin = settings(&[Role::InfrastructureAdministrator]);
        let made = catalog.write(|tx| insert(tx, ("admin", ""), admin.clone(), "$secret".into())).unwrap();
        assert!(!format!("{made:?}").contains("secret"));
        assert_eq!(catalog.read(|tx| find(tx, "ADMIN")).unwrap(), made);
        let again = catalog.write(|tx| insert(tx, ("Admin", ""), admin.clone(), "$x".into()));
        assert!(matches!(again, Err(Error::NameExists { .. })), "{again:?}");

        let id = made.envelope.id;
        let looks = settings(&[Role::ReadOnly]);
        let stale = catalog.write(|tx| update(tx, id, Some("1/1"), ("admin", ""), looks.clone()));
        assert!(matches!(stale, Err(Error::Stale { .. })));
        let tag = made.envelope.e_tag();
        let changed = catalog.write(|tx| update(tx, id, Some(&tag), ("boss", ""), looks.clone())).unwrap();
        assert_eq!(
            (changed.settings.roles.as_slice(), changed.password_hash.as_str()),
            (&[Role::ReadOnly][..], "$secret")
        );
        let other = catalog.write(|tx| set_password(tx, id, "$other".into())).unwrap();
        assert_eq!((other.password_hash.as_str(), other.envelope.revision), ("$other", 3));
        catalog.write(|tx| remove(tx, id, None)).unwrap();
        assert!(catalog.read(list).unwrap().is_empty());
    }

    #[test]
    fn names_that_could_be_mistaken_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(directory.path()).unwrap();
        for name in ["", "a b", "uid:0", "a/b", "ä", "a\n", &"x".repeat(65)] {
            let made = catalog.write(|tx| insert(tx, (name, ""), settings(&[Role::ReadOnly]), "$".into()));
            assert!(matches!(made, Err(Error::Invalid { .. })), "{name:?}");
        }
        let made = catalog.write(|tx| insert(tx, ("a", ""), settings(&[]), "$".into()));
        assert!(matches!(made, Err(Error::Invalid { .. })));
    }
}

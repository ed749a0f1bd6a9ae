//! What all resources of the catalog have in common.

use rusqlite::Row;
use uuid::Uuid;

use super::{Error, Kind, Result, Tx};

/// Longest name of a resource in characters; HPE's tools have the same limit.
pub const NAME_CHARS_MAX: usize = 255;

/// Longest description in characters.
const DESCRIPTION_CHARS_MAX: usize = 4096;

/// Id, name and history of a resource. The columns `id, name, description, created_ms, modified_ms, revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The id, for ever.
    pub id: Uuid,
    /// The name, unique among its kind without regard to case.
    pub name: String,
    /// For people.
    pub description: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// When it was last changed.
    pub modified_ms: u64,
    /// How often it was changed; 1 at first.
    pub revision: u64,
}

impl Envelope {
    /// The columns, to begin a SELECT with; [`Envelope::read`] takes the first six.
    pub const COLUMNS: &'static str = "id, name, description, created_ms, modified_ms, revision";

    /// A new resource's. The name is checked.
    ///
    /// # Errors
    /// For a name or description that cannot be.
    pub fn new(tx: &Tx<'_>, name: &str, description: &str) -> Result<Self> {
        let now = tx.now_ms();
        let (name, description) = (check_name(name)?.to_owned(), check_description(description)?.to_owned());
        Ok(Self { id: Uuid::new_v4(), name, description, created_ms: now, modified_ms: now, revision: 1 })
    }

    /// From the first six columns of a row.
    ///
    /// # Errors
    /// When they are not what they must be.
    pub fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: uuid(row, 0)?,
            name: row.get(1)?,
            description: row.get(2)?,
            created_ms: row.get(3)?,
            modified_ms: row.get(4)?,
            revision: row.get(5)?,
        })
    }

    /// The same, changed now.
    ///
    /// # Errors
    /// For a name or description that cannot be.
    pub fn changed(&self, tx: &Tx<'_>, name: &str, description: &str) -> Result<Self> {
        Ok(Self {
            id: self.id,
            name: check_name(name)?.to_owned(),
            description: check_description(description)?.to_owned(),
            created_ms: self.created_ms,
            modified_ms: tx.now_ms().max(self.modified_ms),
            revision: self.revision + 1,
        })
    }

    /// Image Streamer's form: a time and a revision.
    #[must_use]
    pub fn e_tag(&self) -> String {
        format!("{}/{}", self.modified_ms, self.revision)
    }

    /// Refuses a change of something that has changed since the client read it. `None` and `*` ask for no check.
    ///
    /// # Errors
    /// [`Error::Stale`].
    pub fn check(&self, kind: Kind, if_match: Option<&str>) -> Result<()> {
        let own = self.e_tag();
        match if_match.map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"')) {
            None | Some("" | "*") => Ok(()),
            Some(tag) if tag == own => Ok(()),
            Some(_) => Err(Error::Stale { kind, name: self.name.clone() }),
        }
    }
}

/// A name that people and programs can use: not empty, no control characters, no space around it.
///
/// # Errors
/// [`Error::Invalid`].
pub fn check_name(name: &str) -> Result<&str> {
    let refuse = |message: &str| Err(Error::invalid("name", message));
    match name {
        "" => refuse("a name must not be empty"),
        _ if name.trim() != name => refuse("a name must not begin or end with a space"),
        _ if name.chars().count() > NAME_CHARS_MAX => refuse("a name has at most 255 characters"),
        _ if name.chars().any(|c| c.is_control() || c == '/' || c == '\\') => {
            refuse("a name must not have control characters, '/' or '\\'")
        }
        _ if name.starts_with('-') => refuse("a name must not begin with '-', as options of a command do"),
        _ if Uuid::try_parse(name).is_ok() => refuse("a name must not look like an id"),
        _ => Ok(name),
    }
}

fn check_description(description: &str) -> Result<&str> {
    match description.chars().count() > DESCRIPTION_CHARS_MAX {
        true => Err(Error::invalid("description", "a description has at most 4096 characters")),
        false => Ok(description),
    }
}

/// An id in a column.
///
/// # Errors
/// When it is none.
pub fn uuid(row: &Row<'_>, column: usize) -> rusqlite::Result<Uuid> {
    parse_uuid(column, &row.get::<_, String>(column)?)
}

/// An id in a column that may be NULL.
///
/// # Errors
/// When it is neither.
pub fn uuid_or_null(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Uuid>> {
    row.get::<_, Option<String>>(column)?.map(|text| parse_uuid(column, &text)).transpose()
}

fn parse_uuid(column: usize, text: &str) -> rusqlite::Result<Uuid> {
    Uuid::try_parse(text).map_err(|error| bad_column(column, error))
}

/// JSON in a column.
///
/// # Errors
/// When it is not what it must be.
pub fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(&row.get::<_, String>(column)?).map_err(|error| bad_column(column, error))
}

/// A column whose text is not what it must be.
pub fn bad_column(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_people_can_use() {
        for good in ["web01", "Deployment Test (UEFI)", "Ä"] {
            assert_eq!(check_name(good).unwrap(), good);
        }
        for bad in
            ["", " a", "-a", "a\n", "a/b", "\u{0}", "936da01f-9abd-4d9d-80c7-02af85c822a8", &"x".repeat(256)]
        {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_old_etag_is_stale_and_a_star_is_no_check() {
        let envelope = Envelope {
            id: Uuid::new_v4(),
            name: "a".into(),
            description: String::new(),
            created_ms: 1,
            modified_ms: 5,
            revision: 2,
        };
        for fine in [None, Some("*"), Some("5/2"), Some("\"5/2\""), Some("W/\"5/2\"")] {
            envelope.check(Kind::PlanScript, fine).unwrap();
        }
        let stale = envelope.check(Kind::PlanScript, Some("\"5/1\"")).unwrap_err();
        assert!(matches!(stale, Error::Stale { .. }));
    }
}

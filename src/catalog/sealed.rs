//! Passwords in columns: `"value": "s3cret"` is written as `"value": {"sealed": "…"}`.
//!
//! Of plans the values of password attributes are sealed. Of profiles and volumes all values are, for only their plan knows
//! which of them are passwords. Of CHAP both secrets are. What does not open, because the key is another one, reads as no
//! value; a CHAP secret reads as one that nobody has, so that nobody logs in without it.

use rusqlite::{Connection, Row};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::secret_key::Sealer;
use super::{Error, Result, bad_column};

const SEALED: &str = "sealed";

/// Columns with secrets in them, and which of their fields are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    BuildPlan,
    DeploymentPlan,
    Profile,
    Volume,
    Chap,
}

impl Column {
    pub(super) const ALL: [Self; 5] =
        [Self::BuildPlan, Self::DeploymentPlan, Self::Profile, Self::Volume, Self::Chap];

    /// Its table and its name.
    fn place(self) -> (&'static str, &'static str) {
        match self {
            Self::BuildPlan => ("build_plans", "attributes"),
            Self::DeploymentPlan => ("deployment_plans", "attributes"),
            Self::Profile => ("server_profiles", "attributes"),
            Self::Volume => ("os_volumes", "attributes"),
            Self::Chap => ("server_profiles", "chap"),
        }
    }

    /// The secrets in it, each with the name of its place.
    fn secrets(self, value: &mut Value) -> Vec<(String, &mut Value)> {
        match self {
            Self::Chap => {
                let fields = value.as_object_mut().into_iter().flatten();
                let is_secret = |name: &str| matches!(name, "chapSecret" | "mutualChapSecret");
                fields
                    .filter(|(name, _)| is_secret(name))
                    .map(|(name, value)| (name.clone(), value))
                    .collect()
            }
            _ => value.as_array_mut().into_iter().flatten().filter_map(|one| self.secret(one)).collect(),
        }
    }

    fn secret(self, attribute: &mut Value) -> Option<(String, &mut Value)> {
        let all = matches!(self, Self::Profile | Self::Volume);
        let is_secret = all || attribute.get("type").and_then(Value::as_str) == Some("password");
        let name = attribute.get("name").and_then(Value::as_str)?.to_owned();
        attribute.get_mut("value").filter(|_| is_secret).map(|value| (name, value))
    }

    fn place_of(self, row: &str, field: &str) -> String {
        let (table, column) = self.place();
        format!("{table}/{row}/{column}/{field}")
    }

    fn seal(self, sealer: &Sealer, row: &str, value: &mut Value) -> Result<()> {
        for (field, secret) in self.secrets(value) {
            if let Value::String(text) = &*secret {
                *secret = json!({ SEALED: sealer.seal(&self.place_of(row, &field), text)? });
            }
        }
        Ok(())
    }

    fn open(self, sealer: &Sealer, row: &str, value: &mut Value) {
        for (field, secret) in self.secrets(value) {
            if let Some(sealed) = secret.get(SEALED).and_then(Value::as_str) {
                *secret = match sealer.open(&self.place_of(row, &field), sealed) {
                    Some(text) => Value::String(text),
                    // Whatever was sealed with a key that nobody has is as unknown as the secret itself.
                    None if self == Self::Chap => Value::String(sealed.to_owned()),
                    None => Value::Null,
                };
            }
        }
    }
}

/// A value for a column of a row, its secrets sealed.
pub(super) fn to_column(
    sealer: &Sealer,
    column: Column,
    row: &str,
    value: &impl Serialize,
) -> Result<String> {
    let wrong = |error: serde_json::Error| Error::invalid("body", error.to_string());
    let mut value = serde_json::to_value(value).map_err(wrong)?;
    column.seal(sealer, row, &mut value)?;
    serde_json::to_string(&value).map_err(wrong)
}

/// A value of a column, its secrets opened. The row's id is its first column.
pub(super) fn of_column<T: DeserializeOwned>(
    sealer: &Sealer,
    column: Column,
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<T> {
    of_text(sealer, column, &row.get::<_, String>(0)?, &row.get::<_, String>(index)?)
        .map_err(|error| bad_column(index, error))
}

fn of_text<T: DeserializeOwned>(
    sealer: &Sealer,
    column: Column,
    row: &str,
    text: &str,
) -> serde_json::Result<T> {
    let mut value: Value = serde_json::from_str(text)?;
    column.open(sealer, row, &mut value);
    serde_json::from_value(value)
}

/// The same for a column that may be NULL.
pub(super) fn of_column_or_null<T: DeserializeOwned>(
    sealer: &Sealer,
    column: Column,
    row: &Row<'_>,
    index: usize,
) -> rusqlite::Result<Option<T>> {
    match row.get::<_, Option<String>>(index)? {
        None => Ok(None),
        Some(_) => of_column(sealer, column, row, index).map(Some),
    }
}

/// Seals what is in the tables in clear text.
pub(super) fn seal_all(connection: &Connection, sealer: &Sealer) -> Result<()> {
    change_all(connection, |column, row, value| column.seal(sealer, row, value))
}

/// Takes the secrets out of the tables: values are none, and nobody knows the CHAP secrets that are left.
pub(super) fn forget_all(connection: &Connection, sealer: &Sealer) -> Result<()> {
    change_all(connection, |column, row, value| {
        for (_, secret) in column.secrets(value) {
            if secret.is_string() {
                *secret = match column {
                    Column::Chap => Value::String(sealer.seal(row, "forgotten")?),
                    _ => Value::Null,
                };
            }
        }
        Ok(())
    })
}

fn change_all(
    connection: &Connection,
    change: impl Fn(Column, &str, &mut Value) -> Result<()>,
) -> Result<()> {
    for column in Column::ALL {
        let (table, name) = column.place();
        let mut statement =
            connection.prepare(&format!("SELECT id, {name} FROM {table} WHERE {name} IS NOT NULL"))?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let rows = rows.collect::<rusqlite::Result<Vec<(String, String)>>>()?;
        for (row, text) in rows {
            let broken = |error: serde_json::Error| {
                Error::Damaged(format!("a row of {table} cannot be understood: {error}"))
            };
            let mut value: Value = serde_json::from_str(&text).map_err(broken)?;
            change(column, &row, &mut value)?;
            let sql = format!("UPDATE {table} SET {name} = ?2 WHERE id = ?1");
            connection.execute(&sql, (&row, value.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_plans_passwords_are_sealed_and_of_profiles_all_values() {
        let sealer = Sealer::ephemeral().unwrap();
        let value = json!([{"name": "A", "type": "string", "value": "seen"},
                           {"name": "P", "type": "password", "value": "hidden"},
                           {"name": "E", "type": "password", "value": null}]);
        for (column, sees) in [(Column::BuildPlan, true), (Column::Profile, false), (Column::Volume, false)] {
            let text = to_column(&sealer, column, "1", &value).unwrap();
            assert_eq!((text.contains("seen"), text.contains("hidden")), (sees, false), "{text}");
            assert_eq!(of_text::<Value>(&sealer, column, "1", &text).unwrap(), value);
        }
    }

    #[test]
    fn with_another_key_a_password_is_none_and_a_chap_secret_is_nobodys() {
        let (sealer, other) = (Sealer::ephemeral().unwrap(), Sealer::ephemeral().unwrap());
        let value = json!([{"name": "P", "type": "password", "value": "hidden"}]);
        let text = to_column(&sealer, Column::DeploymentPlan, "1", &value).unwrap();
        let read: Value = of_text(&other, Column::DeploymentPlan, "1", &text).unwrap();
        assert_eq!(read[0]["value"], Value::Null);
        let chap = json!({"chapName": "web", "chapSecret": "hidden", "mutualChapSecret": null});
        let text = to_column(&sealer, Column::Chap, "1", &chap).unwrap();
        assert!(!text.contains("hidden") && text.contains("web"), "{text}");
        assert_eq!(of_text::<Value>(&sealer, Column::Chap, "1", &text).unwrap(), chap);
        let read: Value = of_text(&other, Column::Chap, "1", &text).unwrap();
        assert!(read["chapSecret"].as_str().unwrap().len() > 60, "{read}");
    }
}

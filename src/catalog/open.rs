//! Opening: the settings that make it durable, the checks, the versions.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::schema::{APPLICATION_ID, MIGRATIONS, VERSION};
use super::{Error, Result};

/// The database's file.
pub(super) const FILE: &str = "catalog.sqlite";

/// Longest wait for another process that has the file locked, such as `sqlite3` in an operator's hands.
const BUSY_MS: u32 = 5_000;

/// Faults that are told one by one.
const FAULTS_MAX: usize = 20;

pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) damage: Vec<String>,
}

pub(super) fn open(directory: &Path) -> Result<Opened> {
    make_private(directory)?;
    let file = directory.join(FILE);
    let mut writer = connect(&file)?;
    let mut damage = faults(&writer)?;
    if damage.is_empty() {
        migrate(&mut writer, directory)?;
        damage = broken_references(&writer)?;
    }
    Ok(Opened { writer, reader: connect(&file)?, damage })
}

/// The directory and the file, for the daemon's eyes only: there are secrets in it.
fn make_private(directory: &Path) -> Result<()> {
    let failed = |what: &str| {
        let what = format!("{what} {}", directory.display());
        move |source| Error::Io { what, source }
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed("cannot make the directory"))?;
    make_private_file(&directory.join(FILE))?;
    // The entry of a new file is durable once its directory is.
    fs::File::open(directory).and_then(|open| open.sync_all()).map_err(failed("cannot sync"))
}

/// Makes a file, if it is not there, that nobody else can read.
pub(super) fn make_private_file(file: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(file);
    made.map(drop).map_err(|source| Error::Io { what: format!("cannot make {}", file.display()), source })
}

pub(super) fn connect(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.pragma_update(None, "busy_timeout", BUSY_MS)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Nothing in the file is run: no functions from views or triggers that somebody put there.
    connection.pragma_update(None, "trusted_schema", "OFF")?;
    connection.pragma_update(None, "cell_size_check", "ON")?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

/// An empty database of the newest version.
pub(super) fn in_memory() -> Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    make_tables(&mut connection, 0)?;
    Ok(connection)
}

/// What SQLite finds wrong with the file.
fn faults(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FAULTS_MAX})"))?;
    let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
    let mut found = Vec::new();
    for row in rows {
        match row {
            Ok(line) if line == "ok" => {}
            Ok(line) => found.push(line),
            Err(error) => {
                found.push(error.to_string());
                break;
            }
        }
    }
    Ok(found)
}

fn broken_references(connection: &Connection) -> Result<Vec<String>> {
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let rows = statement.query_map([], |row| {
        let (table, parent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(format!("a row of {table} refers to a row of {parent} that is not there"))
    })?;
    Ok(rows.take(FAULTS_MAX).collect::<rusqlite::Result<_>>()?)
}

/// Brings the tables to the newest version, all versions in one transaction. The catalog as it was is kept beside it.
fn migrate(connection: &mut Connection, directory: &Path) -> Result<()> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if found > VERSION {
        return Err(Error::Newer { found, known: VERSION });
    }
    if application != APPLICATION_ID && tables > 0 {
        return Err(Error::Damaged(format!(
            "{} is a database of something else",
            directory.join(FILE).display()
        )));
    }
    if found == VERSION {
        return Ok(());
    }
    if tables > 0 {
        let copy = directory.join(format!("catalog.version-{found}.sqlite"));
        if !copy.exists() {
            connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        }
    }
    make_tables(connection, usize::try_from(found).unwrap_or(0))
}

/// Runs all migrations from a version on.
fn make_tables(connection: &mut Connection, from: usize) -> Result<()> {
    let transaction = connection.transaction()?;
    for files in MIGRATIONS.iter().skip(from) {
        for file in *files {
            transaction.execute_batch(file)?;
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

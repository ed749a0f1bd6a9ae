//! Opening: the settings that make it durable, the checks, the versions.

use std::fs::{self, DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension};

use super::schema::{APPLICATION_ID, MIGRATIONS, SEALED_FROM, VERSION};
use super::secret_key::{self, Found, Sealer};
use super::{Error, Result, sealed};

/// The database's file.
pub(super) const FILE: &str = "catalog.sqlite";

/// Longest wait for another process that has the file locked, such as `sqlite3` in an operator's hands.
const BUSY_MS: u32 = 5_000;

/// Faults that are told one by one.
const FAULTS_MAX: usize = 20;

/// Row of the table `secrets` that the key is known by.
const CHECK: &str = "check";

pub(super) struct Opened {
    pub(super) writer: Connection,
    pub(super) reader: Connection,
    pub(super) damage: Vec<String>,
    pub(super) sealer: Sealer,
    /// Its passwords were in clear text until now.
    pub(super) was_unsealed: bool,
}

pub(super) fn open(directory: &Path) -> Result<Opened> {
    make_private(directory)?;
    let file = directory.join(FILE);
    let mut writer = connect(&file)?;
    let mut damage = faults(&writer)?;
    let sealer = match damage.is_empty() {
        true => sealer(&writer, directory)?,
        false => None,
    };
    let mut was_unsealed = false;
    let sealer = match sealer {
        Some(sealer) => {
            was_unsealed = migrate(&mut writer, directory, &sealer)?;
            damage = broken_references(&writer)?;
            sealer
        }
        None => {
            if damage.is_empty() {
                damage.push(lost_key(directory));
            }
            match secret_key::load(directory) {
                Ok(Found::Key(sealer)) => sealer,
                Ok(Found::Nothing | Found::Unusable) | Err(_) => Sealer::ephemeral()?,
            }
        }
    };
    Ok(Opened { writer, reader: connect(&file)?, damage, sealer, was_unsealed })
}

fn lost_key(directory: &Path) -> String {
    format!(
        "{} is not there, or is not the key that the passwords are sealed with: put the right one back, and start osvold \
         again. Until then passwords are not known, and servers that log in with CHAP cannot",
        directory.join(secret_key::FILE).display()
    )
}

/// The catalog's key, made if nothing is sealed yet; `None` when it is lost, or another one.
fn sealer(connection: &Connection, directory: &Path) -> Result<Option<Sealer>> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version < SEALED_FROM {
        return match secret_key::load(directory)? {
            Found::Key(sealer) => Ok(Some(sealer)),
            Found::Nothing | Found::Unusable => secret_key::make(directory).map(Some),
        };
    }
    let sql = "SELECT value FROM secrets WHERE name = ?1";
    let check = if version > VERSION {
        // A newer osvold's, which is refused anyway.
        return Sealer::ephemeral().map(Some);
    } else {
        connection.query_row(sql, [CHECK], |row| row.get::<_, String>(0)).optional()?
    };
    match secret_key::load(directory)? {
        Found::Key(sealer) if check.is_some_and(|check| sealer.open(CHECK, &check).is_some()) => {
            Ok(Some(sealer))
        }
        Found::Key(_) | Found::Nothing | Found::Unusable => Ok(None),
    }
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
    make_tables(&mut connection, 0, &Sealer::ephemeral()?)?;
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

/// Brings the tables to the newest version, all versions in one transaction. The catalog as it was is kept beside it, but
/// for passwords that were in clear text. Whether there were any.
fn migrate(connection: &mut Connection, directory: &Path, sealer: &Sealer) -> Result<bool> {
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
        return Ok(false);
    }
    let was_unsealed = tables > 0 && found < SEALED_FROM;
    if tables > 0 {
        keep_copy(connection, directory, found, sealer)?;
    }
    if was_unsealed {
        connection.pragma_update(None, "secure_delete", "ON")?;
    }
    make_tables(connection, usize::try_from(found).unwrap_or(0), sealer)?;
    if was_unsealed {
        // What was in clear text is neither in free pages nor in the log any more.
        connection.execute_batch("VACUUM")?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    }
    Ok(was_unsealed)
}

/// Keeps the catalog of a version as it was. Passwords that are not sealed are not kept: nobody looks after them there.
fn keep_copy(connection: &Connection, directory: &Path, version: i64, sealer: &Sealer) -> Result<()> {
    let copy = directory.join(format!("catalog.version-{version}.sqlite"));
    if copy.exists() {
        return Ok(());
    }
    let unfinished = directory.join("catalog.version.unfinished");
    let failed = |source| Error::Io { what: format!("cannot make {}", copy.display()), source };
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    make_private_file(&unfinished)?;
    connection.execute("VACUUM INTO ?1", [unfinished.to_string_lossy()])?;
    if version < SEALED_FROM {
        let kept = Connection::open(&unfinished)?;
        kept.pragma_update(None, "secure_delete", "ON")?;
        sealed::forget_all(&kept, sealer)?;
        kept.execute_batch("VACUUM")?;
        kept.close().map_err(|(_, error)| error)?;
    }
    fs::File::open(&unfinished).and_then(|file| file.sync_all()).map_err(failed)?;
    fs::rename(&unfinished, &copy).map_err(failed)
}

/// Runs all migrations from a version on.
fn make_tables(connection: &mut Connection, from: usize, sealer: &Sealer) -> Result<()> {
    let transaction = connection.transaction()?;
    for files in MIGRATIONS.iter().skip(from) {
        for file in *files {
            transaction.execute_batch(file)?;
        }
    }
    if i64::try_from(from).is_ok_and(|from| from < SEALED_FROM) {
        let check = sealer.seal(CHECK, CHECK)?;
        transaction.execute("INSERT INTO secrets (name, value) VALUES (?1, ?2)", [CHECK, &check])?;
        sealed::seal_all(&transaction, sealer)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

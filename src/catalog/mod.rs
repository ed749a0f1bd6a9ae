//! The catalog: everything that the store does not know. Plans, servers, profiles, users, tasks.
//!
//! ```text
//!   <store>/catalog/catalog.sqlite     one connection that writes, one that reads (WAL: neither waits for the other)
//!   read(|tx| …)   a snapshot          write(|tx| …)   one transaction: all of it durable (synchronous FULL), or nothing
//! ```
//! Each kind of resource is a file of plain functions over [`Tx`]. What is in use is said by foreign keys as well as by
//! these functions, so that neither a slip here nor a hand in the file leaves a plan without its script.
//!
//! A catalog that cannot be trusted (a damaged file, broken references) is read as far as that goes and not written:
//! volumes go on being served, and whoever wants a change is told what is wrong.

pub mod attributes;
pub mod build_plans;
pub mod bundles;
pub mod chain;
pub mod connections;
mod copy;
pub mod deployment_logs;
pub mod deployment_plans;
mod effective;
pub mod enclosure_groups;
mod envelope;
mod error;
mod find;
pub mod golden_images;
pub mod hardware;
pub mod hardware_types;
pub mod holds;
mod interface_values;
mod kind;
pub mod logical_enclosures;
mod lookup;
mod open;
pub mod os_volumes;
pub mod placeholders;
pub mod plan_scripts;
pub mod profiles;
pub mod revisions;
mod schema;
mod script_values;
mod sealed;
mod secret_key;
pub mod tasks;
pub mod users;

use std::cell::RefCell;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::broadcast;

use secret_key::Sealer;

pub use envelope::{Envelope, NAME_CHARS_MAX, bad_column, check_name, json, uuid, uuid_or_null};
pub use error::{Error, Result, Use};
pub use find::{id_of, not_found};
pub use kind::Kind;

/// Changes that a listener may be behind before it misses some.
const CHANGES_KEPT: usize = 1024;

/// The catalog, open.
pub struct Catalog {
    directory: PathBuf,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    changes: broadcast::Sender<Change>,
    /// Passwords are written by it.
    sealer: Arc<Sealer>,
    /// Why it is not written.
    damage: Mutex<Vec<String>>,
}

/// A change that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What happened to it.
    pub changed: Changed,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// What happened to a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is new.
    Created,
    /// It is different.
    Updated,
    /// It is gone.
    Deleted,
}

/// A transaction. Everything that rusqlite's connection can do, it can.
pub struct Tx<'a> {
    transaction: Transaction<'a>,
    now_ms: u64,
    changes: RefCell<Vec<Change>>,
    sealer: Arc<Sealer>,
}

impl Deref for Tx<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.transaction
    }
}

impl Tx<'_> {
    /// When the transaction began, in milliseconds since 1970.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Seals a text for a column, so that whoever has the database alone does not have it. `place` says where it is, such
    /// as `os_volumes/ID/seed`: elsewhere it does not open.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn seal(&self, place: &str, text: &str) -> Result<String> {
        self.sealer.seal(place, text)
    }

    /// Opens a sealed text; `None` when the key or the place is another one.
    #[must_use]
    pub fn unseal(&self, place: &str, sealed: &str) -> Option<String> {
        self.sealer.open(place, sealed)
    }

    fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// Notes a change, told to listeners once it is durable.
    pub fn changed(&self, kind: Kind, id: impl ToString, name: &str, changed: Changed) {
        let change = Change { kind, id: id.to_string(), name: name.to_owned(), changed, at_ms: self.now_ms };
        self.changes.borrow_mut().push(change);
    }
}

impl Catalog {
    /// Opens the catalog in a directory, makes it if there is none, and brings it to the newest version. Damage is
    /// remembered, not fatal: see [`Catalog::damage`].
    ///
    /// # Errors
    /// When there is no way to read it, or when it is a newer osvold's.
    pub fn open(directory: &Path) -> Result<Arc<Self>> {
        let opened = open::open(directory)?;
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        let catalog = Arc::new(Self {
            directory: directory.to_owned(),
            writer: Mutex::new(opened.writer),
            reader: Mutex::new(opened.reader),
            changes,
            sealer: Arc::new(opened.sealer),
            damage: Mutex::new(opened.damage),
        });
        if opened.was_unsealed {
            // The copy from before has passwords in it that everybody could read.
            catalog.copy()?;
        }
        Ok(catalog)
    }

    /// An empty catalog in memory, in place of one that cannot be read. Nothing can be written to it.
    ///
    /// # Errors
    /// The database's.
    pub fn unreadable(directory: &Path) -> Result<Arc<Self>> {
        let (changes, _) = broadcast::channel(CHANGES_KEPT);
        Ok(Arc::new(Self {
            directory: directory.to_owned(),
            writer: Mutex::new(open::in_memory()?),
            reader: Mutex::new(open::in_memory()?),
            changes,
            sealer: Arc::new(Sealer::ephemeral()?),
            damage: Mutex::new(vec![format!("the file in {} cannot be read", directory.display())]),
        }))
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads, all from one moment. May wait for the disk.
    ///
    /// # Errors
    /// Those of `read`, and the database's.
    pub fn read<T>(&self, read: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        let mut connection = self.reader.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Deferred)?;
        let sealer = self.sealer.clone();
        read(&Tx { transaction, now_ms: now_ms(), changes: RefCell::default(), sealer })
    }

    /// Writes: everything, durably, or with an error nothing. May wait for the disk.
    ///
    /// # Errors
    /// Those of `write`, the database's, and [`Error::Damaged`].
    pub fn write<T>(&self, write: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        if let Some(first) = self.damage.lock().first() {
            return Err(Error::Damaged(first.clone()));
        }
        let mut connection = self.writer.lock();
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let sealer = self.sealer.clone();
        let tx = Tx { transaction, now_ms: now_ms(), changes: RefCell::default(), sealer };
        let value = write(&tx)?;
        let Tx { transaction, changes, .. } = tx;
        if let Err(error) = transaction.commit() {
            // Whether it is on disk nobody knows before the file is opened anew: until then nothing builds on it.
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::SystemIoFailure) {
                self.mark_damaged(format!(
                    "a write to it failed ({error}); look at the disk, and start osvold again"
                ));
            }
            return Err(error.into());
        }
        for change in changes.into_inner() {
            // Nobody may be listening.
            let _ = self.changes.send(change);
        }
        Ok(value)
    }

    /// Seals a text that is kept elsewhere in the store, with the catalog's key. Not while the catalog is damaged: then
    /// the key may be none that lasts.
    ///
    /// # Errors
    /// [`Error::Damaged`], or when the system has no randomness.
    pub fn seal(&self, place: &str, text: &str) -> Result<String> {
        if let Some(first) = self.damage.lock().first() {
            return Err(Error::Damaged(first.clone()));
        }
        self.sealer.seal(place, text)
    }

    /// Opens what [`Catalog::seal`] has sealed; `None` when the key or the place is another one.
    #[must_use]
    pub fn unseal(&self, place: &str, sealed: &str) -> Option<String> {
        self.sealer.open(place, sealed)
    }

    /// Hears of every change from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// What is wrong with the catalog; nothing is written while there is anything.
    #[must_use]
    pub fn damage(&self) -> Vec<String> {
        self.damage.lock().clone()
    }

    /// Notes something that is wrong with the catalog, once.
    pub fn mark_damaged(&self, what: impl Into<String>) {
        let (what, mut damage) = (what.into(), self.damage.lock());
        if !damage.contains(&what) {
            damage.push(what);
        }
    }
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod sealed_tests;

use super::*;

fn open(directory: &Path) -> Arc<Catalog> {
    Catalog::open(directory).unwrap()
}

#[test]
fn a_catalog_is_made_private_and_opens_again() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("catalog");
    drop(open(&path));
    let catalog = open(&path);
    assert_eq!(catalog.damage(), Vec::<String>::new());
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o700);
    assert_eq!(mode(&path.join("catalog.sqlite")), 0o600);
}

#[test]
fn a_failed_write_leaves_nothing_and_tells_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let catalog = open(directory.path());
    let mut changes = catalog.subscribe();
    let failed = catalog.write(|tx| {
        tx.execute("UPDATE sequences SET next = 99", [])?;
        tx.changed(Kind::Task, "x", "x", Changed::Created);
        Err::<(), _>(Error::invalid("name", "no"))
    });
    assert!(failed.is_err());
    let next: i64 =
        catalog.read(|tx| Ok(tx.query_row("SELECT next FROM sequences", [], |row| row.get(0))?)).unwrap();
    assert_eq!(next, 1);
    assert!(changes.try_recv().is_err());
    catalog
        .write(|tx| {
            tx.changed(Kind::Task, "x", "x", Changed::Created);
            Ok(())
        })
        .unwrap();
    assert_eq!(changes.try_recv().unwrap().kind, Kind::Task);
}

#[test]
fn a_newer_catalog_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).writer.lock().pragma_update(None, "user_version", 99).unwrap();
    let refused = Catalog::open(directory.path()).map(drop).unwrap_err();
    assert!(matches!(refused, Error::Newer { found: 99, known: 2 }), "{refused}");
}

#[test]
fn somebody_elses_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = Connection::open(directory.path().join("catalog.sqlite")).unwrap();
    other.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(other);
    assert!(matches!(Catalog::open(directory.path()).map(drop), Err(Error::Damaged(_))));
}

#[test]
fn broken_references_are_told_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    {
        let catalog = open(directory.path());
        let writer = catalog.writer.lock();
        writer.pragma_update(None, "foreign_keys", "OFF").unwrap();
        writer.execute("INSERT INTO holds VALUES ('no such task', 'server-profiles', 'x', 1)", []).unwrap();
    }
    let catalog = open(directory.path());
    assert!(catalog.damage()[0].contains("holds"), "{:?}", catalog.damage());
    assert!(matches!(catalog.write(|_| Ok(())), Err(Error::Damaged(_))));
    catalog.read(|_| Ok(())).unwrap();
}

#[test]
fn a_damaged_file_is_told() {
    let directory = tempfile::tempdir().unwrap();
    {
        let catalog = open(directory.path());
        let fill = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
                    INSERT INTO sequences SELECT 'sequence number ' || i, i FROM n";
        catalog.write(|tx| Ok(tx.execute(fill, [])?)).unwrap();
        catalog.writer.lock().execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    let file = directory.path().join("catalog.sqlite");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() - 20 * 4096;
    bytes[middle..middle + 4096].fill(0xA5);
    std::fs::write(&file, bytes).unwrap();
    let damaged = Catalog::open(directory.path());
    match damaged {
        Ok(catalog) => assert!(!catalog.damage().is_empty()),
        Err(error) => assert!(matches!(error, Error::Sqlite(_) | Error::Damaged(_)), "{error}"),
    }
}

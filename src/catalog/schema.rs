//! Versions of the catalog's tables, and the way from one to the next.

/// `PRAGMA application_id` of a catalog: "OSVL".
pub(super) const APPLICATION_ID: i64 = 0x4F53_564C;

/// Each entry takes the tables from the version of its index to the next one.
pub(super) const MIGRATIONS: &[&[&str]] = &[
    &[
        include_str!("schema/placement.sql"),
        include_str!("schema/lifecycle.sql"),
        include_str!("schema/artifacts.sql"),
        include_str!("schema/users.sql"),
    ],
    &[include_str!("schema/version_2.sql")],
];

/// The newest version.
pub(super) const VERSION: i64 = 2;

/// The first version that has passwords sealed.
pub(super) const SEALED_FROM: i64 = 2;

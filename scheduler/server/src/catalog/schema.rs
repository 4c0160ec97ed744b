//! The tables, and how older ones become them.

use std::path::Path;

use rusqlite::Connection;

use super::CatalogError;

/// One for each version; the first makes the tables. They are never changed once released, only followed by others.
const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE fleet (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    name TEXT NOT NULL,
    authority BLOB NOT NULL,
    authority_key BLOB NOT NULL,
    reset_key BLOB NOT NULL,
    epoch INTEGER NOT NULL,
    floor INTEGER NOT NULL
) STRICT;
CREATE TABLE tokens (
    id INTEGER PRIMARY KEY,
    secret_hash BLOB NOT NULL,
    role TEXT NOT NULL,
    name TEXT,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    used INTEGER,
    used_by TEXT
) STRICT;
CREATE TABLE token_labels (
    token INTEGER NOT NULL REFERENCES tokens ON DELETE CASCADE,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (token, label)
) STRICT, WITHOUT ROWID;
CREATE TABLE members (
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    joined INTEGER NOT NULL,
    denied INTEGER,
    PRIMARY KEY (role, name)
) STRICT, WITHOUT ROWID;
CREATE TABLE labels (
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    label TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (role, name, label),
    FOREIGN KEY (role, name) REFERENCES members ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE TABLE certificates (
    fingerprint BLOB PRIMARY KEY,
    role TEXT NOT NULL,
    name TEXT NOT NULL,
    issued INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    denied INTEGER,
    FOREIGN KEY (role, name) REFERENCES members ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
CREATE INDEX certificates_of_members ON certificates (role, name);
CREATE TABLE components (
    digest BLOB PRIMARY KEY,
    bytes INTEGER NOT NULL,
    added INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tags (
    name TEXT PRIMARY KEY,
    digest BLOB NOT NULL REFERENCES components,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE aliases (
    name TEXT PRIMARY KEY,
    resident_on INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE variants (
    alias TEXT NOT NULL REFERENCES aliases ON DELETE CASCADE,
    position INTEGER NOT NULL,
    digest BLOB NOT NULL,
    name TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    quality INTEGER,
    PRIMARY KEY (alias, position)
) STRICT, WITHOUT ROWID;
CREATE TABLE pins (
    digest BLOB NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (digest, node)
) STRICT, WITHOUT ROWID;
CREATE TABLE policies (
    name TEXT PRIMARY KEY,
    text TEXT NOT NULL,
    changed INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
",
    "
CREATE TABLE keys (
    name TEXT PRIMARY KEY,
    beginning TEXT NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    sees_all INTEGER NOT NULL,
    models TEXT NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    joules_per_day INTEGER,
    created INTEGER NOT NULL,
    expires INTEGER
) STRICT;
",
    "
CREATE TABLE parked (
    node TEXT PRIMARY KEY,
    since INTEGER NOT NULL,
    is_off INTEGER NOT NULL,
    inventory BLOB NOT NULL
) STRICT, WITHOUT ROWID;
",
];

const VERSION: &str = "user_version";

/// Reads all of the file: damage is found at the start, not in the middle of a join.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), CatalogError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| CatalogError::of_file(path, error))?;
    match verdict.as_str() {
        "ok" => Ok(()),
        _ => Err(CatalogError::Damaged { path: path.to_owned(), reason: verdict.replace("\n", " ") }),
    }
}

/// Each step in a transaction: a step that fails leaves the version before it.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), CatalogError> {
    let found: u32 = connection.pragma_query_value(None, VERSION, |row| row.get(0))?;
    let known = MIGRATIONS.len() as u32;
    if found > known {
        return Err(CatalogError::Newer { path: path.to_owned(), found, known });
    }
    for (version, step) in (1..).zip(MIGRATIONS).skip(found as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, VERSION, version)?;
        transaction.commit()?;
    }
    Ok(())
}

-- Those who may log in to the API.

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    full_name TEXT NOT NULL DEFAULT '',
    -- argon2id, as a PHC string with its salt and costs.
    password_hash TEXT NOT NULL,
    -- ["Infrastructure administrator", …]
    roles TEXT NOT NULL,
    enabled INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

-- Where profiles can be: models of servers, servers, and the enclosures that they are in.

CREATE TABLE server_hardware_types (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE enclosure_groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- Whether profiles of the group may name a deployment plan.
    manages_os_deployment INTEGER NOT NULL CHECK (manages_os_deployment IN (0, 1)),
    -- deploymentModeSettings, JSON or NULL
    deployment_mode TEXT,
    enclosure_count INTEGER NOT NULL DEFAULT 1,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE logical_enclosures (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    enclosure_group_id TEXT NOT NULL REFERENCES enclosure_groups (id) ON DELETE RESTRICT,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX logical_enclosures_by_group ON logical_enclosures (enclosure_group_id);

CREATE TABLE server_hardware (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    server_hardware_type_id TEXT NOT NULL REFERENCES server_hardware_types (id) ON DELETE RESTRICT,
    -- NULL: a host outside any enclosure.
    logical_enclosure_id TEXT REFERENCES logical_enclosures (id) ON DELETE RESTRICT,
    position INTEGER,
    power_state TEXT NOT NULL CHECK (power_state IN ('On', 'Off', 'Unknown')),
    -- What its firmware gives, in lower case.
    uuid TEXT NOT NULL UNIQUE,
    serial_number TEXT,
    -- The iSCSI name that it has and keeps, or NULL.
    initiator_name TEXT UNIQUE,
    -- ["52:54:00:…"], the same as in server_hardware_macs.
    mac_addresses TEXT NOT NULL DEFAULT '[]',
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX server_hardware_by_type ON server_hardware (server_hardware_type_id);
CREATE INDEX server_hardware_by_enclosure ON server_hardware (logical_enclosure_id);

-- One server an address.
CREATE TABLE server_hardware_macs (
    mac TEXT PRIMARY KEY,
    server_hardware_id TEXT NOT NULL REFERENCES server_hardware (id) ON DELETE CASCADE
) STRICT;
CREATE INDEX server_hardware_macs_by_server ON server_hardware_macs (server_hardware_id);

-- Profiles, their volumes, and the work on them.

CREATE TABLE server_profiles (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- NULL: not assigned. One profile a server.
    server_hardware_id TEXT UNIQUE REFERENCES server_hardware (id) ON DELETE RESTRICT,
    server_hardware_type_id TEXT REFERENCES server_hardware_types (id) ON DELETE RESTRICT,
    enclosure_group_id TEXT REFERENCES enclosure_groups (id) ON DELETE RESTRICT,
    deployment_plan_id TEXT REFERENCES deployment_plans (id) ON DELETE RESTRICT,
    -- [{"name": …, "value": …}]
    attributes TEXT NOT NULL DEFAULT '[]',
    initiator_name TEXT NOT NULL UNIQUE,
    initiator_name_generated INTEGER NOT NULL,
    -- {"chapLevel": …} with its secrets, or NULL
    chap TEXT,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX server_profiles_by_plan ON server_profiles (deployment_plan_id);
CREATE INDEX server_profiles_by_type ON server_profiles (server_hardware_type_id);
CREATE INDEX server_profiles_by_group ON server_profiles (enclosure_group_id);

-- Volumes of profiles. Those made directly are in the store alone.
CREATE TABLE os_volumes (
    -- The store's id, 32 hexadecimal digits.
    id TEXT PRIMARY KEY,
    -- OSVolume-<n>, the name in the store too; n is never used again.
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    created_ms INTEGER NOT NULL,
    -- NULL only once it is doomed.
    profile_id TEXT REFERENCES server_profiles (id) ON DELETE RESTRICT,
    -- Counted from 1 for each profile.
    generation INTEGER NOT NULL,
    -- 'current': the profile's disk; 'kept': an earlier generation; 'doomed': being deleted.
    state TEXT NOT NULL CHECK (state IN ('current', 'kept', 'doomed')),
    -- Where it can be reached; NULL for hosts outside any enclosure.
    logical_enclosure_id TEXT REFERENCES logical_enclosures (id) ON DELETE RESTRICT,
    -- What it was made from, as it was then.
    deployment_plan_id TEXT NOT NULL,
    golden_image_id TEXT,
    server_hardware_type_id TEXT,
    attributes TEXT NOT NULL,
    -- Bytes of its own that it had when it was ready.
    deployed_bytes INTEGER NOT NULL,
    UNIQUE (profile_id, generation),
    CHECK (profile_id IS NOT NULL OR state = 'doomed')
) STRICT;
CREATE UNIQUE INDEX os_volumes_current ON os_volumes (profile_id) WHERE state = 'current';
CREATE INDEX os_volumes_by_enclosure ON os_volumes (logical_enclosure_id);
CREATE INDEX os_volumes_doomed ON os_volumes (state) WHERE state = 'doomed';

-- Numbers that never come twice.
CREATE TABLE sequences (
    name TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;
INSERT INTO sequences (name, next) VALUES ('os-volume', 1);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT NOT NULL,
    state TEXT NOT NULL,
    status TEXT NOT NULL DEFAULT '',
    percent INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- What it is about.
    resource_category TEXT NOT NULL,
    resource_id TEXT,
    resource_name TEXT NOT NULL,
    -- JSON: refusals, and lines with their times.
    errors TEXT NOT NULL DEFAULT '[]',
    log TEXT NOT NULL DEFAULT '[]',
    -- JSON while an operation is under way that a crash must not leave half done.
    journal TEXT
) STRICT;
CREATE INDEX tasks_by_time ON tasks (modified_ms);
CREATE INDEX tasks_journaled ON tasks (id) WHERE journal IS NOT NULL;

-- What operations that are under way work on or rely on.
CREATE TABLE holds (
    task_id TEXT NOT NULL REFERENCES tasks (id) ON DELETE CASCADE,
    category TEXT NOT NULL,
    id TEXT NOT NULL COLLATE NOCASE,
    -- 1: nobody else may even rely on it.
    exclusive INTEGER NOT NULL,
    PRIMARY KEY (task_id, category, id)
) STRICT;
CREATE INDEX holds_by_resource ON holds (category, id);

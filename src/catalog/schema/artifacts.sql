-- Artifacts: what volumes are made from, and the archives that carry it.

CREATE TABLE golden_images (
    -- The store's id, 32 hexadecimal digits. The store has the content; this row has what people say of it.
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    read_only INTEGER NOT NULL DEFAULT 0,
    -- Where it was captured from, by which plan, or the bundle that it came in; words, for those may be gone.
    os_volume_id TEXT,
    os_volume_name TEXT,
    build_plan_id TEXT,
    build_plan_name TEXT,
    bundle_id TEXT,
    bundle_name TEXT,
    -- What the capture did, line by line.
    capture_log TEXT NOT NULL DEFAULT '',
    -- SHA-256 of the file that it had in its bundle.
    bundle_sum TEXT,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE plan_scripts (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    plan_type TEXT NOT NULL CHECK (plan_type IN ('deploy', 'capture', 'general')),
    content TEXT NOT NULL,
    read_only INTEGER NOT NULL DEFAULT 0,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE build_plans (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    plan_type TEXT NOT NULL CHECK (plan_type IN ('deploy', 'capture')),
    -- [{"name": …, "type": …, "value": …, "description": …, "constraints": …}]
    attributes TEXT NOT NULL DEFAULT '[]',
    read_only INTEGER NOT NULL DEFAULT 0,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;

CREATE TABLE build_plan_steps (
    build_plan_id TEXT NOT NULL REFERENCES build_plans (id) ON DELETE CASCADE,
    -- From 1.
    position INTEGER NOT NULL,
    plan_script_id TEXT NOT NULL REFERENCES plan_scripts (id) ON DELETE RESTRICT,
    parameters TEXT,
    PRIMARY KEY (build_plan_id, position)
) STRICT;
CREATE INDEX build_plan_steps_by_script ON build_plan_steps (plan_script_id);

CREATE TABLE deployment_plans (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    build_plan_id TEXT NOT NULL REFERENCES build_plans (id) ON DELETE RESTRICT,
    -- NULL: volumes begin empty.
    golden_image_id TEXT REFERENCES golden_images (id) ON DELETE RESTRICT,
    keep_generations INTEGER NOT NULL DEFAULT 1 CHECK (keep_generations BETWEEN 0 AND 16),
    -- The build plan's attributes with this plan's values, each with "id", "visible", "editable".
    attributes TEXT NOT NULL DEFAULT '[]',
    read_only INTEGER NOT NULL DEFAULT 0,
    imported INTEGER NOT NULL DEFAULT 0,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX deployment_plans_by_build_plan ON deployment_plans (build_plan_id);
CREATE INDEX deployment_plans_by_image ON deployment_plans (golden_image_id);

CREATE TABLE artifact_bundles (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    description TEXT NOT NULL DEFAULT '',
    created_ms INTEGER NOT NULL,
    modified_ms INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    -- The archive is the file <id>.zip in the directory of bundles.
    size_bytes INTEGER NOT NULL,
    checksum TEXT NOT NULL,
    read_only INTEGER NOT NULL DEFAULT 0,
    -- It has all artifacts; there is one of those at most.
    backup INTEGER NOT NULL DEFAULT 0,
    uploaded INTEGER NOT NULL DEFAULT 0,
    downloaded_ms INTEGER,
    -- What is in it: {"planScripts": […], "buildPlans": […], "deploymentPlans": […], "goldenImages": […]}
    contents TEXT NOT NULL,
    extra TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE UNIQUE INDEX artifact_bundles_backup ON artifact_bundles (backup) WHERE backup = 1;

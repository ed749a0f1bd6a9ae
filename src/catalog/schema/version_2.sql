-- Version 2: passwords are sealed, artifacts have successors, deployments have logs.

-- What the key is known by: a text that it has sealed.
CREATE TABLE secrets (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- The artifact that this one was made to succeed.
ALTER TABLE plan_scripts ADD COLUMN revision_of TEXT REFERENCES plan_scripts (id) ON DELETE SET NULL;
ALTER TABLE build_plans ADD COLUMN revision_of TEXT REFERENCES build_plans (id) ON DELETE SET NULL;
ALTER TABLE deployment_plans ADD COLUMN revision_of TEXT REFERENCES deployment_plans (id) ON DELETE SET NULL;

-- What happened when a volume was deployed or captured, without passwords. Each is there as long as its volume or its task.
CREATE TABLE deployment_logs (
    id INTEGER PRIMARY KEY,
    volume_id TEXT NOT NULL,
    volume_name TEXT NOT NULL COLLATE NOCASE,
    task_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    text TEXT NOT NULL
) STRICT;
CREATE INDEX deployment_logs_by_volume ON deployment_logs (volume_id);
CREATE INDEX deployment_logs_by_task ON deployment_logs (task_id);

-- What a plan gives cloud-init or Ignition: {"datasource": …, "attach": …, "userData": …}; NULL: nothing.
ALTER TABLE deployment_plans ADD COLUMN cloud_init TEXT;
-- The seed as it was made when the volume was deployed, sealed; NULL: none.
ALTER TABLE os_volumes ADD COLUMN seed TEXT;

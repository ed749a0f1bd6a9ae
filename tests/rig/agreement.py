"""Whether catalogue, store, exports and tasks of an osvold say the same.

    disagreements(appliance, estate)           of a running one: texts, none when all is well
    orphans(appliance)                         of a stopped one: what only the store or only the catalogue has
"""

import re
import sqlite3

from api import PENDING

OF_PROFILES = re.compile(r"OSVolume-\d+$")


def rows(appliance, query):
    """Rows of the catalogue, as dicts, without disturbing its daemon."""
    with sqlite3.connect(f"file:{appliance.catalog}?mode=ro", uri=True, timeout=10) as catalog:
        catalog.row_factory = sqlite3.Row
        return [dict(row) for row in catalog.execute(query)]


def disagreements(appliance, estate):
    """What does not fit together, once nothing is under way."""
    return [*of_volumes(appliance, estate), *of_exports(estate), *of_tasks(appliance, estate)]


def of_volumes(appliance, estate):
    """Each volume of the catalogue is in the store and the other way round; each profile has what it should have."""
    known = {row["id"]: row for row in rows(appliance, "SELECT * FROM os_volumes")}
    stored = {volume["id"]: volume for volume in estate.api.members("/rest/os-volumes")}
    faults = [f"{row['name']} is in the catalogue and not in the store" for key, row in known.items() if key not in stored]
    for key, volume in stored.items():
        if OF_PROFILES.match(volume["name"]) and key not in known:
            faults.append(f"{volume['name']} is in the store and not in the catalogue")
    faults += [f"{row['name']} is doomed and still there" for row in known.values() if row["state"] == "doomed"]
    for profile in rows(appliance, "SELECT * FROM server_profiles"):
        current = [row for row in known.values() if row["profile_id"] == profile["id"] and row["state"] == "current"]
        planned = profile["deployment_plan_id"] is not None
        if len(current) > 1 or (current and not planned) or (planned and profile["server_hardware_id"] and not current):
            faults.append(f"profile {profile['name']} has {len(current)} current volumes")
        newest = max((row["generation"] for row in known.values() if row["profile_id"] == profile["id"]), default=0)
        # One that was rolled back to keeps the plan that it was made from.
        if current and current[0]["generation"] == newest and current[0]["deployment_plan_id"] != profile["deployment_plan_id"]:
            faults.append(f"the volume of {profile['name']} is of another plan")
    return faults


def of_exports(estate):
    """Each server discovers its profile's volume and nothing else."""
    wanted = {}
    servers = {server["uri"]: server for server in estate.api.members("/rest/server-hardware")}
    volumes = {volume["uri"]: volume for volume in estate.api.members("/rest/os-volumes")}
    open_to_all = sorted(one["oeVolumeIQN"] for one in volumes.values() if not OF_PROFILES.match(one["name"]))
    for server in servers.values():
        if server["initiatorName"]:
            wanted[server["initiatorName"]] = []
    faults = []
    for profile in estate.api.members("/rest/server-profiles"):
        server = servers.get(profile["serverHardwareUri"])
        wanted.setdefault(profile["iscsiInitiatorName"], [])
        uri = (profile["osDeploymentSettings"] or {}).get("osVolumeUri")
        if server and uri:
            if uri not in volumes:
                faults.append(f"{profile['name']} names a volume that is not there: {uri}")
            else:
                wanted[server["initiatorName"] or profile["iscsiInitiatorName"]] = [volumes[uri]["oeVolumeIQN"]]
    for name, targets in wanted.items():
        seen = estate.seen_by(name)
        if seen != sorted(targets + open_to_all):
            faults.append(f"{name} is told of {seen} and not of {targets}")
    return faults


def of_tasks(appliance, estate):
    """No task is under way, nothing is held, no journal is open."""
    faults = [f"task {task['name']} of {task['associatedResource']['resourceName']} is {task['taskState']}"
              for task in estate.api.members("/rest/tasks") if task["taskState"] in PENDING]  # fmt: skip
    faults += [f"held: {row}" for row in rows(appliance, "SELECT * FROM holds")]
    return faults + [f"the journal of {row['name']} is open" for row in rows(appliance, "SELECT name FROM tasks WHERE journal IS NOT NULL")]


def orphans(appliance):
    """Volumes of profiles that only one of catalogue and store has, and what a check of each finds."""
    known = {row["id"] for row in rows(appliance, "SELECT id FROM os_volumes")}
    stored = {one["id"] for one in appliance.dump() if one["kind"] == "volume" and not one["deleted"] and OF_PROFILES.match(one["name"])}
    faults = [f"only in the catalogue: {key}" for key in known - stored] + [f"only in the store: {key}" for key in stored - known]
    broken = rows(appliance, "PRAGMA foreign_key_check") + [row for row in rows(appliance, "PRAGMA integrity_check") if row["integrity_check"] != "ok"]
    return faults + [f"catalogue: {row}" for row in broken]

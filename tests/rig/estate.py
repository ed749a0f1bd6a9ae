"""A small data centre in the API: golden image, plans, hardware types, enclosures, servers; and what is done with profiles.

    estate = Estate(api, portal)
    estate.furnish(folder)                     an image, a plan, two groups, enclosures, types, some servers
    web01 = estate.create("web01", estate.bays[0])
    estate.change(web01, hardware=None)        GET, modify, PUT, as HPE's clients do
    estate.disk("web01")                       its volume as an initiator sees it
"""

import json
import os
import urllib.parse

from api import Refused
from initiator import Lost, Session, discover
from target import Volume, run

MIB = 1 << 20
IMAGE_MIB = 4
UNSET = object()


def iqn(name):
    """The fixed iSCSI name of a server."""
    return f"iqn.1993-08.org.debian:{name}"


class Estate:
    """What tests need of the API, in the domain's words."""

    def __init__(self, api, portal):
        self.api = api
        self.portal = portal
        self.bays = []

    def with_api(self, api):
        """The same estate through another connection."""
        other = Estate(api, self.portal)
        other.__dict__.update({name: value for name, value in vars(self).items() if name != "api"})
        return other

    # ---- what profiles stand on -----------------------------------------------------------------------------------

    def image(self, name, file):
        """A golden image from a raw file."""
        query = urllib.parse.urlencode({"name": name, "format": "raw"})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(os.path.getsize(file))}
        with open(file, "rb") as data:
            return self.api.post(f"/rest/golden-images?{query}", data, headers)

    def build_plan(self, name, kind="deploy", scripts=()):
        steps = [{"serialNumber": str(at), "planScriptUri": script["uri"]} for at, script in enumerate(scripts, 1)]
        return self.api.post("/rest/build-plans", {"name": name, "oeBuildPlanType": kind, "buildStep": steps})

    def plan(self, name, image, build_plan, **fields):
        body = {"name": name, "goldenImageURI": image and image["uri"], "oeBuildPlanURI": build_plan["uri"], **fields}
        return self.api.post("/rest/deployment-plans", body)

    def hardware_type(self, name):
        return self.api.post("/rest/server-hardware-types", {"name": name, "model": f"Model {name}"})

    def group(self, name, manages=True):
        settings = {"manageOSDeployment": manages, "deploymentModeSettings": {"deploymentMode": "Internal"}}
        return self.api.post("/rest/enclosure-groups", {"name": name, "osDeploymentSettings": settings})

    def enclosure(self, name, group):
        return self.api.post("/rest/logical-enclosures", {"name": name, "enclosureGroupUri": group["uri"]})

    def hardware(self, name, kind, enclosure, fixed=True, **fields):
        """A server; with a fixed initiator name, unless it is to use its profile's."""
        body = {
            "name": name, "serverHardwareTypeUri": kind["uri"], "logicalEnclosureUri": enclosure and enclosure["uri"],
            "initiatorName": iqn(name) if fixed else None, "powerState": "Off", **fields,
        }  # fmt: skip
        return self.api.post("/rest/server-hardware", body)

    def furnish(self, folder, image=None, bays=3, fixed=True, keep_generations=1):
        """Two types, two groups, two enclosures in the first group, and servers: bays of the first enclosure, one of the
        other type in it, and one in the other enclosure."""
        if image is None:
            image = folder / "golden.raw"
            image.write_bytes(os.urandom(IMAGE_MIB * MIB))
        self.golden = self.image("golden", image)
        self.build = self.build_plan("as is")
        self.os = self.plan("debian", self.golden, self.build, keepGenerations=keep_generations)
        self.other_os = self.plan("other", self.golden, self.build, keepGenerations=keep_generations)
        return self.furnish_servers(bays, fixed)

    def furnish_servers(self, bays=3, fixed=True):
        """The same without image and plans."""
        self.types = [self.hardware_type("SY480"), self.hardware_type("SY660")]
        self.groups = [self.group("east"), self.group("west")]
        self.enclosures = [self.enclosure("frame1", self.groups[0]), self.enclosure("frame2", self.groups[0])]
        first, second = self.enclosures
        self.bays = [self.hardware(f"bay{number}", self.types[0], first, fixed) for number in range(1, bays + 1)]
        self.bigger = self.hardware("bigger", self.types[1], first, fixed)
        self.elsewhere = self.hardware("elsewhere", self.types[0], second, fixed)
        return self

    # ---- profiles ---------------------------------------------------------------------------------------------------

    def placed(self, hardware):
        """The fields of a profile that say where it is."""
        hardware = hardware and self.api.get(hardware["uri"])
        if not hardware:
            return {"serverHardwareUri": None}
        return {
            "serverHardwareUri": hardware["uri"], "serverHardwareTypeUri": hardware["serverHardwareTypeUri"],
            "enclosureGroupUri": hardware["serverGroupUri"],
        }  # fmt: skip

    @staticmethod
    def deployed_by(plan, values=None):
        """A profile's settings: the plan, and its attributes' values."""
        values = [{"name": name, "value": value} for name, value in (values or {}).items()]
        return plan and {"osDeploymentPlanUri": plan["uri"], "osCustomAttributes": values}

    def body(self, name, hardware=None, plan=UNSET, values=None, **fields):
        """A new profile."""
        settings = self.deployed_by(self.os if plan is UNSET else plan, values)
        where = self.placed(hardware) if hardware else {
            "serverHardwareTypeUri": self.types[0]["uri"], "enclosureGroupUri": self.groups[0]["uri"],
        }  # fmt: skip
        return {"name": name, "osDeploymentSettings": settings, **where, **fields}

    def create(self, name, hardware=None, plan=UNSET, values=None, **fields):
        return self.api.post("/rest/server-profiles", self.body(name, hardware, plan, values, **fields))

    def profile(self, name):
        """The profile of that name, or None."""
        found = self.api.members(f"/rest/server-profiles?filter=%22name%3D%27{name}%27%22")
        return next((one for one in found if one["name"] == name), None)

    def changed(self, profile, hardware=UNSET, plan=UNSET, values=None, force=False, **fields):
        """The profile as it is now, with these changes: the body of a PUT."""
        body = {**self.api.get(profile["uri"]), **fields}
        if hardware is not UNSET:
            body |= self.placed(hardware)
        if plan is not UNSET:
            body["osDeploymentSettings"] = self.deployed_by(plan, values)
        if force and body["osDeploymentSettings"]:
            body["osDeploymentSettings"] = {**body["osDeploymentSettings"], "forceOsDeployment": True}
        return body

    def change(self, profile, query="", **changes):
        return self.api.put(profile["uri"] + query, self.changed(profile, **changes))

    def preview(self, profile, **changes):
        """The impact of a change that is not made."""
        return self.api.put(f"{profile['uri']}?dryRun=true", self.changed(profile, **changes))

    def unconfirmed(self, call, *arguments, **keywords):
        """The refusal of something that wants to be confirmed; that it is not refused is an error."""
        try:
            done = call(*arguments, **keywords)
        except Refused as refused:
            if refused.status == 409 and refused.code == "CONFIRMATION_REQUIRED":
                return refused.body
            raise
        raise AssertionError(f"done without a confirmation: {done}")

    def delete(self, profile, query="?force=True"):
        return self.api.delete(profile["uri"] + query)

    # ---- volumes ----------------------------------------------------------------------------------------------------

    def volume_of(self, profile):
        """The resource of a profile's volume, or None."""
        uri = (self.api.get(profile["uri"])["osDeploymentSettings"] or {}).get("osVolumeUri")
        return uri and self.api.get(uri)

    def disk(self, profile):
        """A profile's volume as an initiator sees it."""
        volume = self.volume_of(profile)
        return Volume(volume["name"], volume["oeVolumeIQN"], int(volume.get("lun", 0)), [self.portal])

    def initiator(self, profile):
        """The name by which a profile's server logs in."""
        profile = self.api.get(profile["uri"])
        hardware = profile["serverHardwareUri"] and self.api.get(profile["serverHardwareUri"])
        return (hardware or {}).get("initiatorName") or profile["iscsiInitiatorName"]

    def seen_by(self, initiator):
        """The targets that an initiator discovers."""
        return discover(self.portal, initiator)

    def login(self, profile, **keywords):
        """A session of a profile's server with its volume."""
        return Session(self.disk(profile), self.initiator(profile), **keywords)

    def read_out(self, profile, file):
        """All of a profile's volume, as its server reads it, into a raw file. QEMU's iSCSI driver asks where there is
        nothing, and spares that."""
        disk = self.disk(profile)
        source = {
            "driver": "raw", "file": {
                "driver": "iscsi", "transport": "tcp", "portal": self.portal, "target": disk.iqn, "lun": disk.lun,
                "initiator-name": self.initiator(profile),
            },
        }  # fmt: skip
        file.unlink(missing_ok=True)
        run("qemu-img", "convert", "-O", "raw", f"json:{json.dumps(source)}", file)
        return file

    def admits(self, disk, initiator, **keywords):
        """Whether an initiator gets in."""
        try:
            Session(disk, initiator, seconds=5, **keywords).close(logout=True)
        except Lost:
            return False
        return True

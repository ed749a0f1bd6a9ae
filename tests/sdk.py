#!/usr/bin/env python3
"""HPE's own Python SDK, unchanged, against osvold over TLS: every call of its Image Streamer client, and profiles.

    tests/sdk.py [CASE...]

hpeOneView 8.0.0 from PyPI, in a Python environment of its own (tests/rig/python_env.py). It speaks TLS 1.2 and no other.
What it cannot create (servers, their types) is made with `osvol`.
"""

import hashlib
import os
import pathlib
import sys
import time
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import PASSWORD, USER, Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from python_env import SDK, run_in  # noqa: E402

MIB = 1 << 20
SCRIPT = "mount /dev/sda1 /\nupload -<<END /etc/hostname\n@HostName:web@\nEND\n!echo @Greeting:hello@\n"


def refused(call, *arguments, **keywords):
    """The SDK's exception for a call that must be refused; its message is for people."""
    from hpeOneView.exceptions import HPEOneViewException

    try:
        done = call(*arguments, **keywords)
    except HPEOneViewException as error:
        expect(error.msg, f"a refusal without a message: {error.args}")
        return error
    raise AssertionError(f"not refused: {done}")


def names(resources):
    return sorted(one["name"] for one in resources)


class Sdk:
    """The two clients, and what the cases share."""

    def __init__(self, directory, host, version=2020):
        from hpeOneView.oneview_client import OneViewClient

        self.dir = directory
        credentials = {"userName": USER, "password": PASSWORD, "authLoginDomain": "LOCAL"}
        self.one = OneViewClient({"ip": host, "image_streamer_ip": host, "api_version": version, "credentials": credentials})
        self.i3s = self.one.create_image_streamer_client()

    def task_of(self, profile):
        """The newest task about a profile."""
        tasks = self.one.tasks.get_all(filter=f"\"associatedResource.resourceUri='{profile['uri']}'\"", sort="created:descending")
        return next(task for task in tasks if task["associatedResource"]["resourceUri"] == profile["uri"])


class Images:
    """`golden_images`."""

    def __init__(self, sdk, disk):
        self.sdk, self.disk, self.client = sdk, disk, sdk.i3s.golden_images
        self.image = self.zipped = None

    def cases(self):
        yield "golden_images.upload: a raw disk", self.upload
        yield "golden_images.upload: a zip, as Image Streamer packs them", self.upload_zip
        yield "golden_images.get_all, with filter, sort, start and count", self.get_all
        yield "golden_images.get", self.get
        yield "golden_images.get_by", self.get_by
        yield "golden_images.update", self.update
        yield "golden_images.download: a zip with the disk", self.download
        yield "golden_images: a name that is taken, or empty", self.bad_names

    def upload(self):
        self.client.upload(str(self.disk), {"name": "golden", "description": "base & all, 100 %"})
        self.image = self.client.get_by("name", "golden")[0]
        expect(self.image["description"] == "base & all, 100 %", self.image)
        expect(self.image["size"] and self.image["type"] == "GoldenImage" and self.image["category"] == "golden-images", self.image)

    def upload_zip(self):
        packed = self.sdk.dir / "golden.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(self.disk, "disk.img")
        self.client.upload(str(packed), {"name": "zipped", "description": ""})
        self.zipped = self.client.get_by("name", "zipped")[0]
        expect(self.zipped["checkSum"] == self.image["checkSum"], "another content")

    def get_all(self):
        expect(names(self.client.get_all()) == ["golden", "zipped"], "get_all")
        down = self.client.get_all(sort="name:descending")
        expect([one["name"] for one in down] == ["zipped", "golden"], "sort")
        expect(names(self.client.get_all(filter="\"name='zipped'\"")) == ["zipped"], "filter")
        expect(names(self.client.get_all(filter="status=OK")) == ["golden", "zipped"], "a bare filter")
        expect(names(self.client.get_all(start=1, count=1, sort="name:ascending")) == ["zipped"], "start and count")

    def get(self):
        for reference in (self.image["id"], self.image["uri"]):
            expect(self.client.get(reference)["name"] == "golden", reference)
        refused(self.client.get, "nosuch")

    def get_by(self):
        expect(names(self.client.get_by("name", "GOLDEN")) == ["golden"], "without regard to case")
        expect(self.client.get_by("name", "nosuch") == [], "one that is not there")

    def update(self):
        changed = self.client.update({**self.zipped, "name": "packed", "description": "other words"})
        expect((changed["name"], changed["description"]) == ("packed", "other words"), changed)
        self.zipped = self.client.get(self.zipped["id"])
        expect(self.zipped["eTag"] != self.image["eTag"] and self.zipped["name"] == "packed", self.zipped)

    def download(self):
        file = self.sdk.dir / "downloaded"
        self.client.download(self.image["uri"], str(file))
        with zipfile.ZipFile(file) as archive:
            expect(len(archive.namelist()) == 1, archive.namelist())
            data = archive.read(archive.namelist()[0])
        whole = self.disk.read_bytes()
        expect(data == whole, f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()}")

    def bad_names(self):
        refused(self.client.upload, str(self.disk), {"name": "golden"})
        refused(self.client.upload, str(self.disk), {"name": ""})
        return refused(self.client.update, {**self.zipped, "name": "golden"}).msg


class Captures:
    """What is made of a volume: `golden_images.create` and its log."""

    def __init__(self, sdk, shared):
        self.sdk, self.shared, self.client = sdk, shared, sdk.i3s.golden_images

    def cases(self):
        yield "golden_images.create: a capture of a volume", self.create
        yield "golden_images.download_archive: its log", self.download_archive
        yield "golden_images.delete: one that is used is not, forced or not", self.delete_used
        yield "golden_images.delete, with and without force", self.delete

    def create(self):
        plan = self.sdk.i3s.build_plans.create({"name": "capture as is", "oeBuildPlanType": "capture", "buildStep": []})
        volume = self.sdk.i3s.os_volumes.get_all()[0]
        made = self.client.create({
            "name": "captured", "description": "of a volume", "imageCapture": "true", "osVolumeURI": volume["uri"],
            "buildPlanUri": plan["uri"],
        })  # fmt: skip
        expect(made["name"] == "captured" and str(made["imageCapture"]).lower() == "true", made)
        expect(made["osVolumeURI"] == volume["uri"] and made["buildPlanUri"] == plan["uri"], made)

    def download_archive(self):
        file = self.sdk.dir / "capture.log"
        self.client.download_archive(self.client.get_by("name", "captured")[0]["id"], str(file))
        expect(file.stat().st_size > 0, "an empty log")

    def delete_used(self):
        used = self.client.get_by("name", "golden")[0]
        refused(self.client.delete, used)
        message = refused(self.client.delete, used, force=True).msg
        expect(self.client.get(used["id"]), "it is gone")
        return message

    def delete(self):
        for name, force in (("captured", False), ("packed", True)):
            self.client.delete(self.client.get_by("name", name)[0], force=force)
            expect(self.client.get_by("name", name) == [], f"{name} is still there")


class Scripts:
    """`plan_scripts`."""

    def __init__(self, sdk):
        self.sdk, self.client = sdk, sdk.i3s.plan_scripts
        self.script = None

    def cases(self):
        yield "plan_scripts.create", self.create
        yield "plan_scripts.get_all, get, get_by", self.get
        yield "plan_scripts.update", self.update
        yield "plan_scripts.retrieve_differences", self.differences
        yield "plan_scripts: one that is read-only is not edited", self.read_only
        yield "plan_scripts.delete, with and without force", self.delete

    def create(self):
        body = {"name": "set host name", "description": "", "planType": "deploy", "content": SCRIPT, "hpProvided": "false"}
        self.script = self.client.create(body)
        expect(self.script["content"] == SCRIPT and self.script["hpProvided"] is False, self.script)
        expect("HostName" in self.script["customAttributes"], self.script["customAttributes"])
        refused(self.client.create, body)

    def get(self):
        for reference in (self.script["id"], self.script["uri"]):
            expect(self.client.get(reference)["name"] == "set host name", reference)
        expect(names(self.client.get_all(filter="planType=deploy")) == ["set host name"], "get_all")
        expect(self.client.get_all(filter="planType=capture") == [], "a filter that none meets")
        expect(self.client.get_by("name", "Set Host Name")[0]["id"] == self.script["id"], "get_by")

    def update(self):
        self.script = self.client.update({**self.script, "description": "writes /etc/hostname"})
        expect(self.script["description"] == "writes /etc/hostname" and self.script["content"] == SCRIPT, self.script)

    def differences(self):
        content = SCRIPT.replace("@Greeting:hello@", "@NewGreeting:hi@").replace("@HostName:web@", "@HostName:db@")
        found = self.client.retrieve_differences(self.script["uri"], content)
        expect(found["caAdded"] == ["NewGreeting"] and found["caRemoved"] == ["Greeting"], found)
        expect(found["contentChanged"] is True and found["defaultValueChanged"] == ["HostName"], found)
        same = self.client.retrieve_differences(self.script["id"], SCRIPT)
        expect(same["contentChanged"] is False and not same["caAdded"] and not same["caRemoved"], same)

    def read_only(self):
        given = self.client.create({"name": "given", "planType": "general", "content": "umount /", "hpProvided": "true"})
        return refused(self.client.update, {**given, "description": "mine"}).msg

    def delete(self):
        self.client.delete(self.client.create({"name": "short", "planType": "general", "content": "", "hpProvided": False}))
        self.client.delete(self.client.get_by("name", "given")[0], force=True)
        expect(names(self.client.get_all()) == ["set host name"], "something is left")

    def used_by(self):
        """Once a build plan has it."""
        users = self.client.get_usedby_and_readonly(self.script["id"])
        users = users["members"] if isinstance(users, dict) else users
        expect([user["name"] for user in users] == ["deploy"], users)
        return refused(self.client.delete, self.script).msg


class BuildPlans:
    """`build_plans`."""

    def __init__(self, sdk, scripts):
        self.sdk, self.scripts, self.client = sdk, scripts, sdk.i3s.build_plans
        self.plan = None

    def cases(self):
        yield "build_plans.create: with a step, and with none", self.create
        yield "build_plans.get_all, get, get_by", self.get
        yield "build_plans.update", self.update
        yield "plan_scripts.get_usedby_and_readonly, and such a script is not deleted", self.scripts.used_by
        yield "build_plans.delete", self.delete

    def create(self):
        step = {"serialNumber": "1", "parameters": None, "planScriptName": "set host name", "planScriptUri": self.scripts.script["uri"]}
        attributes = [{"name": "HostName", "type": "hostname", "value": "web", "description": "", "constraints": '{"helpText":""}'}]
        body = {"name": "deploy", "oeBuildPlanType": "deploy", "buildStep": [step], "customAttributes": attributes}
        self.plan = self.client.create(body)
        expect(self.plan["buildPlanid"] and self.plan["buildStep"][0]["planScriptUri"] == self.scripts.script["uri"], self.plan)
        found = {one["name"]: one for one in self.plan["customAttributes"]}
        expect(found["HostName"]["constraints"] == '{"helpText":""}', found)
        empty = self.client.create({"name": "as is", "oeBuildPlanType": "deploy"})
        expect(empty["buildStep"] == [], empty)
        # Without a step: osvold does not run scripts yet, and a change of a value is a redeployment all the same.
        self.client.create({"name": "named", "oeBuildPlanType": "deploy", "customAttributes": attributes})

    def get(self):
        expect(names(self.client.get_all(filter="oeBuildPlanType=deploy")) == ["as is", "deploy", "named"], "get_all")
        for reference in (self.plan["id"], self.plan["uri"]):
            expect(self.client.get(reference)["name"] == "deploy", reference)
        expect(self.client.get_by("name", "DEPLOY")[0]["uri"] == self.plan["uri"], "get_by")

    def update(self):
        self.plan = self.client.update({**self.client.get(self.plan["uri"]), "description": "one step"})
        expect(self.plan["description"] == "one step" and len(self.plan["buildStep"]) == 1, self.plan)

    def delete(self):
        self.client.delete(self.client.create({"name": "short", "oeBuildPlanType": "deploy", "buildStep": []}))
        expect(self.client.get_by("name", "short") == [], "it is still there")


class DeploymentPlans:
    """`deployment_plans`, and OneView's view of them."""

    def __init__(self, sdk, images, build_plans):
        self.sdk, self.images, self.build_plans, self.client = sdk, images, build_plans, sdk.i3s.deployment_plans
        self.plan = self.as_is = None

    def cases(self):
        yield "deployment_plans.create", self.create
        yield "deployment_plans.create: without a golden image", self.create_empty
        yield "deployment_plans.get_all, get_by, get_by_name, get_by_id, get_by_uri", self.get
        yield "deployment_plans.update", self.update
        yield "deployment_plans.get_osdp", self.osdp
        yield "deployment_plans.get_usedby: nobody yet", self.unused
        yield "a build plan and an image that a plan uses are not deleted", self.used
        yield "os_deployment_plans.get_all, get_by_name", self.oneview
        yield "deployment_plans.delete", self.delete

    def create(self):
        self.plan = self.client.create({
            "name": "web", "description": "a web server", "hpProvided": "false", "oeBuildPlanURI": self.build_plans.plan["uri"],
            "goldenImageURI": self.images.image["uri"], "type": "OEDeploymentPlanV5",
        })  # fmt: skip
        expect(self.plan.data["goldenImageURI"] == self.images.image["uri"], self.plan.data)
        attribute = next(one for one in self.plan.data["customAttributes"] if one["name"] == "HostName")
        expect({"id", "visible", "editable"} <= set(attribute), attribute)

    def create_empty(self):
        as_is = self.build_plans.client.get_by("name", "as is")[0]["uri"]
        body = {"name": "empty", "hpProvided": "false", "oeBuildPlanURI": as_is, "goldenImageURI": None}
        plan = self.client.create(body)
        expect(plan.data["goldenImageURI"] is None, plan.data)
        self.as_is = self.client.create({**body, "name": "as is", "goldenImageURI": self.images.image["uri"]})
        named = self.build_plans.client.get_by("name", "named")[0]
        self.client.create({**body, "name": "named", "oeBuildPlanURI": named["uri"], "goldenImageURI": self.images.image["uri"]})

    def get(self):
        expect(names(self.client.get_all(sort="name:ascending")) == ["as is", "empty", "named", "web"], "get_all")
        uri = self.plan.data["uri"]
        found = [self.client.get_by("name", "web")[0], self.client.get_by_name("Web").data, self.client.get_by_uri(uri).data]
        found.append(self.client.get_by_id(self.plan.data["id"]).data)
        expect(all(one["uri"] == uri for one in found), found)
        expect(self.client.get_by_name("nosuch") is None, "one that is not there")

    def update(self):
        before = dict(self.plan.data)
        self.plan.update({"description": "of the first row"})
        expect(self.plan.data["description"] == "of the first row", self.plan.data)
        after = self.client.get_by_name("web").data
        kept = ("goldenImageURI", "oeBuildPlanURI", "customAttributes", "hpProvided")
        expect(all(after[field] == before[field] for field in kept), after)

    def osdp(self):
        found = self.client.get_by_name("web").get_osdp()
        parameters = {one["name"]: one for one in found["additionalParameters"]}
        expect("caType" in parameters["HostName"] and "caEditable" in parameters["HostName"], found)

    def unused(self):
        expect(not users(self.client.get_by_name("web").get_usedby()), "it is used")

    def used(self):
        refused(self.build_plans.client.delete, self.build_plans.plan)
        return refused(self.images.client.delete, self.images.image).msg

    def oneview(self):
        found = self.sdk.one.os_deployment_plans.get_all()
        expect(names(found) == ["as is", "empty", "named", "web"], found)
        plan = self.sdk.one.os_deployment_plans.get_by_name("web").data
        expect(plan["uri"].startswith("/rest/os-deployment-plans/"), plan)

    def delete(self):
        plan = self.client.create({"name": "short", "hpProvided": "false", "oeBuildPlanURI": self.build_plans.plan["uri"]})
        plan.delete()
        expect(self.client.get_by_name("short") is None, "it is still there")


def users(found):
    """The members of a list that may be bare."""
    return (found.get("members") or found.get("dependentArtifacts") or []) if isinstance(found, dict) else found


class Profiles:
    """`server_profiles` and what they stand on, through OneView's client."""

    def __init__(self, sdk, plans, osvol):
        self.sdk, self.plans, self.osvol, self.one = sdk, plans, osvol, sdk.one
        self.client = sdk.one.server_profiles
        self.profile = self.volume = None

    def cases(self):
        yield "enclosure_groups: create, get, update", self.groups
        yield "logical_enclosures: create, get, update", self.enclosures
        yield "server_hardware_types and server_hardware: what osvol made", self.hardware
        yield "server_hardware.update_power_state", self.power
        yield "server_profiles.create: assigned, its volume is made", self.create
        yield "server_profiles.get_all, get_by_name, get_by_uri, get_by_id", self.get
        yield "deployment_plans.get_usedby: the profile; and the plan is not edited any more", self.used
        yield "server_profiles.update: other words keep the volume", self.rename
        yield "server_profiles.update: unassigned and assigned again, the volume stays", self.unassign
        yield "server_profiles.update: to another bay, the volume stays", self.move
        yield "server_profiles.update: to another enclosure is refused, then forced", self.elsewhere
        yield "server_profiles.update: an attribute is refused, then forced", self.attribute
        yield "server_profiles.update: an eTag of before is refused", self.stale
        yield "server_profiles.create: unassigned, no volume yet", self.deferred
        yield "server_profiles.delete_all: by a filter", self.delete_all
        yield "server_profiles.patch", self.patch
        yield "one profile a server, names are unique", self.taken
        yield "tasks.get_all, get_by_uri", self.tasks

    def groups(self):
        client = self.one.enclosure_groups
        settings = {"manageOSDeployment": True, "deploymentModeSettings": {"deploymentMode": "Internal", "deploymentNetworkUri": None}}
        for name in ("east", "west"):
            client.create({"name": name, "enclosureCount": 1, "osDeploymentSettings": settings, "interconnectBayMappings": []})
        group = client.get_by_name("east")
        expect(group.data["osDeploymentSettings"]["manageOSDeployment"] is True, group.data)
        group.update({"description": "first row"})
        expect(client.get_by_name("east").data["description"] == "first row", "update")
        expect(names(client.get_all()) == ["east", "west"], "get_all")

    def enclosures(self):
        client, groups = self.one.logical_enclosures, self.one.enclosure_groups
        for name in ("frame1", "frame2"):
            client.create({"name": name, "enclosureGroupUri": groups.get_by_name("east").data["uri"], "enclosureUris": []})
        frame = client.get_by_name("frame1")
        frame.update({"description": "rack 4"})
        expect(client.get_by_uri(frame.data["uri"]).data["description"] == "rack 4", "update")

    def hardware(self):
        self.osvol("hardware-type", "create", "SY480")
        for name, frame in (("bay1", "frame1"), ("bay2", "frame1"), ("other1", "frame2")):
            self.osvol("hardware", "add", name, "--type", "SY480", "--enclosure", frame)
        kind = self.one.server_hardware_types.get_by_name("SY480")
        expect(kind.data["uri"] == self.bay("bay1")["serverHardwareTypeUri"], kind.data)
        expect(names(self.one.server_hardware.get_all(sort="name:ascending")) == ["bay1", "bay2", "other1"], "get_all")

    def bay(self, name):
        return self.one.server_hardware.get_by_name(name).data

    def power(self):
        bay = self.one.server_hardware.get_by_name("bay1")
        for state in ("On", "Off"):
            bay.update_power_state({"powerState": state, "powerControl": "MomentaryPress"})
            expect(self.bay("bay1")["powerState"] == state, state)

    def where(self, bay):
        bay = self.bay(bay)
        return {
            "serverHardwareUri": bay["uri"], "serverHardwareTypeUri": bay["serverHardwareTypeUri"],
            "enclosureGroupUri": self.one.enclosure_groups.get_by_name("east").data["uri"],
        }  # fmt: skip

    def settings(self, **attributes):
        plan = self.one.os_deployment_plans.get_by_name("named" if attributes else "as is").data["uri"]
        return {"osDeploymentPlanUri": plan, "osCustomAttributes": [{"name": k, "value": v} for k, v in attributes.items()]}

    def create(self):
        begin = time.monotonic()
        boot = {"manageBoot": True, "order": ["HardDisk"]}
        body = {"name": "web01", **self.where("bay1"), "osDeploymentSettings": self.settings(), "boot": boot}
        self.profile = self.client.create(body)
        data = self.profile.data
        expect(data["name"] == "web01" and data["boot"] == boot, data)
        self.volume = self.current()
        volume = self.sdk.i3s.os_volumes.get(self.volume)
        expect(volume["name"].startswith("OSVolume-"), volume)
        return f"{time.monotonic() - begin:.1f} s"

    def current(self):
        return self.client.get_by_name("web01").data["osDeploymentSettings"]["osVolumeUri"]

    def get(self):
        uri = self.profile.data["uri"]
        found = [self.client.get_by_name("WEB01"), self.client.get_by_uri(uri), self.client.get_by_id(uri.rsplit("/", 1)[1])]
        expect(all(one.data["uri"] == uri for one in found), "not the same")
        expect(names(self.client.get_all()) == ["web01"], "get_all")
        expect(self.profile.data["osDeploymentSettings"]["forceOsDeployment"] is False, "a wish, not a setting")

    def used(self):
        expect(names(users(self.plans.client.get_by_name("as is").get_usedby())) == ["web01"], "used by")
        plan = self.plans.client.get_by_name("as is")
        refused(plan.delete)
        return refused(plan.update, {"description": "another"}).msg

    def change(self, force=False, **fields):
        """As scripts do it: get, change, put."""
        profile = self.client.get_by_name("web01")
        if force:
            settings = {**profile.data["osDeploymentSettings"], **fields.get("osDeploymentSettings", {})}
            fields["osDeploymentSettings"] = {**settings, "forceOsDeployment": True}
        profile.update(fields)
        return profile

    def rename(self):
        self.change(description="the first one")
        profile = self.client.get_by_name("web01").data
        expect(profile["description"] == "the first one" and self.current() == self.volume, profile)

    def unassign(self):
        iqn = self.sdk.i3s.os_volumes.get(self.volume)["oeVolumeIQN"]
        self.change(serverHardwareUri=None)
        expect(self.client.get_by_name("web01").data["serverHardwareUri"] is None and self.current() == self.volume, "unassigned")
        self.change(**self.where("bay1"))
        expect(self.current() == self.volume and self.sdk.i3s.os_volumes.get(self.volume)["oeVolumeIQN"] == iqn, "assigned again")

    def move(self):
        self.change(**self.where("bay2"))
        expect(self.current() == self.volume, "another volume")

    def elsewhere(self):
        message = refused(self.change, **self.where("other1")).msg
        expect(self.current() == self.volume, "refused, and done all the same")
        old = self.sdk.i3s.os_volumes.get(self.volume)
        self.change(force=True, **self.where("other1"))
        new = self.sdk.i3s.os_volumes.get(self.current())
        expect(new["oeVolumeIQN"] != old["oeVolumeIQN"] and new["uri"] != old["uri"], "the old volume")
        self.volume = new["uri"]
        expect(self.client.get_by_name("web01").data["osDeploymentSettings"]["forceOsDeployment"] is False, "the wish was kept")
        return message

    def attribute(self):
        refused(self.change, osDeploymentSettings=self.settings(HostName="web7"))
        expect(self.current() == self.volume, "refused, and done all the same")
        self.change(force=True, osDeploymentSettings=self.settings(HostName="web7"))
        expect(self.current() != self.volume, "the old volume")
        self.volume = self.current()

    def stale(self):
        profile = self.client.get_by_name("web01")
        before = dict(profile.data)
        self.change(description="another edit")
        return refused(self.one.connection.put, before["uri"], {**before, "description": "late"}).msg

    def deferred(self):
        where = {**self.where("bay1"), "serverHardwareUri": None}
        profile = self.client.create({"name": "web02", **where, "osDeploymentSettings": self.settings()})
        expect(profile.data["osDeploymentSettings"]["osVolumeUri"] is None, profile.data)
        profile.delete()

    def delete_all(self):
        for name in ("short1", "short2"):
            self.client.create({"name": name})
        self.client.delete_all(filter="name='short1'")
        expect(names(self.client.get_all()) == ["short2", "web01"], names(self.client.get_all()))
        self.client.get_by_name("short2").delete()

    def patch(self):
        self.client.get_by_name("web01").patch("replace", "/description", "patched")
        expect(self.client.get_by_name("web01").data["description"] == "patched", "not patched")

    def taken(self):
        where = self.where("other1")
        refused(self.client.create, {"name": "web03", **where, "osDeploymentSettings": self.settings()})
        return refused(self.client.create, {"name": "Web01", **self.where("bay2")}).msg

    def tasks(self):
        task = self.sdk.task_of(self.profile.data)
        expect(task["type"].startswith("TaskResource") and task["category"] == "tasks", task)
        expect(self.one.tasks.get_by_uri(task["uri"]).data["taskState"] == "Completed", task)


class Volumes:
    """`os_volumes`."""

    def __init__(self, sdk):
        self.sdk, self.client = sdk, sdk.i3s.os_volumes
        self.volume = None

    def cases(self):
        yield "os_volumes.get_all, get, get_by, get_by_name", self.get
        yield "os_volumes.get_storage", self.storage
        yield "os_volumes.download_archive: by name, id and path", self.archive

    def get(self):
        self.volume = self.client.get_by_name(self.client.get_all(sort="name:descending")[0]["name"])
        for reference in (self.volume["id"], self.volume["uri"]):
            expect(self.client.get(reference)["name"] == self.volume["name"], reference)
        expect(self.client.get_by("name", self.volume["name"])[0]["oeVolumeId"] == self.volume["id"], "get_by")
        missing = {"oeVolumeIQN", "oeVolumeIp", "size", "goldenVolumeUri", "statelessServerUri", "dependentArtifacts"} - set(self.volume)
        expect(not missing and self.volume["type"] == "OeVolume", f"without {missing}")
        server = self.volume["dependentArtifacts"][0]
        expect({"name", "serverIqn", "uri"} <= set(server), server)

    def storage(self):
        found = self.client.get_storage(self.volume["uri"])
        expect(found["name"] == self.volume["name"] and found["snapshots"] == [], found)

    def archive(self):
        for reference in (self.volume["name"], self.volume["id"]):
            file = self.sdk.dir / "volume.log"
            self.client.download_archive(reference, str(file))
            expect(file.stat().st_size > 0, f"{reference}: an empty log")


class Bundles:
    """`artifact_bundles`."""

    def __init__(self, sdk, plans):
        self.sdk, self.plans, self.client = sdk, plans, sdk.i3s.artifact_bundles
        self.bundle = self.file = None

    def cases(self):
        yield "artifact_bundles.create", self.create
        yield "artifact_bundles.get_all, get_by_name, get_by_uri, get_by", self.get
        yield "artifact_bundles.update: the name", self.update
        yield "artifact_bundles.download", self.download
        yield "artifact_bundles.upload_bundle_from_file", self.upload
        yield "artifact_bundles.extract", self.extract
        yield "artifact_bundles.stop_artifact_creation", self.stop
        yield "artifact_bundles.create_backup, get_all_backups, get_backup", self.backup
        yield "artifact_bundles.download_archive of a backup", self.download_backup
        yield "artifact_bundles.upload_backup_bundle_from_file, extract_backup", self.restore
        yield "artifact_bundles.delete", self.delete

    def create(self):
        plan = self.plans.client.get_by_name("web").data["uri"]
        body = {"name": "bundle", "description": "", "deploymentPlans": [{"resourceUri": plan, "readOnly": "false"}]}
        self.bundle = self.client.create(body)
        data = self.client.get_by_name("bundle").data
        expect([one["deploymentplanName"] for one in data["deploymentPlans"]] == ["web"], data)
        expect(data["buildPlans"] and data["planScripts"] and data["goldenimage"], f"without what it depends on: {data}")

    def get(self):
        uri = self.bundle.data["uri"]
        expect(names(self.client.get_all()) == ["bundle"], "get_all")
        expect(self.client.get_by_uri(uri).data["name"] == self.client.get_by("name", "bundle")[0]["name"] == "bundle", "get_by")

    def update(self):
        self.client.get_by_name("bundle").update({"name": "renamed"})
        self.bundle = self.client.get_by_name("renamed")
        expect(self.bundle and self.client.get_by_name("bundle") is None, "not renamed")

    def download(self):
        self.file = self.sdk.dir / "renamed.zip"
        self.bundle.download(str(self.file))
        with zipfile.ZipFile(self.file) as archive:
            inside = archive.namelist()
        expect("MANIFEST.MF" in inside and "SHA256SUM.sha256sum" in inside and "golden" in inside, inside)

    def upload(self):
        copy = self.sdk.dir / "uploaded.zip"
        copy.write_bytes(self.file.read_bytes())
        self.client.upload_bundle_from_file(str(copy))
        expect(len(self.client.get_all()) == 2, names(self.client.get_all()))
        damaged = self.sdk.dir / "damaged.zip"
        damaged.write_bytes(self.file.read_bytes()[:-2000])
        return refused(self.client.upload_bundle_from_file, str(damaged)).msg

    def extract(self):
        before = len(self.plans.client.get_all())
        uploaded = next(one for one in self.client.get_all() if one["name"] != "renamed")
        self.client.get_by_uri(uploaded["uri"]).extract()
        expect(len(self.plans.client.get_all()) >= before, "plans are missing")

    def stop(self):
        """There is nothing under way: the call is understood, whatever it says."""
        task = self.sdk.one.tasks.get_all()[0]["uri"]
        try:
            self.client.get_by_name("renamed").stop_artifact_creation(task)
        except Exception as error:  # a refusal with a message is an answer
            expect(getattr(error, "msg", None), f"{error!r}")
            return error.msg

    def backup(self):
        group = self.sdk.i3s.deployment_groups.get_all()[0]["uri"]
        self.client.create_backup({"deploymentGroupURI": group})
        found = self.client.get_all_backups()
        expect(len(found) == 1, found)
        expect(self.client.get_backup(found[0]["uri"]).data["name"] == found[0]["name"], "get_backup")

    def download_backup(self):
        self.file = self.sdk.dir / "backup.zip"
        uri = self.client.get_all_backups()[0]["uri"]
        self.client.download_archive(str(self.file), uri)
        expect(zipfile.is_zipfile(self.file), "not an archive")

    def restore(self):
        """Artifacts that a profile uses cannot be removed: the profile goes first."""
        group = self.sdk.i3s.deployment_groups.get_all()[0]["uri"]
        before = names(self.plans.client.get_all())
        for profile in self.sdk.one.server_profiles.get_all():
            self.sdk.one.server_profiles.get_by_uri(profile["uri"]).delete(force=True)
        expect(self.sdk.one.server_profiles.get_all() == [], "server_profiles.delete")
        self.client.upload_backup_bundle_from_file(str(self.file), group)
        uri = self.client.get_all_backups()[0]["uri"]
        self.client.get_by_name("renamed").extract_backup({"deploymentGroupURI": group}, uri=uri)
        expect(names(self.plans.client.get_all()) == before, f"{before} became {names(self.plans.client.get_all())}")

    def delete(self):
        for bundle in self.client.get_all():
            self.client.get_by_uri(bundle["uri"]).delete()
        expect(self.client.get_all() == [], "something is left")


class Groups:
    """`deployment_groups`, and what a client asks before anything else."""

    def __init__(self, sdk):
        self.sdk, self.client = sdk, sdk.i3s.deployment_groups

    def cases(self):
        yield "deployment_groups.get_all, get, get_by, get_by_name", self.get
        yield "deployment servers of OneView", self.servers
        yield "an old and a new version of the API", self.versions
        yield "a wrong password, an unknown session", self.strangers
        yield "log out", self.logout

    def get(self):
        group = self.client.get_by_name("OSS")
        expect(self.client.get_all() == [group] == self.client.get_by("name", "oss"), "get_all, get_by")
        expect(self.client.get(group["uri"]) == self.client.get(group["id"]) == group, "get")

    def servers(self):
        self.sdk.one.os_deployment_servers.get_all()

    def versions(self):
        version = self.sdk.one.versions.get_version()
        expect(version["minimumVersion"] <= 300 and version["currentVersion"] >= 2020, version)
        for number in (300, 500, 600, 800, 1000, 1020, 1600, 2000, 2010):
            old = Sdk(self.sdk.dir, self.sdk.one.connection.get_host(), number)
            expect(old.i3s.golden_images.get_all() is not None, number)
        return f"{version['minimumVersion']} to {version['currentVersion']}"

    def strangers(self):
        from hpeOneView.oneview_client import OneViewClient

        host = self.sdk.one.connection.get_host()
        config = {"ip": host, "api_version": 2020, "credentials": {"userName": USER, "password": "wrong"}}
        message = refused(OneViewClient, config).msg
        refused(OneViewClient, {**config, "credentials": {"userName": "nobody", "password": PASSWORD}})
        refused(OneViewClient, {**config, "credentials": {"sessionID": "A" * 40}})
        return message

    def logout(self):
        other = Sdk(self.sdk.dir, self.sdk.one.connection.get_host())
        session = other.one.connection.get_session_id()
        other.one.connection.logout()
        other.one.connection.set_session_id(session)
        return refused(other.one.server_profiles.get_all).msg


def main():
    run_in(SDK)
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    disk = cases.dir / "disk.raw"
    disk.write_bytes(os.urandom(2 * MIB) + bytes(2 * MIB))
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.user()
        sdk = Sdk(cases.dir, target.tls_address)
        images, scripts = Images(sdk, disk), Scripts(sdk)
        build_plans = BuildPlans(sdk, scripts)
        plans = DeploymentPlans(sdk, images, build_plans)
        profiles = Profiles(sdk, plans, target.osvol)
        parts = [images, scripts, build_plans, plans, profiles, Volumes(sdk), Captures(sdk, profiles), Groups(sdk), Bundles(sdk, plans)]
        for part in parts:
            for name, body in part.cases():
                cases.case(name, body)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))


if __name__ == "__main__":
    main()

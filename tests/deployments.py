#!/usr/bin/env python3
"""From golden image to personalized server: a bundle in HPE's form is uploaded, extracted and deployed by HPE's own SDK, and
what its scripts wrote is read through iSCSI; then all that can go wrong, capture, empty volumes, roots on LVM.

    tests/deployments.py [CASE...]

Both engines: plans that touch FAT alone run in the daemon, all others in guestfish.
"""

import contextlib
import os
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
import bundle  # noqa: E402
from api import Refused  # noqa: E402
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import GREETING, HELPER, files_of  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from command import Disk  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, failed, guestfish, log_of, message_of, nothing_left, own_orphans  # noqa: E402
from python_env import SDK, run_in  # noqa: E402
from sdk import Sdk, refused  # noqa: E402

MIB = 1 << 20
GREETING_FILE, MADE, LOUD, HALF, TYPES_FILE, CAPTURED = (
    f"{bundle.PATH}/{name}.txt" for name in ("greeting", "made", "loud", "half", "types", "captured")
)
PASSWORD = "Tr0ub4dor-and-3"
# Data of the server itself, in a block that no file has.
NOTE_AT, NOTE = 80 * MIB, b"written by the server" + bytes(4096 - 21)
TYPES_VALUES = {
    "Text": "some words", "Count": "7", "Mode": "fast", "Secret": PASSWORD, "Domain": "db.example.test", "Host": "db01", "Server": "192.0.2.9",
    "NIC1.mac": "52:54:00:00:00:01", "NIC1.ipaddress": "192.0.2.41", "NIC1.netmask": "255.255.255.0", "NIC1.gateway": "192.0.2.1",
    "NIC1.constraint": "userspecified", "NIC1.dhcp": "False",
}  # fmt: skip


class Deployments:
    """The cases, one after the other, on one estate."""

    def __init__(self, cases, target, estate, sdk):
        self.dir, self.target, self.estate, self.sdk = cases.dir, target, estate, sdk
        self.plans = Plans(estate)
        self.profile = self.disk = None

    # ---- looking ----------------------------------------------------------------------------------------------------

    def plan(self, name):
        found = self.estate.api.members("/rest/deployment-plans")
        return next(one for one in found if one["name"] == name)

    def files(self, profile, *names):
        """Texts of files in a profile's volume, as its server sees them."""
        return files_of(self.estate.read_out(profile, self.dir / "seen.raw"), names)

    def task(self, profile):
        """The newest task about a profile."""
        tasks = self.estate.api.members("/rest/tasks?sort=created:descending")
        return next(task for task in tasks if task["associatedResource"]["resourceUri"] == profile["uri"])

    def engine(self, profile):
        log = log_of(self.estate.api, self.task(profile))
        return "guestfish" if "guestfish" in log else "built-in" if "built-in" in log else f"none? {log}"

    @contextlib.contextmanager
    def deployed(self, name, bay, plan, values=None):
        """A profile for as long as a case needs it."""
        profile = self.estate.create(name, self.estate.bays[bay], plan, values)
        try:
            yield profile
        finally:
            self.estate.delete(profile)

    @contextlib.contextmanager
    def session(self):
        """A session of the first profile's server with its volume."""
        disk = Disk(self.estate.disk(self.profile), self.estate.initiator(self.profile))
        try:
            disk.attentions()
            yield disk
        finally:
            disk.close(logout=True)

    def seen(self):
        """Volumes, and what each server discovers."""
        servers = self.estate.api.members("/rest/server-hardware")
        names = sorted(volume["name"] for volume in self.estate.api.members("/rest/os-volumes"))
        return names, {server["initiatorName"]: self.estate.seen_by(server["initiatorName"]) for server in servers}

    # ---- the bundle, by HPE's SDK -----------------------------------------------------------------------------------

    def upload(self):
        file = self.dir / "bundle.zip"
        name = bundle.make(file, self.dir)
        bundles = self.sdk.i3s.artifact_bundles
        bundles.upload_bundle_from_file(str(file))
        data = bundles.get_by_name(name).data
        inside = {one["planScriptName"] for one in data["planScripts"]}
        expect(inside == {script[0] for script in bundle.SCRIPTS}, inside)
        expect([one["goldenimageName"] for one in data["goldenimage"]] == [bundle.IMAGE], data["goldenimage"])
        expect(not self.estate.api.members("/rest/plan-scripts"), "an upload has extracted something")
        return f"{len(inside)} scripts, {len(data['buildPlans'])} build plans, {len(data['deploymentPlans'])} deployment plans"

    def extract(self):
        self.sdk.i3s.artifact_bundles.get_by_name(bundle.NAME).extract()
        found = {one["name"] for one in self.estate.api.members("/rest/deployment-plans")}
        expect({one[0] for one in bundle.DEPLOYMENT_PLANS} <= found, found)
        image = self.sdk.i3s.golden_images.get_by("name", bundle.IMAGE)[0]
        expect(image["importedFromBundle"] in (True, "true"), image)

    def deploy(self):
        where = self.estate.placed(self.estate.bays[0])
        plan = self.sdk.one.os_deployment_plans.get_by_name(GREETING).data
        values = [{"name": "Greeting", "value": "Grüß Gott & 100 %"}, {"name": "Host", "value": "web01"}]
        settings = {"osDeploymentPlanUri": plan["uri"], "osCustomAttributes": values}
        self.profile = self.sdk.one.server_profiles.create({"name": "web01", **where, "osDeploymentSettings": settings}).data
        self.disk = self.estate.disk(self.profile)
        text = self.files(self.profile, GREETING_FILE)[GREETING_FILE]
        expect(text == "Grüß Gott & 100 %\nThis is web01, in rack 'none'.\n", repr(text))
        log = log_of(self.estate.api, self.task(self.profile))
        expect("built-in" in log and "the greeting is written" in log and "write a greeting" in log, log)
        expect(self.estate.seen_by(self.estate.initiator(self.profile)) == [self.disk.iqn], "it is not exported to its server")

    # ---- what is refused before anything ----------------------------------------------------------------------------

    def refused_at_once(self):
        """Missing values, and those that would break out of their place."""
        before, tasks = self.seen(), len(self.estate.api.members("/rest/tasks"))
        told = []
        bay, plan = self.estate.bays[1], self.plan(GREETING)
        for name, values in (
            ("Host", {}), ("Host", {"Host": ""}), ("Greeting", {"Host": "a", "Greeting": "two\nlines"}), ("Greeting", {"Host": "a", "Greeting": "END"}),
            ("Nobody", {"Host": "a", "Nobody": "knows"}), ("Host", {"Host": "-a.b"}),
        ):  # fmt: skip
            try:
                done = self.estate.create("refused", bay, plan, values)
            except Refused as refusal:
                expect(refusal.status in (400, 422) and name in str(refusal.body.get("message")), f"{values}: {refusal}")
                told.append(refusal.body["message"])
            else:
                raise AssertionError(f"{values}: {done}")
        quoting = self.plans.deploying("quotes", self.image(), [("say", "deploy", "!echo 'I am @Who@'\n")], [bundle.attribute("Who", "string", None)])
        try:
            self.estate.create("refused", bay, quoting, {"Who": "me'; touch /tmp/oops; echo '"})
            raise AssertionError("a value left its quotation")
        except Refused as refusal:
            expect("Who" in refusal.body["message"], refusal)
        expect(self.seen() == before and len(self.estate.api.members("/rest/tasks")) == tasks, "something was done")
        return told[3]

    def image(self):
        return self.sdk.i3s.golden_images.get_by("name", bundle.IMAGE)[0]

    # ---- again, and wrong -------------------------------------------------------------------------------------------

    def write_note(self):
        with self.session() as disk:
            expect(disk.put(NOTE_AT, NOTE).status == 0 and disk.sync().status == 0, "writing failed")

    def note_is_there(self):
        with self.session() as disk:
            return disk.get(NOTE_AT, 4096).data == NOTE

    def redeploy_wrong(self):
        """Onto a plan that fails: all stays, and the task says where it failed."""
        self.write_note()
        before, state = self.estate.api.get(self.profile["uri"]), self.seen()
        task = failed(self.estate.change, self.profile, plan=self.plan(bundle.FAILING), values={"Host": "web01"}, force=True)
        message = message_of(task)
        for part in ("step 2", "stop here", "line 7", "Stop_This_Deployment"):
            expect(part in message, f"{part!r} is missing: {message}")
        expect(task["taskState"] == "Error", task["taskState"])
        after = self.estate.api.get(self.profile["uri"])
        expect(after["osDeploymentSettings"] == before["osDeploymentSettings"], f"the profile has changed: {after['osDeploymentSettings']}")
        expect(self.seen() == state, f"{self.seen()} and not {state}")
        expect(self.note_is_there() and self.files(self.profile, HALF)[HALF] is None, "the old volume has changed")
        log = log_of(self.estate.api, task)
        expect("Stop_This_Deployment" in log and "half" in log and "web01" in log, f"the log: {log}")
        nothing_left(self.target)
        return message

    def redeploy(self):
        """New values, a new volume."""
        refusal = self.estate.unconfirmed(self.estate.change, self.profile, plan=self.plan(GREETING), values={"Host": "web09"})
        expect(self.note_is_there(), "refused, and done all the same")
        self.estate.change(self.profile, plan=self.plan(GREETING), values={"Host": "web09", "Rack": "r2"}, force=True)
        new = self.estate.disk(self.profile)
        expect(new.iqn != self.disk.iqn and not self.note_is_there(), "the old volume")
        text = self.files(self.profile, GREETING_FILE)[GREETING_FILE]
        expect(text == "Good morning\nThis is web09, in rack 'r2'.\n", repr(text))
        expect(not self.estate.admits(self.disk, self.estate.initiator(self.profile)), "the old name still works")
        self.disk = new
        return refusal["message"]

    def create_wrong(self):
        """A plan that fails at the first deployment leaves nothing."""
        before = self.seen()
        task = failed(self.estate.create, "wrong", self.estate.bays[1], self.plan(bundle.FAILING))
        expect("line 7" in message_of(task), message_of(task))
        expect(self.seen() == before, f"{self.seen()} and not {before}")
        expect("Stop_This_Deployment" in log_of(self.estate.api, task), "no log")
        left = self.estate.profile("wrong")
        made = self.estate.change(left, plan=self.plan(GREETING), values={"Host": "w"}, force=True) if left else (
            self.estate.create("wrong", self.estate.bays[1], self.plan(GREETING), {"Host": "w"}))  # fmt: skip
        expect(self.files(made, GREETING_FILE)[GREETING_FILE], "the next try")
        self.estate.delete(made)
        return f"{'a profile in error' if left else 'no profile'} is left, the next try works"

    # ---- values of all types, and passwords -------------------------------------------------------------------------

    def types(self):
        with self.deployed("types", 1, self.plan(bundle.TYPES), TYPES_VALUES) as profile:
            self.types_of(profile)

    def types_of(self, profile):
        text = self.files(profile, TYPES_FILE)[TYPES_FILE]
        want = (
            f"string=some words\nnumber=7\noption=fast\npassword={PASSWORD}\nfqdn=db.example.test\nhostname=db01\nipv4=192.0.2.9\n"
            "nic=52:54:00:00:00:01 192.0.2.41 255.255.255.0 192.0.2.1 none\n"
        )
        expect(text == want, text)
        log = log_of(self.estate.api, self.task(profile))
        expect("password=****" in log and "192.0.2.41" in log, f"the log should show the script, and no password: {log}")
        self.no_password(profile, log)
        # Edited by somebody who reads no password: it holds.
        self.estate.change(profile, description="the password stays")
        shown = {one["name"]: one["value"] for one in self.estate.api.get(profile["uri"])["osDeploymentSettings"]["osCustomAttributes"]}
        expect(shown.get("Secret") in (None, ""), "the password is told")
        self.estate.change(profile, values={**TYPES_VALUES, "Count": "8", "Secret": None}, plan=self.plan(bundle.TYPES), force=True)
        text = self.files(profile, TYPES_FILE)[TYPES_FILE]
        expect(text == want.replace("number=7", "number=8"), text)

    def no_password(self, profile, log):
        """It is nowhere but in the volume."""
        api = self.estate.api
        shown = [log, str(api.get(profile["uri"])), str(api.members("/rest/tasks")), str(api.members("/rest/server-profiles"))]
        volume = self.estate.volume_of(profile)
        shown.append(str(api.ask("GET", f"/rest/os-volumes/archive/{volume['name']}").body))
        shown += [str(api.members(f"/rest/{kind}")) for kind in ("deployment-plans", "build-plans", "os-deployment-plans")]
        shown.append(self.target.log.read_text(errors="replace"))
        for at, text in enumerate(shown):
            expect(PASSWORD not in text, f"the password is shown ({at}): {text[:2000]}")
        for file in (self.target.state / "catalog").rglob("*"):
            expect(not file.is_file() or PASSWORD.encode() not in file.read_bytes(), f"the password is in {file.name}")

    # ---- guestfish --------------------------------------------------------------------------------------------------

    def helper(self):
        with self.deployed("helped", 2, self.plan(HELPER), {"Host": "helped"}) as profile:
            found = self.files(profile, GREETING_FILE, MADE, LOUD)
            expect(found[MADE] == "made for helped by a helper\n" and found[LOUD] == found[MADE].upper(), found)
            expect(found[GREETING_FILE].startswith("Good morning\nThis is helped"), found)
            expect(self.engine(profile) == "guestfish", self.engine(profile))
            nothing_left(self.target)

    def lvm_image(self):
        """A root of ext4 and a volume of XFS in one volume group, as RHEL has them."""
        disk = self.dir / "lvm.raw"
        script = (
            f"disk-create {disk} raw 900M\nadd-drive {disk} format:raw\nrun\npart-disk /dev/sda gpt\npvcreate /dev/sda1\nvgcreate rhel /dev/sda1\n"
            "lvcreate root rhel 200\nlvcreate data rhel 400\nmkfs ext4 /dev/rhel/root\nmkfs xfs /dev/rhel/data\nmount /dev/rhel/root /\n"
            "mkdir /etc\nmkdir /srv\nmount /dev/rhel/data /srv\nwrite /etc/hostname golden\nwrite /srv/motd golden\numount-all\n"
        )
        guestfish(script)
        return disk

    def lvm(self):
        image = self.estate.image("lvm", self.lvm_image())
        scripts = [
            ("mount", "general", "vgs\nlvs\nlist-filesystems\nmount /dev/rhel/root /\nmount /dev/rhel/data /srv\n"),
            (
                "names", "deploy",
                "write /etc/hostname @Host@\nupload -<<EOF /srv/motd\nWelcome to @Host@.\nEOF\nchmod 0600 /srv/motd\n"
                "write-append /etc/hostname .@Domain:example.test@\nln-sf /srv/motd /etc/motd\n",
            ),
        ]  # fmt: skip
        plan = self.plans.deploying("lvm", image, scripts, [bundle.attribute("Host", "hostname", None), bundle.attribute("Domain", "fqdn", "example.test")])
        with self.deployed("lvm", 2, plan, {"Host": "big"}) as profile:
            copy = self.estate.read_out(profile, self.dir / "seen.raw")
        done = guestfish(
            f"add-drive {copy} format:raw\nrun\nmount /dev/rhel/root /\nmount /dev/rhel/data /srv\ncat /etc/hostname\n!echo\ncat /srv/motd\n"
            "filesize /srv/motd\nreadlink /etc/motd\nis-file /etc/hostname\n"
        )
        expect("big.example.test" in done and "Welcome to big." in done and "/srv/motd" in done, done)

    # ---- capture, as is, empty --------------------------------------------------------------------------------------

    def capture(self):
        """While its server has it open, and goes on writing."""
        volume = self.estate.volume_of(self.profile)
        before = self.estate.read_out(self.profile, self.dir / "before.raw").read_bytes()
        plan = self.sdk.i3s.build_plans.get_by("name", bundle.CAPTURE)[0]
        body = {"name": "captured", "description": "", "imageCapture": "true", "osVolumeURI": volume["uri"], "buildPlanUri": plan["uri"]}
        with self.session() as disk:
            made = self.sdk.i3s.golden_images.create(body)
            expect(disk.put(NOTE_AT, bytes(4096)).status == 0, "the server could not write")
        after = self.estate.read_out(self.profile, self.dir / "after.raw").read_bytes()
        expect(before == after, "the source has changed")
        log = self.dir / "capture.log"
        self.sdk.i3s.golden_images.download_archive(made["id"], str(log))
        expect("forget the values" in log.read_text(), log.read_text())
        plan = self.estate.plan("again", made, self.build("deploy: as is"))
        with self.deployed("again", 1, plan) as profile:
            found = self.files(profile, GREETING_FILE, CAPTURED)
        expect(found == {GREETING_FILE: None, CAPTURED: "captured, and @Not:filled@ in\n"}, found)

    def build(self, name):
        return next(one for one in self.estate.api.members("/rest/build-plans") if one["name"] == name)

    def as_is(self):
        """A capture without scripts is the volume bit by bit, and so is a deployment."""
        volume = self.estate.volume_of(self.profile)
        body = {"name": "as it is", "imageCapture": "true", "osVolumeURI": volume["uri"], "buildPlanUri": self.build(bundle.CAPTURE_AS_IS)["uri"]}
        made = self.sdk.i3s.golden_images.create(body)
        source = self.estate.read_out(self.profile, self.dir / "before.raw").read_bytes()
        with self.deployed("again", 1, self.estate.plan("as it is", made, self.build("deploy: as is"))) as profile:
            expect(self.estate.read_out(profile, self.dir / "after.raw").read_bytes() == source, "another content")

    def empty(self):
        for given, mebibytes in (({}, 64), ({"VolumeSize": "32"}, 32)):
            with self.deployed("empty", 1, self.plan(bundle.EMPTY), given) as profile:
                expect(self.estate.volume_of(profile)["size"] == mebibytes * MIB, self.estate.volume_of(profile)["size"])
                expect(not any(self.estate.read_out(profile, self.dir / "seen.raw").read_bytes()), "it is not empty")
        try:
            self.estate.create("empty", self.estate.bays[1], self.plan(bundle.EMPTY), {"VolumeSize": "60000"})
            raise AssertionError("51200 MiB is the most")
        except Refused as refusal:
            expect("VolumeSize" in refusal.body["message"], refusal)
            return refusal.body["message"]

    def deleted(self):
        """A profile that is deleted takes its volume along; nothing of any job is left."""
        self.estate.delete(self.profile)
        volumes, exports = self.seen()
        expect(not volumes and not any(exports.values()), f"{volumes} {exports}")
        nothing_left(self.target)
        expect(not self.target.panics(), self.target.panics())
        oops = re.findall(r"ERROR.*", self.target.log.read_text(errors="replace"))
        expect(not oops, oops)


def main():
    run_in(SDK)
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.user()
        estate = Estate(target.api(), target.portals[0]).furnish_servers()
        estate.api.patience = 300
        life = Deployments(cases, target, estate, Sdk(cases.dir, target.tls_address))
        for name, body in (
            ("the bundle is uploaded by HPE's SDK, and shows what is in it", life.upload),
            ("it is extracted", life.extract),
            ("deployed by HPE's SDK: the values are in the file, through iSCSI", life.deploy),
            ("what is missing or would break out is refused before anything", life.refused_at_once),
            ("redeployed with a plan that fails: step, script, line; the old volume stays", life.redeploy_wrong),
            ("redeployed with new values", life.redeploy),
            ("deployed with a plan that fails: nothing is left", life.create_wrong),
            ("values of all eight types; the password is nowhere but in the volume", life.types),
            ("a script that sources a helper runs in guestfish, under bash", life.helper),
            ("ext4 and XFS on LVM are edited", life.lvm),
            ("captured by scripts while its server writes; the image deployed again", life.capture),
            ("captured and deployed as is: the same bytes", life.as_is),
            ("empty volumes of the size that is asked for", life.empty),
            ("deleted: nothing is left", life.deleted),
        ):
            cases.case(name, body)


if __name__ == "__main__":
    main()

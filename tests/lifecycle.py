#!/usr/bin/env python3
"""The life of an OS volume, with a real machine: what keeps it, what makes it anew, what ends it, and who can see it.

    tests/lifecycle.py [CASE...]      -v shows the consoles

A machine without a disk knows nothing but the address of its boot script; it boots from its profile's volume, writes a
file and finds it after each move that keeps the volume. Other looks at the file are taken through libiscsi (the volume
is read out, and debugfs finds the file in it). All the time a server that the volume is not for asks for targets, and
tries to log in to each that there ever was.
"""

import pathlib
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
import estate as estates  # noqa: E402
from api import Refused  # noqa: E402
from appliance import Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from initiator import Lost, Session, discover, serve  # noqa: E402
from target import run  # noqa: E402
from vm import boot_machine, golden_image, mac_of  # noqa: E402

SECTOR = 512
NOTE = "/note"
# Where the root file system begins: bootable-image.sh.
ROOT_OFFSET = (2048 + 16 * 2048) * SECTOR


class Stranger(threading.Thread):
    """A server of another profile, which looks and tries without a pause."""

    def __init__(self, portal, name):
        super().__init__(daemon=True)
        self.portal, self.name_of_mine = portal, name
        self.targets = {}
        self.own = set()
        self.looks = self.tries = 0
        self.faults = []
        self.end = threading.Event()

    def knows(self, disk):
        """A target that it may try: names are no secret."""
        self.targets[disk.iqn] = disk

    def run(self):
        while not self.end.is_set():
            try:
                seen = set(discover(self.portal, self.name_of_mine))
            except Lost:
                continue  # osvold is being restarted
            self.looks += 1
            if others := seen - self.own:
                self.faults.append(f"was told of {others}")
            for iqn, disk in list(self.targets.items()):
                self.tries += 1
                try:
                    Session(disk, self.name_of_mine, seconds=5).close()
                    self.faults.append(f"got in to {iqn}")
                except Lost:
                    pass
            time.sleep(0.002)

    def report(self):
        """Ends it, and says what it saw."""
        self.end.set()
        self.join(20)
        expect(not self.faults, f"{len(self.faults)} faults: {self.faults[:3]}")
        expect(self.looks > 100 and self.tries > 100, f"only {self.looks} looks and {self.tries} tries")
        return f"{self.looks} discoveries and {self.tries} logins of a stranger saw nothing"


class Life:
    """The scenarios, one after the other, on one volume and those that come after it."""

    def __init__(self, cases, target, estate, stranger, verbose):
        self.dir, self.target, self.estate, self.stranger, self.verbose = cases.dir, target, estate, stranger, verbose
        self.profile = self.disk = self.neighbour = None
        self.boots = 0

    # ---- looking ----------------------------------------------------------------------------------------------------

    def on_line(self, line):
        if self.verbose or "BOOT-OK" in line or "NOTE" in line:
            print(f"       | {line}", flush=True)

    def boot(self, script):
        """The server of bay 1 boots; its volume counts the boots."""
        file = self.dir / "script"
        file.write_text(script)
        url = f"http://{self.target.boot_address}/boot/${{mac}}.ipxe"
        report = boot_machine(None, self.on_line, boot_url=url, script=file)
        self.boots += 1
        expect(report["rc"] == "0", f"the script in the machine ended with {report['rc']}")
        expect(report["target"] == self.disk.iqn, f"root is on {report['target']}")
        expect(report["initiator"] == self.estate.initiator(self.profile), f"it logged in as {report['initiator']}")
        expect(int(report["boots"]) == self.boots, f"the volume counts {report['boots']} boots")
        return f"up after {report['seconds']} s"

    def note(self):
        """The file in the volume, as its server can read it now; None when there is none."""
        copy = self.dir / "copy.raw"
        copy.write_bytes(self.read_all())
        return run("/usr/sbin/debugfs", "-R", f"cat {NOTE}", f"{copy}?offset={ROOT_OFFSET}").stdout or None

    def write_note(self, text):
        """A file, written into the volume as its server could: read out, changed, and the changed blocks written."""
        before = self.read_all()
        copy = self.dir / "copy.raw"
        copy.write_bytes(before)
        note = self.dir / "note"
        note.write_text(text)
        for command in (f"rm {NOTE}", f"write {note} {NOTE[1:]}"):
            run("/usr/sbin/debugfs", "-w", "-R", command, f"{copy}?offset={ROOT_OFFSET}")
        after = copy.read_bytes()
        session = self.estate.login(self.profile)
        try:
            good = []
            for at in range(0, len(after), 4096):
                if before[at : at + 4096] != after[at : at + 4096]:
                    session.write(at // SECTOR, after[at : at + 4096], SECTOR, good.append)
            self.settle(session)
            session.flush(good.append)
            self.settle(session)
            expect(good and all(good), "writing failed")
        finally:
            session.close(logout=True)

    def settle(self, session):
        while session.under_way:
            serve([session], 1.0)

    def read_all(self):
        """All of the volume, as its server reads it."""
        return self.estate.read_out(self.profile, self.dir / "read.raw").read_bytes()

    def state(self):
        """All that a cancel must leave as it was."""
        profile = self.estate.api.get(self.profile["uri"])
        volume = self.estate.volume_of(self.profile)
        return profile, volume, self.estate.seen_by(self.estate.initiator(self.profile))

    def exported_to_its_server_alone(self):
        mine = self.estate.initiator(self.profile)
        expect(self.estate.seen_by(mine) == [self.disk.iqn], f"{mine} sees {self.estate.seen_by(mine)}")
        for server in [*self.estate.bays[:2], self.estate.bigger, self.estate.elsewhere]:  # a stranger sits in the third bay
            name = server["initiatorName"]
            if name != mine:
                expect(self.estate.seen_by(name) == [], f"{name} sees {self.estate.seen_by(name)}")
                expect(not self.estate.admits(self.disk, name), f"{name} got in")

    def same_volume(self):
        expect(self.estate.disk(self.profile).iqn == self.disk.iqn, "another target name")
        expect(self.estate.volume_of(self.profile)["name"] == self.disk.name, "another volume")

    def fresh_volume(self):
        """The profile has a new volume with a new name; the old name is nobody's any more."""
        old, new = self.disk, self.estate.disk(self.profile)
        expect(new.iqn != old.iqn and new.name != old.name, f"{old} and {new}")
        for name in (self.estate.initiator(self.profile), self.estate.bays[0]["initiatorName"]):
            expect(old.iqn not in self.estate.seen_by(name) and not self.estate.admits(old, name), f"{name} still reaches the old volume")
        self.stranger.knows(new)
        self.disk = new

    # ---- the scenarios ----------------------------------------------------------------------------------------------

    def deployed(self):
        self.profile = self.estate.create("web01", self.estate.bays[0])
        self.disk = self.estate.disk(self.profile)
        self.stranger.knows(self.disk)
        self.exported_to_its_server_alone()
        told = self.boot(f"echo first > {NOTE}; sync; echo NOTE $(cat {NOTE})\n")
        expect(self.note() == "first\n", f"the file holds {self.note()!r}")
        return told

    def in_use(self):
        """While its server is logged in, and while it is recorded as running, nothing is destroyed."""
        session = self.estate.login(self.profile)
        try:
            for query in ("?force=True",):
                refusal = refused(self.estate.delete, self.profile, query)
            elsewhere = refused(self.estate.change, self.profile, hardware=self.estate.elsewhere, force=True)
        finally:
            session.close(logout=True)
        self.power("On")
        off = refused(self.estate.delete, self.profile, "?force=True")
        self.power("Off")
        self.same_volume()
        expect(all(one.status in (409, 412) for one in (refusal, elsewhere, off)), f"{refusal}; {elsewhere}; {off}")
        return refusal.body.get("message")

    def power(self, state):
        self.estate.api.put(f"{self.estate.bays[0]['uri']}/powerState", {"powerState": state})

    def withdrawn_from_a_machine_that_is_off(self):
        """A machine that is off has not logged out; TCP notices within a minute. Who knows that it is off need not wait."""
        self.estate.change(self.profile, "?whileInUse=true", hardware=None)

    def unassigned_and_back(self):
        self.withdrawn_from_a_machine_that_is_off()
        for server in self.estate.bays[:2]:
            expect(self.estate.seen_by(server["initiatorName"]) == [], "an unassigned profile's volume is exported")
            expect(not self.estate.admits(self.disk, server["initiatorName"]), "somebody got in")
        self.same_volume()
        self.estate.change(self.profile, hardware=self.estate.bays[1])
        self.same_volume()
        self.exported_to_its_server_alone()
        expect(self.note() == "first\n", f"in another bay the file holds {self.note()!r}")
        self.estate.change(self.profile, hardware=self.estate.bays[0])
        self.same_volume()
        self.exported_to_its_server_alone()

    def another_group(self):
        frame = self.estate.api.get(self.estate.enclosures[0]["uri"])
        self.estate.api.put(frame["uri"], {**frame, "enclosureGroupUri": self.estate.groups[1]["uri"]})
        moved = self.estate.api.get(frame["uri"])
        expect(moved["enclosureGroupUri"] == self.estate.groups[1]["uri"], "it did not move")
        self.same_volume()
        self.exported_to_its_server_alone()
        told = self.boot(f"echo NOTE $(cat {NOTE}); [ \"$(cat {NOTE})\" = first ] || exit 1; echo second >> {NOTE}; sync\n")
        self.withdrawn_from_a_machine_that_is_off()
        self.estate.change(self.profile, hardware=self.estate.bays[0])
        self.same_volume()
        return told

    def cancelled(self):
        """Asked, and not confirmed: everything is as it was, byte for byte."""
        before, content = self.state(), self.read_all()
        refusal = self.estate.unconfirmed(self.estate.change, self.profile, hardware=self.estate.elsewhere)
        impact = self.estate.preview(self.profile, hardware=self.estate.elsewhere)
        for told in (refusal["impact"], impact):
            expect(told["outcome"] == "Regenerate" and told["lossy"], told)
            lost = told["volumes"][0]
            expect(lost["volumeName"] == self.disk.name and int(lost["bytesWritten"]) > 0, lost)
        expect(self.state() == before, "something changed")
        expect(self.read_all() == content, "the volume's content changed")
        expect(self.note() == "first\nsecond\n", "the file changed")
        self.exported_to_its_server_alone()
        return refusal["impact"].get("summary")

    def stale_token(self):
        """A token is bound to the state that it was made from."""
        token = self.estate.preview(self.profile, hardware=self.estate.elsewhere)["confirmationToken"]
        self.estate.change(self.profile, description="edited meanwhile")
        late = refused(self.estate.change, self.profile, f"?confirmationToken={token}", hardware=self.estate.elsewhere)
        wrong = refused(self.estate.change, self.profile, "?confirmationToken=nonsense", hardware=self.estate.elsewhere)
        token = self.estate.preview(self.profile, hardware=self.estate.bigger)["confirmationToken"]
        other = refused(self.estate.change, self.profile, f"?confirmationToken={token}", hardware=self.estate.elsewhere)
        self.same_volume()
        expect(self.note() == "first\nsecond\n", "the file changed")
        return f"{late.status} {wrong.status} {other.status}: {late.body.get('message')}"

    def proceeded(self):
        token = self.estate.preview(self.profile, hardware=self.estate.elsewhere)["confirmationToken"]
        self.estate.change(self.profile, f"?confirmationToken={token}", hardware=self.estate.elsewhere)
        self.fresh_volume()
        expect(self.note() is None, f"a fresh volume has the file: {self.note()!r}")
        self.exported_to_its_server_alone()

    def rolled_back(self):
        """The generation before is kept, and can be had again."""
        generations = self.estate.api.get(f"{self.profile['uri']}/generations")
        generations = generations["members"] if isinstance(generations, dict) else generations
        expect([one["current"] for one in sorted(generations, key=lambda one: one["generation"])] == [False, True], generations)

    def another_type(self):
        self.write_note("third\n")
        expect(self.note() == "third\n", "the file was not written")
        self.estate.unconfirmed(self.estate.change, self.profile, hardware=self.estate.bigger)
        expect(self.note() == "third\n", "refused, and the file is gone")
        self.estate.change(self.profile, hardware=self.estate.bigger, force=True)
        self.fresh_volume()
        expect(self.note() is None, "a fresh volume has the file")
        self.exported_to_its_server_alone()

    def type_alone(self):
        """Unassigned, with another hardware type: the rule goes by the type, not by the machine."""
        self.estate.change(self.profile, hardware=None)
        self.same_volume()
        refusal = self.estate.unconfirmed(
            self.estate.change, self.profile, serverHardwareTypeUri=self.estate.types[0]["uri"], serverHardwareUri=None
        )
        self.same_volume()
        return refusal["impact"].get("summary")

    def enclosure_deleted(self):
        frame = self.estate.enclosures[0]
        self.estate.change(self.profile, hardware=self.estate.bigger)
        assigned = refused(self.estate.api.delete, frame["uri"] + "?force=True")
        self.same_volume()
        self.write_note("last\n" * 10_000)
        self.estate.change(self.profile, hardware=None)
        self.estate.change(self.neighbour, hardware=None)
        before = self.used_bytes()
        mine = int(self.estate.volume_of(self.profile)["allocatedBytes"])
        self.estate.unconfirmed(self.estate.api.delete, frame["uri"])
        self.same_volume()
        self.estate.api.delete(frame["uri"] + "?force=True")
        refused(self.estate.api.get, frame["uri"])
        profile = self.estate.api.get(self.profile["uri"])
        expect(profile["osDeploymentSettings"]["osVolumeUri"] is None, profile["osDeploymentSettings"])
        names = [one["name"] for one in self.estate.api.members("/rest/os-volumes")]
        expect(self.disk.name not in names, names)
        end = time.monotonic() + 20  # space comes back in the background
        while time.monotonic() < end and before - self.used_bytes() < mine:
            time.sleep(0.1)
        freed = before - self.used_bytes()
        expect(freed >= mine > 0, f"{freed} bytes came back of {mine}")
        return f"{assigned.status}: {assigned.body.get('message')}; {freed >> 10} KiB came back"

    def used_bytes(self):
        """What the files of the store take."""
        return sum(path.stat().st_blocks * 512 for path in self.target.state.rglob("*") if path.is_file() and "catalog" not in path.parts)

    def other_initiator(self):
        """A server's iSCSI name is changed while its profile has a volume: the new name gets in, the old one does not."""
        bay = self.estate.api.get(self.estate.elsewhere["uri"])
        profile = self.estate.create("web03", self.estate.elsewhere)
        disk, old, new = self.estate.disk(profile), bay["initiatorName"], estates.iqn("renamed")
        self.stranger.knows(disk)
        try:
            try:
                self.estate.api.put(bay["uri"], {**self.estate.api.get(bay["uri"]), "initiatorName": new})
            except Refused as refusal:
                expect(refusal.status == 409, refusal)
                expect(self.estate.admits(disk, old), "refused, and its server does not get in any more")
                return refusal.body.get("message")
            expect(self.estate.admits(disk, new) and self.estate.seen_by(new) == [disk.iqn], "the new name does not get in")
            expect(not self.estate.admits(disk, old) and not self.estate.seen_by(old), "the old name still gets in")
        finally:
            self.estate.delete(profile)
            self.estate.api.put(bay["uri"], {**self.estate.api.get(bay["uri"]), "initiatorName": old})

    def chap(self):
        """A profile's volume that wants proof, from both sides."""
        fields = {
            "chapLevel": "MutualChap", "chapName": "web02", "chapSecret": "secret-of-web02", "mutualChapName": "osvol",
            "mutualChapSecret": "secret-of-osvol",
        }  # fmt: skip
        profile = self.estate.create("web02", self.estate.elsewhere, iscsiChap=fields)
        disk, mine = self.estate.disk(profile), self.estate.initiator(profile)
        self.stranger.knows(disk)
        proof, mutual = ("web02", "secret-of-web02"), ("osvol", "secret-of-osvol")
        expect(self.estate.admits(disk, mine, chap=proof, mutual=mutual), "with the right secrets it did not get in")
        for wrong in ({}, {"chap": ("web02", "secret-of-web03")}, {"chap": ("web03", "secret-of-web02")}):
            expect(not self.estate.admits(disk, mine, **wrong), f"got in with {wrong}")
        expect(not self.estate.admits(disk, mine, chap=proof, mutual=("osvol", "another-secret-1")), "a target with a wrong secret was believed")
        shown = self.estate.api.get(profile["uri"])["iscsiChap"]
        expect(shown["chapName"] == "web02" and shown["chapSecret"] is None and shown["mutualChapSecret"] is None, shown)
        self.estate.change(profile, description="the secret stays")
        expect(self.estate.admits(disk, mine, chap=proof, mutual=mutual), "an edit that names no secret lost it")
        log = self.target.log.read_text(errors="replace")
        expect("secret-of-" not in log, "a secret is in the log")
        self.estate.delete(profile)
        expect(not self.estate.admits(disk, mine, chap=proof, mutual=mutual), "it is deleted, and lets in")


def refused(call, *arguments, **keywords):
    """The refusal of something that must be refused."""
    try:
        done = call(*arguments, **keywords)
    except Refused as refusal:
        return refusal
    raise AssertionError(f"not refused: {done}")


def main():
    image = golden_image()
    enter_namespace(1)
    verbose = "-v" in sys.argv
    cases = Cases([word for word in sys.argv[1:] if word != "-v"])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        estate = estates.Estate(target.api(), target.portals[0])
        estate.furnish(cases.dir, image)
        bay = estate.api.get(estate.bays[0]["uri"])
        estate.api.put(bay["uri"], {**bay, "macAddresses": [mac_of(0)]})
        stranger = Stranger(target.portals[0], estate.bays[2]["initiatorName"])
        neighbour = estate.create("neighbour", estate.bays[2])
        stranger.own.add(estate.disk(neighbour).iqn)
        stranger.start()
        life = Life(cases, target, estate, stranger, verbose)
        life.neighbour = neighbour
        for name, body in (
            ("deployed: a machine boots from its profile's volume and writes a file", life.deployed),
            ("in use: not destroyed while somebody is logged in, or the server runs", life.in_use),
            ("row 1: unassigned and assigned again, the file is there", life.unassigned_and_back),
            ("row 2: the enclosure moves to another group, the machine finds its file", life.another_group),
            ("row 4: to a server of another enclosure, cancelled: nothing has changed", life.cancelled),
            ("row 4: a token that is stale, wrong, or of another request", life.stale_token),
            ("row 4: proceeded, a fresh volume with a new target name", life.proceeded),
            ("the generation before is kept", life.rolled_back),
            ("row 5: to a server of another type, a fresh volume", life.another_type),
            ("row 5: another type without a server", life.type_alone),
            ("row 3: unassigned, and its enclosure deleted: the volume and its space are gone", life.enclosure_deleted),
            ("a server's iSCSI name is changed while it has a volume", life.other_initiator),
            ("CHAP of a profile's volume, both ways", life.chap),
            ("a server of another profile saw nothing, at no moment", stranger.report),
            ("nothing panicked", lambda: expect(not target.panics(), target.panics())),
        ):
            cases.case(name, body)


if __name__ == "__main__":
    main()

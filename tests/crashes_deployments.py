#!/usr/bin/env python3
"""osvold is killed in every phase of a deployment with scripts; and its disk is full in every phase.

    tests/crashes_deployments.py [CASE...]

After a restart there is no volume of the job, no process, no socket; the task says that it failed, a redeployment has left
the old volume as it was, and the next try works. Phases are found by what the task tells; those that are too short for that
by failpoints (src/lifecycle/failpoint.rs).
"""

import http.client
import os
import pathlib
import re
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from agreement import disagreements, orphans  # noqa: E402
from api import PENDING, TaskFailed  # noqa: E402
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import attribute, esp_image, files_of  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from command import NO_SPACE, UNIT_ATTENTION, Disk  # noqa: E402
from crashes_lifecycle import build  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, message_of, nothing_left, own_orphans  # noqa: E402
from target import SmallDisk  # noqa: E402

MIB = 1 << 20
FILE = "/EFI/BOOT/who.txt"
PHASE_SECONDS = 200
DISK_MIB = 192
BIG_MIB = 60
HOST = [attribute("Host", "hostname", None)]
MOUNT, UNMOUNT = ("mount", "general", "mount /dev/sda1 /\n"), ("unmount", "general", "umount /\n")
WRITE = ("write", "deploy", f"upload -<<END {FILE}\n@Host@\nEND\n")
# Time to be killed in: each step takes a second.
SLOW = [
    ("mount slowly", "general", "mount /dev/sda1 /\n!sleep 1\n"),
    ("write slowly", "deploy", f"upload -<<END {FILE}\n@Host@\nEND\n!sleep 1\n"),
    ("write more", "deploy", "!seq 100000 > ./numbers\nupload ./numbers /EFI/numbers\n!sleep 1\n"),
    ("unmount slowly", "general", "umount /\n!sleep 1\n"),
]  # fmt: skip
# Many small files: the built-in engine is busy for a while.
MANY = [MOUNT, ("write much", "deploy", "".join(f"upload -<<END /EFI/f{n:04}.txt\n{'x' * 60} @Host@\nEND\n" for n in range(800))), UNMOUNT]


class SmallAppliance(Appliance, SmallDisk):
    """All doors, and a small file system."""

    @property
    def catalog(self):
        """Seen from outside of its mount namespace."""
        return pathlib.Path(f"/proc/{self.keeper.pid}/root{self.state}/catalog/catalog.sqlite")


class Deaths:
    """Kills, each in another phase."""

    def __init__(self, cases, target, estate):
        self.dir, self.target, self.estate = cases.dir, target, estate
        self.kills = 0

    def furnish(self):
        plans = Plans(self.estate)
        image = self.estate.image("esp", esp_image(self.dir / "esp.raw"))
        self.quick, self.slow, self.many = (
            plans.deploying(name, image, scripts, HOST) for name, scripts in (("quick", [MOUNT, WRITE, UNMOUNT]), ("slow", SLOW), ("many", MANY))
        )
        self.profile = self.estate.create("web01", self.estate.bays[0], self.quick, {"Host": "before"})
        self.other = self.estate.create("web02", self.estate.bays[1], self.quick, {"Host": "other"})

    def begin(self, plan, profile=None, host="after"):
        """Asks for a redeployment, and does not wait; the task's path."""
        body = self.estate.changed(profile or self.profile, plan=plan, values={"Host": host}, force=True)
        answer = self.estate.api.ask("PUT", (profile or self.profile)["uri"], body)
        expect(answer.status == 202, f"{answer.status} {answer.body}")
        return answer.headers["location"]

    def wait_for(self, task, words):
        """Until the task tells that a phase has begun."""
        end = time.monotonic() + PHASE_SECONDS
        while time.monotonic() < end:
            now = self.estate.api.get(task)
            if any(re.search(words, line["statusUpdate"]) for line in now["progressUpdates"]):
                return
            expect(now["taskState"] in PENDING, f"it was over before {words!r}: {now['taskStatus']} {now['taskErrors']}")
            time.sleep(0.02)
        expect(False, f"{words!r} is never told: {now['progressUpdates']}")

    def restart(self):
        self.kills += 1
        self.estate.api.close()
        self.target.process.wait(20)
        try:
            nothing_left(self.target, files=False)
        finally:
            self.target.start()
        nothing_left(self.target)

    def look(self, task, host, happened=False):
        """All agrees; the task says so; the server sees what it saw."""
        expect(not (found := disagreements(self.target, self.estate)), found)
        now = self.estate.api.get(task)
        expect(now["taskState"] == ("Completed" if happened else "Error"), f"{now['taskState']}: {now['taskStatus']}")
        text = files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE]
        expect(text == f"{host}\n", f"the volume of {host!r} says {text!r}")
        expect(not self.target.panics(), self.target.panics())
        return message_of(now)

    def again(self, plan, host):
        """The next try works."""
        self.estate.api.wait(self.begin(plan, host=host))
        self.look_at(host)

    def look_at(self, host):
        text = files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE]
        expect(text == f"{host}\n", f"the volume of {host!r} says {text!r}")

    # ---- the phases ---------------------------------------------------------------------------------------------------

    def killed_at(self, plan, words, delay=0.0, retry=None):
        """SIGKILL when the task tells a phase, or a moment later."""
        host = self.now()
        why = self.killed(self.begin(plan), words, delay, host)
        if retry:
            self.again(retry, f"{host}x"[:20])
        return why

    def killed(self, task, words, delay, host):
        """The same of any task; `host` is what the server's volume says before."""
        self.wait_for(task, words)
        time.sleep(delay)
        expect(self.estate.api.get(task)["taskState"] in PENDING, "it is over already")
        self.target.kill()
        self.restart()
        return self.look(task, host)

    def scratch(self, path, body):
        """Killed while a volume is there that lives for one task alone: it goes, and the snapshot that it was cloned from."""
        host = self.now()
        answer = self.estate.api.ask("POST", path, body)
        expect(answer.status == 202, f"{answer.status} {answer.body}")
        images = [one["name"] for one in self.estate.api.members("/rest/golden-images")]
        why = self.killed(answer.headers["location"], r"step 2", 0.2, host)
        expect([one["name"] for one in self.estate.api.members("/rest/golden-images")] == images, "another list of golden images")
        disk = self.estate.api.get(self.estate.api.get(self.profile["uri"])["osDeploymentSettings"]["osVolumeUri"])
        snapshots = self.target.json("snapshot", "list", disk["name"])["members"]
        expect(not snapshots, f"snapshots are left: {snapshots}")
        return why

    def tried(self):
        return self.scratch(f"{self.slow['uri']}/try", {"osCustomAttributes": [{"name": "Host", "value": "tried"}]})

    def captured(self):
        slow = [(name, "capture", "!sleep 1\n") for name in ("one", "two", "three")]
        plan = Plans(self.estate).build_plan("captures slowly", slow, kind="capture")
        disk = self.estate.api.get(self.profile["uri"])["osDeploymentSettings"]["osVolumeUri"]
        body = {"type": "GoldenImage", "name": "captured", "imageCapture": True, "osVolumeURI": disk, "buildPlanUri": plan["uri"]}
        return self.scratch("/rest/golden-images", body)

    def now(self):
        return files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE].strip()

    def queued(self):
        """While another job has the only place."""
        host = self.now()
        first, second = self.begin(self.slow, self.other), None
        self.wait_for(first, r"guestfish")
        second = self.begin(self.slow)
        self.wait_for(second, r"waiting")
        time.sleep(0.2)
        self.target.kill()
        self.restart()
        self.look(second, host)
        return self.look(first, host)

    def built_in(self):
        """At several moments of a job that writes 800 files."""
        told = []
        for delay in (0.0, 0.02, 0.05):
            try:
                told.append(self.killed_at(self.many, r"running plan scripts", delay))
            except Exception as error:
                if "over" not in str(error):
                    raise
        expect(told, "it was always over before")
        self.again(self.quick, "afterbuiltin")
        return f"{len(told)} kills: {told[0]}"

    def at_failpoint(self, step, happens):
        """The daemon ends itself at a step."""
        host = self.now()
        self.target.stop()
        self.target.begin(dict(os.environ, OSVOLD_FAILPOINT=step))
        self.target.wait_ready(self.target.answers)
        self.estate.api.close()
        try:
            task = self.begin(self.quick, host="passed")
        except (OSError, http.client.HTTPException):  # it was gone before it could answer
            task = None
        self.restart()
        task = task or self.estate.api.members("/rest/tasks?sort=created:descending")[0]["uri"]
        return self.look(task, "passed" if happens else host, happens)

    def stopped(self):
        """SIGTERM: the job ends, and the daemon in time."""
        host = self.now()
        task = self.begin(self.slow)
        self.wait_for(task, r"step 2")
        begin = time.monotonic()
        self.target.stop()
        seconds = time.monotonic() - begin
        self.restart()
        return f"stopped in {seconds:.1f} s: {self.look(task, host)}"


class Full:
    """A disk that is full, in each phase."""

    def __init__(self, cases, target, estate):
        self.dir, self.target, self.estate = cases.dir, target, estate

    def furnish(self):
        plans = Plans(self.estate)
        image = self.estate.image("esp", esp_image(self.dir / "esp.raw"))
        big = f"fill-pattern osvol {BIG_MIB * MIB} /EFI/big\n"
        text = "".join(f"upload -<<END /EFI/t{n}\n{('line of text ' * 8 + chr(10)) * 600}END\n" for n in range(8))
        self.quick, self.writing, self.texts = (
            plans.deploying(name, image, scripts, HOST)
            for name, scripts in (
                ("quick", [MOUNT, WRITE, UNMOUNT]), ("writing", [MOUNT, WRITE, ("big", "deploy", big), UNMOUNT]),
                ("texts", [MOUNT, WRITE, ("texts", "deploy", text), UNMOUNT]),
            )
        )  # fmt: skip
        self.profile = self.estate.create("web01", self.estate.bays[0], self.quick, {"Host": "before"})
        self.at_first = self.room()
        self.load()

    def load(self):
        """A volume that is there to take room."""
        self.target.osvol("volume", "create", "ballast", "--image", "esp", "--size", "1GiB")
        self.disk = Disk(self.target.volume("ballast"), "iqn.1993-08.org.debian:ballast")
        self.disk.attentions()

    def fill(self, leave_mib):
        """Takes all room but so much."""
        at, noise, size = 8 * MIB, os.urandom(MIB), MIB
        while not leave_mib or self.room() > leave_mib * MIB:
            answer = self.disk.put(at, noise[:size])
            if answer.sense == NO_SPACE and size == 4096:
                return
            if answer.sense == NO_SPACE:
                size = 65536 if size == MIB else 4096
            elif answer.status:
                expect(answer.sense[0] == UNIT_ATTENTION, f"sense {answer.sense}")
            else:
                at += size

    def room(self):
        return self.target.json("status")["capacity"]["availableBytes"]

    def free(self):
        """Everything that the ballast took comes back."""
        self.disk.close(logout=True)
        self.target.osvol("volume", "remove", "ballast")
        self.load()

    def refused(self, plan, leave_mib):
        """A deployment that finds no room: a clear error, the old volume stays, room comes back, the next try works."""
        before = self.estate.api.get(self.profile["uri"])["osDeploymentSettings"]
        volumes = [one["name"] for one in self.estate.api.members("/rest/os-volumes")]
        self.fill(leave_mib)
        used = self.target.used_bytes()
        try:
            done = self.estate.change(self.profile, plan=plan, values={"Host": "after"}, force=True)
            raise AssertionError(f"it found room: {done['name']}, {self.room()} bytes")
        except TaskFailed as failure:
            why = message_of(failure.task)
        except Exception as refusal:
            if "full" not in str(refusal) and "space" not in str(refusal):
                raise
            why = str(refusal)
        expect(re.search(r"full|space|room", why), f"not a clear error: {why}")
        expect(self.estate.api.get(self.profile["uri"])["osDeploymentSettings"] == before, "the profile has changed")
        expect([one["name"] for one in self.estate.api.members("/rest/os-volumes")] == volumes, "another list of volumes")
        nothing_left(self.target)
        text = files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE]
        expect(text == "before\n", text)
        end = time.monotonic() + 30
        while self.target.used_bytes() > used + MIB and time.monotonic() < end:
            time.sleep(0.1)
        expect(self.target.used_bytes() <= used + MIB, f"{self.target.used_bytes() - used} bytes more than before are used")
        self.free()
        end = time.monotonic() + 60
        while self.room() < self.at_first - 2 * MIB and time.monotonic() < end:
            time.sleep(0.2)
        expect(self.room() >= self.at_first - 2 * MIB, f"only {self.room() // MIB} MiB of room came back")
        return why

    def works_again(self):
        self.estate.change(self.profile, plan=self.quick, values={"Host": "after"}, force=True)
        text = files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE]
        expect(text == "after\n", text)
        self.disk.close(logout=True)
        expect(not self.target.panics(), self.target.panics())


def main():
    program = build()
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "deaths", [f"{ADDRESS}:3260"], tls=None, boot=None, program=program)
    target.plans = {"concurrent_max": 1}
    small = SmallAppliance(cases.dir / "full", [f"{ADDRESS}:3261"], tls=None, boot=None, program=program)
    small.mebibytes = DISK_MIB
    try:
        target.start()
        deaths = Deaths(cases, target, Estate(target.api(), target.portals[0]).furnish_servers(3))
        deaths.estate.api.patience = 180
        deaths.furnish()
        for name, body in (
            ("killed while it waits for another job", deaths.queued),
            ("killed while the built-in engine writes", deaths.built_in),
            ("killed while guestfish boots", lambda: deaths.killed_at(deaths.slow, r"guestfish", 1.0)),
            ("killed in the first step", lambda: deaths.killed_at(deaths.slow, r"step 1", 0.2)),
            ("killed in the second step", lambda: deaths.killed_at(deaths.slow, r"step 2", 0.2)),
            ("killed in the third step", lambda: deaths.killed_at(deaths.slow, r"step 3", 0.2)),
            ("killed in the last step; tried again", lambda: deaths.killed_at(deaths.slow, r"step 4", 0.2, deaths.slow)),
            ("killed while a plan is tried out", deaths.tried),
            ("killed while a copy is prepared for its capture", deaths.captured),
            ("killed before the scripts", lambda: deaths.at_failpoint("created", False)),
            ("killed after the scripts", lambda: deaths.at_failpoint("personalized", False)),
            ("killed when the old volume is withdrawn", lambda: deaths.at_failpoint("withdrawn", False)),
            ("killed when it has happened", lambda: deaths.at_failpoint("committed", True)),
            ("stopped in the second step", deaths.stopped),
        ):
            cases.case(name, body)
        target.stop()
        cases.case("catalogue and store agree at the end", lambda: expect(not (found := orphans(target)), found))
        small.start()
        full = Full(cases, small, Estate(small.api(), small.portals[0]).furnish_servers(3))
        full.estate.api.patience = 180
        full.furnish()
        for name, body in (
            ("full before it begins", lambda: full.refused(full.quick, 0)),
            ("full while the built-in engine writes", lambda: full.refused(full.texts, 0)),
            ("full while guestfish writes", lambda: full.refused(full.writing, 16)),
            ("room again: it works", full.works_again),
        ):
            cases.case(name, body)
    finally:
        for one in (target, small):
            one.close()
            if cases.failed and one.log.exists():
                print(f"the end of the log of {one.dir.name}:\n{one.log_tail(30)}", flush=True)
    cases.finish()


if __name__ == "__main__":
    main()

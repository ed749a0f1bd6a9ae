#!/usr/bin/env python3
"""osvold is killed after every step of every operation on profiles; afterwards everything agrees, and it can go on.

    tests/crashes_lifecycle.py [CASE...]

The daemon is built with `--features failpoints` (src/lifecycle/failpoint.rs has the steps), from a store that was made
once and is copied for each case. An operation that died before its commit must be undone, one after it carried on; nothing
may be left over in catalogue, store, exports or tasks. Each crash is repeated with the recovery dying at the same step.
"""

import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from agreement import disagreements, orphans  # noqa: E402
from api import Refused  # noqa: E402
from appliance import Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from target import TargetError, project  # noqa: E402

STEPS_FILE = "src/lifecycle/failpoint.rs"
COMMIT = "committed"
# What an operation passes last, in the daemon's log.
OVER = b"osvold: passed finished"
DIED_SECONDS = 60
# Daemons at a time, each with a portal of its own.
WORKERS = 3


def steps():
    """The steps, in the order in which operations pass them."""
    text = (project() / STEPS_FILE).read_text()
    return re.findall(r'"([a-z-]+)"', re.search(r"STEPS: &\[&str\] = &\[(.*?)\];", text, re.DOTALL)[1])


def build():
    """The daemon with failpoints, put aside: the next build without them takes its place. OSVOL_FAILPOINTS_BIN= takes one
    that is there."""
    if given := os.environ.get("OSVOL_FAILPOINTS_BIN"):
        return pathlib.Path(given)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", project() / "target")).resolve()
    aside = target / "failpoints/osvold"
    if "OSVOL_RIG_INSIDE" not in os.environ:
        command = ["cargo", "build", "--locked", "--features", "failpoints", "--bin", "osvold"]
        subprocess.run(command, cwd=project(), check=True, timeout=1500)
        aside.parent.mkdir(exist_ok=True)
        # Another stage may be running the one that is there.
        shutil.copy2(target / "debug/osvold", (copy := aside.with_name(f"osvold.{os.getpid()}")))
        copy.replace(aside)
    return aside


class Operation:
    """Something that is asked for, how it looks before, and how after."""

    def __init__(self, name, ask, done):
        self.name, self.ask, self.done = name, ask, done


def volume_name(estate, name):
    profile = estate.profile(name)
    volume = profile and estate.volume_of(profile)
    return volume and volume["name"]


def assigned(estate, name, server):
    return estate.profile(name)["serverHardwareUri"] == server["uri"]


def generation(estate, name):
    """The number of the volume that a profile boots from; it says whether a volume was made anew."""
    found = volume_name(estate, name)
    return int(found.rsplit("-", 1)[1]) if found else 0


def gone(estate, uri):
    return estate.api.ask("GET", uri).status == 404


def operations(estate, first):
    """Every operation. `web01` is on bay 1 with a volume (the number `first`), `idle` has a volume and is unassigned,
    `alone` too, in the other enclosure; `new` is not there yet."""
    bays = estate.bays

    def change(of, **changes):
        return lambda e: e.change(e.profile(of), force=True, **changes)

    def regenerated(name="web01"):
        return lambda e: generation(e, name) > first

    return [
        Operation("create, assigned", lambda e: e.create("new", bays[2]), lambda e: e.profile("new") is not None),
        Operation("create, unassigned", lambda e: e.create("new"), lambda e: e.profile("new") is not None),
        Operation("assign", change("idle", hardware=bays[1]), lambda e: assigned(e, "idle", bays[1])),
        Operation("unassign", change("web01", hardware=None), lambda e: e.profile("web01")["serverHardwareUri"] is None),
        Operation("move to another bay", change("web01", hardware=bays[2]), lambda e: assigned(e, "web01", bays[2])),
        Operation("move to another enclosure", change("web01", hardware=estate.elsewhere), regenerated()),
        Operation("move to another hardware type", change("web01", hardware=estate.bigger), regenerated()),
        Operation("change of plan", change("web01", plan=estate.other_os), regenerated()),
        Operation("removal of the plan", lambda e: e.change(e.profile("web01"), "?force=True", plan=None), lambda e: volume_name(e, "web01") is None),
        Operation("rename", change("web01", name="web09"), lambda e: e.profile("web09") is not None),
        Operation("roll back", roll_back, lambda e: volume_name(e, "twice") == estate.twice_first),
        Operation("delete a profile", lambda e: e.delete(e.profile("web01")), lambda e: e.profile("web01") is None),
        Operation("delete an unassigned profile", lambda e: e.delete(e.profile("idle")), lambda e: e.profile("idle") is None),
        Operation("move an enclosure to another group", regroup, regrouped),
        Operation("delete an enclosure", lambda e: e.api.delete(e.enclosures[1]["uri"] + "?force=True"), lambda e: gone(e, e.enclosures[1]["uri"])),
    ]  # fmt: skip


def roll_back(estate):
    profile = estate.profile("twice")
    return estate.api.post(f"{profile['uri']}/generations/1/rollback?force=True", None)


def regroup(estate):
    frame = estate.api.get(estate.enclosures[0]["uri"])
    return estate.api.put(frame["uri"], {**frame, "enclosureGroupUri": estate.groups[1]["uri"]})


def regrouped(estate):
    return estate.api.get(estate.enclosures[0]["uri"])["enclosureGroupUri"] == estate.groups[1]["uri"]


class Crashes:
    """Runs each operation once for each step that it passes."""

    def __init__(self, cases, program):
        self.cases, self.program = cases, program
        self.ports = queue.SimpleQueue()
        for port in range(3261, 3261 + WORKERS):
            self.ports.put(port)
        self.template = self.appliance("template", 3260)
        self.kills = self.undone = self.carried_on = self.recoveries = 0

    def appliance(self, name, port):
        return Appliance(self.cases.dir / name, [f"{ADDRESS}:{port}"], tls=None, boot=None, program=self.program)

    def prepare(self):
        """The store that each case begins with."""
        self.template.start()
        estate = Estate(self.template.api(), self.template.portals[0]).furnish(self.cases.dir)
        estate.create("twice", estate.elsewhere)
        estate.twice_first = volume_name(estate, "twice")
        estate.change(estate.profile("twice"), plan=estate.other_os, force=True)
        estate.change(estate.profile("twice"), hardware=None)
        alone = estate.create("alone", estate.elsewhere)
        estate.change(alone, hardware=None)
        idle = estate.create("idle", estate.bays[1])
        estate.change(idle, hardware=None)
        estate.create("web01", estate.bays[0])
        self.first = generation(estate, "web01")
        expect(not (found := disagreements(self.template, estate)), found)
        self.template.stop()
        expect(not (found := orphans(self.template)), found)
        self.estate = estate
        self.operations = operations(estate, self.first)

    def copy(self, port):
        """Such a store, and a daemon on it that is not started."""
        appliance = self.appliance(f"case{port}", port)
        shutil.rmtree(appliance.state, ignore_errors=True)
        shutil.copytree(self.template.state, appliance.state)
        return appliance

    def on(self, appliance):
        """The estate of a daemon that runs."""
        estate = self.estate.with_api(appliance.api())
        estate.portal = appliance.portals[0]
        return estate

    def died(self, appliance, told):
        """Whether the daemon aborted before its operation was over; it tells so in the part of its log after `told`."""
        end = time.monotonic() + DIED_SECONDS
        while time.monotonic() < end:
            if appliance.process.poll() is not None:
                return True
            if OVER in appliance.log.read_bytes()[told:]:
                return False
            time.sleep(0.01)
        raise AssertionError(f"it neither ended nor finished what it was asked for: {appliance.log_tail(5)}")

    def crash(self, operation, step):
        """The operation, up to the step; False when it does not pass it."""
        port = self.ports.get()
        appliance = self.copy(port)
        environment = dict(os.environ, OSVOLD_FAILPOINT=step)
        try:
            appliance.begin(environment)
            appliance.wait_ready(appliance.answers)
            told = appliance.log.stat().st_size
            try:
                operation.ask(self.on(appliance))
            except Refused:
                raise
            except Exception:  # the connection broke: it died, or the case fails below
                if not self.died(appliance, told):
                    raise
            if not self.died(appliance, told):
                expect(operation.done(self.on(appliance)), f"{operation.name}: it was not killed, and has not happened")
                return False
            self.kills += 1
            self.recover(appliance, environment)
            self.look(appliance, operation, step)
            return True
        finally:
            appliance.close()
            shutil.rmtree(appliance.dir, ignore_errors=True)
            self.ports.put(port)

    def recover(self, appliance, environment):
        """Starts it again, with the failpoint still there: what recovery passes kills it once more."""
        for _ in range(3):
            appliance.begin(environment)
            try:
                # Recovery is over before anybody gets an answer.
                appliance.wait_ready(appliance.answers)
                break
            except TargetError:
                expect(appliance.process.poll() is not None, "it neither starts nor ends")
                self.recoveries += 1
        if appliance.process.poll() is None:
            appliance.kill()
        appliance.start()

    def look(self, appliance, operation, step):
        """All agrees; it has happened or it has not, as the step says; and it can be asked for again."""
        estate = self.on(appliance)
        where = f"{operation.name}, killed at {step}"
        expect(not (found := disagreements(appliance, estate)), f"{where}: {found}")
        order = steps()
        happened = operation.done(estate)
        expect(happened == (order.index(step.split(":")[0]) >= order.index(COMMIT)), f"{where}: {'it happened' if happened else 'it did not happen'}")
        if happened:
            self.carried_on += 1
        else:
            self.undone += 1
            operation.ask(estate)
            expect(operation.done(estate), f"{where}: asked again, it does not happen")
            expect(not (found := disagreements(appliance, estate)), f"{where}, asked again: {found}")
        expect(not appliance.panics(), f"{where}: {appliance.panics()}")
        appliance.stop()
        expect(not (found := orphans(appliance)), f"{where}: {found}")

    def every_step(self, operation):
        wanted = [*steps(), *(f"{step}:2" for step in steps() if step.endswith("-one"))]
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as workers:
            passed = list(workers.map(lambda step: self.crash(operation, step), wanted))
        return " ".join(step for step, died in zip(wanted, passed) if died)

    def summary(self):
        expect(self.kills > 50, f"only {self.kills} kills")
        return f"{self.kills} kills in operations, {self.recoveries} in recoveries; {self.undone} undone, {self.carried_on} carried on"


def main():
    program = build()
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    crashes = Crashes(cases, program)
    try:
        crashes.prepare()
        for operation in crashes.operations:
            cases.case(operation.name, crashes.every_step, operation)
        if not cases.only:
            cases.case("enough was killed", crashes.summary)
    finally:
        crashes.template.close()
    cases.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Ten deployments at once, with both engines; an eleventh profile's server reads and writes meanwhile.

    tests/deployments_many.py [CASE...]      COUNT=20 for more
"""

import concurrent.futures
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import attribute, esp_image, files_of  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from command import Disk  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, below, log_of, nothing_left, own_orphans  # noqa: E402

COUNT = int(os.environ.get("COUNT") or 10)
FILE = "/EFI/BOOT/who.txt"
MIB = 1 << 20
# A server's command, while two machines are being emulated beside it.
COMMAND_SECONDS = 5.0
MOUNT, UNMOUNT = ("mount", "general", "mount /dev/sda1 /\n"), ("unmount", "general", "umount /\n")
BUILT_IN = [MOUNT, ("write", "deploy", f"upload -<<END {FILE}\n@Host@ by hand\nEND\n"), UNMOUNT]
GUESTFISH = [MOUNT, ("write", "deploy", f"!echo @Host@ by hand > ./who\nupload ./who {FILE}\n"), UNMOUNT]


class Server(threading.Thread):
    """A server that is at work: writes blocks, reads them again, and knows what is there."""

    def __init__(self, estate, profile):
        super().__init__(daemon=True)
        self.disk = Disk(estate.disk(profile), estate.initiator(profile))
        self.disk.attentions()
        self.end = threading.Event()
        self.commands, self.longest, self.faults = 0, 0.0, []

    def run(self):
        dice, known = random.Random(11), {}
        while not self.end.is_set():
            at = (60 * MIB // 4096 + dice.randrange(4096)) * 4096
            begin = time.monotonic()
            if dice.random() < 0.5:
                known[at] = dice.randbytes(4096)
                if self.disk.put(at, known[at]).status:
                    self.faults.append(f"writing at {at}")
            elif at in known and self.disk.get(at, 4096).data != known[at]:
                self.faults.append(f"reading at {at}")
            self.longest = max(self.longest, time.monotonic() - begin)
            self.commands += 1
            time.sleep(0.001)

    def report(self):
        self.end.set()
        self.join(30)
        self.disk.close(logout=True)
        expect(not self.faults, self.faults[:5])
        expect(self.commands > 10 and self.longest < COMMAND_SECONDS, f"{self.commands} commands, the longest took {self.longest:.1f} s")
        return f"its server did {self.commands} commands, the longest in {self.longest * 1000:.0f} ms"


def memory_mib(target):
    """What jobs have in memory at this moment, and how many machines they run; shared pages are shared out."""
    total, machines = 0, 0
    for pid, name in below(target.pid).items():
        try:
            text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
        machines += name.startswith("qemu")
    return total // 1024, machines


class Many:
    """The cases."""

    def __init__(self, cases, target, estate):
        self.dir, self.target, self.estate = cases.dir, target, estate

    def furnish(self):
        image = self.estate.image("esp", esp_image(self.dir / "esp.raw"))
        plans = Plans(self.estate)
        host = [attribute("Host", "hostname", None)]
        self.built_in, self.guestfish = plans.deploying("built-in", image, BUILT_IN, host), plans.deploying("guestfish", image, GUESTFISH, host)
        self.working = self.estate.create("working", self.estate.bays[COUNT], self.built_in, {"Host": "working"})

    def one(self, number):
        """A deployment over a connection of its own."""
        estate = self.estate.with_api(self.estate.api.again())
        begin = time.monotonic()
        plan = self.guestfish if number % 2 else self.built_in
        profile = estate.create(f"web{number}", self.estate.bays[number], plan, {"Host": f"web{number}"})
        return profile, time.monotonic() - begin

    def at_once(self):
        server = Server(self.estate, self.working)
        server.start()
        begin, peak, machines = time.monotonic(), 0, 0
        with concurrent.futures.ThreadPoolExecutor(COUNT) as pool:
            futures = [pool.submit(self.one, number) for number in range(COUNT)]
            while not all(future.done() for future in futures):
                now, running = memory_mib(self.target)
                peak, machines = max(peak, now), max(machines, running)
                time.sleep(0.1)
        seconds = time.monotonic() - begin
        told = server.report()
        done = [future.result() for future in futures]
        for number, (profile, _) in enumerate(done):
            text = files_of(self.estate.read_out(profile, self.dir / "seen.raw"), [FILE])[FILE]
            expect(text == f"web{number} by hand\n", f"web{number}: {text!r}")
            expect(self.estate.seen_by(self.estate.initiator(profile)) == [self.estate.disk(profile).iqn], f"web{number} sees others")
        nothing_left(self.target)
        slots = os.cpu_count()
        expect(machines <= slots, f"{machines} machines at a time, {slots} processors")
        quick = max(took for number, (_, took) in enumerate(done) if number % 2 == 0)
        slow = max(took for number, (_, took) in enumerate(done) if number % 2)
        return (
            f"{COUNT} in {seconds:.1f} s (the last built-in after {quick:.1f} s, the last by guestfish after {slow:.1f} s), at most {machines} machines; "
            f"jobs took {peak} MiB at the peak, osvold {self.target.peak_mebibytes()} MiB; {told}"
        )

    def queued(self):
        """Those that waited say so."""
        logs = [line["statusUpdate"] for task in self.estate.api.members("/rest/tasks") for line in task["progressUpdates"]]
        expect(sum("waiting" in line for line in logs) >= COUNT // 2 - (os.cpu_count() or 1), logs[:20])
        task = next(task for task in self.estate.api.members("/rest/tasks") if task["associatedResource"]["resourceName"] == "web1")
        expect("web1" in log_of(self.estate.api, task), "no log of its own")


def main():
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None)
    with cases.serving(target):
        estate = Estate(target.api(), target.portals[0]).furnish_servers(COUNT + 1)
        estate.api.patience = 400
        many = Many(cases, target, estate)
        many.furnish()
        cases.case(f"{COUNT} deployments at once, half by guestfish, while a server works", many.at_once)
        cases.case("those that waited say so, and each has its own log", many.queued)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The power of a machine that runs osvold goes, at many moments of one load; what was flushed is there.

    tests/power_cuts.py [--seconds S] [--cuts N] [--glances N] [--seed S]    8 s of load, 6 cuts and 16 glances unless told otherwise

osvold runs in a QEMU machine, its store on ext4 on a disk whose every write and flush is logged (blklogwrites). libiscsi
writers on the host load it, and snapshots are taken; what it acknowledged, and how far the log was then, is noted. The
machine is killed. From the log come the disks that a power cut at any moment may leave: all that was flushed, and of the
rest nothing, all of it, or any part, in any order, torn into sectors. Another machine mounts each, checks the store,
serves it, and every block is read:

- what SYNCHRONIZE CACHE or FUA had acknowledged before the cut is there, or something later;
- every other block is old or new, never garbage, zeros or the golden image's once it had been overwritten;
- a volume is as it was at one moment: nothing acknowledged is missing that something later outlives;
- registrations and the persistent reservation are the last ones acknowledged with APTPL, or later ones; without it, none.

A glance is a cut of which only the check is seen, without the data: many moments for the time that one cut takes.
The last disk is older than it is said to be, to see that the comparison does notice.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "rig"))
from cases import ADDRESS, Cases, Failed, enter_namespace, expect  # noqa: E402
from command import Disk  # noqa: E402
from initiator import Session, serve  # noqa: E402
from ledger import Ledger, Wrong  # noqa: E402
from registrations import Registrations, check  # noqa: E402
from target import Volume, binary  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402
from writelog import FLUSH, Replay, entries_so_far, read_entries  # noqa: E402
from writer import Writer, golden_image  # noqa: E402

MIB = 1 << 20
SECTOR = 512
DISK_BYTES = 512 * MIB
IMAGE_BYTES = 4 * MIB
# Name, size, unit, writers.
VOLUMES = [("sectors", 4 * MIB, SECTOR, 1), ("busy", 6 * MIB, 4096, 2), ("calm", 6 * MIB, 4096, 1), ("reserved", 4 * MIB, 4096, 0)]
RESERVED = "reserved"
GUEST = ADDRESS.rsplit(".", 1)[0] + ".100"
SCRIPT = pathlib.Path(__file__).resolve().parent / "guest/power.sh"
SABOTAGE = "an older disk"
# An emulated machine on a busy one may stand still for a while.
PATIENCE = 240


class PowerCut(BaseException):
    """Leaves the machine's loop, which then kills it."""


class PowerCuts:
    """One load, and its cuts."""

    def __init__(self, folder, seed, seconds, cuts, glances):
        self.folder, self.seconds, self.cuts, self.glances = folder, seconds, cuts, glances
        self.random = random.Random(seed)
        self.image = golden_image(IMAGE_BYTES)
        (folder / "golden.raw").write_bytes(self.image)
        self.log, self.disk = folder / "log", folder / "disk"
        self.volumes, self.ledgers = {}, {}
        self.cut = None
        self.first = 0
        self.todo = []
        self.counts = {"cuts": 0, "glances": 0, "writes no flush covered": 0, "bytes compared": 0}
        self.noticed = None
        self.lines = []

    def guest(self, role, devices, hooks):
        """Boots the machine."""
        files = [binary("osvold"), binary("osvol")] + ([self.folder / "golden.raw"] if role == "writer" else [])
        volumes = ",".join(f"{name}:{size}" for name, size, *_ in VOLUMES)
        environment = {"ROLE": role, "ADDRESS": f"{GUEST}:3260", "VOLUMES": volumes}
        limit = PATIENCE + self.seconds + 60 * self.cuts + 20 * self.glances
        return run_guest(SCRIPT, environment, self.lines.append, hooks, limit=limit, files=files, devices=devices)

    def write(self):
        """The load, until the power goes."""
        with open(self.disk, "wb") as disk:
            disk.truncate(DISK_BYTES)
        self.log.touch()
        devices = [
            "-blockdev", f"driver=file,node-name=plain,filename={self.disk}",
            "-blockdev", f"driver=file,node-name=writes,filename={self.log}",
            "-blockdev", "driver=blklogwrites,node-name=logged,file=plain,log=writes",
            "-device", "virtio-blk-pci,drive=logged",
        ]  # fmt: skip
        try:
            status = self.guest("writer", devices, {"load": self.load})
        except PowerCut:
            self.plan()
            counts = {key: sum(ledger.counts[key] for ledger in self.ledgers.values()) for key in ("acknowledged", "flushes")}
            counts["states of reservations"] = len(self.registrations.states)
            return ", ".join(f"{value} {key}" for key, value in counts.items()) + f", {len(self.entries)} entries in the disk's log"
        raise Failed(f"the machine ended by itself with {status}:\n" + "\n".join(self.lines[-30:]))

    def load(self, listed):
        """Called when the store is made: writers on the host, until it is time."""
        descriptor = os.open(self.log, os.O_RDONLY)
        for number, (name, size, unit, _) in enumerate(VOLUMES, 1):
            shown = next(one for one in json.loads(listed)["members"] if one["name"] == name)
            self.volumes[name] = Volume(name, shown["iscsiName"], int(shown["lun"]), [f"{GUEST}:3260"])
            self.ledgers[name] = Ledger(number, size // unit, unit, self.image, lambda: entries_so_far(descriptor))
        self.first = entries_so_far(descriptor)
        writers = [
            Writer(
                Session(self.volumes[name], f"iqn.1993-08.org.debian:{name}{at}", seconds=PATIENCE), self.ledgers[name], self.random, 0.03, 48
            )
            for name, _, _, count in VOLUMES for at in range(count)
        ]  # fmt: skip
        disk = Disk(self.volumes[RESERVED], "iqn.1993-08.org.debian:registered", seconds=PATIENCE)
        self.registrations = Registrations(disk, lambda: entries_so_far(descriptor))
        end, at = time.monotonic() + self.seconds, 0.0
        while time.monotonic() < end:
            for writer in writers:
                writer.fill()
                writer.expect_good()
            serve([writer.session for writer in writers], 0.02)
            if time.monotonic() - at > 0.4:
                self.registrations.change()
                at = time.monotonic()
        raise PowerCut

    def plan(self):
        """Chooses moments: some anywhere, most where many writes wait for their flush."""
        self.entries = read_entries(self.log)
        last = len(self.entries)
        expect(last > self.first + 50, f"only {last - self.first} entries in the disk's log")
        flushes = [self.first, *(at for at in range(self.first, last) if self.entries[at].flags & FLUSH), last]
        windows = [(begin, end) for begin, end in zip(flushes, flushes[1:], strict=False) if end - begin > 2]
        for number in range(self.cuts + self.glances):
            cut = self.random.randint(self.first, last)
            if number % 3 and windows:
                begin, end = self.random.choices(windows, [end - begin for begin, end in windows])[0]
                cut = self.random.choice([end, self.random.randint(begin + 1, end)])
            way = self.random.choice(["none", "all", "some", "some", "torn", "torn"])
            self.todo.append((cut, way, number >= self.cuts))
        self.todo.sort()
        # The oldest possible disk comes last, said to be the newest.
        self.todo.append((last, SABOTAGE, False))

    def chooser(self, way):
        """What becomes of a write that no flush covers."""
        share = self.random.random()
        keep = lambda: self.random.random() < share  # noqa: E731
        if way == "some":
            return lambda _entry: keep()
        if way == "torn":
            return lambda _entry: keep if self.random.random() < 0.5 else keep()
        return lambda _entry: way == "all"

    def next(self):
        """Makes the next disk."""
        if not self.todo:
            return "end"
        self.cut, way, glance = self.todo.pop(0)
        self.way = way
        made = self.folder / "cut"
        if way == SABOTAGE:
            half = (self.first + len(self.entries)) // 2
            Replay(self.log, self.entries, self.folder / "base2", DISK_BYTES).cut(half, made, lambda _entry: True)
            return f"cut at {half}, said to be at {self.cut}"
        open_writes = self.replay.cut(self.cut, made, self.chooser(way))
        self.counts["writes no flush covered"] += open_writes
        kind = "glance" if glance else "cut"
        return f"{kind} at {self.cut} of {len(self.entries)}, {way} of {open_writes} entries that no flush covers"

    def glanced(self, checked):
        """Only the check has looked."""
        expect(checked == "0", f"`osvol store check` ends with {checked}")
        self.counts["glances"] += 1

    def verify(self, checked):
        """Reads everything of the store that the machine serves now."""
        try:
            expect(checked == "0", f"`osvol store check` ends with {checked}")
            for name, volume in self.volumes.items():
                self.compare(volume, self.ledgers[name])
            disk = Disk(self.volumes[RESERVED], "iqn.1993-08.org.debian:looks", seconds=PATIENCE)
            check(disk, self.registrations, self.cut)
            disk.close()
        except Wrong as wrong:
            if self.way != SABOTAGE:
                raise
            self.noticed = str(wrong)
            return
        self.counts["cuts"] += self.way != SABOTAGE

    def compare(self, volume, ledger):
        """One volume."""
        session = Session(volume, "iqn.1993-08.org.debian:reader", seconds=PATIENCE)
        try:
            data = session.read_all(ledger.units * ledger.unit_bytes, SECTOR)
        finally:
            session.close()
        self.counts["bytes compared"] += len(data)
        ledger.prefix(ledger.compare(data, lambda unit: ledger.after_cut(unit, self.cut)))

    def check(self):
        """All cuts, in one machine."""
        made = self.folder / "cut"
        with open(made, "wb") as disk:
            disk.truncate(DISK_BYTES)
        self.replay = Replay(self.log, self.entries, self.folder / "base", DISK_BYTES)
        self.lines.clear()
        devices = ["-blockdev", f"driver=file,node-name=cut,filename={made}", "-device", "virtio-blk-pci,drive=cut"]
        status = self.guest("checker", devices, {"next": self.next, "glanced": self.glanced, "verify": self.verify})
        if status:
            raise Failed(f"status {status}:\n" + "\n".join(self.lines[-60:]))
        expect((self.counts["cuts"], self.counts["glances"]) == (self.cuts, self.glances), f"{self.counts}")
        return ", ".join(f"{value} {key}" for key, value in self.counts.items())

    def see(self):
        """The last disk."""
        expect(self.noticed, "a disk that had lost flushed writes was taken for a good one")
        return self.noticed[:150]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=8)
    arguments.add_argument("--cuts", type=int, default=6)
    arguments.add_argument("--glances", type=int, default=16)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    chosen = arguments.parse_args()
    initrd_folder()  # out here: the namespace has no way to a mirror
    enter_namespace()
    cases = Cases()
    folder = cases.dir / "power"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    cuts = PowerCuts(folder, chosen.seed, chosen.seconds, chosen.cuts, chosen.glances)
    told = f"--seconds {chosen.seconds:g} --cuts {chosen.cuts} --glances {chosen.glances} --seed {chosen.seed}"
    cases.case(f"osvold under load in a machine ({told})", cuts.write)
    if not cases.failed:
        cases.case("what was flushed survives each power cut, the rest is old or new", cuts.check)
        if not cases.failed:
            cases.case("a store that lost flushed writes is noticed", cuts.see)
    cases.finish()


if __name__ == "__main__":
    main()

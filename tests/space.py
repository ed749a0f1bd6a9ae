#!/usr/bin/env python3
"""Volumes that grow, reach their quota, and fill the store's disk, under libiscsi clients that stay logged in.

    tests/space.py [CASE...]
"""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from command import CAPACITY_CHANGED, MODE_CHANGED, NO_SPACE, SOFT_THRESHOLD, Disk  # noqa: E402
from target import SmallDisk  # noqa: E402

MIB = 1 << 20
DISK_MIB = 160
GOLDEN_MIB = 4
# The daemon looks at the file system every 2 s and at quotas every 10 s.
PATIENCE_SECONDS = 25


def soon(probe, why):
    """What the probe gives once it gives something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if found := probe():
            return found
        time.sleep(0.1)
    return expect(False, why)


def good(answer):
    expect(answer.status == 0, f"status {answer.status}, sense {answer.sense}")
    return answer


class Space:
    """The cases, on a store whose file system is small."""

    def __init__(self, target):
        self.target = target

    def disk(self, name, size, number=1):
        """A session with a volume, made where it is not there yet; it has heard all that it missed."""
        if name not in (volume["name"] for volume in self.target.json("volume", "list")["members"]):
            self.target.create_volume(name, "golden", size)
        disk = Disk(self.target.volume(name), f"iqn.1993-08.org.debian:{name}{number}")
        disk.attentions()
        return disk

    def told(self, disk, attention):
        """Waits until a session is told something, and only that."""
        told = soon(disk.attentions, f"{attention} is never told")
        expect(told == [attention], f"expected {attention}, told {told}")

    def level(self, *names):
        """Waits for the store's level."""
        return soon(
            lambda: (level := self.target.json("status")["capacity"]["level"]) in names and level, f"the store's level is never {names}"
        )

    def grow(self):
        first, second = self.disk("grows", "32MiB"), self.disk("grows", "32MiB", 2)
        other = self.disk("stays", "32MiB")
        self.target.osvol("volume", "grow", "grows", "48MiB")
        for disk in (first, second):
            told = disk.attentions()
            expect(told == [CAPACITY_CHANGED], f"told {told}")
            expect(disk.size() == 48 * MIB, f"{disk.size()} bytes")
        expect(not other.attentions() and other.size() == 32 * MIB, "the neighbour has heard of it")
        good(first.put(48 * MIB - 4096, b"e" * 4096))
        expect(good(second.get(48 * MIB - 8192, 8192)).data == bytes(4096) + b"e" * 4096, "the new end")
        done = self.target.osvol("volume", "grow", "grows", "32MiB", check=False)
        expect(done.returncode == 1 and "cannot shrink" in done.stderr, done.stdout + done.stderr)
        expect(not first.attentions() and first.size() == 48 * MIB, "a refusal has changed something")
        listed = {volume["name"]: volume["state"] for volume in self.target.json("volume", "list")["members"]}
        expect(listed["grows"] == listed["stays"] == "InUse", f"states {listed}")
        for disk in (first, second, other):
            disk.close(logout=True)
        self.target.osvol("volume", "grow", "grows", "64MiB")
        late = self.disk("grows", None)
        expect(late.size() == 64 * MIB, f"{late.size()} bytes after a login")
        late.close(logout=True)

    def quota(self):
        disk, other = self.disk("limited", "32MiB"), self.disk("free", "32MiB")
        self.target.osvol("volume", "set", "limited", "--quota", "4MiB")
        told = disk.attentions()
        expect(told == [MODE_CHANGED], f"told {told}")
        expect(disk.thresholds() == [(1, 1, 1), (1, 1, 0)], f"thresholds {disk.thresholds()}")
        noise = os.urandom(MIB)
        for part in range(3):
            good(disk.put(part * MIB, noise))
        good(disk.put(3 * MIB, noise[: 128 << 10]))
        self.told(disk, SOFT_THRESHOLD)
        shown = self.target.json("volume", "show", "limited")
        expect((shown["status"], shown["spaceLevel"]) == ("Warning", "Soft"), f"{shown['status']} {shown['spaceLevel']}")
        expect("of its quota of 4 MiB" in shown["statusReason"], shown["statusReason"])
        expect("1 volume needs attention" in self.target.osvol("status").stdout, "status does not say so")
        refused = disk.put(8 * MIB, noise)
        expect(refused.sense == NO_SPACE, f"sense {refused.sense}")
        expect(good(disk.get(0, MIB)).data == noise and good(disk.get(8 * MIB, 4096)), "what was refused was written")
        good(disk.sync())
        good(other.put(8 * MIB, noise))
        expect(not other.attentions(), "the neighbour has heard of it")
        self.target.osvol("volume", "set", "limited", "--quota", "none")
        told = disk.attentions()
        expect(told == [MODE_CHANGED], f"told {told}")
        store = self.target.json("status")["capacity"]
        quarter = (store["totalBytes"] - store["reserveBytes"]) // 4 // MIB
        expect(abs(disk.thresholds()[0][2] - quarter) <= 1, f"thresholds {disk.thresholds()}, a quarter is {quarter}")
        good(disk.put(8 * MIB, noise))
        expect(self.target.json("volume", "show", "limited")["status"] == "OK", "a worry about no quota")
        disk.close(logout=True)
        other.close(logout=True)
        for name in ("limited", "free", "grows", "stays"):
            self.target.osvol("volume", "remove", name)

    def fill(self, disk, at):
        """Writes until not even a block finds space; gives where that was."""
        noise, size = os.urandom(MIB), MIB
        while at < 1024 * MIB:
            answer = disk.put(at, noise[:size])
            if answer.sense == NO_SPACE:
                if size == 4096:
                    return at
                size = 65536 if size == MIB else 4096
            elif answer.status:
                expect(answer.sense == SOFT_THRESHOLD, f"sense {answer.sense}")
            else:
                at += size
        return expect(False, "the disk is never full")

    def full(self):
        ballast, writer, reader = self.disk("ballast", "64MiB"), self.disk("writer", "1GiB"), self.disk("reader", "64MiB")
        noise = os.urandom(MIB)
        for part in range(40):
            good(ballast.put(part * MIB, noise))
        good(ballast.sync())
        ballast.close(logout=True)
        for part in range(8):
            good(reader.put(8 * MIB + part * MIB, noise))
        self.target.osvol("snapshot", "create", "reader", "before")
        at = 8 * MIB
        while self.target.json("status")["capacity"]["level"] == "Normal":
            good(writer.put(at, noise))
            at += MIB
        self.told(writer, SOFT_THRESHOLD)
        self.told(reader, SOFT_THRESHOLD)
        at = self.fill(writer, at)
        self.level("Full")
        status = self.target.osvol("status").stdout
        expect("Critical" in status and "the store is full" in status, status)
        refused = writer.put(at, noise)
        expect(refused.sense == NO_SPACE, f"a second time: {refused.sense}")
        # Everything else goes on, the same session and its neighbours.
        expect(good(writer.get(at - 4096, 4096)).data and good(reader.get(8 * MIB, MIB)).data == noise, "reads")
        good(writer.sync())
        good(reader.sync())
        good(reader.trim(8 * MIB, MIB))
        expect(good(reader.get(8 * MIB, 4096)).data == bytes(4096), "a trim that leaves data")
        reader.attentions()
        expect(reader.put(40 * MIB, noise).sense == NO_SPACE, "a neighbour's write that needs room")
        self.target.osvol("snapshot", "remove", "reader", "before")
        self.target.osvol("volume", "list")
        # Room comes back, and the same session writes on.
        self.target.osvol("volume", "remove", "ballast")
        writer.attentions()
        good(soon(lambda: (answer := writer.put(at, noise)).status == 0 and answer, "no room after the removal"))
        good(writer.sync())
        expect(good(writer.get(at, MIB)).data == noise, "what was written after the removal")
        good(reader.put(40 * MIB, noise))
        self.level("Normal", "Soft", "High")
        health = self.target.json("volume", "list")["members"]
        expect(all(volume["status"] == "OK" for volume in health), f"{health}")
        # And what is on disk is what was acknowledged.
        self.target.kill()
        self.target.start()
        again = self.disk("writer", None)
        expect(good(again.get(at, MIB)).data == noise, "after kill -9")
        return f"full after {at // MIB} MiB"

    def exact(self):
        """What the API says that the store takes is what the file system says."""
        status = self.target.json("status")
        capacity = status["capacity"]
        used = self.target.used_bytes()
        parts = capacity["imagesBytes"] + capacity["volumesBytes"] + capacity["snapshotsBytes"]
        expect(parts == status["allocatedBytes"], f"{parts} and {status['allocatedBytes']}")
        volumes = sum(volume["allocatedBytes"] for volume in self.target.json("volume", "list")["members"])
        expect(volumes == capacity["volumesBytes"], f"{volumes} of volumes, {capacity['volumesBytes']} of the store")
        rest = used - parts - capacity["catalogBytes"]  # manifests, digests, the scrub's record
        expect(0 <= rest <= MIB // 2, f"{used} bytes are used, {parts} are told")
        return f"{parts} bytes told, {rest} bytes of metadata beside them"


def main():
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    golden = cases.dir / "golden.raw"
    golden.write_bytes(os.urandom(GOLDEN_MIB * MIB))
    target = SmallDisk(cases.dir / "target", [f"{ADDRESS}:3260"], DISK_MIB)
    with cases.serving(target):
        target.add_image("golden", golden)
        space = Space(target)
        cases.case("a volume grows in use: both sessions are told, the new end can be written", space.grow)
        cases.case("a quota: 75 % is told, what is more is refused, the neighbour writes on", space.quota)
        cases.case("a full disk fails only what needs room, and heals by itself", space.full)
        cases.case("what the store takes is told exactly", space.exact)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""osvold under load from several libiscsi writers, killed at random moments: every acknowledged write is there.

    tests/kills.py [--kills N] [--seconds S] [--seed S]      25 kills in at most 60 s unless told otherwise

Four volumes of one image, five sessions: writes of many sizes, some with FUA, UNMAP, SYNCHRONIZE CACHE, up to 16 at
once on each; now and then a snapshot meanwhile. Then SIGKILL, restart, and every block of every volume is compared with
what it may hold (rig/ledger.py): the last acknowledged change or a later one. Snapshots are compared likewise, some of them
again after the next kill. At the end records are cut out of the log, to see that the comparison does notice.
"""

import argparse
import hashlib
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "rig"))
from cases import ADDRESS, Cases, Failed, enter_namespace, expect  # noqa: E402
from initiator import Lost, Session, drain, serve  # noqa: E402
from ledger import Ledger, Wrong  # noqa: E402
from target import Osvold  # noqa: E402
from writer import Writer, golden_image  # noqa: E402

MIB = 1 << 20
SECTOR = 512
IMAGE_BYTES = 6 * MIB
# Name, size, unit, writers.
VOLUMES = [("sectors", 6 * MIB, SECTOR, 1), ("busy", 8 * MIB, 4096, 2), ("calm", 8 * MIB, 4096, 1), ("large", 16 * MIB, 4096, 1)]


class Snapshot:
    """A snapshot that was asked for while its volume was being written."""

    def __init__(self, name, volume):
        self.name, self.volume = name, volume
        self.asked = self.done = None
        self.digest = None
        self.acknowledged = False


class Kills:
    """The target, its volumes and their ledgers, over many lives."""

    def __init__(self, target, seed):
        self.target, self.random = target, random.Random(seed)
        self.volumes, self.ledgers = {}, {}
        self.snapshots = []
        self.taking = None
        self.counts = {"kills": 0, "in flight at a kill": 0, "snapshots compared": 0, "bytes compared": 0}

    def set_up(self, folder):
        """The image and its volumes."""
        image = golden_image(IMAGE_BYTES)
        (folder / "golden.raw").write_bytes(image)
        self.target.start()
        self.target.add_image("golden", folder / "golden.raw")
        for number, (name, size, unit, _) in enumerate(VOLUMES, 1):
            self.volumes[name] = self.target.create_volume(name, "golden", size=str(size))
            self.ledgers[name] = Ledger(number, size // unit, unit, image)

    def read(self, volume, ledger):
        """The whole of a volume, through a session of its own."""
        session = Session(volume, "iqn.1993-08.org.debian:reader")
        try:
            data = session.read_all(ledger.units * ledger.unit_bytes, SECTOR)
        finally:
            session.close(logout=True)
        self.counts["bytes compared"] += len(data)
        return data

    def compare(self):
        """Everything, after a kill."""
        for snapshot in list(self.snapshots):
            self.compare_snapshot(snapshot)
        for name, volume in self.volumes.items():
            ledger = self.ledgers[name]
            ledger.settle(ledger.compare(self.read(volume, ledger), ledger.after_kill))

    def compare_snapshot(self, snapshot):
        """A snapshot that was acknowledged is there; one that is there holds what its volume held meanwhile."""
        self.snapshots.remove(snapshot)
        listed = [found["name"] for found in self.target.json("snapshot", "list", snapshot.volume)["members"]]
        if snapshot.name not in listed:
            expect(not snapshot.acknowledged, f"snapshot {snapshot.name} was acknowledged and is gone")
            return
        self.target.osvol("volume", "create", "look", "--snapshot", f"{snapshot.volume}/{snapshot.name}")
        ledger = self.ledgers[snapshot.volume]
        data = self.read(self.target.volume("look"), ledger)
        digest = hashlib.sha256(data).hexdigest()
        if snapshot.digest is None:
            ledger.compare(data, lambda unit: ledger.snapshot_allowed(unit, snapshot.asked, snapshot.done))
        else:
            expect(digest == snapshot.digest, f"snapshot {snapshot.name} has changed")
        self.target.remove_volume("look")
        self.counts["snapshots compared"] += 1
        if snapshot.digest is None and self.random.random() < 0.5:
            snapshot.digest, snapshot.acknowledged = digest, True
            self.snapshots.append(snapshot)
        else:
            self.target.osvol("snapshot", "remove", snapshot.volume, snapshot.name)

    def take_snapshot(self):
        """Begins a snapshot of a volume in use, beside the load."""
        name = self.random.choice([name for name, *_ in VOLUMES])
        snapshot = Snapshot(f"s{self.counts['kills']}", name)
        self.snapshots.append(snapshot)
        snapshot.asked = next(Ledger.clock)

        def take():
            done = self.target.osvol("snapshot", "create", name, snapshot.name, check=False)
            snapshot.done = next(Ledger.clock)
            snapshot.acknowledged = done.returncode == 0

        self.taking = threading.Thread(target=take)
        self.taking.start()

    def live(self, quiet=False):
        """Load until the kill; a quiet one comes when everything has been acknowledged."""
        writers = [
            Writer(Session(self.volumes[name], f"iqn.1993-08.org.debian:{name}{at}"), self.ledgers[name], self.random)
            for name, _, _, count in VOLUMES for at in range(count)
        ]  # fmt: skip
        sessions = [writer.session for writer in writers]
        life = self.random.choice([0.02, 0.3, 1.2]) * self.random.random()
        end = time.monotonic() + life
        snapshot_at = end - life * self.random.random() if self.random.random() < 0.7 else None
        while time.monotonic() < end:
            for writer in writers:
                writer.fill()
            serve(sessions, max(0.0, min(0.01, end - time.monotonic())))
            if snapshot_at and time.monotonic() > snapshot_at:
                snapshot_at = self.take_snapshot()
            expect(self.target.alive(), "osvold ended by itself")
            for writer in writers:
                writer.expect_good()
        while quiet and any(session.under_way for session in sessions):
            serve(sessions, 1.0)
        self.counts["in flight at a kill"] += sum(session.under_way for session in sessions)
        self.target.kill()
        self.counts["kills"] += 1
        drain(sessions, 5)
        for session in sessions:
            session.close()
        if self.taking:
            self.taking.join()
            self.taking = None

    def run(self, kills, seconds):
        """So many lives, or for so long."""
        begin = time.monotonic()
        self.live()
        while True:
            self.target.start()
            self.compare()
            if self.counts["kills"] >= kills or time.monotonic() - begin > seconds:
                break
            if self.counts["kills"] % 25 == 0:
                print(f"       | {self.told()}", flush=True)
            self.live()
        self.target.kill()
        expect(self.counts["kills"] >= min(kills, 5), f"only {self.counts['kills']} kills in {seconds} s")
        return self.told()

    def told(self):
        """How far it got."""
        ledgers = self.ledgers.values()
        counts = {key: sum(ledger.counts[key] for ledger in ledgers) for key in ("asked", "acknowledged", "flushes")}
        counts |= self.counts
        return ", ".join(f"{value} {key}" for key, value in counts.items())

    def sabotage(self):
        """The last records of the logs go; a comparison that notices nothing is worth nothing."""
        self.target.start()
        self.live(quiet=True)
        for layer in (self.target.state / "layers").iterdir():
            for segment in sorted(layer.glob("seg-*"))[-1:]:
                cut_last_records(segment, 2)
        self.target.start()
        said = []
        for name, volume in self.volumes.items():
            ledger = self.ledgers[name]
            try:
                ledger.compare(self.read(volume, ledger), ledger.after_kill)
            except Lost:
                pass  # the store has noticed by itself: a later record said that they were durable
            except Wrong as wrong:
                said.append(str(wrong))
        expect(said, "records were cut out of the logs and nothing was noticed")
        return said[0][:150]


def cut_last_records(path, count):
    """Overwrites the last records of a segment with zeros."""
    data = path.read_bytes()
    places = [at for at in range(4096, min(len(data), MIB) - 4, 8) if data[at : at + 4] == b"OVr1"]
    with open(path, "r+b") as file:
        for at in places[-count:]:
            file.seek(at)
            file.write(bytes(48))


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--kills", type=int, default=25)
    arguments.add_argument("--seconds", type=float, default=60)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    chosen = arguments.parse_args()
    enter_namespace()
    cases = Cases()
    target = Osvold(cases.dir / "target", [f"{ADDRESS}:3260"])
    kills = Kills(target, chosen.seed)
    try:
        kills.set_up(cases.dir)
        cases.case(
            f"every acknowledged write survives SIGKILL (--kills {chosen.kills} --seconds {chosen.seconds:g} --seed {chosen.seed})",
            kills.run, chosen.kills, chosen.seconds,
        )  # fmt: skip
        if not cases.failed:
            cases.case("a store that lost writes is noticed", kills.sabotage)
        else:
            print(f"the end of the target's log:\n{target.log_tail(40)}", flush=True)
    finally:
        target.kill()
    cases.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Two machines of a cluster and one volume: persistent reservations and Pacemaker's own fence_scsi.

    tests/fencing.py

Two guests, each with a session of its own, tell each other by way of the host what has been done: the steps of
tests/guest/fencing.sh. The second one is fenced while it writes, and is booted again. What becomes of registrations in a power cut
is tests/power_cuts.py's.
"""

import pathlib
import sys
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
sys.path.insert(0, str(HERE))
from cases import ADDRESS, Cases, Failed, enter_namespace  # noqa: E402
from fence_agent import fence_agent  # noqa: E402
from guest import GuestCases  # noqa: E402
from target import open_target  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402

MIB = 1 << 20
DISK_MIB = 64
# A guest waits that long for what the other one does: an emulated machine on a busy one may be slow.
PATIENCE = 400
KEYS = "abcd0001,abcd0002"


class Words:
    """What one guest has said and another may wait for."""

    def __init__(self):
        self.said = set()
        self.given_up = False
        self.changed = threading.Condition()

    def say(self, word):
        with self.changed:
            self.said.add(word)
            self.changed.notify_all()

    def hear(self, word):
        with self.changed:
            heard = self.changed.wait_for(lambda: word in self.said or self.given_up, PATIENCE)
            if word not in self.said:
                raise Failed(f"'{word}' was not said: " + ("the other node failed" if heard else "it took too long"))

    def give_up(self):
        """Nobody waits for a node that has failed."""
        with self.changed:
            self.given_up = True
            self.changed.notify_all()


class Cluster:
    """The nodes, and what they share."""

    def __init__(self, cases, target, disk):
        self.cases, self.target, self.disk = cases, target, disk
        self.words = Words()
        self.files = fence_agent()

    def crash(self):
        """The target dies, and is there again."""
        self.target.kill()
        self.target.restart()

    def life(self, index, node, life):
        """One boot of a node; whether all went well."""
        headings = GuestCases(self.cases)
        environment = {
            "PORTAL": self.target.portals[0], "LUN": self.disk.lun, "DISK": self.disk.iqn, "NODE": node, "LIFE": life, "KEYS": KEYS,
            "HOST_TIMEOUT": PATIENCE + 10,
        }  # fmt: skip
        hooks = {"say": self.words.say, "hear": self.words.hear, "crash": self.crash}
        status = run_guest(
            HERE / "guest/fencing.sh", environment, headings.on_line, hooks, limit=2 * PATIENCE, index=index, memory_mib=512, files=self.files
        )
        if status and headings.name is None:
            headings.name = f"{node} starts"
        headings.end_step(status == 0, f"status {status}" if status else "")
        if status:
            self.words.give_up()
        return status == 0

    def two(self):
        """Lives, is fenced, and lives again."""
        return self.life(1, "two", 1) and self.life(1, "two", 2)

    def run(self):
        """Both at once."""
        other = threading.Thread(target=self.two)
        other.start()
        self.life(0, "one", 1)
        other.join()


def main():
    initrd_folder()  # out here: the namespace has no way to a mirror
    fence_agent()
    enter_namespace()
    cases = Cases(sys.argv[1:])
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        blank = cases.dir / "blank"
        with open(blank, "wb") as file:
            file.truncate(DISK_MIB * MIB)
        target.add_image("blank", blank)
        Cluster(cases, target, target.create_volume("shared", "blank")).run()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Capture and export of volumes that initiators write to: every copy is one moment of the disk.

    tests/copies.py [CASE...]
"""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from target import binary, open_target, run  # noqa: E402

MIB = 1 << 20
IMAGE_MIB = 64
VOLUME_MIB = 96
LAST = (VOLUME_MIB - 1) * MIB
COUNTS = 250


def make_image(path):
    with open(path, "wb") as file:
        for start in range(0, IMAGE_MIB, 8):
            file.seek(start * MIB)
            file.write(os.urandom(2 * MIB))
        file.truncate(IMAGE_MIB * MIB)


class Writer:
    """An initiator that writes a count to the volume's last block, then to its first, again and again."""

    def __init__(self, volume):
        command = ["qemu-io", "-f", "raw", "-t", "writeback", volume.url()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        rounds = itertools.count()
        words = (f"write -q -P {number % COUNTS + 1} {at} 4k\n" for number in rounds for at in (LAST, 0))
        def feed():
            try:
                for word in words:
                    self.process.stdin.write(word)
            except (BrokenPipeError, ValueError):
                pass

        self.thread = threading.Thread(target=feed, daemon=True)
        self.thread.start()

    def stop(self):
        expect(self.process.poll() is None, "the writer ended early")
        self.process.kill()
        self.process.wait(10)


def counts(path):
    """The counts in the first and the last block; each block is whole."""
    with open(path, "rb") as file:
        blocks = []
        for at in (0, LAST):
            file.seek(at)
            blocks.append(file.read(4096))
    expect(all(len(set(block)) == 1 for block in blocks), "a block is torn")
    return blocks[0][0], blocks[1][0]


def is_one_moment(path):
    first, last = counts(path)
    expect(last in (first, first % COUNTS + 1), f"the first block has {first}, the last {last}")
    return first


class Copies:
    """The cases, on one daemon with one golden image."""

    def __init__(self, cases, target, image):
        self.dir, self.target, self.image = cases.dir, target, image
        self.count = 0

    def fresh(self):
        self.count += 1
        name = f"v{self.count}"
        return name, self.target.create_volume(name, "golden", size=f"{VOLUME_MIB}MiB")

    def file(self, name):
        path = self.dir / name
        path.unlink(missing_ok=True)
        return path

    def snapshots(self):
        return len(list((self.target.state / "snapshots").iterdir()))

    def export(self):
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", "write -P 7 1M 3M", "-c", "write -P 9 80M 64k", "-c", "discard 8M 1M", volume.url())
        raw, packed = self.file("e.raw"), self.file("e.qcow2")
        self.target.osvol("volume", "export", name, raw)
        said = self.target.osvol("volume", "export", name, packed, "--format", "qcow2").stdout.strip()
        run("qemu-img", "check", packed)
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, packed)
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", raw, volume.url())
        expect(os.stat(raw).st_blocks * 512 < 24 * MIB, "the raw file is sparse")
        golden = self.file("g.qcow2")
        self.target.osvol("image", "export", "golden", golden, "--format", "qcow2")
        run("qemu-img", "compare", "-f", "raw", "-F", "qcow2", self.image, golden)
        return said

    def in_use(self):
        """Raw, qcow2 and capture, one after the other, while an initiator writes."""
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", f"write -P 1 0 {VOLUME_MIB - 1}M", "-c", f"write -P 1 {LAST} 1M", volume.url())
        writer = Writer(volume)
        seen = []
        for number in range(4):
            raw, packed, back = self.file("u.raw"), self.file("u.qcow2"), self.file("u-captured.raw")
            self.target.osvol("volume", "export", name, raw)
            seen.append(is_one_moment(raw))
            self.target.osvol("volume", "export", name, packed, "--format", "qcow2")
            run("qemu-img", "check", packed)
            run("qemu-img", "convert", "-O", "raw", packed, self.file("u.raw"))
            seen.append(is_one_moment(raw))
            self.target.osvol("image", "capture", f"moment{number}", "--volume", name)
            self.target.osvol("image", "export", f"moment{number}", back)
            seen.append(is_one_moment(back))
        writer.stop()
        expect(len(set(seen)) > 4, f"the volume was written meanwhile: {seen}")
        expect(self.snapshots() == 0, "a snapshot is left")
        return f"counts seen: {seen}"

    def snapshot(self):
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", "write -P 3 0 1M", volume.url())
        self.target.osvol("snapshot", "create", name, "s")
        run("qemu-io", "-f", "raw", "-c", "write -P 4 0 1M", volume.url())
        self.target.osvol("image", "capture", "of-snapshot", "--volume", name, "--snapshot", "s")
        again = self.target.create_volume("again", "of-snapshot")
        run("qemu-io", "-f", "raw", "-c", "read -P 3 0 1M", again.url())
        path = self.file("s.raw")
        self.target.osvol("volume", "export", name, path, "--snapshot", "s")
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", path, again.url())
        self.target.osvol("snapshot", "remove", name, "s")

    def removed_meanwhile(self):
        """A volume that is removed, with its disk on the way out, is exported whole."""
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", f"write -P 5 0 {VOLUME_MIB}M", volume.url())
        path = self.file("r.raw")
        command = [str(binary("osvol")), "--control", str(self.target.control), "volume", "export", name, str(path)]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while self.snapshots() == 0 and client.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        self.target.osvol("volume", "remove", name)
        expect(client.wait(60) == 0, "the export failed")
        run("qemu-io", "-f", "raw", "-c", f"read -P 5 0 {VOLUME_MIB}M", path)
        expect(self.snapshots() == 0, "a snapshot is left")

    def stopped(self):
        """The daemon stops in time although a client takes nothing of its export."""
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", f"write -P 8 0 {VOLUME_MIB}M", volume.url())
        command = [str(binary("osvol")), "--control", str(self.target.control), "volume", "export", name, str(self.file("t.raw"))]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while self.snapshots() == 0 and client.poll() is None and time.monotonic() < end:
            time.sleep(0.001)
        client.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        self.target.stop()
        seconds = time.monotonic() - begin
        client.kill()
        expect(client.wait(10) != 0, "the export was over before the daemon stopped")
        expect(not (self.dir / "t.raw").exists(), "half a file has the name of a whole one")
        self.target.start()
        expect(self.snapshots() == 0, "a snapshot is left")
        return f"stopped after {seconds:.1f} s"

    def killed(self):
        """The daemon is killed in the middle of captures: nothing of them is left."""
        name, volume = self.fresh()
        run("qemu-io", "-f", "raw", "-c", f"write -P 6 0 {VOLUME_MIB}M", "-c", "flush", volume.url())
        images = self.target.osvol("image", "list").stdout.count("\n")
        early = 0
        for wait in (0.0, 0.02, 0.05, 0.1, 0.2):
            command = [str(binary("osvol")), "--control", str(self.target.control), "image", "capture", "killed", "--volume", name]
            client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            end = time.monotonic() + 20
            while self.snapshots() == 0 and client.poll() is None and time.monotonic() < end:
                time.sleep(0.001)
            time.sleep(wait)
            early += client.poll() is None
            self.target.kill()
            client.wait(20)
            self.target.start()
            expect(self.snapshots() == 0, "a snapshot is left")
            expect(not any((self.target.state / "staging").iterdir()), "something is left in staging")
            if self.target.osvol("image", "list").stdout.count("\n") > images:
                self.target.osvol("image", "remove", "killed")
        expect(early > 0, "every capture was over before the kill")
        run("qemu-io", "-f", "raw", "-c", f"read -P 6 0 {VOLUME_MIB}M", self.target.volume(name).url())
        self.target.stop()
        run(binary("osvol"), "store", "check", self.target.state, "--data")
        self.target.start()
        return f"{early} of 5 kills came in the middle"


def main():
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    image = cases.dir / "golden.raw"
    make_image(image)
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    target.start()
    try:
        target.add_image("golden", image)
        copies = Copies(cases, target, image)
        cases.case("export: raw and qcow2 are the disk, for qemu-img too", copies.export)
        cases.case("copies of a volume that is written are one moment each", copies.in_use)
        cases.case("a snapshot is captured and exported", copies.snapshot)
        cases.case("a volume is removed while it is exported", copies.removed_meanwhile)
        cases.case("the daemon stops although a client stands still", copies.stopped)
        cases.case("kill -9 in the middle of captures", copies.killed)
        cases.case("the daemon stops cleanly", target.stop)
    finally:
        target.kill()
        if cases.failed:
            print(f"the end of the target's log:\n{target.log_tail(40)}", flush=True)
    cases.finish()


if __name__ == "__main__":
    main()

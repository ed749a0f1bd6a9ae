#!/usr/bin/env python3
"""OS volumes under a real Linux guest with open-iscsi, and the golden image afterwards.

    tests/guest.py            TARGET=tgt runs it against Debian's tgt instead
"""

import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "rig"))
from cases import ADDRESS, Cases, Failed, enter_namespace, expect  # noqa: E402
from target import chosen_kind, open_target, run, sha256  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402

MIB = 1 << 20
IMAGE_MIB = 192
HERE = pathlib.Path(__file__).resolve().parent


def make_image(folder):
    """A golden image: ext4 with some random files and their checksums."""
    tree = folder / "tree"
    tree.mkdir()
    with open("/dev/urandom", "rb") as random:
        for number in range(1, 9):
            (tree / f"g{number}").write_bytes(random.read(number * 333_333))
    sums = run("sha256sum", *[f"g{number}" for number in range(1, 9)], cwd=tree).stdout
    (tree / "SUMS").write_text(sums)
    raw = folder / "golden.raw"
    with open(raw, "wb") as file:
        file.truncate(IMAGE_MIB * MIB)
    run("/usr/sbin/mke2fs", "-q", "-t", "ext4", "-d", tree, raw)
    qcow2 = folder / "golden.qcow2"
    run("qemu-img", "convert", "-O", "qcow2", "-c", raw, qcow2)
    return raw, qcow2


class GuestCases:
    """Turns the `== [time] NAME` headings of a guest script into cases."""

    def __init__(self, cases):
        self.cases = cases
        self.name = None
        self.begin = time.monotonic()

    def on_line(self, line):
        print(f"       | {line}", flush=True)
        if line.startswith("== ["):
            self.end_step(True)
            self.name = line.split("] ", 1)[1]

    def end_step(self, passed, note=""):
        if self.name:
            self.cases.record(f"guest: {self.name}", passed, self.begin, note)
        self.name, self.begin = None, time.monotonic()


def main():
    initrd_folder()  # out here: the namespace has no way to a mirror
    enter_namespace()
    cases = Cases(sys.argv[1:])
    raw, qcow2 = make_image(cases.dir)
    target = open_target(chosen_kind(), cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("golden", qcow2)
        golden = target.golden_digest("golden", raw)
        cases.case("the golden image in the store is the qcow2's content", lambda: expect(golden == sha256(raw), "it differs"))
        volumes = {name: target.create_volume(name, "golden") for name in ("left", "right", "untouched")}
        volumes["plain"] = target.create_volume("plain", "golden", size="512MiB")
        headings = GuestCases(cases)
        status = run_guest(
            HERE / "guest/initiator.sh",
            {
                "PORTAL": target.portals[0], "LUN": volumes["plain"].lun, "IMAGE_BYTES": IMAGE_MIB * MIB,
                **{name.upper(): volumes[name].iqn for name in ("plain", "left", "right")},
            },
            headings.on_line,
            hooks={"kill": target.kill, "restart": target.restart, "allocated": target.allocated_bytes},
            limit=420,
        )  # fmt: skip
        if status and headings.name is None:
            headings.name = "the guest starts"
        headings.end_step(status == 0, f"status {status}" if status else "")

        def untouched():
            copy = cases.dir / "untouched.raw"
            run("qemu-img", "convert", "-O", "raw", volumes["untouched"].url(), copy)
            if subprocess.run(["cmp", copy, raw], check=False).returncode:
                raise Failed("qemu-img convert of an untouched volume is not the golden image")

        cases.case("an untouched volume still equals the golden image", untouched)
        cases.case(
            "the golden image is byte for byte unchanged",
            lambda: expect(target.golden_digest("golden", raw) == golden, "its SHA-256 changed"),
        )


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Machines without a disk boot from OS volumes, each from a fresh clone of one golden image.

    tests/boot.py [CASE...]      a part of a case's name is enough
    TARGET=tgt runs it against Debian's tgt; IMAGE= takes another golden image; -v shows the consoles
"""

import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from target import chosen_kind, open_target  # noqa: E402
from vm import boot_machine, golden_image  # noqa: E402

DOWN_SECONDS = 6
# An overlay may take this much more than the machine wrote: headers, summaries, what is allocated ahead.
GROWTH_MAX = 1.2


class Machines:
    """Boots machines from clones of the golden image and checks what they report."""

    def __init__(self, cases, target, verbose):
        self.cases = cases
        self.target = target
        self.verbose = verbose
        self.count = 0
        self.written = None

    def on_line(self, line):
        if self.verbose or any(word in line for word in ("RIG-HOST", " files, ", " files; ", "BOOT-OK")):
            print(f"       | {line}", flush=True)

    def clone(self):
        self.count += 1
        return self.target.create_volume(f"vm{self.count}", "debian")

    def bounce(self):
        """SIGKILL of the target, and 6 s later its restart."""
        self.target.kill()
        time.sleep(DOWN_SECONDS)
        self.target.restart()

    def note_written(self, written):
        """The machine has written so many bytes; what does its volume take now?"""
        self.written = int(written), self.target.allocated_bytes(f"vm{self.count}")

    def boot(self, volume, **how):
        hooks = {"bounce": self.bounce, "written": self.note_written}
        report = boot_machine(volume, self.on_line, hooks=hooks, **how)
        expect(report["rc"] == "0", f"the script in the machine ended with {report['rc']}")
        expect(",rw" in report["root"], f"root is {report['root']}")
        firmware = how.get("firmware", "bios")
        expect(report["fw"] == firmware, f"firmware {report['fw']}")
        if how.get("way", "ipxe") == "ipxe":
            expect(report["ibft"] == "yes", "the machine found no iBFT")
            expect(report["target"] == volume.iqn, f"root's target is {report['target']}")
        return report

    def systemd(self):
        report = self.boot(self.clone(), script=HERE / "guest/machine-written.sh", tiny=False, stay=True)
        expect(report["init"] == "systemd", f"PID 1 is {report['init']}")
        expect(report["prompt"], "no login prompt")
        return f"login prompt after {report['seconds']} s; {self.growth()}"

    def growth(self):
        """How much the overlay grew beside what the machine wrote."""
        expect(self.written, "the machine did not say how much it wrote")
        written, allocated = self.written
        ratio = allocated / written
        what = f"wrote {written / 2**20:.1f} MiB, its overlay takes {allocated / 2**20:.1f} MiB: {ratio:.2f} times"
        expect(self.target.kind != "osvold" or ratio <= GROWTH_MAX, what)
        return what

    def files(self, **how):
        volume = self.clone()
        first = self.boot(volume, script=HERE / "guest/machine-files.sh", **how)
        return f"up after {first['seconds']} s"

    def crash(self):
        self.boot(self.clone(), script=HERE / "guest/machine-crash.sh")


def main():
    golden_image()
    enter_namespace()
    arguments = sys.argv[1:]
    verbose = "-v" in arguments
    cases = Cases([word for word in arguments if word != "-v"])
    target = open_target(chosen_kind(), cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("debian", os.environ["IMAGE"])
        golden = target.golden_digest("debian", os.environ["IMAGE"])
        machines = Machines(cases, target, verbose)
        cases.case("bios: DHCP root-path, iPXE, GRUB, iBFT, systemd to the login prompt", machines.systemd)
        # That a volume boots twice and keeps its files: tests/lifecycle.py.
        cases.case("uefi: OVMF, iPXE, GRUB, iBFT", lambda: machines.files(firmware="uefi"))
        cases.case("qemu: its own iSCSI block driver", lambda: machines.files(way="qemu"))
        cases.case("crash: kill -9 under the running machine, restart after 6 s", machines.crash)
        cases.case(
            "the golden image is byte for byte unchanged",
            lambda: expect(target.golden_digest("debian", os.environ["IMAGE"]) == golden, "its SHA-256 changed"),
        )


if __name__ == "__main__":
    main()

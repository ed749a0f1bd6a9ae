#!/usr/bin/env python3
"""An OS volume as Linux and sg3_utils see it, in a guest: limits, names, zeros, reservations."""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
sys.path.insert(0, str(HERE))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from guest import GuestCases  # noqa: E402
from target import open_target  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402

MIB = 1 << 20
DISK_MIB = 128
SECOND_MIB = 48
IMAGE_MIB = 8


def main():
    initrd_folder()  # out here: the namespace has no way to a mirror
    enter_namespace()
    cases = Cases(sys.argv[1:])
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        noise = cases.dir / "noise"
        noise.write_bytes(os.urandom(IMAGE_MIB * MIB))
        target.add_image("noise", noise)
        golden = target.golden_digest("noise", noise)
        disk = target.create_volume("disk", "noise", f"{DISK_MIB}MiB")
        second = target.create_volume("second", "noise", f"{SECOND_MIB}MiB")
        headings = GuestCases(cases)
        status = run_guest(
            HERE / "guest/scsi.sh",
            {
                "PORTAL": target.portals[0], "LUN": disk.lun, "DISK": disk.iqn, "BYTES": DISK_MIB * MIB,
                "SECOND": second.iqn, "OTHER_LBAS": SECOND_MIB * MIB // 512,
            },
            headings.on_line,
            hooks={
                "kill": target.kill, "restart": target.restart,
                "grow": lambda size: target.osvol("volume", "grow", "disk", size) and None,
                "quota": lambda size: target.osvol("volume", "set", "disk", "--quota", size) and None,
                "allocated": lambda: target.allocated_bytes("disk"),
            },
            limit=500,
        )  # fmt: skip
        if status and headings.name is None:
            headings.name = "the guest starts"
        headings.end_step(status == 0, f"status {status}" if status else "")
        cases.case(
            "the golden image is byte for byte unchanged",
            lambda: expect(target.golden_digest("noise", noise) == golden, "its SHA-256 changed"),
        )


if __name__ == "__main__":
    main()

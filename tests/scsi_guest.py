#!/usr/bin/env python3
"""An OS volume as Linux and sg3_utils see it, in a guest: limits, names, zeros, reservations."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
sys.path.insert(0, str(HERE))
from cases import ADDRESS, Cases, enter_namespace  # noqa: E402
from guest import GuestCases  # noqa: E402
from target import open_target  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402

MIB = 1 << 20
DISK_MIB = 128


def main():
    initrd_folder()  # out here: the namespace has no way to a mirror
    enter_namespace()
    cases = Cases(sys.argv[1:])
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        blank = cases.dir / "blank"
        with open(blank, "wb") as file:
            file.truncate(DISK_MIB * MIB)
        target.add_image("blank", blank)
        disk = target.create_volume("disk", "blank")
        headings = GuestCases(cases)
        status = run_guest(
            HERE / "guest/scsi.sh",
            {"PORTAL": target.portals[0], "LUN": disk.lun, "DISK": disk.iqn, "BYTES": DISK_MIB * MIB},
            headings.on_line,
            hooks={
                "kill": target.kill, "restart": target.restart,
                "grow": lambda size: target.osvol("volume", "grow", "disk", size) and None,
            },
            limit=300,
        )
        if status and headings.name is None:
            headings.name = "the guest starts"
        headings.end_step(status == 0, f"status {status}" if status else "")


if __name__ == "__main__":
    main()

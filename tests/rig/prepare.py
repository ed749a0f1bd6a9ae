#!/usr/bin/env python3
"""Makes what tests boot and install, all of it cached: guest, bootable image, guestfish's appliance, Python environments.

Each test makes what it needs by itself; made beforehand, it costs no time of theirs.
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from appliance import plans_appliance
from cases import Cases
from fence_agent import fence_agent
from python_env import FUZZER, SDK, environment
from vm import cloud_image, golden_image, initrd_folder


def main():
    cases = Cases(sys.argv[1:])
    cases.case("the guest's kernel and initramfs", lambda: str(initrd_folder()))
    cases.case("Pacemaker's fence_scsi", lambda: str(fence_agent()[0].parent))
    cases.case("the bootable image", golden_image)
    cases.case("the cloud image", cloud_image)
    cases.case("guestfish's appliance", plans_appliance)
    cases.case("Python environments", lambda: " ".join(str(environment(packages)) for packages in (SDK, FUZZER)))
    cases.finish()


if __name__ == "__main__":
    main()

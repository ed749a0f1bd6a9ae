#!/usr/bin/env python3
"""A Debian golden image gets a host name, a static address and an ssh key by plan scripts in guestfish; a machine without a
disk boots from the volume and finds them.

    tests/deployed_boot.py [CASE...]      -v shows the console
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import attribute  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, nothing_left, own_orphans  # noqa: E402
from vm import boot_machine, golden_image, mac_of  # noqa: E402

HOST, STATIC = "web-041", "192.0.2.77"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFakeButWellFormedKeyOfTheTestRig0123456789ab ops@example.test"
SCRIPTS = [
    ("mount root", "general", "list-filesystems\nmount /dev/sda2 /\n"),
    (
        "name the host", "deploy",
        "upload -<<END /etc/hostname\n@Host@\nEND\nupload -<<END /etc/hosts\n127.0.0.1 localhost\n@NIC1.ipaddress@ @Host@\nEND\n",
    ),
    (
        "give it an address", "deploy",
        # Root is reached by this interface: what the initramfs has set up is kept.
        "mkdir-p /etc/systemd/network\n"
        "upload -<<END /etc/systemd/network/10-static.network\n[Match]\nName=eth0\n[Network]\nAddress=@NIC1.ipaddress@/24\n"
        "KeepConfiguration=yes\nEND\n"
        "mkdir-p /etc/systemd/system/multi-user.target.wants\n"
        "ln-sf /lib/systemd/system/systemd-networkd.service /etc/systemd/system/multi-user.target.wants/systemd-networkd.service\n",
    ),
    (
        "let the operator in", "deploy",
        "mkdir-p /root/.ssh\nchmod 0700 /root/.ssh\nupload -<<END /root/.ssh/authorized_keys\n@SshKey@\nEND\nchmod 0600 /root/.ssh/authorized_keys\n",
    ),
    # The guest's own tools, in its own root.
    ("its own tools", "general", "command \"/bin/systemctl --root=/ is-enabled systemd-networkd\"\ncat /etc/hostname\numount /\n"),
]  # fmt: skip
LOOKS = f"""
set -e
echo "NOTE $(hostname) $(ip -4 -o addr show dev eth0 | awk '{{print $4}}' | tr '\\n' ' ')"
[ "$(hostname)" = {HOST} ]
for i in $(seq 30); do ip -4 addr show dev eth0 | grep -q {STATIC}/24 && break; sleep 1; done
ip -4 addr show dev eth0 | grep -q {STATIC}/24
[ "$(cat /root/.ssh/authorized_keys)" = "{KEY}" ]
[ "$(stat -c %a:%u /root/.ssh /root/.ssh/authorized_keys | tr '\\n' ' ')" = "700:0 600:0 " ]
grep -q "{STATIC} {HOST}" /etc/hosts
echo NOTE all of it is there
"""


def main():
    image = golden_image()
    plans_appliance()
    enter_namespace(1)
    own_orphans()
    verbose = "-v" in sys.argv
    cases = Cases([word for word in sys.argv[1:] if word != "-v"])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])

    def on_line(line):
        if verbose or "BOOT-OK" in line or "NOTE" in line:
            print(f"       | {line}", flush=True)

    with cases.serving(target):
        estate = Estate(target.api(), target.portals[0]).furnish_servers(1)
        estate.api.patience = 300
        bay = estate.api.get(estate.bays[0]["uri"])
        estate.api.put(bay["uri"], {**bay, "macAddresses": [mac_of(0)]})
        golden = estate.image("debian", image)
        attributes = [
            attribute("Host", "hostname", None), attribute("SshKey", "string", None),
            attribute("NIC1", "nic", None, ipv4static=True, ipv4dhcp=True, ipv4disable=False, parameters=["ipaddress", "netmask"]),
        ]  # fmt: skip
        plan = Plans(estate).deploying("debian", golden, SCRIPTS, attributes)

        def deployed():
            values = {"Host": HOST, "SshKey": KEY, "NIC1.ipaddress": STATIC, "NIC1.netmask": "255.255.255.0", "NIC1.constraint": "userspecified"}
            profile = estate.create("web", estate.bays[0], plan, values)
            nothing_left(target)
            took = [line["statusUpdate"] for line in estate.api.members("/rest/tasks?sort=created:descending")[0]["progressUpdates"]]
            expect(estate.disk(profile), "no volume")
            return next((line for line in took if "ran in" in line), "")

        def booted():
            file = cases.dir / "script"
            file.write_text(LOOKS)
            report = boot_machine(None, on_line, boot_url=f"http://{target.boot_address}/boot/${{mac}}.ipxe", script=file, tiny=False)
            expect(report["rc"] == "0", f"it found something else: status {report['rc']}")
            expect(report["target"] == estate.disk(estate.profile("web")).iqn, f"root is on {report['target']}")
            return f"up after {report['seconds']} s"

        cases.case("Debian: host name, address and ssh key by guestfish", deployed)
        cases.case("a machine without a disk boots from it, and has them", booted)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))


if __name__ == "__main__":
    main()

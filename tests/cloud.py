#!/usr/bin/env python3
"""Cloud images: what cloud-init finds on LUN 1, and a Debian machine without a disk that is named, addressed and opened to
its operator by that alone: no plan script runs.

    tests/cloud.py [CASE...]      -v shows the console; CLOUD_IMAGE= takes another image

Cloud images of the distributions cannot be fetched where these tests run; Debian's own package of cloud-init in the rig's
image stands in for them.
"""

import configparser
import os
import pathlib
import re
import subprocess
import sys
import time

import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from api import Refused  # noqa: E402
from appliance import Appliance  # noqa: E402
from bundle import attribute  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from initiator import Session, serve  # noqa: E402
from target import Volume, run  # noqa: E402
from vm import boot_machine, cloud_image, mac_of  # noqa: E402

HOST, DOMAIN = "cloud-17", "example.test"
GUEST, OURS, MASK = "198.51.100.10", "198.51.100.1", "255.255.255.0"
SECOND_NIC = "52:54:00:12:37:11"
SECTOR = 512
ESP_OFFSET = 1 << 20
GUEST_SECONDS = 180
BOOT_SECONDS = 1300
UPLOAD_SECONDS = 400
LOOKS = f"""
note() {{ echo "NOTE $1=$2"; }}
timeout 600 cloud-init status --wait > /run/looks 2>&1
note status "$(grep -o 'status:.*' /run/looks | tail -1)"
note host "$(hostname)"
note fqdn "$(hostname -f)"
note address "$(ip -4 -o addr show to {GUEST} | awk '{{print $4}}')"
note instance "$(cat /var/lib/cloud/data/instance-id)"
note source "$(cat /var/lib/cloud/instance/datasource)"
note named "$(stat -c %Y /var/lib/cloud/instance/sem/config_set_passwords)"
note disks "$(lsblk -dno NAME,RO,MODEL | tr -s ' \\n' ' ,')"
# Which of the two is sda is the kernel's affair.
seed=$(lsblk -dno NAME,MODEL | awk '/seed/ {{print $1}}')
note seed "$seed"
dd if=/dev/zero of="/dev/$seed" bs=512 count=1 oflag=direct 2>/dev/null && note written yes
echo; echo "RIG-HOST visit"
for i in $(seq {GUEST_SECONDS}); do [ -e /run/visited ] && break; sleep 1; done
note visited "$(cat /run/visited)"
note faults "$(grep -chE 'ERROR|Traceback' /var/log/cloud-init.log)"
exit 0
"""
# What Debian's package has for an initramfs, and what its last stage reads of a root. It labels for SELinux in the end, which
# is not installed here: `true` does it.
IGNITION = "/usr/lib/dracut/modules.d/30ignition/ignition"
BARE_ROOT = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\n", "etc/group": "root:x:0:\n", "etc/shadow": "root:*:1::::::\n",
    "etc/selinux/config": "SELINUX=disabled\nSELINUXTYPE=none\n",
}  # fmt: skip
ATTRIBUTES = (attribute("HostName", "hostname", None), attribute("SshKey", "string", None), attribute("NIC1", "nic", None))
USER_DATA = """#cloud-config
final_message: "@Greeting@"
timezone: @Zone:UTC@
write_files:
- path: /etc/x
  content: |
    @Greeting@
"""


class Clouds:
    """The cases: one estate, one profile after the other."""

    def __init__(self, cases, target, verbose):
        self.dir, self.target, self.verbose = cases.dir, target, verbose
        self.notes = {}
        self.before = self.profile = None
        self.key = self.dir / "key"
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ops@example.test", "-f", self.key)
        self.public = self.key.with_suffix(".pub").read_text().strip()
        # A daemon that is not optimised takes its time for a GiB of golden image.
        api = target.api(UPLOAD_SECONDS)
        api.patience = UPLOAD_SECONDS
        self.estate = Estate(api, target.portals[0]).furnish_servers(2)
        bay = self.estate.api.get(self.estate.bays[0]["uri"])
        self.estate.api.put(bay["uri"], {**bay, "macAddresses": [mac_of(0)]})
        file = self.dir / "tiny.raw"
        file.write_bytes(bytes(1 << 20))
        self.tiny = self.estate.image("tiny", file)

    # ---- plans ----------------------------------------------------------------------------------------------------

    def plan(self, name, image, attributes=(), **cloud):
        """A plan whose build plan does nothing: its attributes are its own."""
        build = self.estate.build_plan(f"{name}: nothing")
        return self.estate.plan(name, image, build, cloudInit=cloud, customAttributes=list(attributes))

    def values(self):
        return {
            "HostName": HOST, "SshKey": self.public, "NIC1.ipaddress": GUEST, "NIC1.netmask": MASK, "NIC1.domain": DOMAIN,
            "NIC1.mac": SECOND_NIC, "NIC1.constraint": "userspecified",
        }  # fmt: skip

    # ---- looking at LUN 1 -------------------------------------------------------------------------------------------

    def seed(self, profile):
        """LUN 1 as its server reads it: the path of a copy."""
        disk = self.estate.disk(profile)
        file = self.dir / "seed.img"
        source = (
            f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={self.estate.portal},file.target={disk.iqn},file.lun=1,"
            f"file.initiator-name={self.estate.initiator(profile)}"
        )
        run("qemu-img", "convert", "--image-opts", "-O", "raw", source, file)
        return file

    def files(self, profile):
        """The files of a seed, by name."""
        image = self.seed(profile)
        run("/usr/sbin/fsck.vfat", "-n", image)
        label = run("mlabel", "-s", "-i", image, "::").stdout
        names = run("mdir", "-b", "-i", image, "::").stdout.split()
        return label, {name.removeprefix("::/"): run("mtype", "-i", image, name).stdout for name in names}

    def made(self):
        """What is made of the attributes alone."""
        plan = self.plan("made", self.tiny, ATTRIBUTES)
        profile = self.estate.create("made", self.estate.bays[1], plan, self.values())
        label, files = self.files(profile)
        expect("CIDATA" in label, label)
        meta, user, network = (yaml.safe_load(files[name]) for name in ("meta-data", "user-data", "network-config"))
        expect(meta["local-hostname"] == HOST, f"{meta}")
        expect(meta["instance-id"] in str(self.estate.volume_of(profile)).replace("-", ""), f"{meta}")
        expect(files["user-data"].startswith("#cloud-config\n"), files["user-data"])
        expect(user["hostname"] == HOST and user["fqdn"] == f"{HOST}.{DOMAIN}", f"{user}")
        expect(user["ssh_authorized_keys"] == [self.public], f"{user}")
        nic = network["ethernets"]["nic1"]
        expect(nic["addresses"] == [f"{GUEST}/24"] and nic["match"]["macaddress"] == SECOND_NIC, f"{network}")
        again = self.seed(profile).read_bytes()
        self.target.kill()
        self.target.restart()
        expect(self.seed(profile).read_bytes() == again, "after a restart it is another one")
        self.estate.api.post(f"{profile['uri']}/redeploy?force=true", None)
        redeployed = yaml.safe_load(self.files(profile)[1]["meta-data"])["instance-id"]
        expect(redeployed != meta["instance-id"], "the same instance after a redeploy")
        self.estate.api.post(f"{profile['uri']}/generations/1/rollback?force=true", None)
        expect(self.seed(profile).read_bytes() == again, "rolled back, it is another one")
        self.estate.delete(profile)

    def templates(self):
        """An author's own templates; a value that would break out is refused by name, and so is one that is missing."""
        meta = "instance-id: @_Volume.id@\nx: '@Must@'\n"
        plan = self.plan("templates", self.tiny, [attribute("Must", "hostname", None)], userData=USER_DATA, metaData=meta)
        greeting = 'say "hi": it\'s # fine \\'
        profile = self.estate.create("templates", self.estate.bays[1], plan, {"Greeting": greeting, "Must": "web"})
        _, files = self.files(profile)
        parsed = yaml.safe_load(files["user-data"])
        expect(parsed["final_message"] == greeting and parsed["write_files"][0]["content"] == f"{greeting}\n", f"{parsed}")
        expect(parsed["timezone"] == "UTC" and yaml.safe_load(files["meta-data"])["x"] == "web", f"{files}")
        self.estate.delete(profile)
        before = len(self.estate.api.members("/rest/os-volumes"))
        for values, name in (({"Must": "web", "Zone": "a: b"}, "Zone"), ({"Zone": "UTC"}, "Must")):
            try:
                self.estate.create("templates", self.estate.bays[1], plan, values)
            except Refused as refused:
                expect(name in str(refused) and 400 <= refused.status < 500, f"{refused}")
            else:
                expect(False, f"{values} was taken")
        expect(len(self.estate.api.members("/rest/os-volumes")) == before, "something was made")

    def on_the_partition(self):
        """The same files on the EFI system partition of a fresh volume, and no LUN 1."""
        image = self.dir / "esp.raw"
        image.write_bytes(bytes(ESP_OFFSET + (8 << 20)))
        run("/usr/sbin/sfdisk", "-q", image, input=f"label: dos\nstart={ESP_OFFSET // SECTOR}, type=ef\n")
        run("mformat", "-i", f"{image}@@{ESP_OFFSET}", "-T", (8 << 20) // SECTOR, "-h", "16", "-s", "63", "::")
        plan = self.plan("esp", self.estate.image("esp", image), ATTRIBUTES, attach="esp", espPath="/EFI/seed")
        profile = self.estate.create("esp", self.estate.bays[1], plan, self.values())
        copy = f"{self.estate.read_out(profile, self.dir / 'esp.img')}@@{ESP_OFFSET}"
        meta = yaml.safe_load(run("mtype", "-i", copy, "::/EFI/seed/meta-data").stdout)
        user = yaml.safe_load(run("mtype", "-i", copy, "::/EFI/seed/user-data").stdout)
        expect(meta["local-hostname"] == HOST and user["ssh_authorized_keys"] == [self.public], f"{meta} {user}")
        expect("network-config" in run("mdir", "-b", "-i", copy, "::/EFI/seed").stdout, "no network-config")
        name = self.estate.initiator(profile)
        listed = run("iscsi-ls", "-i", name, "-s", f"iscsi://{self.estate.portal}").stdout
        expect("Lun:1 " not in listed, listed)
        self.estate.delete(profile)

    def for_ignition(self):
        """Ignition's file, on a disk that Linux finds by its label."""
        plan = self.plan("ignition", self.tiny, ATTRIBUTES, datasource="Ignition")
        profile = self.estate.create("ignition", self.estate.bays[1], plan, self.values())
        image = self.seed(profile)
        run("/usr/sbin/fsck.vfat", "-n", image)
        expect(run("/usr/sbin/blkid", "-p", "-o", "value", "-s", "LABEL", image).stdout.strip().lower() == "ignition", "another label")
        configs = [run("mtype", "-i", image, f"::/{name}").stdout for name in ("config.ign", "ignition/config.ign")]
        expect(configs[0] == configs[1], "two configurations")
        self.ignited(configs[0])
        self.estate.delete(profile)

    def ignited(self, config):
        """What Debian's Ignition makes of a configuration, in a folder that stands for the machine's root."""
        folder = self.dir / "ignition"
        root, file = folder / "root", folder / "config.ign"
        for name, text in BARE_ROOT.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "home").mkdir()
        # Keys are written by the user whose they are.
        self.dir.chmod(0o711)
        file.write_text(config)
        (folder / "setfiles").symlink_to("/bin/true")
        path = f"{folder}:{os.environ['PATH']}:/usr/sbin"
        run("ignition-validate", file)
        for stage in ("fetch", "files"):
            done = run(
                IGNITION, "--platform", "file", "--stage", stage, "--root", root, "--config-cache", folder / "cache.json",
                "--state-file", folder / "state", "--log-to-stdout", env={"PATH": path, "IGNITION_CONFIG_FILE": str(file)},
                check=False,
            )  # fmt: skip
            expect(done.returncode == 0, f"{stage}: {done.stdout[-2000:]}")
        written = {name: (root / name).read_text() for name in (
            "etc/hostname", "etc/passwd", "etc/NetworkManager/system-connections/nic1.nmconnection",
            "home/core/.ssh/authorized_keys.d/ignition",
        )}  # fmt: skip
        host, users, keyfile, keys = written.values()
        expect(host == f"{HOST}.{DOMAIN}\n" and "core:" in users and keys.strip() == self.public, f"{written}")
        nic = configparser.ConfigParser()
        nic.read_string(keyfile)
        expect(nic["ipv4"]["address1"] == f"{GUEST}/24" and nic["ethernet"]["mac-address"].lower() == SECOND_NIC, keyfile)
        mode = (root / "etc/NetworkManager/system-connections/nic1.nmconnection").stat().st_mode & 0o777
        expect(mode == 0o600, f"NetworkManager leaves files of mode {mode:o} alone")

    def as_a_disk(self):
        """LUN 1 through libiscsi's own tools."""
        plan = self.plan("disk", self.tiny, ATTRIBUTES)
        profile = self.estate.create("disk", self.estate.bays[1], plan, self.values())
        disk, name = self.estate.disk(profile), self.estate.initiator(profile)
        seed = Volume(disk.name, disk.iqn, 1, disk.portals)
        listed = run("iscsi-ls", "-i", name, "-s", f"iscsi://{self.estate.portal}").stdout
        expect("Lun:0 " in listed and "Lun:1 " in listed, listed)
        inquiry = run("iscsi-inq", "-i", name, seed.url()).stdout
        expect("OS volume seed" in inquiry, inquiry)
        pages = [run("iscsi-inq", "-i", name, "-e", "1", "-c", "131", one.url()).stdout for one in (disk, seed)]
        expect(pages[0] != pages[1], "both have the same designators")
        capacity = run("iscsi-readcapacity16", "-i", name, seed.url()).stdout
        expect("1048576" in capacity or "2047" in capacity, capacity)
        before = self.seed(profile).read_bytes()
        session = Session(seed, name)
        try:
            done = []
            session.write(0, b"x" * SECTOR, SECTOR, done.append)
            while session.under_way:
                serve([session], 1.0)
            expect(done == [False], "a write was taken")
        finally:
            session.close(logout=True)
        expect(self.seed(profile).read_bytes() == before, "it was changed")
        self.estate.delete(profile)

    # ---- a machine ------------------------------------------------------------------------------------------------

    def on_line(self, line):
        if line.startswith("NOTE "):
            name, _, value = line[5:].partition("=")
            self.notes[name] = value
        if self.verbose or any(word in line for word in ("BOOT-OK", "NOTE", "ERROR", "Traceback")):
            print(f"       | {line}", flush=True)

    def visit(self, *_):
        """The operator logs in with the key, and leaves a note."""
        command = [
            "ssh", "-i", self.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ConnectTimeout=5",
            "-o", "PasswordAuthentication=no", f"debian@{GUEST}", "hostname | sudo tee /run/visited",
        ]  # fmt: skip
        end = time.monotonic() + GUEST_SECONDS
        while time.monotonic() < end:
            if subprocess.run(command, capture_output=True, timeout=GUEST_SECONDS, check=False).returncode == 0:
                return
            time.sleep(1)

    def boot(self):
        self.notes = {}
        file = self.dir / "script"
        file.write_text(LOOKS)
        report = boot_machine(
            None, self.on_line, boot_url=f"http://{self.target.boot_address}/boot/${{mac}}.ipxe", script=file, tiny=False,
            hooks={"visit": self.visit}, second_nic=SECOND_NIC, limit=BOOT_SECONDS,
        )  # fmt: skip
        wanted = {
            "host": HOST, "fqdn": f"{HOST}.{DOMAIN}", "address": f"{GUEST}/24", "visited": HOST, "status": "status: done", "faults": "0",
        }  # fmt: skip
        wrong = {name: self.notes.get(name) for name, value in wanted.items() if self.notes.get(name) != value}
        expect(not wrong, f"{wrong}")
        expect(re.fullmatch("sd[a-z]", self.notes["seed"]), f"there is no seed: {self.notes}")
        expect("written" not in self.notes, f"the guest wrote to its seed: {self.notes}")
        expect("NoCloud" in self.notes["source"], self.notes["source"])
        iqn = self.estate.disk(self.profile).iqn
        expect(report["target"] == iqn, f"root is on {report['target']}")
        return report

    def first_boot(self):
        image = self.estate.image("debian", cloud_image())
        plan = self.plan("cloud", image, ATTRIBUTES)
        self.profile = self.estate.create("web", self.estate.bays[0], plan, self.values())
        report = self.boot()
        self.before = dict(self.notes)
        return f"up after {report['seconds']} s, instance {self.notes['instance']}"

    def second_boot(self):
        """Switched off and on: the same instance, and nothing that is done once is done again."""
        report = self.boot()
        same = ("instance", "named")
        expect(all(self.notes[name] == self.before[name] for name in same), f"{self.before} and then {self.notes}")
        expect(report["boots"] == "2", f"the volume counts {report['boots']} boots")
        return f"up after {report['seconds']} s"


def main():
    cloud_image()
    enter_namespace(2)
    subprocess.run(["ip", "addr", "add", f"{OURS}/24", "dev", "br0"], check=True)
    verbose = "-v" in sys.argv
    cases = Cases([word for word in sys.argv[1:] if word != "-v"])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        clouds = Clouds(cases, target, verbose)
        cases.case("a seed is the same after a restart and a rollback, and another one after a redeploy", clouds.made)
        cases.case("templates are filled in; a value that would break out is refused by name", clouds.templates)
        cases.case("LUN 1 is a disk of its own, and is only read", clouds.as_a_disk)
        cases.case("on the EFI system partition the same files, and no second LUN", clouds.on_the_partition)
        cases.case("Ignition's file under its label, and what Debian's Ignition makes of it", clouds.for_ignition)
        cases.case("Debian without a disk: host name, address and ssh key by cloud-init, no script", clouds.first_boot)
        cases.case("it boots again as the same instance", clouds.second_boot)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))


if __name__ == "__main__":
    main()

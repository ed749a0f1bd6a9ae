#!/usr/bin/env python3
"""HPE's published artifact bundles: imported, looked through, and some of their plans deployed, all of them as they are.

    tests/hpe_bundles.py DIRECTORY [CASE...]        a directory of bundles (zip), which are HPE's and not in this project

Every bundle is uploaded and extracted, every build plan looked through (`findings`), and counted which engine will run it.
Then: the Developer bundle's deployment test, its plan that fails, its capture; Foundation's empty volume and image as it is;
Support's tests; the RHEL 7 and SLES 12 plans and those of the community for UEFI, the ESXi plans for single frame, for
several management NICs and for capture, on disks of the layout that they expect (GPT, a FAT EFI system partition with the
directories that a golden image would have; two boot banks with the host's state), and the RHEL 7.5 plans on a root of XFS in a
volume group. What a bundle is not there for is skipped, aloud.
"""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
import bundle  # noqa: E402
from appliance import Appliance, plans_appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from hpe_disks import bank, esxi_disk, members, rhel_disk  # noqa: E402
from plans import failed, guestfish, log_of, message_of, own_orphans  # noqa: E402

BOUNDARY = "----osvol-bundle"
PASSWORD = "Tr0ub4d0r"
TOOLS = {**os.environ, "MTOOLS_SKIP_CHECK": "1", "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
MESSAGE = "/EFI/BOOT/message.txt"
ISDEPLOY = "/EFI/HPE/isdeploy"
# Values for attributes that have none, by type.
GIVEN = {
    "string": "words", "password": PASSWORD, "hostname": "web01", "fqdn": "web01.example.test", "ipv4": "192.0.2.50", "number": "64",
}  # fmt: skip
NIC = {
    "mac": "52:54:00:00:00:0{}", "ipaddress": "192.0.2.4{}", "netmask": "255.255.255.0", "gateway": "192.0.2.1", "dns1": "192.0.2.2",
    "dns2": "192.0.2.3", "domain": "example.test", "vlanid": "0", "constraint": "userspecified", "dhcp": "False",
}  # fmt: skip
# Build plan: what must be in files of the EFI system partition afterwards.
EXPECTED = {
    "RHEL7-EFI": {f"{ISDEPLOY}/HPE-ImageStreamer.bash": "#! /bin/bash", f"{ISDEPLOY}/scripts/06configure_hostname.bash": "web01"},
    "SLES12-EFI": {f"{ISDEPLOY}/HPE-ImageStreamer.bash": "#! /bin/bash"},
}
# What each plan writes into the script that a host runs when it boots first; by a part of the plan's name, as they are asked for.
ESXI_PLANS = {
    "non-HA config-2020": ['esxcli system hostname set --host "web01"', "--ipv4=192.0.2.41 --netmask=255.255.255.0 --type=static", "start_ssh"],
    "HA config-2020": ["esxcfg-vmknic -a -i 192.0.2.12 -n 255.255.255.0 iSCSI-PG2", "uplink add --uplink-name=$UPLINK2 --vswitch-name=vSwitch1"],
    "ESXi 6.7 - deploy in single": ["esxcfg-vmknic -a -i 192.0.2.11", "auto-backup.sh"],
    "ESXi 6.7 - deploy with": ["esxcfg-vmknic -a -i 192.0.2.11", "esxcfg-vmknic -a -i 192.0.2.12"],
    "ESXi 7.0 - deploy with": ["esxcfg-vmknic -a -i 192.0.2.12", "vcenter"],
}  # fmt: skip
CONNECTIONS = [
    {
        "id": number, "name": f"deploy{number}", "mac": f"52:54:00:00:07:0{number}", "boot": {"priority": priority},
        "ipv4": {"ipAddress": f"192.0.2.1{number}", "subnetMask": "255.255.255.0"},
    } for number, priority in ((1, "Primary"), (2, "Secondary"))
]  # fmt: skip


class Bundles:
    """The cases, one after the other, on one estate."""

    def __init__(self, cases, folder, target, estate):
        self.dir, self.folder, self.target, self.estate, self.api = cases.dir, folder, target, estate, estate.api
        self.profile = self.image = None

    # ---- all of them ------------------------------------------------------------------------------------------------

    def imported(self):
        files = sorted(self.folder.glob("*.zip"))
        expect(files, f"no bundles in {self.folder}")
        for file in files:
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{file.name}"\r\nContent-Type: application/zip\r\n\r\n'
            body = head.encode() + file.read_bytes() + f"\r\n--{BOUNDARY}--\r\n".encode()
            made = self.api.post("/rest/artifact-bundles", body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})
            # Bundles have scripts in common.
            self.api.put(f"{made['uri']}?extract=true&forceImport=true", b"", {"Content-Type": "text/plain"})
        counts = [len(self.api.members(f"/rest/{kind}")) for kind in ("plan-scripts", "build-plans", "deployment-plans", "golden-images")]
        return f"{len(files)} bundles: {counts[0]} scripts, {counts[1]} build plans, {counts[2]} deployment plans, {counts[3]} images"

    def looked_through(self):
        engines, kinds, unknown = collections.Counter(), collections.Counter(), []
        for plan in sorted(self.api.members("/rest/build-plans"), key=lambda plan: plan["name"]):
            found = self.api.get(f"{plan['uri']}/findings")
            found = found if isinstance(found, list) else found["members"]
            last = found[-1]["message"] if found else ""
            known = [name for name in ("the built-in engine", "guestfish", "nothing is run") if last.startswith(name)]
            engines[known[0] if known else "faults"] += 1
            kinds.update(one["severity"].lower() for one in found)
            errors = [one for one in found if one["severity"].lower() == "error"]
            unknown += [f"{plan['name']}: {one['script']}, line {one['line']}: {one['message']}" for one in errors]
            print(f"       {plan['name']}: {last}")
        for one in unknown:
            print(f"       error: {one}")
        return f"{dict(engines)}; {dict(kinds)}"

    # ---- some of them -----------------------------------------------------------------------------------------------

    def found(self, kind, *parts):
        """The artifact whose name has all of these parts, the shortest if there are more."""
        named = [one for one in self.api.members(f"/rest/{kind}") if all(part in one["name"] for part in parts)]
        return min(named, key=lambda one: len(one["name"]), default=None)

    def values(self, attributes, **given):
        """A value for every attribute that has none."""
        values, cards = {}, 0
        for one in attributes:
            name, kind, value = one["name"], one["type"].lower(), one.get("value")
            if name in given:
                values[name] = given[name]
            elif kind == "nic":
                cards += 1
                asked = one.get("constraints")
                asked = (json.loads(asked) if isinstance(asked, str) and asked else asked or {}).get("parameters") or []
                teams = {"mac1", "mac2"} & set(asked)
                members = {**NIC, **({"mac1": NIC["mac"], "mac2": "52:54:00:00:01:0{}", "ipaddress1": NIC["ipaddress"]} if teams else {})}
                for member, text in members.items():
                    if member in (*asked, "constraint", "dhcp") and not (teams and member in ("mac", "ipaddress")):
                        values[f"{name}.{member}"] = text.format(cards)
            elif not value and kind in GIVEN:
                values[name] = GIVEN[kind]
        return values

    def log(self, profile):
        volume = self.estate.volume_of(profile)
        answer = self.api.ask("GET", f"/rest/os-volumes/archive/{volume['name']}")
        return answer.body.decode(errors="replace") if isinstance(answer.body, bytes) else str(answer.body)

    def engine(self, profile):
        log = self.log(profile)
        return next((name for name in ("built-in", "guestfish") if f"=== output ({name})" in log), "none"), log

    def files(self, profile, *names):
        """Texts of files in the first partition of a profile's volume, as its server sees them."""
        disk = self.estate.read_out(profile, self.dir / "seen.raw")
        with open(disk, "rb") as file:
            file.seek(1024 + 32)
            start = int.from_bytes(file.read(8), "little") * 512
        found = {}
        for name in names:
            done = subprocess.run(["mtype", "-i", f"{disk}@@{start}", f"::{name}"], env=TOOLS, capture_output=True, text=True)
            found[name] = done.stdout if done.returncode == 0 else None
        return found

    def developer(self):
        plan = self.found("deployment-plans", "HPE - Developer 1.0 - Deployment Test (UEFI)")
        if not plan:
            return "SKIPPED: the Developer bundle is not there"
        values = self.values(plan["customAttributes"], ExampleString1="it's here", ExampleFQDN="db.example.test")
        self.profile = self.estate.create("developer", self.estate.bays[0], plan, values)
        text = self.files(self.profile, MESSAGE)[MESSAGE]
        for line in ("has been personalized!", "ExampleString1: it's here", "ExampleNumber2: 9999", "ExampleOption: Option1"):
            expect(line in text, text)
        expect("ExampleFQDN: db.example.test" in text and f"ExamplePassword: {PASSWORD}" in text and "@" not in text, text)
        engine, log = self.engine(self.profile)
        expect(engine == "built-in" and PASSWORD not in log and "File Systems in Golden Image:\n/dev/sda1: vfat" in log, log)
        return f"by the {engine} engine; {log.splitlines()[-1]}"

    def developer_fails(self):
        plan = self.found("deployment-plans", "User - Developer 1.0 - Deployment Test (UEFI)")
        if not plan or not self.profile:
            return "SKIPPED: the Developer bundle is not there"
        before = self.files(self.profile, MESSAGE)
        values = self.values(plan["customAttributes"])
        task = failed(self.estate.change, self.profile, plan=plan, values=values, force=True)
        said = message_of(task)
        expect("step 2" in said and "Fail_OS_Deployment: unknown command" in said and "attempt or fail" in said, said)
        expect(self.files(self.profile, MESSAGE) == before, "the old volume is another one")
        expect("Attempt or Intentionally Fail" in log_of(self.api, task), "the log has no output")
        values["DeploymentTesting"] = "echo on"
        self.profile = self.estate.change(self.profile, plan=plan, values=values, force=True) or self.profile
        expect("ExampleString1: words" in self.files(self.profile, MESSAGE)[MESSAGE], "it was not deployed anew")
        return said

    def developer_captures(self):
        build = self.found("build-plans", "HPE - Developer 1.0 - example UEFI capture")
        if not build or not self.profile:
            return "SKIPPED: the Developer bundle is not there"
        volume = self.estate.volume_of(self.profile)
        body = {"name": "captured", "description": "", "imageCapture": "true", "osVolumeURI": volume["uri"], "buildPlanUri": build["uri"]}
        image = self.api.post("/rest/golden-images", body)
        as_is = self.found("build-plans", "Foundation 1.0 - deploy Golden Image as is") or self.estate.build_plan("as is, of ours")
        again = self.estate.create("captured", self.estate.bays[1], self.estate.plan("captured, as is", image, as_is))
        text = self.files(again, MESSAGE)[MESSAGE]
        expect("has been generalized!" in text, text)
        self.estate.delete(again)
        return "generalized, and deployed as it is"

    def foundation(self):
        plan = self.found("deployment-plans", "Foundation 1.0 - create empty OS Volume")
        if not plan:
            return "SKIPPED: the Foundation bundle is not there"
        profile = self.estate.create("empty", self.estate.bays[1], plan, {"VolumeSize": "64"})
        size = self.estate.volume_of(profile)["size"]
        engine, _ = self.engine(profile)
        self.estate.delete(profile)
        expect(size == 64 << 20, size)
        return f"64 MiB, its echo by the {engine} engine"

    def support(self):
        told = []
        for name in ("Support 1.0 - simple deployment test", "Support 1.0 - network deployment test"):
            if plan := self.found("deployment-plans", name):
                profile = self.estate.create("support", self.estate.bays[1], plan, self.values(plan["customAttributes"]))
                text = self.files(profile, MESSAGE)[MESSAGE]
                expect(text and "Hello World!" in text, text)
                told.append(f"{name}: {self.engine(profile)[0]}")
                self.estate.delete(profile)
        return "; ".join(told) or "SKIPPED: the Support bundle is not there"

    def golden(self):
        """A disk with what a golden image of these plans has: the EFI system partition and its directories."""
        if not self.image:
            disk = bundle.esp_image(self.dir / "esp.raw")
            bundle.mtools("mmd", "-i", bundle.fat(disk), "::/EFI/HPE", *(f"::{ISDEPLOY}{one}" for one in ("", "/scripts", "/tmp", "/data")))
            bundle.mtools("mmd", "-i", bundle.fat(disk), "::/EFI/centos")
            bundle.mtools("mcopy", "-i", bundle.fat(disk), "-", "::/EFI/centos/grubx64.efi", input=b"MZ no program either\n")
            self.image = self.estate.image("of the right layout", disk)
        return self.image

    def build_plan(self, build, **given):
        """Deploys a build plan; gives what its engine and log say. Where it must fail, its task."""
        plan = self.estate.plan(f"for {build['name']}"[:200], self.golden(), build)
        values = self.values(self.api.get(plan["uri"])["customAttributes"], **given)
        return self.estate.create("one", self.estate.bays[1], plan, values)

    def efi_plans(self, family):
        builds = [one for one in self.api.members("/rest/build-plans") if family in one["name"]]
        if not builds:
            return f"SKIPPED: the {family} bundle is not there"
        told = []
        for build in builds:
            profile = self.build_plan(build)
            for name, part in EXPECTED[family].items():
                text = self.files(profile, name)[name]
                expect(text and part in text, f"{build['name']}: {name}: {text}")
            engine, log = self.engine(profile)
            expect(PASSWORD not in log, "a password is in the log")
            told.append(f"{build['name']}: {engine}, {log.splitlines()[-1]}")
            self.estate.delete(profile)
        return "; ".join(told)

    def esxi(self):
        builds = [one for one in self.api.members("/rest/build-plans") if "ESXi" in one["name"]]
        if not builds:
            return "SKIPPED: the ESXi bundles are not there"
        image, told = self.estate.image("an ESXi", esxi_disk(self.dir / "esxi.raw")), []
        for part, wanted in ESXI_PLANS.items():
            build = next((one for one in builds if part in one["name"] and one["name"] not in told), None)
            expect(build, f"no plan of {[one['name'] for one in builds]} is called '{part}'")
            plan = self.estate.plan(f"for {build['name']}"[:200], image, build)
            values = self.values(self.api.get(plan["uri"])["customAttributes"])
            profile = self.estate.create("one", self.estate.bays[1], plan, values, connectionSettings={"connections": CONNECTIONS})
            text = self.first_boot_script(profile)
            expect(all(line in text for line in wanted) and "@" not in text, f"{build['name']}: {text}")
            expect(self.engine(profile)[0] == "guestfish", "another engine")
            told.append(build["name"])
            self.estate.delete(profile)
        return f"{len(told)} plans: {'; '.join(told)}"

    def bank_files(self, profile, *names):
        """Files of the boot bank that a profile's server boots from."""
        disk = self.estate.read_out(profile, self.dir / "seen.raw")
        return [bundle.mtools("mtype", "-i", bank(disk, 6), f"::{name}").stdout for name in names]

    def first_boot_script(self, profile):
        [state] = self.bank_files(profile, "state.tgz")
        return members(members(state)["local.tgz"])["etc/rc.local.d/local.sh"].decode()

    def esxi_captured(self):
        build, image = self.found("build-plans", "HPE - ESXi - generalize full state"), self.found("golden-images", "an ESXi")
        if not build or not image:
            return "SKIPPED: the ESXi bundle is not there"
        as_is = self.estate.build_plan("as is, for ESXi")
        source = self.estate.create("one", self.estate.bays[1], self.estate.plan("ESXi as it is", image, as_is))
        volume = self.estate.volume_of(source)
        body = {"name": "an ESXi, captured", "imageCapture": "true", "osVolumeURI": volume["uri"], "buildPlanUri": build["uri"]}
        captured = self.api.post("/rest/golden-images", body)
        self.estate.delete(source)
        again = self.estate.create("captured", self.estate.bays[1], self.estate.plan("ESXi, captured", captured, as_is))
        config, onetime, told = self.bank_files(again, "boot.cfg", "onetime.tgz", "ImageStreamerCapture")
        expect(b"--- onetime.tgz" in config and b"no-auto-partition" not in config, config)
        expect(b"/system/uuid" not in members(onetime)["etc/vmware/esx.conf"], "it kept its uuid")
        expect(b"HPE Image Streamer Capture for ESXi" in told, told)
        return "boots from onetime.tgz, without a uuid"

    def rhel_on_lvm(self):
        """Deployed; then captured, and that deployed as it is."""
        deploy, capture = self.found("build-plans", "HPE-Deploy-RHEL75"), self.found("build-plans", "HPE-Capture-RHEL75")
        if not deploy or not capture:
            return "SKIPPED: the RHEL 7.5 bundle is not there"
        image = self.estate.image("a RHEL", rhel_disk(self.dir / "rhel.raw"))
        plan = self.estate.plan("RHEL 7.5", image, deploy)
        values = self.values(self.api.get(plan["uri"])["customAttributes"], TotalMgmtNICs="2")
        source = self.estate.create("one", self.estate.bays[1], plan, values)
        text = self.on_root(source, "cat /etc/rc.d/rc.local", "cat /etc/hostname", "cat /temp/add_users", "cat /etc/selinux/config")
        cards = re.findall(r"MgmtNIC-configure 52:54:00:00:00:0(\d) 0 192\.0\.2\.4\1 192\.0\.2\.1 example\.test", text)
        expect(len(cards) == 2, f"{cards}: {text}")
        for wanted in ("web01.example.test", 'users_string="words"', "SELINUX=enforcing"):
            expect(wanted in text, f"no {wanted}: {text}")
        expect(PASSWORD not in self.log(source), "a password is in the log")
        volume = self.estate.volume_of(source)
        body = {"name": "a RHEL, captured", "imageCapture": "true", "osVolumeURI": volume["uri"], "buildPlanUri": capture["uri"]}
        captured = self.api.post("/rest/golden-images", body)
        as_is = self.estate.plan("RHEL, captured", captured, self.estate.build_plan("as is, for RHEL"))
        self.estate.delete(source)
        again = self.estate.create("captured", self.estate.bays[1], as_is)
        text = self.on_root(again, "cat /etc/hostname", "ls /etc/sysconfig/network-scripts", "filesize /etc/machine-id")
        expect("localhost.localdomain.com" in text and "ifcfg-lo\n0\n" in text and "ifcfg-ens3" not in text, text)
        return "two NICs, a user, SELinux; captured without network, machine id and users"

    def on_root(self, profile, *commands):
        """What guestfish says of the root in a profile's volume."""
        disk = self.estate.read_out(profile, self.dir / "seen.raw")
        return guestfish("\n".join((f"add-drive-ro {disk}", "run", "mount-ro /dev/rhel/root /", *commands, "")))

    def community(self):
        told = []
        for name in ("LinuxMinimumDeployment-DeployBP-HPE-UEFI", "LinuxBasicDeploment-DeployBP-HPE-UEFI"):
            if build := self.found("build-plans", name):
                profile = self.build_plan(build)
                engine, log = self.engine(profile)
                told.append(f"{name}: {engine}, {log.splitlines()[-1]}")
                self.estate.delete(profile)
        return "; ".join(told) or "SKIPPED: the community's bundle is not there"


def main():
    if len(sys.argv) < 2 or not pathlib.Path(sys.argv[1]).is_dir():
        print(__doc__)
        return 2
    folder = pathlib.Path(sys.argv[1]).resolve()
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[2:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    target.plans["acceleration"] = "tcg"
    with cases.serving(target):
        target.user()
        estate = Estate(target.api(), target.portals[0]).furnish_servers()
        estate.api.patience = 240
        bundles = Bundles(cases, folder, target, estate)
        for name, body, *arguments in (
            ("every bundle is imported", bundles.imported),
            ("every build plan is looked through", bundles.looked_through),
            ("Developer: the deployment test, its values in the file", bundles.developer),
            ("Developer: the plan that fails, and then does not", bundles.developer_fails),
            ("Developer: captured, and deployed as it is", bundles.developer_captures),
            ("Foundation: an empty volume", bundles.foundation),
            ("Support: both deployment tests", bundles.support),
            ("RHEL 7 for UEFI", bundles.efi_plans, "RHEL7-EFI"),
            ("SLES 12 for UEFI", bundles.efi_plans, "SLES12-EFI"),
            ("the community's Linux for UEFI", bundles.community),
            ("ESXi 6 and 7", bundles.esxi),
            ("ESXi, captured", bundles.esxi_captured),
            ("RHEL 7.5 on a root in a volume group", bundles.rhel_on_lvm),
        ):
            cases.case(name, body, *arguments)
            for left in ("empty", "support", "one", "captured"):
                if profile := estate.profile(left):
                    estate.delete(profile)
    return 0


if __name__ == "__main__":
    sys.exit(main())

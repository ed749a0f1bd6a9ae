#!/usr/bin/env python3
"""osvold as a service of a real systemd: installed by the commands of docs/OPERATING.md, under the limits of its unit, killed, stopped;
plan scripts by guestfish refused without the drop-in and run with it.

    tests/systemd.py [PART OF A CASE'S NAME...]

systemd runs in a container (systemd-nspawn) with this machine's programs and a network of its own.
"""

import pathlib
import re
import shutil
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import plans_appliance  # noqa: E402
from cases import Cases, expect  # noqa: E402
from container import Container, Unavailable  # noqa: E402
from target import binary, project  # noqa: E402

# Where the commands of the document are run: a tree with what they name.
TREE = "/root/osvol"
# Where the unit's configuration looks for it.
APPLIANCE = "/var/lib/osvol-appliance"
HOST_NAME = "web17"
SCRIPT = "mount /dev/sda /\nwrite /hostname @HostName@\ncat /hostname\n"
GONE_SECONDS = 20
JOB_SECONDS = 60


def documented(heading):
    """The commands of the first block after these words in docs/OPERATING.md that is for root."""
    text = (project() / "docs/OPERATING.md").read_text()
    block = text[text.index(heading) :].split("```")[1]
    return [line.removeprefix("# ") for line in block.splitlines() if line.startswith("# ")]


class Service:
    """The cases; they build on each other."""

    def __init__(self, container):
        self.container = container
        self.shell = container.shell

    def show(self, name):
        """A property of the unit."""
        return self.shell(f"systemctl show --property {name} --value osvold").stdout.strip()

    def wait_for(self, what, script, seconds):
        """Until a script succeeds."""
        end = time.monotonic() + seconds
        while self.shell(script, check=False).returncode != 0:
            expect(time.monotonic() < end, f"{what}: not after {seconds} s")
            time.sleep(0.1)

    def doctor(self):
        """What the doctor says, and its status."""
        done = self.shell("osvol doctor", check=False)
        return done.returncode, done.stdout

    # ---- without plan scripts ---------------------------------------------------------------------------------------

    def installed(self):
        """The document's own commands, one after the other."""
        for name in ("osvold", "osvol"):
            target = self.container.root / TREE[1:] / "target/release" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(binary(name), target)
        for name in ("systemd", "config/examples"):
            shutil.copytree(project() / name, self.container.root / TREE[1:] / name)
        commands = documented("As a service, from the files in `systemd/`")
        for command in commands:
            self.shell(command, directory=TREE)
        expect(self.show("ActiveState") == "active", self.show("ActiveState"))
        expect(self.show("StatusText").startswith("ready: iSCSI on 127.0.0.1:3260"), self.show("StatusText"))
        expect(self.show("User") == "osvol" and self.show("CapabilityBoundingSet") == "", "more than a user")
        return f"{len(commands)} commands"

    def works(self):
        """Images in what qemu-img and the daemon convert, a volume that is written, its NBD door."""
        self.shell(
            "truncate -s 64M x.raw; mkfs.ext4 -q x.raw; qemu-img convert -O qcow2 x.raw x.qcow2; gzip -k x.raw;"
            "for kind in raw qcow2 raw.gz; do osvol image add $kind x.$kind; done; osvol volume create v --image qcow2",
            directory="/root",
        )
        listed = self.shell("iscsi-ls -s iscsi://127.0.0.1").stdout
        expect("Lun:0" in listed, listed)
        url = re.search(r"Target:(\S+)", listed)[1]
        self.shell(f"qemu-io -f raw -c 'write -P 7 4M 1M' -c flush iscsi://127.0.0.1/{url}/0")
        self.shell("set -- $(osvol volume attach --nbd v --detach); qemu-io -r -f raw -c 'read -P 7 4M 1M' $1; osvol volume detach v")

    def killed(self):
        """It is back, and so is what was written."""
        before = self.show("MainPID")
        begin = time.monotonic()
        self.shell("systemctl kill --kill-whom=main --signal=KILL osvold")
        self.wait_for("the service is back", f"[ $(systemctl show -P MainPID osvold) != {before} ] && osvol volume list", GONE_SECONDS)
        seconds = time.monotonic() - begin
        expect(self.show("NRestarts") == "1", f"{self.show('NRestarts')} restarts")
        url = re.search(r"Target:(\S+)", self.shell("iscsi-ls -s iscsi://127.0.0.1").stdout)[1]
        self.shell(f"qemu-io -r -f raw -c 'read -P 7 4M 1M' iscsi://127.0.0.1/{url}/0")
        return f"after {seconds:.1f} s"

    # ---- plan scripts -----------------------------------------------------------------------------------------------

    def plan(self):
        """A plan whose script needs guestfish."""
        self.shell(
            f"printf {SCRIPT!r} > script; osvol plan script create name script;"
            "osvol plan build create build --script name --attribute HostName:hostname;"
            f"osvol plan create web --build-plan build --image raw --set HostName={HOST_NAME}",
            directory="/root",
        )

    def refused(self):
        """The unit forbids what a sandbox is made of; the doctor and the refusal say what helps."""
        self.plan()
        status, said = self.doctor()
        expect(status == 1 and "osvold.service.d/plans.conf" in said, said)
        tried = self.shell("osvol plan try web", check=False)
        expect(tried.returncode != 0 and "sandbox" in tried.stderr, f"{tried.stdout}{tried.stderr}")

    def allowed(self):
        """With the drop-in, installed as the document says: all but the packages and the building, which take their time."""
        slow = ("apt install", "osvol appliance build")
        for command in documented("sandbox of bubblewrap, with a small virtual machine"):
            if not command.startswith(slow):
                self.shell(command, directory=TREE)
        tried = self.shell("osvol plan try web").stdout
        expect(f"\n{HOST_NAME}\n" in tried and "succeeded" in tried, tried)
        return re.search(r"succeeded, after \d+ ms", tried)[0]

    def killed_in_a_job(self):
        """The daemon is killed while guestfish runs: systemd ends the job with it, and nothing of the job is left."""
        self.shell("osvol plan try web > /root/tried 2>&1 & disown")
        self.wait_for("a job runs", "pgrep qemu-system", JOB_SECONDS)
        before = self.show("MainPID")
        self.shell("systemctl kill --kill-whom=main --signal=KILL osvold")
        self.wait_for("the service is back", f"[ $(systemctl show -P MainPID osvold) != {before} ] && osvol volume list", GONE_SECONDS)
        left = self.shell("pgrep -l qemu-system", check=False).stdout
        expect(not left, f"still there: {left}")
        # The new one tries whether sandboxes can be made.
        self.wait_for("no sandbox is left", "! pgrep 'guestfish|bwrap'", GONE_SECONDS)
        volumes = self.shell("osvol volume list --json").stdout
        expect(volumes.count('"name"') == 1, f"a scratch volume is left: {volumes}")

    # ---- the end ----------------------------------------------------------------------------------------------------

    def off(self):
        """The machine is switched off: the service stops in order."""
        self.container.power_off()
        status = self.container.process.returncode
        expect(status == 0, f"status {status}: {self.container.log.read_text(errors='replace')}")

    def stopped(self):
        self.shell("systemctl stop osvold")
        expect(self.show("Result") == "success" and self.show("ExecMainStatus") == "0", f"{self.show('Result')}")
        said = self.shell("journalctl --unit osvold --output cat --no-pager").stdout
        expect(said.rstrip().splitlines()[-1].startswith("Stopped ") and "\nstopped\n" in said, said[-500:])
        expect("panicked" not in said, said)


def main():
    appliance = plans_appliance()
    cases = Cases(sys.argv[1:])
    try:
        with Container(cases.dir / "container", {APPLIANCE: appliance}) as container:
            all_cases(cases, Service(container))
    except Unavailable as unavailable:
        print(f"SKIPPED: no systemd comes up in a container here: {unavailable}\n0 passed, 0 failed")
        return
    cases.finish()


def all_cases(cases, service):
    cases.case("installed by the commands of docs/OPERATING.md it is ready", service.installed)
    cases.case("images come in, a volume is written, its NBD door opens: under all limits of the unit", service.works)
    cases.case("killed, it is back with what was written", service.killed)
    cases.case("without the drop-in scripts for guestfish are refused, and the doctor says what helps", service.refused)
    cases.case("with the drop-in they run", service.allowed)
    cases.case("killed while one runs: nothing of the job is left", service.killed_in_a_job)
    cases.case("it stops cleanly", service.stopped)
    cases.case("the machine goes off", service.off)


if __name__ == "__main__":
    main()

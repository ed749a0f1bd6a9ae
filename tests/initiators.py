#!/usr/bin/env python3
"""OS volumes with the initiators that there are: how they log in, by which proof, where they are sent, what they survive.

    tests/initiators.py [CASE...]      -v shows the consoles

Debian's open-iscsi with its kernel and multipathd (in one guest), Debian's iPXE (in two machines that boot into a boot
sector), QEMU's own driver and libiscsi (here).
"""

import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
sys.path.insert(0, str(HERE))
from appliance import Appliance  # noqa: E402
from cases import ADDRESS, Cases, Failed, enter_namespace, expect  # noqa: E402
from guest import GuestCases  # noqa: E402
from initiator import Lost, Session  # noqa: E402
from ipxe import ScriptServer, boot_disk, run_ipxe  # noqa: E402
from relay import BHS, LOGIN_RESPONSE, Relay  # noqa: E402
from target import run  # noqa: E402
from vm import initrd_folder, run_guest  # noqa: E402

MIB = 1 << 20
# Two networks on one bridge, and IPv6.
SECOND, SIXTH = "198.51.100.1", "2001:db8:52::1"
FOUR, FOUR_B, SIX = f"{ADDRESS}:3260", f"{SECOND}:3260", f"[{SIXTH}]:3260"
GUARD, SCRIPTS = f"{ADDRESS}:3270", f"{ADDRESS}:8081"
RELAY, STALLING, SENDING, DIGEST = (f"{ADDRESS}:{port}" for port in range(3280, 3284))
NAME, SECRET, NAME_IN, SECRET_IN = "web01", "secret-of-web01", "osvol", "secret-of-osvol"
WRONG = "another-secret-1"
MACHINE = "iqn.2026-01.io.osvol.test:machine"


def proof(mutual):
    """A volume's settings for CHAP."""
    fields = {"chap": {"user": NAME, "secret": SECRET}}
    return fields | ({"mutual": {"user": NAME_IN, "secret": SECRET_IN}} if mutual else {})


class Guarding(Appliance):
    """A daemon that tells who proves himself which targets there are."""

    def configuration(self):
        discovery = {
            "authentication": "mutual-chap", "user": NAME, "secret_file": str(self.dir.parent / "secret"),
            "mutual_user": NAME_IN, "mutual_secret_file": str(self.dir.parent / "secret-in"),
        }  # fmt: skip
        return super().configuration() + "[iscsi.discovery]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in discovery.items())


class Volumes:
    """The volumes of all cases."""

    def __init__(self, target, folder):
        self.target, self.folder = target, folder
        blank = folder / "blank"
        with open(blank, "wb") as file:
            file.truncate(64 * MIB)
        target.add_image("blank", blank)
        target.add_image("boot", boot_disk(folder))

    def create(self, name, image="blank", mutual=None, size=None):
        """A volume; with `mutual` true or false it wants CHAP."""
        volume = self.target.create_volume(name, image, size)
        if mutual is not None:
            self.change(name, proof(mutual))
        return volume

    def change(self, name, fields):
        """Other settings for what the volume is exported with."""
        uri = self.target.json("volume", "show", name)["uri"]
        answer = self.target.api().ask("PATCH", uri, fields)
        expect(answer.status == 200, f"{answer.status}: {answer.body}")

    def redirect(self, name, to, way="temporary"):
        self.change(name, {"redirect": {"to": to, "permanent": way == "permanent"}})

    def straight(self, name):
        self.change(name, {"redirect": None})

    def sessions(self, name):
        """How many sessions the volume has, once those that were told to end have."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            count = len(self.target.json("volume", "show", name)["sessions"])
            if count == 0:
                break
            time.sleep(0.1)
        return count


# ---- open-iscsi --------------------------------------------------------------------------------------------------------


def algorithm(relay):
    """The CHAP_A that the target chose in the last login that came through the relay."""
    texts = b"".join(pdu[BHS:] for direction, pdu in relay.connections[-1].pdus() if direction == "<" and pdu[0] & 0x3F == LOGIN_RESPONSE)
    return re.findall(rb"CHAP_A=(\d+)\0", texts)[-1].decode()


def link(action):
    """Cuts or mends a path of the guest: its tap, or its portal's address."""

    def act(which):
        if which == "address":
            run("ip", "addr", {"down": "del", "up": "add"}[action], f"{ADDRESS}/24", "dev", "br0")
        else:
            run("ip", "link", "set", {"a": "tap0", "b": "tap1"}[which], action)

    return act


class Other:
    """Another initiator, with a volume that is one initiator's at a time."""

    def __init__(self, target, volume):
        self.target, self.volume, self.session = target, volume, None
        target.osvol("volume", "access", volume.name, "--exclusive")

    def hold(self):
        self.session = Session(self.volume, "iqn.2026-01.test:other")

    def refusals(self):
        log = self.target.log.read_text(errors="replace")
        return str(sum("another initiator's for now" in line and self.volume.iqn in line for line in log.splitlines()))

    def let_go(self):
        self.session.close(logout=True)


def guest(cases, volumes, guarding):
    """Everything in one guest, whose headings are the cases."""
    target = volumes.target
    names = {
        "plain": volumes.create("plain"), "oneway": volumes.create("oneway", mutual=False), "mutual": volumes.create("mutual", mutual=True),
        "moved": volumes.create("moved"), "paths": volumes.create("paths", size="512MiB"), "discovered": guarding.volume("discovered"),
        "alone": volumes.create("alone"),
    }  # fmt: skip
    other = Other(target, names["alone"])
    environment = {
        "LUN": names["plain"].lun, "FOUR": FOUR, "FOUR_B": FOUR_B, "SIX": SIX, "RELAY": RELAY, "GUARD": GUARD,
        "SIX_OWN": "2001:db8:52::100/64", "FOUR_B_OWN": "198.51.100.100/24", "NAME": NAME, "SECRET": SECRET, "NAME_IN": NAME_IN,
        "SECRET_IN": SECRET_IN, **{name.upper(): volume.iqn for name, volume in names.items()},
    }  # fmt: skip
    devices = ["-netdev", "tap,id=n1,ifname=tap1,script=no,downscript=no", "-device", "virtio-net-pci,netdev=n1,romfile=,mac=52:54:00:12:34:99"]
    headings = GuestCases(cases)
    with Relay(RELAY, FOUR) as relay:
        hooks = {
            "sessions": lambda name: str(volumes.sessions(name)), "algorithm": lambda: algorithm(relay), "cut": link("down"), "mend": link("up"),
            "redirect": lambda to, way: volumes.redirect("moved", to, way), "straight": lambda: volumes.straight("moved"),
            "hold": other.hold, "refusals": other.refusals, "let_go": other.let_go, "kill": target.kill, "restart": target.restart,
        }  # fmt: skip
        files = [HERE / "guest/multipath.sh"]
        status = run_guest(HERE / "guest/sessions.sh", environment, headings.on_line, hooks, 800, files=files, devices=devices)
    if status and headings.name is None:
        headings.name = "the guest starts"
    headings.end_step(status == 0, f"status {status}" if status else "")


# ---- iPXE --------------------------------------------------------------------------------------------------------------


def ipxe_script(*steps):
    """A script of an iPXE machine."""
    return "\n".join(["#!ipxe", f"set initiator-iqn {MACHINE}", *steps, "echo IPXE-END", ""])


def chap_settings(secret=SECRET, mutual=False, secret_in=SECRET_IN):
    """iPXE's settings for CHAP."""
    names = {"username": NAME, "password": secret, "reverse-username": NAME_IN if mutual else "", "reverse-password": secret_in if mutual else ""}
    return [f"set {name} {value}" if value else f"clear {name}" for name, value in names.items()]


def hook(volume, name):
    """Opens the disk and closes it again, and says whether that worked."""
    return [f"sanhook --drive 0x81 {san(volume)} && echo {name}=open || echo {name}=refused", "sanunhook --drive 0x81 ||"]


def san(volume):
    host, port = FOUR.rsplit(":", 1)
    return f"iscsi:{host}::{port}:{volume.lun:x}:{volume.iqn}"


class Firmware:
    """iPXE of Debian 12: its CHAP sets T bits early, it knows MD5 alone, and it splits TargetAddress at the first colon."""

    def __init__(self, volumes, server, verbose):
        self.volumes, self.server, self.verbose = volumes, server, verbose
        self.oneway = volumes.create("boot-oneway", "boot", mutual=False)
        self.mutual = volumes.create("boot-mutual", "boot", mutual=True)
        self.moved = volumes.create("boot-moved", "boot")
        self.gone = volumes.create("boot-gone", "boot")

    def run(self, *steps):
        """The lines of the machine's console."""
        self.server.text = ipxe_script(*steps)
        return run_ipxe(self.server.url, lambda line: print(f"       | {line}", flush=True) if self.verbose else None)

    def opened(self, lines, wanted):
        """What each hook came to."""
        told = dict(line.split("=", 1) for line in lines if line.endswith(("=open", "=refused")))
        expect(told == wanted, f"{told} instead of {wanted}")

    def boots(self, lines):
        expect("DISK-READ" in lines and lines[-1] == "DISK-OK", f"the console ends with {lines[-5:]}")

    def chap(self):
        """Four that are refused, and one that is let in, in one machine, which then boots."""
        lines = self.run(
            *hook(self.oneway, "nothing"),
            *chap_settings(WRONG), *hook(self.oneway, "wrong"),
            *chap_settings(), *hook(self.oneway, "right"),
            *chap_settings(WRONG, True), *hook(self.mutual, "mutual-wrong"),
            *chap_settings(SECRET, True, WRONG), *hook(self.mutual, "mutual-believed"),
            *chap_settings(SECRET, True), f"sanboot --keep {san(self.mutual)} ||",
        )  # fmt: skip
        self.opened(lines, {"nothing": "refused", "wrong": "refused", "right": "open", "mutual-wrong": "refused", "mutual-believed": "refused"})
        self.boots(lines)

    def redirected(self):
        """A disk that is elsewhere for now, and one that is there for good."""
        self.volumes.redirect("boot-moved", FOUR_B)
        self.volumes.redirect("boot-gone", FOUR_B, "permanent")
        lines = self.run(*hook(self.gone, "permanent"), f"sanboot --keep {san(self.moved)} ||")
        self.opened(lines, {"permanent": "open"})
        self.boots(lines)
        # What it wrote is there, by the portal to which it was sent.
        portal = self.moved.url(FOUR_B)
        expect("at offset" not in run("qemu-io", "-r", "-f", "raw", "-c", "read -v 32k 16", portal).stderr, "the disk cannot be read")
        return "temporary and permanent"


# ---- QEMU and libiscsi ---------------------------------------------------------------------------------------------------


def qemu_io(volume, *commands, portal=FOUR, password=None, digest="none"):
    """Runs qemu-io's commands; the finished process."""
    options = {
        "driver": "raw", "file.driver": "iscsi", "file.transport": "tcp", "file.portal": portal, "file.target": volume.iqn,
        "file.lun": volume.lun, "file.header-digest": digest,
    }  # fmt: skip
    objects = []
    if password:
        objects = ["--object", f"secret,id=s,data={password}"]
        options |= {"file.user": NAME, "file.password-secret": "s"}
    words = [word for command in commands for word in ("-c", command)]
    image = ",".join(f"{key}={value}" for key, value in options.items())
    return run("qemu-io", *objects, *words, "--image-opts", image, check=False)


def done_well(done):
    text = done.stdout + done.stderr
    expect(done.returncode == 0 and "failed" not in text and "error" not in text.lower(), text.strip())


WRITE_AND_READ = ("write -P 0x5a 1M 1M", "flush", "read -P 0x5a 1M 1M")


class Qemu:
    """QEMU's own driver, which is libiscsi."""

    def __init__(self, volumes):
        self.volumes = volumes
        self.disk, self.moved = volumes.create("qemu"), volumes.create("qemu-moved")
        self.oneway = volumes.create("qemu-oneway", mutual=False)
        self.mutual = volumes.create("qemu-mutual", mutual=True)

    def chap(self):
        for password in (None, WRONG):
            refused = qemu_io(self.oneway, "read 0 512", password=password)
            expect(refused.returncode != 0 and "uthenti" in refused.stderr, f"with {password}: {refused.stdout} {refused.stderr}")
        done_well(qemu_io(self.oneway, *WRITE_AND_READ, password=SECRET))
        return refused.stderr.strip().splitlines()[-1]

    def mutual_chap(self):
        for right, wrong in (((NAME_IN, SECRET_IN), False), ((NAME_IN, WRONG), True), (("other", SECRET_IN), True)):
            try:
                Session(self.mutual, MACHINE, chap=(NAME, SECRET), mutual=right, seconds=10).close(logout=True)
                expect(not wrong, f"a target that is not {right} was believed")
            except Lost as lost:
                expect(wrong, lost)
        expect(self.volumes.sessions("qemu-mutual") == 0, "a session is left")

    def redirect(self):
        """The relay sees logins that are sent on, and nothing of what is done then. libiscsi does not follow for good."""
        with Relay(SENDING, FOUR) as relay:
            for way, detail in (("temporary", 1), ("permanent", 2)):
                self.volumes.redirect("qemu-moved", FOUR_B, way)
                done = qemu_io(self.moved, *WRITE_AND_READ, portal=SENDING)
                if way == "temporary" or "moved permanently" not in done.stderr:
                    done_well(done)
                answers = [pdu for direction, pdu in relay.connections[-1].pdus() if direction == "<"]
                told = [(pdu[0] & 0x3F, tuple(pdu[36:38]), pdu[BHS:].rstrip(b"\0")) for pdu in answers]
                wanted = (LOGIN_RESPONSE, (1, detail), f"TargetAddress={FOUR_B}".encode())
                expect(told == [wanted], f"{way}: {told}")
        return done.stderr.strip().splitlines()[-1] if done.returncode else "permanently too"

    def digest(self):
        with Relay(DIGEST, FOUR) as relay:
            done_well(qemu_io(self.disk, *WRITE_AND_READ, portal=DIGEST, digest="crc32c"))
            text = b"".join(pdu[BHS:] for direction, pdu in relay.connections[0].pdus() if direction == "<")
        expect(b"HeaderDigest=CRC32C\0" in text, "no digest was agreed")

    def reconnect(self):
        """Nothing comes through any more, and nobody says so: three of QEMU's pings are not answered, and it connects anew."""
        disk = self.volumes.create("qemu-stalled")
        options = f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={STALLING},file.target={disk.iqn},file.lun={disk.lun}"
        with Relay(STALLING, FOUR) as relay:
            command = ["qemu-io", "--image-opts", options]
            qemu = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            try:
                qemu.stdin.write("write -P 0x5a 1M 64k\n")
                qemu.stdin.flush()
                for line in qemu.stdout:
                    if "ops" in line:
                        break
                relay.stall()
                begin = time.monotonic()
                text, _ = qemu.communicate("write -P 0x6b 2M 64k\nread -P 0x5a 1M 64k\nread -P 0x6b 2M 64k\nquit\n", timeout=180)
            finally:
                qemu.kill()
                qemu.wait()
            expect(qemu.returncode == 0 and "rror" not in text and "failed" not in text, text)
            expect(len(relay.connections) == 2, f"{len(relay.connections)} connections: {text}")
        return f"connected anew, {time.monotonic() - begin:.0f} s after the last byte had come"


def main():
    initrd_folder()  # out here: the namespace has no way to a mirror
    enter_namespace()
    verbose = "-v" in sys.argv
    cases = Cases([word for word in sys.argv[1:] if word != "-v"])
    run("ip", "addr", "add", f"{SECOND}/24", "dev", "br0")
    run("ip", "addr", "add", f"{SIXTH}/64", "dev", "br0", "nodad")
    for file, secret in (("secret", SECRET), ("secret-in", SECRET_IN)):
        (cases.dir / file).write_text(secret)
        os.chmod(cases.dir / file, 0o600)
    target = Appliance(cases.dir / "target", [FOUR, FOUR_B, SIX], tls=None, boot=None)
    guarding = Guarding(cases.dir / "guarding", [GUARD], tls=None, boot=None)
    with concurrent.futures.ThreadPoolExecutor(1) as beside, cases.serving(target):
        volumes = Volumes(target, cases.dir)
        qemu = Qemu(volumes)
        cases.case("qemu: CHAP one way; without, or with a wrong secret, refused", qemu.chap)
        cases.case("libiscsi: mutual CHAP; a target with a wrong name or secret is not believed", qemu.mutual_chap)
        cases.case("qemu: redirected, temporarily and permanently", qemu.redirect)
        cases.case("qemu: digests of headers", qemu.digest)
        with ScriptServer(SCRIPTS) as server:
            firmware = Firmware(volumes, server, verbose)
            cases.case("iPXE: CHAP one way and mutual, each with a wrong secret refused; boots by mutual CHAP", firmware.chap)
            cases.case("iPXE: redirected, boots from where it was sent", firmware.redirected)
        stalled = beside.submit(qemu.reconnect)
        cases.case("qemu: pings that nobody answers, and a new connection", stalled.result)
        if cases.wanted("guest"):
            guarding.start()
            try:
                guarding.add_image("blank", cases.dir / "blank")
                guarding.create_volume("discovered", "blank")
                guest(cases, volumes, guarding)
            finally:
                guarding.close()
        cases.case("no secret is in a log", no_secrets, target, guarding)


def no_secrets(*daemons):
    for daemon in daemons:
        if daemon.log.exists():
            expect("secret-of-" not in daemon.log.read_text(errors="replace"), f"{daemon.log} has a secret")


if __name__ == "__main__":
    main()

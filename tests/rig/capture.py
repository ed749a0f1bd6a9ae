#!/usr/bin/env python3
"""Writes down what real initiators say to osvold, byte for byte, for iscsi/tests/captures (tests there replay it).

    tests/rig/capture.py FOLDER [CASE...]

Debian 12's iPXE, open-iscsi with its kernel, and QEMU's libiscsi, each through a relay. The challenges are in what the
target says, the secrets in the header of each file: they are of use to nobody.
"""

import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import estate as estates
from appliance import Appliance
from cases import ADDRESS, HERE, Cases, enter_namespace, expect
from initiator import Session, serve
from ipxe import ScriptServer, boot_disk, run_ipxe
from relay import Relay
from target import run
from vm import initrd_folder, run_guest

SECTOR = 512
# The target's data is not what is replayed: of a long segment the beginning is enough.
SHOWN_DATA_BYTES = 1024
NAME, SECRET, NAME_IN, SECRET_IN = "web01", "secret-of-web01", "osvol", "secret-of-osvol"


def package(name):
    """An installed package and its version."""
    return f"{name} " + run("dpkg-query", "-W", "-f", "${Version}", name).stdout


class Captures:
    """A daemon with two volumes of one image, one of them with mutual CHAP, and the files."""

    def __init__(self, target, estate, folder):
        self.target, self.folder, self.ports = target, folder, iter(range(3300, 3400))
        self.disk = target.create_volume("plain", "golden")
        fields = {
            "chapLevel": "MutualChap", "chapName": NAME, "chapSecret": SECRET, "mutualChapName": NAME_IN, "mutualChapSecret": SECRET_IN,
        }  # fmt: skip
        profile = estate.create("web01", estate.bays[0], iscsiChap=fields)
        self.guarded, self.initiator = estate.disk(profile), estate.initiator(profile)

    def relay(self):
        """A relay on a port of its own, and its address."""
        listen = f"{ADDRESS}:{next(self.ports)}"
        return Relay(listen, self.target.portals[0]), listen

    def write(self, name, client, does, relay, chap=False):
        """A file: who says what, and each connection's PDUs."""
        lines = [f"# client: {client}", f"# does: {does}"]
        if chap:
            lines.append(f"# CHAP: the initiator is {NAME} with {SECRET}, the target {NAME_IN} with {SECRET_IN}")
        lines.append("# > initiator to target, < target to initiator; PDUs in hexadecimal, of the target's at most")
        lines.append(f"# {SHOWN_DATA_BYTES} bytes of data (then ..)")
        for number, connection in enumerate(relay.connections, 1):
            lines.append(f"connection {number}")
            for direction, pdu in connection.pdus():
                cut = direction == "<" and len(pdu) > 48 + SHOWN_DATA_BYTES
                lines.append(f"{direction} {pdu[: 48 + SHOWN_DATA_BYTES].hex()}.." if cut else f"{direction} {pdu.hex()}")
        expect(sum(line.startswith("> ") for line in lines) > 1, f"nothing passed: {lines}")
        (self.folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        return f"{len(lines)} lines"

    def ipxe(self, chap):
        volume = self.guarded if chap else self.disk
        relay, listen = self.relay()
        host, port = listen.split(":")
        settings = f"set username {NAME}\nset password {SECRET}\nset reverse-username {NAME_IN}\nset reverse-password {SECRET_IN}\n"
        with relay, ScriptServer(f"{ADDRESS}:8090") as server:
            server.text = f"#!ipxe\nset initiator-iqn {self.initiator}\n{settings if chap else ''}"
            server.text += f"sanboot --keep iscsi:{host}::{port}:{volume.lun:x}:{volume.iqn} || echo IPXE-END\n"
            lines = run_ipxe(server.url)
        expect("DISK-OK" in lines, lines[-5:])
        does = "logs in, reads the capacity and sectors by BIOS calls, writes 2 KiB (in 512-byte Data-Outs) and reads it back"
        return self.write("ipxe-mutual-chap" if chap else "ipxe", package("ipxe-qemu"), does, relay, chap)

    def open_iscsi(self):
        client = f"{package('open-iscsi')}, kernel {kernel()}"
        names = ("discovery", "plain", "digest", "chap")
        relays = {name: self.relay() for name in names}
        environment = {
            "LUN": self.disk.lun, "DISK": self.disk.iqn, "GUARDED": self.guarded.iqn, "NAME": NAME, "SECRET": SECRET, "NAME_IN": NAME_IN,
            "SECRET_IN": SECRET_IN, **{name.upper(): listen for name, (_, listen) in relays.items()},
        }  # fmt: skip
        for relay, _ in relays.values():
            relay.__enter__()
        try:
            status = run_guest(HERE.parent / "guest/capture.sh", environment, lambda line: print(f"       | {line}"), initiator=self.initiator)
        finally:
            for relay, _ in relays.values():
                relay.__exit__()
        expect(status == 0, f"status {status}")
        what = "logs in, finds the disk, reads, writes two blocks of 4 KiB, flushes, logs out"
        self.write("open-iscsi-discovery", client, "asks for all targets", relays["discovery"][0])
        self.write("open-iscsi", client, what, relays["plain"][0])
        self.write("open-iscsi-digests", client, f"with header and data digests {what}", relays["digest"][0])
        self.write("open-iscsi-mutual-chap", client, f"offers SHA3-256, SHA-256, SHA-1, MD5; {what}", relays["chap"][0], True)

    def qemu(self):
        """QEMU's block driver; of libiscsi it uses CRC32C for headers when told."""
        client = f"{package('qemu-block-extra')}, {package('libiscsi7')}"
        for name, digest, does in (("qemu", "none", "without"), ("qemu-header-digest", "crc32c", "with")):
            relay, listen = self.relay()
            source = f"driver=iscsi,transport=tcp,portal={listen},target={self.disk.iqn},lun={self.disk.lun},header-digest={digest}"
            commands = ["-c", "write -P 0x5a 1M 16k", "-c", "read -P 0x5a 1M 512", "-c", "discard 2M 1M", "-c", "flush"]
            with relay:
                run("qemu-io", *commands, "--image-opts", f"driver=raw,file.{source.replace(',', ',file.')}")
            self.write(name, client, f"{does} header digests: opens the disk, writes 16 KiB, reads 512 bytes, discards 1 MiB, flushes", relay)

    def libiscsi(self):
        relay, listen = self.relay()
        good = []
        with relay:
            session = Session(self.guarded, self.initiator, portal=listen, chap=(NAME, SECRET), mutual=(NAME_IN, SECRET_IN))
            session.write(0, b"osvol---" * 512, SECTOR, good.append)
            session.read(0, 512, SECTOR, lambda done, _data: good.append(done))
            while session.under_way:
                serve([session], 1.0)
            session.close(logout=True)
        expect(good == [True, True], good)
        self.write("libiscsi-mutual-chap", package("libiscsi7"), "logs in, writes 4 KiB, reads 512 bytes, logs out", relay, True)


def kernel():
    """The guest's release."""
    image = (initrd_folder() / "vmlinuz").read_bytes()
    return re.search(rb"(\d+\.\d+\.\d+-[\w-]+) \(", image)[1].decode()


def main():
    initrd_folder()
    folder = pathlib.Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    enter_namespace(1)
    cases = Cases(sys.argv[2:])
    image = boot_disk(cases.dir)
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        estate = estates.Estate(target.api(), target.portals[0])
        estate.furnish(cases.dir, image)
        captures = Captures(target, estate, folder)
        cases.case("ipxe", captures.ipxe, False)
        cases.case("ipxe mutual chap", captures.ipxe, True)
        cases.case("qemu", captures.qemu)
        cases.case("libiscsi", captures.libiscsi)
        cases.case("open-iscsi", captures.open_iscsi)


if __name__ == "__main__":
    main()

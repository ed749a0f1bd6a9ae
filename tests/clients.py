#!/usr/bin/env python3
"""OS volumes under libiscsi's tools and QEMU's own iSCSI driver.

    tests/clients.py [CASE...]      TARGET=tgt runs it against Debian's tgt instead
"""

import concurrent.futures
import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from command import Disk  # noqa: E402
from target import chosen_kind, open_target, run  # noqa: E402

MIB = 1 << 20
IMAGE_MIB = 64


def make_image(path):
    """A golden image of random bytes with holes, so that both data and zeros are read."""
    with open("/dev/urandom", "rb") as random, open(path, "wb") as file:
        for start in range(0, IMAGE_MIB, 8):
            file.seek(start * MIB)
            file.write(random.read(3 * MIB + 4096 * start))
        file.truncate(IMAGE_MIB * MIB)


def qemu_io(volume, *commands, cache="writeback", timeout=120):
    """Runs qemu-io's commands against a volume; a pattern that does not match is an error."""
    words = [word for command in commands for word in ("-c", command)]
    done = run("qemu-io", "-f", "raw", "-t", cache, *words, volume.url(), timeout=timeout)
    text = done.stdout + done.stderr
    expect("failed" not in text and "error" not in text.lower(), f"qemu-io: {text.strip()}")
    return text


class Clients:
    """The cases, with the target and the volumes that they share."""

    def __init__(self, target, image):
        self.target = target
        self.image = image
        self.count = 0

    def fresh(self, size=None):
        self.count += 1
        return self.target.create_volume(f"client{self.count}", "golden", size=size)

    def discovery(self):
        volume = self.fresh()
        listed = run("iscsi-ls", "-s", f"iscsi://{volume.portals[0]}").stdout
        expect(f"Target:{volume.iqn} " in listed, f"iscsi-ls does not list {volume.iqn}:\n{listed}")
        after = listed.split(volume.iqn, 1)[1]
        expect(re.search(rf"Lun:{volume.lun} +Type:DIRECT_ACCESS \(Size:({IMAGE_MIB}|{IMAGE_MIB - 1})M\)", after), f"no disk LUN:\n{listed}")

    def inquiry(self):
        volume = self.fresh()
        standard = run("iscsi-inq", volume.url()).stdout
        expect("DIRECT_ACCESS" in standard, standard)
        pages = run("iscsi-inq", "-e", "1", "-c", "0", volume.url()).stdout
        for page in ("83", "b0", "b2"):
            expect(re.search(rf"0x{page}", pages, re.I), f"page {page} is not among\n{pages}")
            run("iscsi-inq", "-e", "1", "-c", str(int(page, 16)), volume.url())
        other = self.fresh()
        names = [run("iscsi-inq", "-e", "1", "-c", "131", each.url()).stdout for each in (volume, other)]
        expect(names[0] != names[1], "two volumes have one device identification")

    def capacity(self):
        for size, count in ((None, IMAGE_MIB * 2048), ("80MiB", 80 * 2048)):
            volume = self.fresh(size)
            text = run("iscsi-readcapacity16", volume.url()).stdout
            block = int(re.search(r"(?:Block size|block_length|LBLEN)\D*(\d+)", text, re.I)[1]) if "lock" in text else 512
            total = re.search(r"Total size:(\d+)", text)
            expect(total and int(total[1]) == count * 512, f"expected {count * 512} bytes, block {block}:\n{text}")

    def sessions(self):
        """`osvol session`: who is logged in, and its end."""
        volume = self.fresh()
        disk = Disk(volume, "iqn.1993-08.org.debian:01:seen")
        listed = self.target.json("session", "list", "--volume", volume.name)["members"]
        expect(len(listed) == 1, f"one session expected: {listed}")
        session = listed[0]
        expect((session["initiatorName"], session["targetName"]) == ("iqn.1993-08.org.debian:01:seen", volume.iqn), session)
        expect(session["portal"] == volume.portals[0] and not session["headerDigest"], session)
        expect(volume.name in self.target.osvol("session", "list").stdout, "the table does not have it")
        self.target.osvol("session", "end", session["tsih"])
        expect(not self.target.json("session", "list", "--volume", volume.name)["members"], "it is still there")
        done = self.target.osvol("session", "show", session["tsih"], check=False)
        expect(done.returncode == 1 and "there is no session" in done.stderr, done.stderr)
        disk.close()

    def perf(self):
        volume = self.fresh()
        done = run("iscsi-perf", "-r", "-b", "8", "-m", "32", "-t", "2", volume.url(), timeout=30)
        rates = re.findall(r"iops average +(\d+)", done.stdout.replace("\r", "\n"))
        expect(rates and int(rates[-1]) > 0, f"no rate in {done.stdout!r}")
        return f"{rates[-1]} random 4 KiB reads a second"

    def convert(self):
        volume = self.fresh()
        copy = self.target.dir / "copy.raw"
        run("qemu-img", "convert", "-O", "raw", volume.url(), copy)
        expect(subprocess.run(["cmp", copy, self.image], check=False).returncode == 0, "the volume is not its golden image")
        run("qemu-img", "compare", "-f", "raw", "-F", "raw", self.image, volume.url())

    def past_the_end(self):
        volume = self.fresh("96MiB")
        qemu_io(volume, f"read -P 0 {IMAGE_MIB}M 32M", f"write -P 0x5a {IMAGE_MIB + 3}M 64k", "flush")
        qemu_io(volume, f"read -P 0 {IMAGE_MIB}M 3M", f"read -P 0x5a {IMAGE_MIB + 3}M 64k", f"read -P 0 {IMAGE_MIB + 4}M 1M")

    def patterns(self):
        volume = self.fresh()
        qemu_io(
            volume,
            "write -P 0xa1 0 4k", "write -P 0xa2 4k 64k", "write -P 0xa3 1M 4M", "write -P 0xa4 63M 1M", "write -P 0xa5 512 512",
            "flush",
            "read -P 0xa1 0 512", "read -P 0xa5 512 512", "read -P 0xa1 1k 3k", "read -P 0xa2 4k 64k", "read -P 0xa3 1M 4M", "read -P 0xa4 63M 1M",
        )  # fmt: skip
        qemu_io(volume, "read -P 0xa5 512 512", "read -P 0xa3 1M 4M")

    def discard(self):
        volume = self.fresh()
        qemu_io(
            volume, "write -P 0xb1 8M 8M", "discard 10M 2M", "write -z 13M 1M", "write -z -u 14M 1M", "flush",
            "read -P 0xb1 8M 2M", "read -P 0 10M 2M", "read -P 0xb1 12M 1M", "read -P 0 13M 2M", "read -P 0xb1 15M 1M",
        )  # fmt: skip
        # A trimmed block reads zeros, never the golden image's bytes again.
        other = self.fresh()
        qemu_io(other, "discard 0 1M", "flush", "read -P 0 0 1M")

    def crash_keeps_acknowledged(self):
        volume = self.fresh()
        qemu_io(volume, "write -P 0xc1 2M 1M", "flush")
        # "unsafe": not even the flush that QEMU sends when it closes the disk.
        qemu_io(volume, "write -P 0xc2 5M 1M", "write -P 0xc3 4k 4k", cache="unsafe")
        self.target.kill()
        self.target.restart()
        qemu_io(volume, "read -P 0xc1 2M 1M", "read -P 0xc2 5M 1M", "read -P 0xc3 4k 4k")
        copy, expected = self.target.dir / "crash.raw", self.target.dir / "expected.raw"
        run("cp", "--sparse=always", self.image, expected)
        with open(expected, "r+b") as file:
            for offset, byte, length in ((2 * MIB, 0xC1, MIB), (5 * MIB, 0xC2, MIB), (4096, 0xC3, 4096)):
                file.seek(offset)
                file.write(bytes([byte]) * length)
        run("qemu-img", "convert", "-O", "raw", volume.url(), copy)
        expect(subprocess.run(["cmp", copy, expected], check=False).returncode == 0, "the volume differs after the crash")

    def side_by_side(self):
        volumes = [self.fresh() for _ in range(8)]

        def fill(number):
            mine = 0xD0 + number
            for _ in range(3):
                qemu_io(volumes[number], f"write -P {mine} 1M 2M", f"write -P {mine} 40M 64k", "flush", f"read -P {mine} 1M 2M")

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(fill, range(8)))
        for number, volume in enumerate(volumes):
            qemu_io(volume, f"read -P {0xD0 + number} 1M 2M", f"read -P {0xD0 + number} 40M 64k")


def main():
    enter_namespace()
    cases = Cases(sys.argv[1:])
    image = cases.dir / "golden.raw"
    make_image(image)
    target = open_target(chosen_kind(), cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("golden", image)
        clients = Clients(target, image)
        cases.case("iscsi-ls lists the volume and its size", clients.discovery)
        cases.case("iscsi-inq: standard data, vital product data, names of their own", clients.inquiry)
        cases.case("iscsi-readcapacity16 says the size", clients.capacity)
        if chosen_kind() == "osvold":
            cases.case("osvol session: who is logged in, and its end", clients.sessions)
        cases.case("iscsi-perf reads at random", clients.perf)
        cases.case("qemu-img convert and compare: the volume is its golden image", clients.convert)
        cases.case("qemu-io: past the image's end are zeros, and writable", clients.past_the_end)
        cases.case("qemu-io: patterns written are read back", clients.patterns)
        cases.case("qemu-io: discard and write-zeroes read zeros, neighbours stay", clients.discard)
        cases.case("kill -9: acknowledged writes survive, flushed or not", clients.crash_keeps_acknowledged)
        cases.case("eight volumes of one image, written at once", clients.side_by_side)


if __name__ == "__main__":
    main()

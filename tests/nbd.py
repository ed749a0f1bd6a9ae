#!/usr/bin/env python3
"""OS volumes attached over NBD, under libnbd's tools, QEMU's, and clients that mean no good.

    tests/nbd.py [CASE...]

Needs nbdinfo and nbdcopy (libnbd-bin), qemu-img and qemu-io (qemu-utils).
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from initiator import Session  # noqa: E402
from target import binary, open_target, run  # noqa: E402

MIB = 1 << 20
IMAGE_MIB = 64
IDLE_CLIENTS = 64
INITIATOR = "iqn.1993-08.org.debian:nbd"
# A read of 4 KiB by a client that nobody should be able to hold up.
PATIENCE_SECONDS = 2


def make_image(path):
    """Random bytes with holes."""
    with open(path, "wb") as file:
        for start in range(0, IMAGE_MIB, 8):
            file.seek(start * MIB)
            file.write(os.urandom(3 * MIB + 4096 * start))
        file.truncate(IMAGE_MIB * MIB)


def qemu_io(uri, *commands, read_only=False, check=True, timeout=120):
    """Runs qemu-io's commands on an export; a pattern that does not match is an error."""
    words = [word for command in commands for word in ("-c", command)]
    options = ["-r"] if read_only else []
    done = run("qemu-io", "-f", "raw", *options, *words, uri, timeout=timeout, check=check)
    text = done.stdout + done.stderr
    if check:
        expect("failed" not in text and "error" not in text.lower(), f"qemu-io: {text.strip()}")
    return text


def same(one, other):
    return subprocess.run(["cmp", str(one), str(other)], check=False).returncode == 0


class Raw:
    """A client by hand, for what no library would send."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        self.socket.connect(str(path))

    def receive(self, count):
        data = b""
        while len(data) < count:
            piece = self.socket.recv(count - len(data))
            if not piece:
                raise ConnectionError("closed")
            data += piece
        return data

    def enter(self):
        """By EXPORT_NAME, into transmission."""
        self.receive(18)
        self.socket.sendall(struct.pack(">I8sII", 3, b"IHAVEOPT", 1, 0))
        return struct.unpack(">QH", self.receive(10))

    def request(self, command, offset, length, flags=0):
        self.socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, command, 7, offset, length))

    def is_closed(self):
        try:
            while self.socket.recv(4096):
                pass
        except ConnectionError:
            pass
        return True


class Nbd:
    """The cases, with the daemon that they share."""

    def __init__(self, target, image):
        self.target, self.image, self.count = target, image, 0

    def fresh(self, size=None):
        self.count += 1
        return self.target.create_volume(f"nbd{self.count}", "golden", size=size)

    @contextlib.contextmanager
    def attached(self, volume, *options):
        """The attachment of a volume as the API tells it; detached at the end."""
        told = self.target.json("volume", "attach", "--nbd", volume.name, "--detach", *options)
        try:
            yield told
        finally:
            self.target.osvol("volume", "detach", volume.name, check=False)

    def refused(self, *words, why):
        done = self.target.osvol(*words, check=False)
        expect(done.returncode == 1 and why in done.stderr, f"expected a refusal with {why!r}: {done.stdout}{done.stderr}")

    def told(self):
        with self.attached(self.fresh("80MiB")) as told:
            mode = os.stat(told["socket"]).st_mode
            expect(stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600, f"mode {mode:o}")
            expect(stat.S_IMODE(os.stat(pathlib.Path(told["socket"]).parent).st_mode) == 0o700, "the directory is open to others")
            about = json.loads(run("nbdinfo", "--json", told["nbdUri"]).stdout)
            export = about["exports"][0]
            expect(about["protocol"] == "newstyle-fixed" and about["structured"], f"{about}")
            expect(export["export-size"] == 80 * MIB and export["is_read_only"], f"{export}")
            expect(export["contexts"] == ["base:allocation"] and export["can_multi_conn"], f"{export}")
            sizes = [export[f"block_size_{which}"] for which in ("minimum", "preferred", "maximum")]
            expect(sizes == [512, 4096, 32 * MIB], f"{sizes}")
            run("nbdinfo", "--list", told["nbdUri"])
            listed = self.target.osvol("volume", "attachments").stdout
            expect(told["nbdUri"] in listed and "read-only" in listed, listed)
        expect(not os.path.exists(told["socket"]), "the socket is left behind")

    def allocation(self):
        with self.attached(self.fresh("80MiB")) as told:
            extents = json.loads(run("nbdinfo", "--map", "--json", told["nbdUri"]).stdout)
            expect(sum(extent["length"] for extent in extents) == 80 * MIB, f"{extents}")
            last = extents[-1]
            expect(last["type"] == 3 and last["length"] >= 16 * MIB, f"what lies past the image is no hole: {last}")
            data = sum(extent["length"] for extent in extents if extent["type"] == 0)
            expect(24 * MIB <= data <= 30 * MIB, f"{data} bytes of data in {extents}")
            return f"{len(extents)} extents"

    def copied_out(self):
        with self.attached(self.fresh()) as told:
            copy = self.target.dir / "copy.raw"
            for command in (
                ("nbdcopy", told["nbdUri"], copy),
                ("nbdcopy", "--connections=4", told["nbdUri"], copy),
                ("qemu-img", "convert", "-f", "raw", "-O", "raw", told["nbdUri"], copy),
            ):
                copy.unlink(missing_ok=True)
                run(*command)
                expect(same(copy, self.image), f"{command[0]}: the volume is not its golden image")
            run("qemu-img", "compare", "-f", "raw", "-F", "raw", self.image, told["nbdUri"])

    def copied_in(self):
        disk = self.target.dir / "in.raw"
        make_image(disk)
        for command in (
            ("nbdcopy", "--connections=4", "--flush", disk),
            ("nbdcopy", "--destination-is-zero", "--flush", disk),
            ("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", disk),
        ):
            self.target.osvol("volume", "create", "empty", "--size", f"{IMAGE_MIB}MiB")
            with self.attached(self.target.volume("empty"), "--writable") as told:
                run(*command, told["nbdUri"])
                run("qemu-img", "compare", "-f", "raw", "-F", "raw", disk, told["nbdUri"])
                shown = self.target.json("volume", "attachments")["members"]
                expect(shown[0]["writes"] > 0 and shown[0]["doubt"] is None, f"{command[0]}: {shown}")
            # Exported again, as it was left.
            copy = self.target.dir / "copy.raw"
            run("qemu-img", "convert", "-O", "raw", self.target.volume("empty").url(), copy)
            expect(same(copy, disk), f"{command[0]}: the volume is not what was copied in")
            self.target.remove_volume("empty")

    def patterns(self):
        volume = self.fresh("96MiB")
        with self.attached(volume, "--writable") as told:
            uri = told["nbdUri"]
            qemu_io(
                uri, "write -P 0xa1 0 4k", "write -f -P 0xa2 4k 64k", "write -P 0xa3 1M 4M", "write -P 0xa5 512 512",
                "write -P 0xb1 8M 8M", "discard 10M 2M", "write -z 13M 1M", "write -z -u 14M 1M", "write -z -f 12M 512", "flush",
                "write -P 0xa6 95M 1M", "write -P 0xa7 70000001 777", "flush",
                "read -P 0xa1 0 512", "read -P 0xa5 512 512", "read -P 0xa1 1k 3k", "read -P 0xa2 4k 64k", "read -P 0xa3 1M 4M",
                "read -P 0xb1 8M 2M", "read -P 0 10M 2M", "read -P 0 12M 512", "read -P 0 13M 2M", "read -P 0xb1 15M 1M",
                "read -P 0xa7 70000001 777", "read -P 0 70000778 100",
            )  # fmt: skip
            past = qemu_io(uri, "write 96M 512", check=False)
            expect("beyond" in past or "Input/output" in past or "Invalid" in past, past)
        # The same bytes over iSCSI.
        words = ["read -P 0xa2 4k 64k", "read -P 0 10M 2M", "read -P 0xa6 95M 1M", "read -P 0xa7 70000001 777"]
        qemu_io(volume.url(), *words)

    def read_only(self):
        with self.attached(self.fresh()) as told:
            text = qemu_io(told["nbdUri"], "write 0 4k", check=False)
            expect("permission denied" in text.lower() or "read-only" in text.lower(), text)
            raw = Raw(told["socket"])
            size, flags = raw.enter()
            expect(size == IMAGE_MIB * MIB and flags & 2, f"{size} {flags:#x}")
            raw.request(1, 0, 512)
            raw.socket.sendall(bytes(512))
            expect(struct.unpack(">III", raw.receive(12))[:2] == (0x67446698, 1), "a write was not refused with EPERM")

    def live_and_snapshot(self):
        volume = self.fresh()
        qemu_io(volume.url(), "write -P 0x11 1M 64k", "flush")
        with self.attached(volume) as live, self.attached(volume, "--snapshot") as still:
            qemu_io(volume.url(), "write -P 0x22 1M 64k", "write -P 0x33 60M 64k")
            qemu_io(live["nbdUri"], "read -P 0x22 1M 64k", "read -P 0x33 60M 64k", read_only=True)
            qemu_io(still["nbdUri"], "read -P 0x11 1M 64k", read_only=True)
            copies = [self.target.dir / name for name in ("one.raw", "two.raw")]
            for copy in copies:
                run("nbdcopy", still["nbdUri"], copy)
                qemu_io(volume.url(), f"write -P {copies.index(copy) + 1} 2M 1M")
            expect(same(*copies), "a snapshot has changed")
            json.loads(run("nbdinfo", "--map", "--json", still["nbdUri"]).stdout)
        layers = self.target.json("snapshot", "list", volume.name)["members"]
        expect(layers == [], f"a snapshot is left: {layers}")

    def writable_alone(self):
        volume = self.fresh()
        with contextlib.closing(Session(volume, INITIATOR)):
            self.refused("volume", "attach", "--nbd", volume.name, "--writable", "--detach", why="an initiator is logged in")
            # And it is exported as before.
            with self.attached(volume) as told:
                run("nbdinfo", told["nbdUri"])
        with self.attached(volume, "--writable"):
            self.refused("volume", "attach", "--nbd", volume.name, "--detach", why="attached already")
            self.refused("volume", "attach", "--nbd", volume.name, "--writable", "--detach", why="attached already")
            tried = run("qemu-io", "-f", "raw", "-c", "read 0 512", volume.url(), check=False)
            expect(tried.returncode != 0, "an initiator can log in to a volume that is attached to be written to")
        qemu_io(volume.url(), "read 0 512")

    def in_the_way(self):
        volume = self.fresh()
        with self.attached(volume) as told:
            self.refused("volume", "remove", volume.name, why="NBD at")
            with self.attached(self.fresh(), "--snapshot") as still:
                self.target.remove_volume(f"nbd{self.count}")
                run("nbdcopy", still["nbdUri"], "null:")
            expect(not os.path.exists(still["socket"]), "what shows a volume that is gone cannot be detached")
            done = self.target.osvol("volume", "remove", volume.name, "--force")
            expect(not os.path.exists(told["socket"]), f"still attached after {done.stdout}")
        self.refused("volume", "detach", "nosuch", why="there is no OS volume")

    def paths(self):
        volume, folder = self.fresh(), self.target.dir / "own"
        folder.mkdir()
        attach = ("volume", "attach", "--nbd", volume.name, "--detach", "--socket")
        with self.attached(volume, "--socket", folder / "a b?.sock") as told:
            run("nbdinfo", told["nbdUri"])
            self.refused(*attach, folder / "a b?.sock", why="somebody listens")
        (folder / "file").write_text("mine")
        self.refused(*attach, folder / "file", why="not a socket")
        expect((folder / "file").read_text() == "mine", "a file was replaced")
        self.refused(*attach, folder / ("x" * 100), why="may have 107")
        self.refused(*attach, folder / "no" / "such", why="cannot make the socket")

    def foreground(self):
        volume = self.fresh()
        for number in (signal.SIGINT, signal.SIGTERM):
            command = [binary("osvol"), "--control", self.target.control, "volume", "attach", "--nbd", volume.name, "--writable"]
            words = [str(word) for word in command]
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
                try:
                    uri = process.stdout.readline().strip()
                    path = uri.removeprefix("nbd+unix:///?socket=")
                    qemu_io(uri, "write -P 7 0 4k", "flush")
                    process.send_signal(number)
                    expect(process.wait(30) == 0, process.stderr.read())
                    expect(not os.path.exists(path), "the socket is left behind")
                finally:
                    process.kill()
            qemu_io(volume.url(), "read -P 7 0 4k")

    def doubt(self):
        volume = self.fresh()
        told = self.target.json("volume", "attach", "--nbd", volume.name, "--writable", "--detach")
        raw = Raw(told["socket"])
        raw.enter()
        raw.request(1, 0, 512)
        raw.socket.sendall(bytes(512))
        raw.receive(16)
        raw.request(2, 0, 0)
        expect(raw.is_closed(), "")
        done = self.target.osvol("volume", "detach", volume.name)
        expect("no flush followed the last write" in done.stderr, done.stderr)

    def hostile(self):
        with self.attached(self.fresh()) as told:
            path, kept = told["socket"], []
            timed = [0.0]

            def look():
                begin = time.monotonic()
                qemu_io(told["nbdUri"], "read 0 4k", read_only=True, timeout=PATIENCE_SECONDS + 10)
                timed.append(time.monotonic() - begin)
                expect(timed[-1] < PATIENCE_SECONDS, f"a read took {timed[-1]:.1f} s")

            kept += [Raw(path) for _ in range(IDLE_CLIENTS)]
            look()
            for start in (b"\0\0\0", struct.pack(">I", 3) + b"IHAV", struct.pack(">I8sII", 3, b"IHAVEOPT", 7, 30_000) + b"x" * 100):
                kept.append(Raw(path))
                kept[-1].socket.sendall(start)
            look()
            for nonsense in (
                struct.pack(">I", 0xFFFFFFFF),
                struct.pack(">I8sII", 3, b"NOTMAGIC", 7, 0),
                struct.pack(">I8sII", 3, b"IHAVEOPT", 7, 0xFFFFFFFF),
                struct.pack(">I", 3) + struct.pack(">8sII", b"IHAVEOPT", 3, 0) * 1000,
                os.urandom(4096),
            ):
                bad = Raw(path)
                with contextlib.suppress(ConnectionError):
                    bad.socket.sendall(nonsense)
                expect(bad.is_closed(), "")
            look()
            # In transmission: announced, and never sent; more than is taken; reads whose answers nobody fetches.
            for command, length in ((1, 32 * MIB), (1, 0xFFFFFFFF), (0, 32 * MIB), (9, 0)):
                bad = Raw(path)
                bad.enter()
                with contextlib.suppress(ConnectionError, TimeoutError):
                    for _ in range(50):
                        bad.request(command, 0, length)
                        if command == 1:
                            break
                kept.append(bad)
                look()
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                list(pool.map(lambda _: look(), range(4)))
            size = self.target.resident_bytes()
            for one in kept:
                one.socket.close()
            look()
            return f"slowest look {max(timed):.2f} s, {size / MIB:.0f} MiB resident"

    def speed(self):
        with self.attached(self.fresh()) as told:
            begin = time.monotonic()
            run("nbdcopy", told["nbdUri"], "null:")
            seconds = time.monotonic() - begin
            return f"{IMAGE_MIB / seconds:.0f} MiB/s read by nbdcopy"

    def left_open(self):
        """The last case: the daemon stops with it, and cleanly."""
        self.target.osvol("volume", "attach", "--nbd", self.fresh().name, "--detach", "--writable")
        told = self.target.json("volume", "attach", "--nbd", self.fresh().name, "--detach", "--snapshot")
        self.kept = Raw(told["socket"])
        self.kept.enter()


def main():
    enter_namespace()
    missing = [tool for tool in ("nbdinfo", "nbdcopy", "qemu-img", "qemu-io") if not shutil.which(tool)]
    if missing:
        sys.exit(f"missing: {', '.join(missing)}; install libnbd-bin and qemu-utils")
    cases = Cases(sys.argv[1:])
    image = cases.dir / "golden.raw"
    make_image(image)
    target = open_target("osvold", cases.dir / "t", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("golden", image)
        nbd = Nbd(target, image)
        cases.case("nbdinfo: size, flags, block sizes; the socket is its owner's", nbd.told)
        cases.case("nbdinfo --map: data and holes", nbd.allocation)
        cases.case("nbdcopy and qemu-img: the volume is its golden image", nbd.copied_out)
        cases.case("nbdcopy and qemu-img: a disk is copied into a volume", nbd.copied_in)
        cases.case("qemu-io: patterns, FUA, discard, zeros, odd offsets", nbd.patterns)
        cases.case("a volume attached to be read is not written to", nbd.read_only)
        cases.case("as it is at each moment, and as it was at one", nbd.live_and_snapshot)
        cases.case("writable: nobody else meanwhile, and exported again", nbd.writable_alone)
        cases.case("a volume is not removed under its clients unless by force", nbd.in_the_way)
        cases.case("paths of sockets", nbd.paths)
        cases.case("in the foreground: ^C and SIGTERM detach", nbd.foreground)
        cases.case("writes without a flush are told at the end", nbd.doubt)
        cases.case("hostile clients delay nobody", nbd.hostile)
        cases.case("how fast it is read", nbd.speed)
        cases.case("attachments that the daemon's end meets", nbd.left_open)


if __name__ == "__main__":
    main()

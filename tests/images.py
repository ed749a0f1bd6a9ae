#!/usr/bin/env python3
"""Golden images from files of every format that is taken, and those that are refused.

    tests/images.py [CASE...]

The files are made here by qemu-img, gzip, xz, zstd and zip.
"""

import os
import pathlib
import struct
import subprocess
import sys
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from target import binary, open_target, run  # noqa: E402

MIB = 1 << 20
DISK_MIB = 24


def make_disk(path):
    """A disk with data that packs and data that does not, holes between them and a hole at its end."""
    with open(path, "wb") as file:
        file.write(b"osvol " * 50_000)
        for start in (2, 5, 11):
            file.seek(start * MIB + 512)
            file.write(os.urandom(MIB // 2))
        file.truncate(DISK_MIB * MIB)


def output(path, *command, stdin=None):
    """Runs a command with its standard output going to a file."""
    with open(path, "wb") as file:
        subprocess.run([str(word) for word in command], stdin=stdin, stdout=file, check=True, timeout=120)
    return path


def convert(source, path, kind, *options):
    words = [word for option in options for word in ("-o", option)]
    run("qemu-img", "convert", "-O", kind, *words, source, path)
    return path


def stream_vmdk(disk, path):
    """A streamOptimized VMDK as VMware's tools write it: markers, and its directory found by the footer at the end."""
    data = disk.read_bytes()
    capacity, grain = len(data) // 512, 128
    text = (
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"streamOptimized\"\n"
        f"\n# Extent description\nRW {capacity} SPARSE \"call-me-stream.vmdk\"\n\n# The Disk Data Base\n"
        'ddb.adapterType = "lsilogic"\nddb.encoding = "UTF-8"\n'
    )

    def header(directory):
        fields = (b"KDMV", 3, 0x30001, capacity, grain, 1, 20, 512, 0, directory, 128, 0, b"\n \r\n", 1)
        return struct.pack("<4sIIQQQQIQQQB4sH", *fields).ljust(512, b"\0")

    def marker(count, kind):
        return struct.pack("<QII", count, 0, kind).ljust(512, b"\0")

    out = bytearray(header(0xFFFFFFFFFFFFFFFF) + text.encode().ljust(20 * 512, b"\0")).ljust(128 * 512, b"\0")
    tables = []
    for table_start in range(0, capacity, grain * 512):
        entries = [0] * 512
        for number in range(512):
            first = table_start + number * grain
            piece = data[first * 512 : (first + grain) * 512]
            if piece.strip(b"\0"):
                packed = zlib.compress(piece)
                entries[number] = len(out) // 512
                block = struct.pack("<QI", first, len(packed)) + packed
                out += block.ljust(-(-len(block) // 512) * 512, b"\0")
        out += marker(4, 1)
        tables.append(len(out) // 512)
        out += struct.pack("<512I", *entries)
    out += marker(-(-len(tables) * 4 // 512), 2)
    directory = len(out) // 512
    out += struct.pack(f"<{len(tables)}I", *tables).ljust(-(-len(tables) * 4 // 512) * 512, b"\0")
    out += marker(1, 3) + header(directory) + bytes(512)
    path.write_bytes(out)
    return path


class Images:
    """The cases, on one daemon that has the disk as a raw image."""

    def __init__(self, cases, target, disk):
        self.dir, self.target, self.disk = cases.dir, target, disk
        self.count = 0
        self.check_sum = target.json("image", "show", "raw")["checkSum"]

    def contents(self):
        return len(list((self.target.state / "golden").iterdir()))

    def same(self, file, source_format, *options):
        """The file becomes the same disk, with the same check sum, and takes no space of its own."""
        self.count += 1
        name = f"same{self.count}"
        self.target.osvol("image", "add", name, file, *options)
        image = self.target.json("image", "show", name)
        expect(image["checkSum"] == self.check_sum, f"{file.name}: another content")
        expect(image["sourceFormat"] == source_format, f"{file.name}: made from {image['sourceFormat']}")
        expect(self.contents() == 1, f"{file.name}: the content is there {self.contents()} times")
        self.target.osvol("image", "remove", name)

    def refused(self, file, *words, options=()):
        """The file is refused with these words, and nothing is left of it."""
        before = self.contents(), self.target.osvol("image", "list").stdout
        done = self.target.osvol("image", "add", "bad", file, *options, check=False)
        text = done.stdout + done.stderr
        expect(done.returncode == 1 and "panicked" not in text, f"{file.name}: status {done.returncode}: {text}")
        for word in words:
            expect(word.lower() in text.lower(), f"{file.name}: no {word!r} in {text}")
        after = self.contents(), self.target.osvol("image", "list").stdout
        expect(before == after, f"{file.name}: something was added")
        end = time.monotonic() + 10
        while time.monotonic() < end and any((self.target.state / "staging").iterdir()):
            time.sleep(0.05)
        expect(not any((self.target.state / "staging").iterdir()), f"{file.name}: something is left in staging")
        return next(line for line in text.splitlines() if line.startswith("osvol"))

    def made(self, name, kind, *options):
        return convert(self.disk, self.dir / name, kind, *options)

    def formats(self):
        self.same(self.made("d.qcow2", "qcow2"), "qcow2")
        self.same(self.made("z.qcow2", "qcow2", "compression_type=zstd"), "qcow2", "--format", "qcow2")
        self.same(self.made("d.vmdk", "vmdk"), "vmdk")
        self.same(self.made("s.vmdk", "vmdk", "subformat=streamOptimized"), "vmdk")
        self.same(stream_vmdk(self.disk, self.dir / "vmware.vmdk"), "vmdk", "--format", "vmdk")
        self.same(self.made("d.vhdx", "vhdx"), "vhdx")
        self.same(self.made("f.vhdx", "vhdx", "subformat=fixed"), "vhdx", "--format", "vhdx")
        self.same(self.made("d.vhd", "vpc", "force_size=on"), "vhd")
        self.same(self.made("f.vhd", "vpc", "force_size=on,subformat=fixed"), "vhd")
        self.same(self.dir / "f.vhd", "vhd", "--format", "vhd")

    def packings(self):
        whole = self.disk.read_bytes()
        halves = [self.dir / "half1", self.dir / "half2"]
        for half, part in zip(halves, (whole[: 9 * MIB + 7], whole[9 * MIB + 7 :])):
            half.write_bytes(part)
        for kind, tool in (("gzip", ["gzip", "-1c"]), ("xz", ["xz", "-1c"]), ("zstd", ["zstd", "-qc"])):
            packed = output(self.dir / f"d.{kind}", *tool, self.disk)
            self.same(packed, f"raw+{kind}")
            self.same(packed, f"raw+{kind}", "--format", kind)
            parts = [output(self.dir / f"{half.name}.{kind}", *tool, half).read_bytes() for half in halves]
            joined = self.dir / f"joined.{kind}"
            joined.write_bytes(b"".join(parts))
            self.same(joined, f"raw+{kind}")
        for name, words in (
            ("crc32.xz", ("xz", "-0c", "-C", "crc32")), ("sha256.xz", ("xz", "-0c", "-C", "sha256")),
            ("blocks.xz", ("xz", "-0c", "-T2", "--block-size=1MiB")), ("x86.xz", ("xz", "-c", "--x86", "--lzma2=preset=0")),
            ("9.xz", ("xz", "-9c")),
        ):  # fmt: skip
            self.same(output(self.dir / name, *words, self.disk), "raw+xz")
        for name, words in (("19.zst", ("-19",)), ("nocheck.zst", ("--no-check",)), ("long.zst", ("--long=27",))):
            self.same(output(self.dir / name, "zstd", "-qc", *words, self.disk), "raw+zstd")

    def archives(self):
        for name, words in (("d.zip", ("-q",)), ("stored.zip", ("-q0",)), ("large.zip", ("-q", "-fz"))):
            run("zip", *words, self.dir / name, self.disk.name, cwd=self.dir)
            self.same(self.dir / name, "raw+zip")
        with open(self.disk, "rb") as file:
            self.same(output(self.dir / "piped.zip", "zip", "-q", "-", "-", stdin=file), "raw+zip")
        folder = self.dir / "folder"
        (folder / "__MACOSX").mkdir(parents=True)
        (folder / "__MACOSX" / "._d").write_bytes(b"a fork")
        os.link(self.disk, folder / "d")
        run("zip", "-qr", self.dir / "folder.zip", ".", cwd=folder)
        self.same(self.dir / "folder.zip", "raw+zip", "--format", "zip")

    def disks_in_packings(self):
        for kind, tool in (("gzip", ["gzip", "-1c"]), ("xz", ["xz", "-0c"]), ("zstd", ["zstd", "-qc"])):
            for disk in ("qcow2", "vmdk", "vhdx", "vhd"):
                name = "f.vhd" if disk == "vhd" and kind == "xz" else f"d.{disk}"
                packed = output(self.dir / f"{name}.{kind}", *tool, self.dir / name)
                self.same(packed, f"{disk}+{kind}")
        run("zip", "-q", "vmdk.zip", "s.vmdk", cwd=self.dir)
        self.same(self.dir / "vmdk.zip", "vmdk+zip")

    def sparse(self):
        path = self.dir / "sparse.raw"
        with open(path, "wb") as file:
            file.seek(700 * MIB)
            file.write(b"data")
            file.truncate(1 << 30)
        packed = output(self.dir / "sparse.zst", "zstd", "-qc", path)
        self.target.osvol("image", "add", "sparse", packed)
        image = self.target.json("image", "show", "sparse")
        self.target.osvol("image", "remove", "sparse")
        expect(image["size"] == 1 << 30 and image["allocatedBytes"] <= MIB, f"{image}")
        return f"1 GiB from {packed.stat().st_size} bytes takes {image['allocatedBytes']} bytes"

    def cut_short(self):
        said = ""
        files = ["d.qcow2", "d.vmdk", "s.vmdk", "vmware.vmdk", "d.vhdx", "d.vhd", "d.gzip", "d.xz", "d.zstd", "d.zip", "piped.zip"]
        for name in files:
            whole = (self.dir / name).read_bytes()
            # The last cut takes what is needed: some formats have padding behind it.
            last = len(whole) - {"d.qcow2": 70_000, "s.vmdk": 200_000, "d.vmdk": 600, "d.vhd": 600, "d.vhdx": MIB}.get(name, 3)
            for part in (1024, len(whole) // 2, last):
                cut = self.dir / f"cut-{name}"
                cut.write_bytes(whole[:part])
                said = self.refused(cut)
        return said

    def garbled(self):
        """A wrong byte in the middle: what has check sums is refused."""
        for name in ("d.gzip", "d.xz", "d.zstd", "d.zip", "stored.zip", "x86.xz", "blocks.xz"):
            whole = bytearray((self.dir / name).read_bytes())
            for at in (len(whole) // 3, len(whole) // 2, len(whole) * 2 // 3):
                bad = self.dir / f"garbled-{name}"
                bad.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
                self.refused(bad, "damaged")
        whole = (self.dir / "d.gzip").read_bytes()
        (self.dir / "tail.gz").write_bytes(whole + b"and more")
        return self.refused(self.dir / "tail.gz", "damaged")

    def other_files(self):
        """Whatever names another file is refused, and that file is not read."""
        secret = self.dir / "secret.raw"
        secret.write_bytes(b"secret" * 100_000 + bytes(424))
        backed = self.dir / "backed.vmdk"
        parent = convert(secret, self.dir / "parent.vmdk", "vmdk")
        run("qemu-img", "create", "-q", "-f", "vmdk", "-b", parent, "-F", "vmdk", backed)
        said = self.refused(backed, "has a parent")
        split = convert(secret, self.dir / "split.vmdk", "vmdk", "subformat=twoGbMaxExtentSparse")
        self.refused(split, "names other files")
        self.refused(split, "not in vmdk format", options=("--format", "vmdk"))
        extent = next(path for path in self.dir.glob("split-s*.vmdk"))
        self.refused(extent, "one extent of several")
        flat = convert(secret, self.dir / "flat.vmdk", "vmdk", "subformat=monolithicFlat")
        self.refused(flat, "names other files")
        # A header without a size makes a reader follow the descriptor inside.
        follow = bytearray((self.dir / "d.vmdk").read_bytes())
        follow[12:20] = bytes(8)
        descriptor = f'# Disk DescriptorFile\nversion=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 1000 FLAT "{secret}" 0\n'
        follow[512 : 512 + 20 * 512] = descriptor.encode().ljust(20 * 512, b"\0")
        (self.dir / "follow.vmdk").write_bytes(follow)
        self.refused(self.dir / "follow.vmdk", "names other files")
        packed = output(self.dir / "backed.vmdk.gz", "gzip", "-c", backed)
        self.refused(packed, "has a parent")
        return said

    def what_is_not_taken(self):
        twice = output(self.dir / "d.gz.xz", "xz", "-0c", self.dir / "d.gzip")
        self.refused(twice, "packed with xz is packed with gzip", "unpack the outer one")
        run("zip", "-q0", "two.zip", "d.gzip", "d.qcow2", cwd=self.dir)
        said = self.refused(self.dir / "two.zip", "2 files", "d.gzip, d.qcow2")
        run("zip", "-q", "-P", "secret", "locked.zip", "half1", cwd=self.dir)
        self.refused(self.dir / "locked.zip", "encrypted")
        run("tar", "-cf", "d.ova", "s.vmdk", cwd=self.dir)
        self.refused(self.dir / "d.ova", "tar archive", "unpack")
        self.refused(output(self.dir / "d.bz2", "bzip2", "-1c", self.dir / "half1"), "bzip2")
        self.refused(convert(self.disk, self.dir / "d.vdi", "vdi"), "VDI")
        self.refused(self.dir / "d.gzip", "not in xz format", options=("--format", "xz"))
        self.refused(self.disk, "not in vhd format", options=("--format", "vhd"))
        big = output(self.dir / "window.zst", "zstd", "-qc", "--ultra", "--long=30", "--single-thread", self.dir / "sparse.raw")
        self.refused(big, "more memory", "128 MiB")
        dictionary = output(self.dir / "dict.xz", "xz", "-c", "--lzma2=preset=0,dict=512MiB", self.dir / "half1")
        self.refused(dictionary, "more memory", "128 MiB")
        odd = self.dir / "odd.gz"
        (self.dir / "odd").write_bytes(b"x" * 1000)
        self.refused(output(odd, "gzip", "-c", self.dir / "odd"), "multiple of 512")
        return said

    def memory(self):
        """The largest window that is taken, and what the daemon's memory came to in the whole run."""
        packed = output(self.dir / "ultra.zst", "zstd", "-qc", "--ultra", "-20", "--long=27", self.disk)
        self.same(packed, "raw+zstd")
        status = pathlib.Path(f"/proc/{self.target.pid}/status").read_text()
        peak = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) // 1024
        expect(peak < 400, f"{peak} MiB")
        return f"peak of the daemon's memory in the whole run: {peak} MiB"

    def interrupted(self):
        """The command line is killed while the daemon unpacks: it stops, and leaves nothing."""
        zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
        member = zeros.compress(bytes(64 * MIB)) + zeros.flush()
        bomb = self.dir / "endless.gz"
        bomb.write_bytes(member * 1024)
        command = [str(binary("osvol")), "--control", str(self.target.control), "image", "add", "endless", str(bomb)]
        client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for line in client.stderr:
            if "unpacking" in line:
                break
        expect(client.poll() is None, "it was over before it could be interrupted")
        client.kill()
        client.wait(10)
        end = time.monotonic() + 20
        while time.monotonic() < end and any((self.target.state / "staging").iterdir()):
            time.sleep(0.05)
        expect(not any((self.target.state / "staging").iterdir()), "something is left in staging")


def main():
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    disk = cases.dir / "disk.raw"
    make_disk(disk)
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("raw", disk)
        images = Images(cases, target, disk)
        cases.case("qcow2, vmdk, vhdx, vhd: the same disk, stored once", images.formats)
        cases.case("gzip, xz, zstd: one and several members, every check", images.packings)
        cases.case("zip: stored, deflated, zip64, piped, beside a folder", images.archives)
        cases.case("disk formats inside packings", images.disks_in_packings)
        cases.case("zeros stay sparse", images.sparse)
        cases.case("files that are cut short are refused", images.cut_short)
        cases.case("files with a wrong byte are refused", images.garbled)
        cases.case("files that name another file are refused unread", images.other_files)
        cases.case("what is not taken is named", images.what_is_not_taken)
        cases.case("memory stays bounded", images.memory)
        cases.case("a client that goes away while its file is unpacked", images.interrupted)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Bad input: each is refused with a clear message, and nothing half-made stays behind.

    tests/refusals.py [CASE...]
"""

import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from target import SmallDisk, binary, open_target, run  # noqa: E402

MIB = 1 << 20
UPLOAD_MIB = 16 << 10


def message(text):
    """The line that says what is wrong, without the advice below it."""
    lines = [line for line in text.splitlines() if line.startswith(("osvol", "error"))]
    return (lines or text.strip().splitlines())[0]


class Refusals:
    """The cases, on one daemon with one golden image and one volume."""

    def __init__(self, cases, target):
        self.dir = cases.dir
        self.target = target

    def refused(self, *arguments, words=(), status=None, **keywords):
        """The command fails, says something that has these words in it, and is not a panic."""
        done = self.target.osvol(*arguments, check=False, **keywords)
        text = done.stdout + done.stderr
        expect(done.returncode != 0, f"osvol {' '.join(map(str, arguments))} was not refused: {text}")
        expect(status is None or done.returncode == status, f"status {done.returncode}: {text}")
        expect("panicked" not in text and text.strip(), f"no clear message: {text!r}")
        for word in words:
            expect(word.lower() in text.lower(), f"the message does not name {word!r}: {text}")
        return message(text)

    def files(self):
        """All files of the store with their sizes, but for logs that grow by themselves."""
        return {str(path) for path in self.target.state.rglob("*") if path.is_file()}

    def nothing_added(self, body):
        """Runs a refused `image add`; the list of images and the store's files are the same after it."""
        before = self.target.osvol("image", "list").stdout, self.files()
        said = body()
        end = time.monotonic() + 10  # what is half-made may go a moment after the refusal
        while time.monotonic() < end and self.files() - before[1]:
            time.sleep(0.1)
        left = self.files() - before[1]
        expect(not left, f"left behind: {left}")
        expect(self.target.osvol("image", "list").stdout == before[0], "the list of images has changed")
        return said

    def add(self, name, file, *words):
        return self.nothing_added(lambda: self.refused("image", "add", name, file, words=words))

    def truncated_qcow2(self):
        whole = self.dir / "whole.qcow2"
        run("qemu-img", "convert", "-O", "qcow2", self.dir / "golden.raw", whole)
        messages = []
        for part, name in ((0.5, "half"), (0.0, "head")):
            cut = self.dir / f"{name}.qcow2"
            cut.write_bytes(whole.read_bytes()[: max(100, int(whole.stat().st_size * part))])
            messages.append(self.add(name, cut))
        return messages[0]

    def backing_file(self):
        image = self.dir / "backed.qcow2"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", self.dir / "golden.raw", "-F", "raw", image)
        return self.add("backed", image, "backing")

    def names(self):
        file = self.dir / "golden.raw"
        for name in ("a/b", "../a", "", ".", "-a", "x" * 300, "a\nb"):
            self.nothing_added(lambda name=name: self.refused("image", "add", "--", name, file))
        self.refused("volume", "create", "a/b", "--image", "golden")
        return self.refused("image", "add", "a/b", file, words=["/"])

    def files_that_are_none(self):
        (self.dir / "empty").write_bytes(b"")
        for path in (self.dir, self.dir / "empty", "/dev/null"):
            self.add("bad", path)
        return self.add("bad", self.dir / "missing.img", "missing.img")

    def taken_and_unknown(self):
        self.add("golden", self.dir / "golden.raw", "golden")
        self.refused("volume", "create", "first", "--image", "golden", words=["first"])
        self.refused("volume", "create", "other", "--image", "nosuch", words=["nosuch"])
        self.refused("volume", "remove", "nosuch", words=["nosuch"])
        return self.refused("image", "remove", "golden", words=["golden"])

    def sizes(self):
        for size in ("1MiB", "0", "-1", "many", "99999999999TiB"):
            self.refused("volume", "create", "sized", "--image", "golden", f"--size={size}")
        return self.refused("volume", "create", "sized", "--image", "golden", "--size", "1MiB")

    def client_gone(self):
        """The command line is killed in the middle of an upload."""
        big = self.dir / "big.raw"
        with open(big, "wb") as file:
            file.write(os.urandom(64 * MIB))
            # Too long to be over before the kill, however fast the machine is.
            file.truncate(UPLOAD_MIB * MIB)

        def interrupt():
            command = [binary("osvol"), "--control", self.target.control, "image", "add", "big", big]
            client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = len(self.files())
            end = time.monotonic() + 10
            while time.monotonic() < end and client.poll() is None and len(self.files()) == before:
                time.sleep(0.005)
            expect(client.poll() is None, "the upload was over before it could be interrupted")
            client.kill()
            client.wait(10)

        return self.nothing_added(interrupt)

    def full_disk(self):
        small = SmallDisk(self.dir / "small", [f"{ADDRESS}:3270"])
        small.start()
        try:
            before = small.used_bytes()
            mine = Refusals.__new__(Refusals)
            mine.dir, mine.target = self.dir, small
            said = mine.refused("image", "add", "golden", self.dir / "golden.raw", words=["space"])
            end = time.monotonic() + 10
            while time.monotonic() < end and small.used_bytes() > before + MIB:
                time.sleep(0.1)
            expect(small.used_bytes() <= before + MIB, f"{small.used_bytes() - before} bytes stay behind")
            little = self.dir / "little.raw"
            little.write_bytes(os.urandom(2 * MIB))
            small.add_image("little", little)  # and there is room again
            return said
        finally:
            small.kill()
            small.close()

    def no_permission(self):
        control = self.target.control
        mode = control.stat().st_mode & 0o777
        control.chmod(0)
        try:
            # Without capabilities, so that the mode counts for root too.
            done = run(
                "setpriv", "--bounding-set=-all", "--inh-caps=-all", binary("osvol"), "--control", control, "status", check=False
            )
        finally:
            control.chmod(mode)
        expect(done.returncode != 0 and "permission" in done.stderr.lower(), done.stdout + done.stderr)
        return message(done.stderr)

    def no_daemon(self):
        done = run(binary("osvol"), "--control", self.dir / "nobody.sock", "status", check=False)
        expect(done.returncode != 0 and "nobody.sock" in done.stderr, done.stdout + done.stderr)
        return message(done.stderr)

    def garbage_config(self):
        cases = {
            "garbage.toml": (b"\x00\xff\x13 garbage", []),
            "syntax.toml": (b"[store\npath = 1\n", ["1"]),
            "unknown.toml": (b'stat = "/tmp/x"\n', ["stat"]),
        }
        for name, (content, words) in cases.items():
            file = self.dir / name
            file.write_bytes(content)
            done = run(binary("osvold"), "--config", file, check=False, timeout=20)
            text = done.stdout + done.stderr
            expect(done.returncode != 0 and "panicked" not in text and name in text, f"{name}: {done.returncode} {text}")
            for word in words:
                expect(word in text, f"{name}: no {word!r} in {text}")
        return message(text)

    def second_daemon(self):
        done = run(
            binary("osvold"), "--state", self.target.state, "--portal", f"{ADDRESS}:3261", "--control", self.dir / "second.sock",
            check=False, timeout=20,
        )  # fmt: skip
        text = done.stdout + done.stderr
        expect(done.returncode != 0 and "panicked" not in text, f"status {done.returncode}: {text}")
        self.target.osvol("status")
        return message(text)

    def taken_socket(self):
        """What is beside the socket is the other's: the jobs that it runs."""
        jobs = self.target.control.with_name(f"{self.target.control.name}.jobs")
        (jobs / "running").mkdir()
        done = run(
            binary("osvold"), "--state", self.dir / "third", "--portal", f"{ADDRESS}:3261", "--control", self.target.control,
            check=False, timeout=20,
        )  # fmt: skip
        expect(done.returncode != 0 and "another process listens" in done.stderr, f"status {done.returncode}: {done.stderr}")
        expect((jobs / "running").exists(), "it has removed the jobs of the running one")
        (jobs / "running").rmdir()
        self.target.osvol("status")
        return message(done.stderr)

    def taken_portal(self):
        done = run(
            binary("osvold"), "--state", self.dir / "other", "--portal", f"{ADDRESS}:3260", "--control", self.dir / "other.sock",
            check=False, timeout=20,
        )  # fmt: skip
        expect(done.returncode != 0 and "3260" in done.stderr, f"status {done.returncode}: {done.stderr}")
        return message(done.stderr)


def main():
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    golden = cases.dir / "golden.raw"
    golden.write_bytes(os.urandom(32 * MIB))
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        target.add_image("golden", golden)
        target.create_volume("first", "golden")
        refusals = Refusals(cases, target)
        cases.case("a truncated qcow2", refusals.truncated_qcow2)
        cases.case("a qcow2 with a backing file", refusals.backing_file)
        cases.case("names with a slash, empty, too long", refusals.names)
        cases.case("a missing file, an empty one, a folder, a device", refusals.files_that_are_none)
        cases.case("names that are taken, unknown or in use", refusals.taken_and_unknown)
        cases.case("sizes smaller than the image, or none", refusals.sizes)
        cases.case("a client that goes away in the middle of an upload", refusals.client_gone)
        cases.case("a full disk while adding", refusals.full_disk)
        cases.case("a socket without permission", refusals.no_permission)
        cases.case("no daemon at the socket", refusals.no_daemon)
        cases.case("a garbage configuration", refusals.garbage_config)
        cases.case("a second daemon on one store", refusals.second_daemon)
        cases.case("a second daemon at one control socket", refusals.taken_socket)
        cases.case("a portal that is taken", refusals.taken_portal)


if __name__ == "__main__":
    main()

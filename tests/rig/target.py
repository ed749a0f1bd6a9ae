#!/usr/bin/env python3
"""The target under test, behind one small interface: osvold, or Debian's tgt as the peer.

    target = open_target("osvold", directory, ["192.0.2.1:3260"])
    target.start(); target.add_image("debian", file)
    volume = target.create_volume("web1", "debian")
    target.kill(); target.restart(); target.stop()

Only processes started here are ever signalled, by their pid.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

START_SECONDS = 30
STOP_SECONDS = 20


class TargetError(Exception):
    """The target did not do what was asked of it."""


@dataclasses.dataclass
class Volume:
    """An OS volume as an initiator sees it."""

    name: str
    iqn: str
    lun: int
    portals: list

    def url(self, portal=None):
        """libiscsi's name for it."""
        return f"iscsi://{portal or self.portals[0]}/{self.iqn}/{self.lun}"


def run(*command, timeout=120, check=True, **keywords):
    """Runs a command, bounded in time; its output comes back as text."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, errors="replace", timeout=timeout, **keywords
    )
    if check and done.returncode != 0:
        raise TargetError(f"{' '.join(map(str, command))}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done


def sha256(path, length=None):
    """SHA-256 of a file, or of its first `length` bytes, as hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        left = length
        while left is None or left > 0:
            block = file.read(1 << 20 if left is None else min(left, 1 << 20))
            if not block:
                break
            digest.update(block)
            left = None if left is None else left - len(block)
    return digest.hexdigest()


def project():
    """The folder of the source tree."""
    return pathlib.Path(__file__).resolve().parents[2]


def binary(name):
    """A binary of ours: from OSVOL_BIN, or from cargo's release folder."""
    folder = os.environ.get("OSVOL_BIN")
    if not folder:
        folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", project() / "target")) / "release"
    path = pathlib.Path(folder) / name
    if not path.exists():
        raise TargetError(f"{path} is missing: make build")
    return path


class Target:
    """What the two targets have in common: a folder and a process."""

    kind = ""

    def __init__(self, directory, portals):
        self.dir = pathlib.Path(directory).resolve()
        self.dir.mkdir(parents=True, exist_ok=True)
        self.portals = list(portals)
        self.process = None

    @property
    def pid(self):
        """The pid of the running target."""
        return self.process.pid

    @property
    def log(self):
        """Where its output goes."""
        return self.dir / "log"

    def spawn(self, command, **keywords):
        """Starts the target's process with its output going to the log."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **keywords
            )

    def wait_ready(self, probe):
        """Waits until the probe is true; a target that ended first is an error."""
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise TargetError(f"{self.kind} ended with {self.process.returncode}:\n{self.log_tail()}")
            if probe():
                return
            time.sleep(0.02)
        raise TargetError(f"{self.kind} was not ready within {START_SECONDS} s:\n{self.log_tail()}")

    def log_tail(self, lines=15):
        """The last lines of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def kill(self):
        """SIGKILL, and the process is gone when this returns."""
        if self.process:
            self.process.kill()
            self.process.wait(STOP_SECONDS)

    def close(self):
        """It is not needed any more."""
        self.kill()

    def restart(self):
        """Starts it again with the same settings."""
        if self.process and self.process.poll() is None:
            self.stop()
        self.start()

    def alive(self):
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def cpu_seconds(self):
        """User and system time of the process so far, ended threads included."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_bytes(self):
        """Resident memory of the process."""
        pages = pathlib.Path(f"/proc/{self.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


class Osvold(Target):
    """Our own daemon, driven through its command line."""

    kind = "osvold"

    @property
    def control(self):
        """The control socket."""
        return self.dir / "control.sock"

    @property
    def state(self):
        """The folder of the store."""
        return self.dir / "state"

    def start(self):
        command = [binary("osvold"), "--state", self.state, "--control", self.control]
        for portal in self.portals:
            command += ["--portal", portal]
        self.spawn(command)
        self.wait_ready(lambda: self.osvol("status", check=False).returncode == 0)

    def stop(self):
        if not self.alive():
            return
        self.process.terminate()
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired as late:
            self.kill()
            raise TargetError(f"osvold did not stop within {STOP_SECONDS} s of SIGTERM:\n{self.log_tail()}") from late
        if status != 0:
            raise TargetError(f"osvold ended with {status} after SIGTERM:\n{self.log_tail()}")

    def osvol(self, *arguments, **keywords):
        """Runs the command line against this daemon."""
        return run(binary("osvol"), "--control", self.control, *arguments, **keywords)

    def json(self, *arguments, **keywords):
        """The same with --json, parsed."""
        return json.loads(self.osvol(*arguments, "--json", **keywords).stdout)

    def add_image(self, name, file):
        self.osvol("image", "add", name, file, timeout=600)

    def create_volume(self, name, image, size=None):
        self.osvol("volume", "create", name, "--image", image, *(["--size", size] if size else []))
        return self.volume(name)

    def remove_volume(self, name):
        self.osvol("volume", "remove", name)

    def volume(self, name):
        """The volume as `volume show` tells it."""
        shown = self.json("volume", "show", name)
        portals = [f"{portal['address']}:{portal['port']}" for portal in shown["portals"]]
        return Volume(name, shown["iscsiName"], int(shown["lun"]), portals)

    def allocated_bytes(self, name):
        return int(self.json("volume", "show", name)["allocatedBytes"])

    def golden_digest(self, image, source):
        """SHA-256 over the image's own bytes in the store (raw, the size of its source)."""
        del image
        size = os.path.getsize(source)
        candidates = [
            path for path in self.state.rglob("*")
            if path.is_file() and path.stat().st_size >= size and "image" in str(path.relative_to(self.state))
        ]
        if len(candidates) != 1:
            raise TargetError(f"expected one golden image in {self.state}, found {candidates}")
        return sha256(candidates[0], size)


class SmallDisk(Osvold):
    """osvold with its store on a small file system, in a mount namespace of its own."""

    def __init__(self, directory, portals, mebibytes=24):
        super().__init__(directory, portals)
        self.mebibytes = mebibytes
        self.mounted = False

    def spawn(self, command, **keywords):
        """The file system goes with the namespace's last process: one that waits keeps it across restarts."""
        self.state.mkdir(exist_ok=True)
        if not self.mounted:
            mount = f'{self.mount()} && touch "$1" && exec sleep infinity'
            ready = self.dir / "mounted"
            self.keeper = subprocess.Popen(["unshare", "-m", "--", "sh", "-c", mount, self.state, ready], stdin=subprocess.DEVNULL)
            end = time.monotonic() + START_SECONDS
            while not ready.exists() and time.monotonic() < end:
                time.sleep(0.01)
            self.mounted = True
        super().spawn(["nsenter", "-m", "-t", self.keeper.pid, "--", *command], **keywords)

    def mount(self):
        """The shell command that mounts it at $0."""
        return f'mount -t tmpfs -o size={self.mebibytes}m tmpfs "$0"'

    def used_bytes(self):
        """What the store's own file system says, seen from the daemon's mount namespace."""
        seen = os.statvfs(f"/proc/{self.pid}/root{self.state}")
        return (seen.f_blocks - seen.f_bfree) * seen.f_frsize

    def close(self):
        """Ends what keeps the file system as well."""
        super().close()
        if self.mounted:
            self.keeper.kill()
            self.keeper.wait(STOP_SECONDS)


class StalledDisk(SmallDisk):
    """osvold with its store on a file system that can be frozen: what is written waits, uninterruptibly. Needs root."""

    MOST_SECONDS = 200

    def mount(self):
        file = self.dir / "disk"
        with open(file, "wb") as out:
            out.truncate(self.mebibytes << 20)
        run("mkfs.ext4", "-q", "-F", file, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))
        # Should the test be killed meanwhile, somebody thaws it.
        thaw = f"setsid sh -c 'sleep {self.MOST_SECONDS}; fsfreeze -u \"$0\"' \"$0\" >/dev/null 2>&1 &"
        return f'mount -o loop,noatime "{file}" "$0" && {{ {thaw} }}'

    def _freeze(self, how, check=True):
        run("nsenter", "-m", "-t", self.keeper.pid, "--", "/usr/sbin/fsfreeze", how, self.state, check=check)

    def stall(self):
        """From now on every write waits."""
        self._freeze("-f")

    def resume(self):
        """Everything goes on."""
        self._freeze("-u")

    def close(self):
        if self.mounted and self.keeper.poll() is None:
            self._freeze("-u", check=False)
        super().close()


class Tgt(Target):
    """Debian's tgt: each volume is a sparse copy of its image, LUN 1 of a target of its own."""

    kind = "tgt"

    def __init__(self, directory, portals):
        super().__init__(directory, portals)
        self.volumes = []

    def adm(self, *arguments, check=True):
        return run("tgtadm", "--lld", "iscsi", *arguments, check=check, env=self.environment())

    def environment(self):
        return dict(os.environ, TGT_IPC_SOCKET=str(self.dir / "sock"), PATH=os.environ["PATH"] + ":/usr/sbin:/sbin")

    def start(self):
        for stale in self.dir.glob("sock*"):
            stale.unlink()
        # A second --iscsi replaces the first: one list.
        portals = ",".join(f"portal={portal}" for portal in self.portals)
        self.spawn(["tgtd", "-f", "--iscsi", portals], env=self.environment())
        self.wait_ready(lambda: self.adm("--op", "show", "--mode", "system", check=False).returncode == 0)
        for number, volume in enumerate(self.volumes, 1):
            self.export(number, volume)
        self.adm("--op", "update", "--mode", "sys", "--name", "State", "-v", "ready")

    def stop(self):
        if not self.alive():
            return
        # tgtd ignores SIGTERM while it has targets.
        for number in range(1, len(self.volumes) + 1):
            self.adm("--op", "delete", "--mode", "target", "--force", "--tid", number, check=False)
        self.adm("--op", "delete", "--mode", "system", check=False)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def add_image(self, name, file):
        run("qemu-img", "convert", "-O", "raw", file, self.dir / f"{name}.image", timeout=600)

    def file(self, name):
        return self.dir / f"{name}.volume"

    def create_volume(self, name, image, size=None):
        run("cp", "--sparse=always", self.dir / f"{image}.image", self.file(name))
        if size:
            run("qemu-img", "resize", "-f", "raw", self.file(name), size.replace("iB", ""))
        volume = Volume(name, f"iqn.2026-01.io.osvol:{name}", 1, self.portals)
        self.volumes.append(volume)
        self.export(len(self.volumes), volume)
        return volume

    def export(self, number, volume):
        self.adm("--op", "new", "--mode", "target", "--tid", number, "-T", volume.iqn)
        self.adm("--op", "new", "--mode", "logicalunit", "--tid", number, "--lun", volume.lun, "-b", self.file(volume.name))
        self.adm("--op", "update", "--mode", "logicalunit", "--tid", number, "--lun", volume.lun, "--params", "thin_provisioning=1")
        for key in ("HeaderDigest", "DataDigest"):
            self.adm("--op", "update", "--mode", "target", "--tid", number, "-n", key, "-v", "CRC32C")
        self.adm("--op", "bind", "--mode", "target", "--tid", number, "-I", "ALL")

    def allocated_bytes(self, name):
        return self.file(name).stat().st_blocks * 512

    def golden_digest(self, image, source):
        return sha256(self.dir / f"{image}.image", os.path.getsize(source))


KINDS = {"osvold": Osvold, "tgt": Tgt}


def open_target(kind, directory, portals):
    """A target of that kind, not started; its folder is made afresh."""
    shutil.rmtree(directory, ignore_errors=True)
    return KINDS[kind](directory, portals)


def chosen_kind():
    """TARGET from the environment: osvold unless the peer is asked for."""
    return os.environ.get("TARGET", "osvold")

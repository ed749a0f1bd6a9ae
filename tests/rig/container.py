"""A container with this machine's files and a systemd of its own as its first process, for what only a real systemd shows.

    with Container(directory) as container:
        container.shell("systemctl enable --now osvold")

Its root is an overlay on this machine's, in memory: nothing of it stays. It has a network of its own, a loopback interface alone.
"""

import os
import pathlib
import shutil
import signal
import subprocess
import time

from target import TargetError, run

BOOT_SECONDS = 60
STOP_SECONDS = 90
SHELL_SECONDS = 300
ROOT_SIZE = "6g"
# What this machine's own services would do in it, and what an osvold of this machine's has left.
FORGOTTEN = ("etc/systemd/system", "var/lib/osvol", "var/lib/osvol-appliance", "etc/osvol", "run")


class Unavailable(Exception):
    """This machine lets no systemd come up in a container; the text says why."""


class Container:
    """systemd in namespaces of its own, until the block ends. `binds`: folders of this machine that it sees, read-only, by where."""

    def __init__(self, directory, binds=None):
        self.dir = pathlib.Path(directory)
        self.root = self.dir / "root"
        self.log = self.dir / "console"
        self.binds = binds or {}
        self.process = None

    def __enter__(self):
        self.dir.mkdir(parents=True)
        try:
            run("mount", "-t", "tmpfs", "-o", f"size={ROOT_SIZE},mode=755", "container", self.dir)
            layers = [self.dir / name for name in ("upper", "work")]
            for folder in (*layers, self.root):
                folder.mkdir()
            options = f"lowerdir=/,upperdir={layers[0]},workdir={layers[1]}"
            run("mount", "-t", "overlay", "-o", options, "container", self.root)
            for name in FORGOTTEN:
                shutil.rmtree(self.root / name, ignore_errors=True)
            (self.root / "etc/systemd/system").mkdir()
            (self.root / "etc/machine-id").write_text("")
            (self.root / "run").mkdir()
            self.boot()
        except TargetError as refused:
            self.__exit__()
            raise Unavailable(str(refused)) from refused
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            if leader := self.leader():
                os.kill(leader, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        for folder in (self.root, self.dir):
            subprocess.run(["umount", "--quiet", "--lazy", folder], check=False)

    def boot(self):
        """Starts it, and waits until systemd has done what it wanted at first."""
        command = [
            "systemd-nspawn", f"--directory={self.root}", f"--machine=osvol-{os.getpid()}", "--boot", "--register=no", "--keep-unit",
            "--private-network", "--link-journal=no", "--resolv-conf=off", "--timezone=off", "--console=pipe",
            *(f"--bind-ro={folder}:{place}" for place, folder in self.binds.items()), "systemd.unit=basic.target",
        ]  # fmt: skip
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + BOOT_SECONDS
        while self.shell("systemctl is-system-running", check=False).stdout.strip() != "running":
            if time.monotonic() > end or self.process.poll() is not None:
                failed = self.shell("systemctl --failed --no-legend", check=False).stdout
                raise Unavailable(f"systemd has not come up: {failed}{self.log.read_text(errors='replace')}")
            time.sleep(0.2)

    def leader(self):
        """Its first process, as this machine counts; none before it begins and after it has ended."""
        try:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except OSError:
            return None
        return int(children[0]) if children else None

    def shell(self, script, check=True, timeout=SHELL_SECONDS, directory="/"):
        """Runs a script in it, as root."""
        inside = ["bash", "-c", f"set -e; cd {directory}; {script}"]
        leader = self.leader()
        if leader is None:
            return subprocess.CompletedProcess(inside, 1, "", "the container is not there")
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
        # A session of its own: what it signals is never this script.
        command = ["nsenter", "--target", leader, "--all", "--", *inside]
        return run(*command, check=check, timeout=timeout, env=environment, start_new_session=True)

    def power_off(self):
        """Lets systemd stop everything in order."""
        self.shell("systemctl poweroff", check=False)
        self.process.wait(STOP_SECONDS)

#!/usr/bin/env python3
"""What a plan script tries in order to get out of its sandbox, or to take more than is good for others.

    tests/sandbox.py [CASE...]

guestfish interprets its scripts on the host: `!`, pipes, `<!`, upload and download reach whatever it reaches. Each attempt is
first made without the sandbox, by the same guestfish with the same appliance, and must succeed there: only then it says
something that it fails in a deployment. After each job the daemon is well, and nothing of it is left.
"""

import contextlib
import os
import pathlib
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import esp_image  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, failed, left_over, log_of, message_of, nothing_left, own_orphans  # noqa: E402

LOOPBACK_PORT = 7777
MIB = 1 << 20
# The limits of src/deploy/guestfish/limits.rs.
PROCESSES_MAX, SCRATCH_MAX = 128, 512 * MIB
# A job under a loaded machine; and the one that sleeps for ever.
TIME_MAX, SHORT_TIME_MAX = 240, 45
MOUNT, UNMOUNT = "mount /dev/sda1 /\n", "umount /\n"

FORKS = (
    "-!perl -e '$n = 0; while ($n < 300) { defined($p = fork) or last; if (!$p) { sleep 5; exit } $n++ } "
    'print "forked $n children\\n"\'\n'
)
FILLS = "-!dd if=/dev/zero of=./big bs=1M count=700 2>/dev/null; stat -c 'wrote %s bytes' ./big; rm -f ./big\n"
BOMB = "-!bomb() { bomb | bomb & }; bomb\n"
HOGS = "!perl -e '$x = \"a\" x (3 << 30); print \"held \", length($x), \" bytes\\n\"; sleep 3'\n"
PRINTS = "!head -c 100000000 /dev/zero | tr '\\0' x | fold -w 1000\n!echo printed it all\n"


class Bait:
    """What there is on the host to be found: a file, sockets, a process, a word in the environment."""

    def __init__(self, folder):
        self.dir = folder
        folder.mkdir()
        self.word = f"canary-{secrets.token_hex(8)}"
        (folder / "secret").write_text(f"{self.word}-file\n")
        (folder / "inner.fish").write_text(f"echo {self.word}-inner\n")
        (folder / "disk.raw").write_bytes(f"{self.word}-disk".encode().ljust(MIB, b"\0"))
        (folder / "jobs").mkdir()
        self.victim = subprocess.Popen(["sleep", "1000"])
        self.listeners = [self.listen(socket.AF_UNIX, str(folder / "other.sock")), self.listen(socket.AF_INET, ("127.0.0.1", LOOPBACK_PORT))]

    def listen(self, family, address):
        """Says the word to whoever connects."""
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client, contextlib.suppress(OSError):
                        client.sendall(f"{self.word}-socket\n".encode())

        threading.Thread(target=serve, daemon=True).start()
        return listener

    def planted(self):
        """What scripts have written on the host."""
        return sorted(path.name for path in self.dir.iterdir() if path.name.startswith("planted"))

    def close(self):
        for listener in self.listeners:
            listener.close()
        self.victim.kill()
        self.victim.wait()


def connects(name, path):
    """A line that reads what a Unix socket says, or what a daemon answers."""
    ask = 'print $s "GET /rest/version HTTP/1.0\\r\\n\\r\\n"; '
    return f"-!perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"{path}\") or exit; {ask}print \"{name}: \", <$s>'\n"


def reaches(name, address):
    """A line that connects to an address."""
    return f"-!perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(\"{address}\") or exit; print \"reached the {name}\\n\"'\n"


def attempts(bait, control, daemon):
    """Lines that try it all, each saying something when it succeeds. All go on when they fail."""
    d = bait.dir
    return (
        f"-!cat {d}/secret | sed 's/^/by shell: /'\n"
        f"-echo x | sed 's/^/by pipe: /' - {d}/secret\n"
        f"-<! cat {d}/inner.fish\n"
        f"-upload {d}/secret /stolen\n-cat /stolen\n"
        f"-copy-in {d}/secret /\n-cat /secret\n"
        f"-upload -<<END /mine\nmine\nEND\n-download /mine {d}/planted-by-download\n-copy-out /mine {d}/jobs\n-tar-out / {d}/planted-by-tar\n"
        f"-!echo x > {d}/planted-by-shell\n-cat /mine > {d}/planted-by-nobody\n-cat /mine | tee {d}/planted-by-pipe\n"
        f"-lcd {d}\n-!cat secret | sed 's/^/by lcd: /'\n-lcd /tmp\n"
        + reaches("loopback", f"127.0.0.1:{LOOPBACK_PORT}")
        + reaches("portal", f"{ADDRESS}:3260")
        + connects("other socket", d / "other.sock")
        + connects("control socket", control)
        + f"-!ls {d}/jobs > /dev/null && echo saw the jobs\n"
        f"-!kill -STOP {bait.victim.pid} && kill -CONT {bait.victim.pid} && echo reached a process\n"
        f"-!tr '\\0' ' ' < /proc/{daemon}/cmdline | sed 's/^/cmdline: /'\n"
        f"-!cat /proc/{daemon}/environ | tr '\\0' '\\n' | grep CANARY\n"
        "-!ls -d /proc/[0-9]* | wc -l | sed 's/^/processes: /'\n"
        "-!env | cut -d= -f1 | sed 's/^/env: /'\n-!id -u | sed 's/^/user: /'\n"
        "-!unshare --user --map-root-user --mount mount -t tmpfs none /tmp && echo made a name space\n"
        "-!touch /usr/planted 2>/dev/null && echo wrote in /usr && rm -f /usr/planted\n"
        "-!cat /etc/passwd | sed 's/^/etc: /'\n-!ls / | tr '\\n' ' ' | sed 's/^/root: /'\n" + FORKS + FILLS
    )  # fmt: skip


# What the host says when an attempt succeeds.
SIGNS = (
    "by shell: {word}-file", "by pipe: {word}-file", "{word}-inner", "\n{word}-file", "by lcd: {word}-file", "reached the loopback",
    "reached the portal", "other socket: {word}-socket", "control socket: HTTP/1.", "saw the jobs", "reached a process", "cmdline: .*osvold",
    "CANARY={word}", "made a name space", "wrote in /usr", "etc: root:", "forked 300 children", "wrote 734003200 bytes",
)  # fmt: skip
PLANTED = ["planted-by-download", "planted-by-pipe", "planted-by-shell", "planted-by-tar"]


class Escapes:
    """The cases, on one estate."""

    def __init__(self, cases, target):
        self.dir, self.target = cases.dir, target
        self.bait = Bait(cases.dir / "bait")

    def furnish(self):
        self.target.environment = {**os.environ, "CANARY": self.bait.word}
        self.target.plans = {"time_max": f"{TIME_MAX}s", "acceleration": "tcg"}
        self.target.start()
        self.connect()
        self.disk = self.dir / "esp.raw"
        self.image = self.estate.image("esp", esp_image(self.disk))

    def connect(self):
        self.estate = Estate(self.target.api(), self.target.portals[0])
        self.estate.api.patience = TIME_MAX + 60
        if not self.estate.api.members("/rest/server-hardware"):
            self.estate.furnish_servers(2)
        else:
            self.estate.bays = self.estate.api.members("/rest/server-hardware")
        self.plans = Plans(self.estate)

    # ---- both ways --------------------------------------------------------------------------------------------------

    def bare(self, script):
        """The script by guestfish on the host, as root, as osvold never runs it. What it printed."""
        folder = self.dir / "bare"
        folder.mkdir(exist_ok=True)
        disk = folder / "disk.raw"
        subprocess.run(["cp", "--sparse=always", self.disk, disk], check=True)
        environment = {
            **os.environ, "LIBGUESTFS_BACKEND": "direct", "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg", "LIBGUESTFS_PATH": plans_appliance(),
            "LIBGUESTFS_MEMSIZE": "768", "TMPDIR": str(folder), "LIBGUESTFS_CACHEDIR": str(folder),
        }  # fmt: skip
        done = subprocess.run(
            ["stdbuf", "-oL", "guestfish"], cwd=folder, env=environment, input=f"add-drive {disk} format:raw\nrun\n{script}", text=True,
            errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIME_MAX,
        )  # fmt: skip
        return "\n" + done.stdout

    def begin(self, name, script):
        """A deployment with the script; its task is not waited for."""
        plan = self.plans.deploying(name, self.image, [(name, "deploy", script)])
        answer = self.estate.api.ask("POST", "/rest/server-profiles", self.estate.body(name, self.estate.bays[0], plan))
        expect(answer.status == 202, f"{answer.status} {answer.body}")
        return answer.headers["location"]

    def contained(self, name, script):
        """The log of a deployment that goes well, in spite of it all."""
        uri = self.begin(name, script)
        self.estate.api.wait(uri, TIME_MAX + 60)
        log = log_of(self.estate.api, self.estate.api.get(uri))
        self.estate.delete(self.estate.profile(name))
        self.well()
        return log

    def refused(self, name, script, words):
        """The deployment fails, and says so."""
        begun = time.monotonic()
        task = failed(self.estate.api.wait, self.begin(name, script), TIME_MAX + 60)
        seconds = time.monotonic() - begun
        message = message_of(task)
        expect(words in message, f"{words!r} is not in {message!r}\n{log_of(self.estate.api, task)[-2000:]}")
        self.well()
        return f"{seconds:.0f} s: {message.strip().splitlines()[0]}"

    def well(self):
        """The daemon is well, and nothing of a job is left."""
        mine = {f"sleep ({self.bait.victim.pid})"}
        end = time.monotonic() + 10
        while (found := [one for one in left_over(self.target) if one not in mine]) and time.monotonic() < end:
            time.sleep(0.05)
        expect(not found, f"left over: {found}")
        status = self.estate.api.get("/rest/osvol/status")
        expect(status["status"] == "OK" and self.target.alive(), status)
        expect(not self.target.panics(), self.target.panics())
        expect(self.estate.api.members("/rest/os-volumes") == [], "a volume is left")

    # ---- cases ------------------------------------------------------------------------------------------------------

    def escapes_bare(self):
        script = MOUNT + attempts(self.bait, self.target.control, self.target.pid) + UNMOUNT
        said = self.bare(script)
        signs = [sign.format(word=self.bait.word) for sign in SIGNS]
        silent = [sign for sign in signs if not re.search(sign, said)]
        expect(not silent, f"these attempts fail without a sandbox as well, and prove nothing: {silent}\n{said[-3000:]}")
        expect(set(PLANTED) <= set(self.bait.planted()), f"planted without a sandbox: {self.bait.planted()}")
        for path in [*(self.bait.dir / "jobs").iterdir(), *(self.bait.dir / name for name in self.bait.planted())]:
            path.unlink()
        return f"{len(signs) + len(PLANTED)} attempts succeed"

    def escapes_contained(self):
        script = MOUNT + attempts(self.bait, self.target.control, self.target.pid) + UNMOUNT
        log = self.contained("escapes", script)
        output = "\n" + log.split("=== output", 1)[1]
        signs = [sign.format(word=self.bait.word) for sign in SIGNS]
        found = [sign for sign in signs if re.search(sign, output)]
        expect(not found, f"these got out: {found}\n{output[-6000:]}")
        expect(not self.bait.planted() and not list((self.bait.dir / "jobs").iterdir()), f"planted: {self.bait.planted()}")
        expect("user: 65534" in output, output[-3000:])
        forked = int(re.search(r"forked (\d+) children", output)[1])
        wrote = int(re.search(r"wrote (\d+) bytes", output)[1])
        expect(10 < forked < PROCESSES_MAX, f"{forked} processes")
        expect(wrote <= SCRATCH_MAX, f"{wrote} bytes")
        root = re.search(r"root: (.*)", output)[1]
        environment = sorted(re.findall(r"env: (\w+)", output))
        expect(not {"OSVOL_RIG_INSIDE", "CANARY"} & set(environment), environment)
        return f"of {len(signs) + len(PLANTED)} none; it saw {root.strip()}; forked {forked}, wrote {wrote >> 20} MiB"

    def drive(self):
        """Another disk, of the host's: the appliance has to be started anew for that."""
        script = f"shutdown\nadd-drive {self.bait.dir}/disk.raw format:raw readonly:true\nrun\n-pread-device /dev/sda 40 0\n-pread-device /dev/sdb 40 0\n"
        expect(f"{self.bait.word}-disk" in self.bare(script), "without a sandbox the disk is not read")
        return self.refused("drive", script, f"{self.bait.dir}/disk.raw: No such file or directory")

    def bomb(self):
        log = self.contained("bomb", MOUNT + BOMB + "-!sleep 2\n" + UNMOUNT)
        said = len(re.findall("fork: ", log))
        expect(said, "the bomb did not go off")
        return f"{said} forks were refused"

    def memory(self):
        expect("held 3221225472 bytes" in self.bare(HOGS), "without a sandbox it does not get the memory")
        return self.refused("hog", HOGS, "of memory")

    def output(self):
        expect("printed it all" in self.bare(PRINTS), "without a sandbox it does not print")
        return self.refused("prints", PRINTS, "printed without end")

    def early(self):
        """A step that ends the session takes the others with it: no success."""
        steps = [("quits", "deploy", "exit\n"), ("never runs", "deploy", MOUNT)]
        plan = self.plans.deploying("early", self.image, steps)
        task = failed(self.estate.create, "early", self.estate.bays[0], plan)
        expect("1 of 2 steps were not run" in message_of(task), message_of(task))
        self.well()

    def killed(self):
        """The daemon is killed while a job sleeps: the job dies with it."""
        self.begin("killed", "!sleep 4567.8\n")
        end = time.monotonic() + TIME_MAX
        while not any(one.startswith("sleep") and str(self.bait.victim.pid) not in one for one in left_over(self.target)):
            expect(time.monotonic() < end and self.target.alive(), "the job does not begin")
            time.sleep(0.1)
        os.kill(self.target.pid, signal.SIGKILL)
        self.target.process.wait()
        end = time.monotonic() + 10
        while (found := self.processes()) and time.monotonic() < end:
            time.sleep(0.05)
        expect(not found, f"these outlive the daemon: {found}")
        self.target.plans["time_max"] = f"{SHORT_TIME_MAX}s"
        self.target.start()
        self.connect()
        end = time.monotonic() + 30
        while self.estate.api.members("/rest/os-volumes") and time.monotonic() < end:
            time.sleep(0.2)
        self.well()

    def processes(self):
        mine = {f"sleep ({self.bait.victim.pid})"}
        return [one for one in left_over(self.target) if one not in mine and "(" in one and f"({self.target.pid})" not in one]

    def sleeps(self):
        """The daemon has a short limit since it was killed."""
        return self.refused("sleeps", "!echo it sleeps\n!sleep 100000\n", f"longer than {SHORT_TIME_MAX} s")


def main():
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None)
    escapes = Escapes(cases, target)
    try:
        escapes.furnish()
        for name, body in (
            ("what gets out without a sandbox", escapes.escapes_bare),
            ("none of it gets out of the sandbox", escapes.escapes_contained),
            ("a disk of the host is out of reach", escapes.drive),
            ("a fork bomb bursts in its own room", escapes.bomb),
            ("who takes too much memory is ended", escapes.memory),
            ("who prints without end is ended", escapes.output),
            ("who ends the session early has not succeeded", escapes.early),
            ("the daemon is killed: the job dies with it", escapes.killed),
            ("who sleeps for ever is ended", escapes.sleeps),
        ):
            cases.case(name, body)
        cases.case("the target stops cleanly", target.stop)
    finally:
        escapes.bait.close()
        target.close()
        if cases.failed:
            print(f"the end of the log:\n{target.log_tail(40)}", flush=True)
    cases.finish()


if __name__ == "__main__":
    main()

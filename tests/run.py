#!/usr/bin/env python3
"""Runs the stages of `make check` or `make test`, counts their cases, prints a table at the end.

    tests/run.py check|test [STAGE...]      OSVOL_TEST_LANES=1: one after the other

Two stages run side by side (machines under emulation use one processor each), in the order of the list, except those
that measure times: they have the machine for themselves. A stage's whole output goes to <target>/test-logs/STAGE.log; its
case lines are shown as they come, and the end of the log when it fails. Every stage runs even after a failed one. The
last line is `N passed, N failed`.
"""

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
# A quiet machine of two cores is done in half of it; CI ends a run after 90 minutes. One that is busy with other
# things may be given more.
TOTAL_SECONDS = 80 * 60
# What compiles from nothing takes 15 minutes on two cores that have other things to do as well.
BUILD_SECONDS = 45 * 60
PATIENCE = float(os.environ.get("OSVOL_TEST_PATIENCE", "1"))
LANES = int(os.environ.get("OSVOL_TEST_LANES", "2"))
SHOWN = re.compile(r"^(ok |FAILED|SKIPPED|not ok|test .* FAILED|error(\[|:)|warning: unused)")
TAIL_LINES = 60


@dataclasses.dataclass
class Stage:
    """A command and the longest it may take. It begins when the stages that it comes `after` have ended; one that is
    `alone` has the machine for itself."""

    name: str
    command: list
    seconds: int = 600
    after: tuple = ()
    alone: bool = False


def cargo(*words):
    return ["cargo", *words]


def scripts(*patterns):
    """The project's scripts under these patterns."""
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()]


def stages(which):
    shell = scripts("tests/**/*.sh", "tests/rig/lib/*", ".ci/run")
    python = scripts("tests/**/*.py", "benches/**/*.py", "cow/tests/*.py")
    fast = [
        Stage("format", cargo("fmt", "--all", "--check")),
        Stage("arrows", ["tests/arrows.py"]),
        Stage("mutants", ["cow/tests/mutants.py", "--check"]),
        Stage("mutants of iscsi", ["iscsi/tests/mutants.py", "--check"]),
        Stage("lints", cargo("clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"), BUILD_SECONDS),
        # One after the other: both want cargo's lock of the same directory.
        Stage("unit", cargo("test", "--workspace", "--exclude", "cow", "--locked", "--no-fail-fast"), BUILD_SECONDS, ("lints",)),
    ]
    # Optimised, with debug checks. In full: thousands of seeds and hundreds of thousands of crash states; every sequence of
    # three operations.
    store = cargo("test", "-p", "cow", "--profile", "sim", "--locked", "--no-fail-fast")
    if which == "check":
        return [*fast, Stage("store", store, BUILD_SECONDS)]
    prepared = ("build", "rig")
    return [
        *fast,
        # What the stages below boot, beside the compiler: it waits for mirrors most of the time.
        Stage("rig", ["tests/rig/prepare.py"], 900),
        Stage("shell", ["shellcheck", *shell]),
        Stage("python", [sys.executable, "-m", "py_compile", *python]),
        Stage("build", cargo("build", "--release", "--workspace", "--locked"), BUILD_SECONDS),
        Stage("store", ["env", "COW_FULL=1", *store], BUILD_SECONDS),
        Stage("clients", ["tests/clients.py"], after=prepared),
        Stage("refusals", ["tests/refusals.py"], after=prepared),
        Stage("access", ["tests/access.py"], after=prepared),
        Stage("images", ["tests/images.py"], after=prepared),
        Stage("copies", ["tests/copies.py"], after=prepared),
        Stage("space", ["tests/space.py"], after=prepared),
        Stage("kills", ["tests/kills.py"], after=prepared),
        Stage("power-cuts", ["tests/power_cuts.py"], after=prepared),
        Stage("conformance", ["tests/conformance.py"], 900, prepared),
        Stage("read-only", ["tests/read_only.py"], after=prepared),
        Stage("guest", ["tests/guest.py"], after=prepared),
        Stage("boot", ["tests/boot.py"], 900, prepared),
        Stage("lifecycle", ["tests/lifecycle.py"], 900, prepared),
        Stage("initiators", ["tests/initiators.py"], 900, prepared),
        Stage("nbd", ["tests/nbd.py"], after=prepared),
        Stage("engines", ["tests/engines.py"], 900, (*prepared, "unit")),
        Stage("deployments", ["tests/deployments.py"], 900, prepared),
        Stage("deployments-many", ["tests/deployments_many.py"], after=prepared),
        Stage("deployed-boot", ["tests/deployed_boot.py"], after=prepared),
        Stage("cloud", ["tests/cloud.py"], 1800, prepared),
        Stage("sandbox", ["tests/sandbox.py"], 1500, prepared),
        Stage("systemd", ["tests/systemd.py"], after=prepared),
        Stage("scsi-guest", ["tests/scsi_guest.py"], after=prepared),
        Stage("fencing", ["tests/fencing.py"], 900, prepared),
        Stage("sdk", ["tests/sdk.py"], after=prepared),
        Stage("api-races", ["tests/api_races.py"], after=prepared),
        # It builds a daemon of its own, where the unit tests were built.
        Stage("crashes-lifecycle", ["tests/crashes_lifecycle.py"], 1200, (*prepared, "unit")),
        Stage("crashes-deployments", ["tests/crashes_deployments.py"], 900, (*prepared, "unit")),
        Stage("door-faults", ["tests/door_faults.py"], 900, (*prepared, "unit")),
        Stage("clone-time", ["tests/clone_time.py", "--check"], after=prepared, alone=True),
        Stage("hostile", ["tests/hostile.py"], after=prepared, alone=True),
        Stage("api-hostile", ["tests/api_hostile.py"], after=prepared, alone=True),
        Stage("api-scale", ["tests/api_scale.py", "--check"], after=prepared, alone=True),
    ]


class Result:
    """What came of a stage."""

    def __init__(self, stage):
        self.stage = stage
        self.begin = time.monotonic()
        self.seconds = 0.0
        self.passed = 0
        self.failed = 0
        self.own_count = False
        self.lines = []

    def take(self, line):
        """Reads one line of output: cargo's counts are added up, a driver's last count stands."""
        self.lines = [*self.lines[-TAIL_LINES:], line]
        if found := re.match(r"test result: \w+\. (\d+) passed; (\d+) failed", line):
            self.passed += int(found[1])
            self.failed += int(found[2])
            self.own_count = True
        elif found := re.match(r"(\d+) passed, (\d+) failed$", line):
            self.passed, self.failed, self.own_count = int(found[1]), int(found[2]), True

    def end(self, status):
        """The process status has the last word: a stage that failed without counting is one failure."""
        self.seconds = time.monotonic() - self.begin
        if not self.own_count:
            self.passed = 1 if status == 0 else 0
        if status != 0 and self.failed == 0:
            self.failed = 1


def log_folder():
    folder = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "test-logs"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(stage, limit):
    """Runs one stage in a process group of its own, ended as a whole when it is late."""
    print(f"{stage.name:>18} == begins", flush=True)
    result = Result(stage)
    environment = dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin", PYTHONDONTWRITEBYTECODE="1")
    with open(log_folder() / f"{stage.name}.log", "w", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            stage.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True, env=environment, text=True, errors="replace",
        )  # fmt: skip

        def late():
            result.take(f"{stage.name}: not done after {limit:.0f} s")
            os.killpg(process.pid, signal.SIGKILL)

        timer = threading.Timer(limit, late)
        timer.start()
        try:
            for line in process.stdout:
                log.write(line)
                result.take(line.rstrip("\n"))
                if SHOWN.match(line):
                    print(f"{stage.name:>18} | {line.rstrip()}", flush=True)
            result.end(process.wait())
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    told = [f"{stage.name:>18} == {result.passed} passed, {result.failed} failed, {result.seconds:.0f} s"]
    if result.failed:
        told += [f"{stage.name:>18} . {line}" for line in result.lines]
    print("\n".join(told), flush=True)
    return result


class Schedule:
    """Which stage begins when."""

    def __init__(self, wanted, end):
        self.waiting, self.end = list(wanted), end
        self.names = {stage.name for stage in wanted}
        self.running, self.results = {}, {}
        self.changed = threading.Condition()

    def next(self):
        """The first stage of the list that may begin now. One that wants to be alone, or waits for others, lets those behind
        it pass."""
        for stage in self.waiting:
            ready = all(name in self.results or name not in self.names for name in stage.after)
            room = not self.running if stage.alone else len(self.running) < LANES and not any(one.alone for one in self.running.values())
            if ready and room:
                return stage
        return None

    def begin(self, stage):
        self.waiting.remove(stage)
        self.running[stage.name] = stage

        def body():
            result = run(stage, max(1.0, min(stage.seconds * PATIENCE, self.end - time.monotonic())))
            with self.changed:
                self.results[stage.name] = result
                del self.running[stage.name]
                self.changed.notify()

        threading.Thread(target=body, name=stage.name).start()

    def all(self):
        """Runs them; the results in the order of the list."""
        order = [stage.name for stage in self.waiting]
        with self.changed:
            while self.waiting or self.running:
                if stage := self.next():
                    self.begin(stage)
                else:
                    self.changed.wait()
        return [self.results[name] for name in order]


def table(results, seconds):
    print(f"\n{'stage':18} {'passed':>7} {'failed':>7} {'time':>8}")
    for result in results:
        print(f"{result.stage.name:18} {result.passed:7} {result.failed:7} {result.seconds:6.0f} s")
    passed, failed = (sum(getattr(result, name) for result in results) for name in ("passed", "failed"))
    print(f"{'':18} {'':7} {'':7} {seconds:6.0f} s in all\n")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed


def main():
    which, only = (sys.argv[1] if len(sys.argv) > 1 else "test"), sys.argv[2:]
    begin = time.monotonic()
    wanted = [stage for stage in stages(which) if not only or stage.name in only]
    results = Schedule(wanted, begin + TOTAL_SECONDS * PATIENCE).all()
    sys.exit(1 if table(results, time.monotonic() - begin) else 0)


if __name__ == "__main__":
    main()

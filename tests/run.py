#!/usr/bin/env python3
"""Runs the stages of `make check` or `make test`, counts their cases, prints a table at the end.

    tests/run.py check|test [STAGE...]

A stage's whole output goes to <target>/test-logs/STAGE.log; its case lines are shown as they
come, and the end of the log when it fails. Every stage runs even after a failed one. The last
line is `N passed, N failed`.
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
TOTAL_SECONDS = 60 * 60
PATIENCE = float(os.environ.get("OSVOL_TEST_PATIENCE", "1"))
SHOWN = re.compile(r"^(ok |FAILED|not ok|test .* FAILED|error(\[|:)|warning: unused)")
TAIL_LINES = 60


@dataclasses.dataclass
class Stage:
    """A command and the longest it may take; without its file it does not exist yet."""

    name: str
    command: list
    seconds: int = 600


def cargo(*words):
    return ["cargo", *words]


def scripts(*patterns):
    """The project's scripts under these patterns."""
    return [str(path.relative_to(ROOT)) for pattern in patterns for path in sorted(ROOT.glob(pattern)) if path.is_file()]


def stages(which):
    shell = scripts("tests/**/*.sh", "tests/rig/lib/*", "cow/fuzz/*.sh", ".ci/run")
    crashes = [word for name in ("model", "exhaustive", "faults") for word in ("--test", name)]
    python = scripts("tests/**/*.py", "benches/**/*.py", "cow/tests/*.py")
    fast = [
        Stage("format", cargo("fmt", "--all", "--check")),
        Stage("arrows", ["tests/arrows.py"]),
        Stage("mutants", ["cow/tests/mutants.py", "--check"]),
        Stage("lints", cargo("clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"), 900),
        Stage("unit", cargo("test", "--workspace", "--exclude", "cow", "--locked", "--no-fail-fast"), 1200),
        # Optimised, with debug checks.
        Stage("store", cargo("test", "-p", "cow", "--profile", "sim", "--locked", "--no-fail-fast"), 1200),
    ]
    if which == "check":
        return fast
    return [
        *fast,
        # Thousands of seeds and hundreds of thousands of crash states; every sequence of three operations.
        Stage("crashes", ["env", "COW_FULL=1", *cargo("test", "-p", "cow", "--profile", "sim", "--locked", "--no-fail-fast"), *crashes]),
        Stage("shell", ["shellcheck", *shell]),
        Stage("python", [sys.executable, "-m", "py_compile", *python]),
        Stage("build", cargo("build", "--release", "--workspace", "--locked"), 900),
        Stage("clients", ["tests/clients.py"]),
        Stage("refusals", ["tests/refusals.py"]),
        Stage("images", ["tests/images.py"]),
        Stage("copies", ["tests/copies.py"]),
        Stage("space", ["tests/space.py"]),
        Stage("clone-time", ["tests/clone_time.py", "--check"]),
        Stage("kills", ["tests/kills.py"]),
        Stage("power-cuts", ["tests/power_cuts.py"]),
        Stage("conformance", ["tests/conformance.py"], 900),
        Stage("guest", ["tests/guest.py"]),
        Stage("scsi-guest", ["tests/scsi_guest.py"]),
        Stage("boot", ["tests/boot.py"], 900),
        Stage("sdk", ["tests/sdk.py"]),
        Stage("lifecycle", ["tests/lifecycle.py"]),
        Stage("crashes-lifecycle", ["tests/crashes_lifecycle.py"], 1200),
        Stage("api-races", ["tests/api_races.py"]),
        Stage("api-hostile", ["tests/api_hostile.py"]),
        Stage("api-scale", ["tests/api_scale.py", "--check"]),
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
    print(f"\n== {stage.name}", flush=True)
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
                    print(f"   {line.rstrip()}", flush=True)
            result.end(process.wait())
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if result.failed:
        print("\n".join(f"   | {line}" for line in result.lines), flush=True)
    return result


def table(results):
    print(f"\n{'stage':17} {'passed':>7} {'failed':>7} {'time':>8}")
    for result in results:
        print(f"{result.stage.name:17} {result.passed:7} {result.failed:7} {result.seconds:6.0f} s")
    passed, failed = (sum(getattr(result, name) for result in results) for name in ("passed", "failed"))
    print(f"{'':17} {'':7} {'':7} {sum(result.seconds for result in results):6.0f} s\n")
    print(f"{passed} passed, {failed} failed", flush=True)
    return failed


def main():
    which, only = (sys.argv[1] if len(sys.argv) > 1 else "test"), sys.argv[2:]
    end = time.monotonic() + TOTAL_SECONDS * PATIENCE
    results = []
    for stage in stages(which):
        if not only or stage.name in only:
            results.append(run(stage, max(1.0, min(stage.seconds * PATIENCE, end - time.monotonic()))))
    sys.exit(1 if table(results) else 0)


if __name__ == "__main__":
    main()

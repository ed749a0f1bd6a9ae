"""Test cases of a driver script: a line for each, a count at the end, a bounded life.

Every driver ends with the line `N passed, N failed`, which tests/run.py adds up.
"""

import contextlib
import os
import pathlib
import sys
import tempfile
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
ADDRESS = "192.0.2.1"


def enter_namespace(machines=2):
    """Starts this script again inside a network namespace of its own."""
    if os.environ.get("OSVOL_RIG_INSIDE"):
        return
    os.environ["OSVOL_RIG_INSIDE"] = "1"
    command = [str(HERE / "ns.sh"), "-g", str(machines), f"{ADDRESS}/24", "--", sys.executable, *sys.argv]
    os.execv(command[0], command)


class Failed(Exception):
    """A test case that did not hold; its text says why."""


def expect(condition, why):
    """Raises Failed unless the condition holds (an assert that -O keeps)."""
    if not condition:
        raise Failed(why)


class Cases:
    """Runs cases one after the other and counts them."""

    def __init__(self, only=()):
        self.only = list(only)
        self.passed = 0
        self.failed = 0
        keep = os.environ.get("OSVOL_RIG_KEEP")
        self._scratch = None if keep else tempfile.TemporaryDirectory(prefix="osvol-test-")
        self.dir = pathlib.Path(keep or self._scratch.name)
        self.dir.mkdir(parents=True, exist_ok=True)

    def wanted(self, name):
        """Whether the command line asked for this case (a part of its name is enough)."""
        return not self.only or any(part in name for part in self.only)

    def case(self, name, body, *arguments):
        """Runs one case; a Failed or any other exception fails it and the run goes on."""
        if not self.wanted(name):
            return
        begin = time.monotonic()
        try:
            note = body(*arguments)
        except Failed as failure:
            self.record(name, False, begin, str(failure))
        except Exception:  # whatever went wrong in a case is that case's failure
            self.record(name, False, begin, traceback.format_exc())
        else:
            self.record(name, True, begin, note or "")

    def record(self, name, passed, begin, note=""):
        """Counts a case and prints its line."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
        seconds = time.monotonic() - begin
        print(f"{'ok    ' if passed else 'FAILED'} {seconds:6.1f} s  {name}{': ' if note else ''}{note}", flush=True)

    @contextlib.contextmanager
    def serving(self, target):
        """Starts the target for the cases in its block; at the end it stops cleanly, which is a case too, and the count
        is printed. Whatever happens it is gone, and after a failure the end of its log is shown."""
        target.start()
        try:
            yield target
            self.case("the target stops cleanly", target.stop)
        finally:
            target.close()
            if self.failed:
                print(f"the end of the target's log:\n{target.log_tail(40)}", flush=True)
        self.finish()

    def finish(self):
        """Prints the count; the process status says whether all is well."""
        if self._scratch:
            self._scratch.cleanup()
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)

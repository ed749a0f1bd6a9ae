#!/usr/bin/env python3
"""libiscsi's own test suite, `iscsi-test-cu`, against osvold: every test in a process of its own,
then whole families in one process each, then what needs a volume of another kind.

    tests/conformance.py [PART OF A TEST'S NAME...]
    tests/conformance.py --url URL [--url2 URL] [--native URL] [--read-only URL] [PART...]

With --url it judges a target that runs already. A test passes, or is skipped for a reason listed
below; anything else fails the run: a failed assertion, a hang, a crash of the tool, another skip.
ISCSI_TEST_CU names another build of the suite.
"""

import argparse
import dataclasses
import itertools
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace  # noqa: E402
from target import open_target  # noqa: E402

TOOL = os.environ.get("ISCSI_TEST_CU", "iscsi-test-cu")
# Sanitize.Reset waits a minute when it finds what it looks for.
TEST_SECONDS = 100
FAMILY_SECONDS = 200
VOLUME_MIB = 256

REMOVABLE = "a volume is no removable medium"
NO_CHAP = "the volume asks for no CHAP"
NO_ZERO_COUNT = "WSNZ=1: the test sees the refusal and calls itself skipped"

# Tests that skip themselves wholly or partly, and why that is right.
EXPECTED_SKIPS = {
    "NoMedia.": REMOVABLE,
    "PreventAllow.": REMOVABLE,
    "StartStopUnit.": REMOVABLE,
    "ReadOnly.": "needs a write-protected LUN",
    "ExtendedCopy.ValidTgtDescr": "its second half is about SPC-3, and VERSION says SPC-4",
    "iSCSICHAP.": NO_CHAP,
    "WriteSame10.ZeroBlocks": NO_ZERO_COUNT,
    "WriteSame16.ZeroBlocks": NO_ZERO_COUNT,
}

# Tests that are wrong for a disk with 512-byte blocks on 4096-byte ones; they run on a 4Kn volume where there is one.
ONLY_NATIVE = {
    "GetLBAStatus.UnmapSingle": "asks for LBA i+1 and wants i + blocks per physical block as the answer's first LBA",
}

# Tests of some versions of the suite that no target passes: what they then say, and why.
BROKEN = {
    "iSCSITMF.LUNResetSimpleAsync": ("reconnect_succeeded,1", "1.19.0 looks at the answer to a reset that it has not sent yet"),
}

SKIPPED = re.compile(r"\[SKIPP(?:ED|ING)\]\s*(.*)|^[-0-9 :.]*(.*(?:not implemented|[Ss]kipping|does not support RTPG).*)$", re.M)
SUMMARY = re.compile(r"^\s*(tests|asserts)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", re.M)
# The tool's own start: it looks at the device before it runs a test.
START = "A unit testing framework"


@dataclasses.dataclass
class Verdict:
    """What a run of the tool said."""

    state: str  # pass, skip, broken, fail, hang, crash
    note: str = ""


def list_tests():
    """Every test once, by suite and name, as `suite.test`."""
    listed = subprocess.run([TOOL, "-l"], capture_output=True, text=True, check=True).stdout.split()
    full = [name.split(".", 1) for name in listed if name.count(".") == 2]
    seen = {}
    for family, test in full:
        seen.setdefault(test, family)
    return [(f"{family}.{test}", test) for test, family in seen.items()]


def run_tool(test, urls, seconds):
    """Runs the tool and reads its verdict."""
    command = [TOOL, "--dataloss", "--allow-sanitize", "--normal", "--Verbose-scsi", "-t", test, *urls]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return Verdict("hang", f"not done after {seconds} s")
    output = done.stdout + done.stderr
    counts = {name: [int(n) for n in numbers] for name, *numbers in SUMMARY.findall(output)}
    if done.returncode < 0 or "tests" not in counts:
        return Verdict("crash", " / ".join(output.strip().splitlines()[-3:])[-300:])
    ran, failed = counts["tests"][1], counts["tests"][3] + counts["asserts"][3]
    if failed or not ran:
        return Verdict("fail", failures(output))
    own = output[output.find(START):]
    skips = list(dict.fromkeys((a or b).strip() for a, b in SKIPPED.findall(own)))
    return Verdict("skip", "; ".join(skips)[:200]) if skips else Verdict("pass")


def failures(output):
    """The lines that say what failed."""
    lines = re.findall(r"\[FAILED\].*|^\s+\d+\.\s.*$", output, re.M)
    return "; ".join(dict.fromkeys(line.strip() for line in lines))[:400] or "nothing was run"


def reason(table, test):
    """The listed reason for this test, if there is one."""
    return next((why for part, why in table.items() if test.startswith(part)), None)


class Suite:
    """The tests, judged one after the other."""

    def __init__(self, cases, urls):
        self.cases = cases
        self.urls = urls
        self.counts = {}

    def judge(self, name, test, urls, skips, seconds=TEST_SECONDS):
        begin = time.monotonic()
        verdict = run_tool(name, urls, seconds)
        why = reason(skips, test)
        said, broken = BROKEN.get(test, ("", None))
        if verdict.state == "fail" and broken and said in verdict.note and "; " not in verdict.note:
            verdict, why = Verdict("broken"), broken
        good = verdict.state == "pass" or (verdict.state in ("skip", "broken") and why)
        note = "" if verdict.state == "pass" else f"{verdict.state}, {why if good else verdict.note}"
        self.counts[verdict.state] = self.counts.get(verdict.state, 0) + 1
        return good, note, begin

    def record(self, label, name, test, urls, skips=EXPECTED_SKIPS, seconds=TEST_SECONDS):
        if self.cases.wanted(label):
            good, note, begin = self.judge(name, test, urls, skips, seconds)
            self.cases.record(label, good, begin, note)

    def one_by_one(self):
        """Each test in a process of its own."""
        for name, test in list_tests():
            if reason(ONLY_NATIVE, test):
                continue
            self.record(test, name, test, self.paths(test))

    def paths(self, test):
        """One path to the volume, or two; MultipathIO takes its 257th block to be zeros and leaves it otherwise."""
        if not test.startswith("Multipath"):
            return [self.urls.first]
        return self.urls.fresh_pair() if self.urls.fresh_pair else [self.urls.first, self.urls.second]

    def families(self):
        """Every suite in one process, so that what a test leaves behind meets the next one."""
        for suite in dict.fromkeys(test.split(".")[0] for _, test in list_tests()):
            family = next(name for name, test in list_tests() if test.startswith(f"{suite}.")).split(".")[0]
            skips = {**EXPECTED_SKIPS, f"{suite}.": "as each test by itself"}
            if any(part.startswith(f"{suite}.") for part in ONLY_NATIVE):
                continue
            paths = self.paths(suite)
            self.record(f"whole {suite}", f"{family}.{suite}", f"{suite}.", paths, skips, FAMILY_SECONDS)

    def other_kinds(self):
        """What needs a volume of another kind: 4096-byte blocks, write protection."""
        if self.urls.native:
            for suite in dict.fromkeys(part.split(".")[0] for part in ONLY_NATIVE):
                self.record(f"4Kn {suite}", f"ALL.{suite}", f"{suite}.", [self.urls.native], {}, FAMILY_SECONDS)
        if self.urls.read_only:
            self.record("read-only ReadOnly", "ALL.ReadOnly", "ReadOnly.", [self.urls.read_only], {})


@dataclasses.dataclass
class Urls:
    """The volumes to test: one by two portals, and others where there are."""

    first: str
    second: str
    native: str | None = None
    read_only: str | None = None
    # Gives both paths to a volume that nobody has written to.
    fresh_pair: Callable[[], list] | None = None


def arguments():
    parser = argparse.ArgumentParser(description="libiscsi's test suite against a target")
    parser.add_argument("parts", nargs="*")
    for name in ("--url", "--url2", "--native", "--read-only"):
        parser.add_argument(name)
    return parser.parse_args()


def judge(cases, urls):
    suite = Suite(cases, urls)
    suite.one_by_one()
    suite.families()
    suite.other_kinds()
    print("  ".join(f"{state}: {count}" for state, count in sorted(suite.counts.items())), flush=True)


def main():
    options = arguments()
    if options.url:
        cases = Cases(options.parts)
        judge(cases, Urls(options.url, options.url2 or options.url, options.native, options.read_only))
        cases.finish()
    enter_namespace()
    cases = Cases(options.parts)
    target = open_target("osvold", cases.dir / "osvold", [f"{ADDRESS}:3260", f"{ADDRESS}:3261"])
    target.start()
    try:
        image = cases.dir / "blank"
        with open(image, "wb") as file:
            file.truncate(VOLUME_MIB << 20)
        target.add_image("blank", image)
        numbers = itertools.count()

        def fresh_pair():
            volume = target.create_volume(f"judged{next(numbers)}", "blank")
            return [volume.url(f"{ADDRESS}:3260"), volume.url(f"{ADDRESS}:3261")]

        judge(cases, Urls(*fresh_pair(), fresh_pair=fresh_pair))
    finally:
        target.stop()
    cases.finish()


if __name__ == "__main__":
    main()

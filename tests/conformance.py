#!/usr/bin/env python3
"""libiscsi's own test suite, `iscsi-test-cu`, against osvold: every test in a process of its own,
whole families in one process each, and each kind of disk with the tests that are for it.

    tests/conformance.py [PART OF A CASE'S NAME...]
    tests/conformance.py --url URL [--url2 URL] [--native URL] [--read-only URL] [--chap URL] [PART...]

With --url it judges a target that runs already. A test passes, or is skipped for a reason listed
below; anything else fails the run: a failed assertion, a hang, a crash of the tool, another skip.
ISCSI_TEST_CU names another build of the suite.
"""

import argparse
import collections
import dataclasses
import os
import pathlib
import queue
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace  # noqa: E402
from target import Volume, open_target  # noqa: E402

TOOL = os.environ.get("ISCSI_TEST_CU", "iscsi-test-cu")
# Sanitize.Reset waits a minute when it finds what it looks for.
TEST_SECONDS = 300
FAMILY_SECONDS = 600
VOLUME_MIB = 256
# Much of the suite is waiting: several tests at a time, each on a volume that no other one has.
WORKERS = 4
PORTALS = [f"{ADDRESS}:3260", f"{ADDRESS}:3261"]

REMOVABLE = "for removable media, which a volume is not"
NO_ZERO_COUNT = "WSNZ=1: it checks that zero blocks are refused, and skips what would be written"

# Tests that skip themselves, and why that is right.
SKIPS = {"NoMedia.": REMOVABLE, "PreventAllow.": REMOVABLE, "StartStopUnit.": REMOVABLE}

# Tests that check what is there of a thing and call themselves skipped for the rest.
PARTS = {
    "ExtendedCopy.ValidTgtDescr": "it checks what SPC-4 says, as VERSION does, and skips what SPC-3 says",
    "WriteSame10.ZeroBlocks": NO_ZERO_COUNT,
    "WriteSame16.ZeroBlocks": NO_ZERO_COUNT,
}

# Families of which a test takes away what those after it need.
WHOLE = {"iSCSITMF.": "AbortTaskSimpleAsync ends its session, so that the next one finds none"}

# Families for another kind of disk: they run on that.
ONLY_READ_ONLY = "ReadOnly."
ONLY_CHAP = "iSCSICHAP."
# A test that is wrong for a disk with 512-byte blocks on 4096-byte ones: it asks for LBA i+1 and wants i + blocks per
# physical block as the answer's first LBA.
ONLY_NATIVE = "GetLBAStatus.UnmapSingle"

# What a version of the suite has and no target passes: what it says then, and why. A version is known by a test.
LATER = "iSCSISendTargets.Simple"
BROKEN = {
    "iSCSITMF.LUNResetSimpleAsync": (r"reconnect_succeeded,1", "looks at the answer to a reset that it has not sent yet"),
}
NOT_QUEUED = r"iscsi_out_queue_length\(sd->iscsi_ctx\),1"
AT_ONCE = "wants its command queued; since 1.20.3 the suite's own library sends it at once. All else that it checks holds"
BROKEN_LATER = {
    "iSCSITMF.AbortTaskSimpleAsync": (NOT_QUEUED, AT_ONCE),
    "iSCSITMF.LUNResetSimpleAsync": (NOT_QUEUED, AT_ONCE),
    "CompareAndWrite.InvalidDataOutSize": (
        r"test_compareandwrite_invalid_dataout_size\.c|\(0x0e\)/\(0x1d00\)",
        "wants a length changed in a SCSI command, and changes it in all other PDUs: the command is well formed",
    ),
}
# It waits for ever.
NOT_RUN_LATER = {
    "iSCSISendTargets.Invalid": "an unknown key is NotUnderstood (RFC 7143 §6.2); the suite's library takes that for the "
    "end of the connection, and loses the test's next request",
}

# What is tried on other kinds of disk, in one process each: what the kind may make a difference to. WriteAtomic16 writes
# 256 blocks, which of 4096 bytes are more than MAXIMUM ATOMIC TRANSFER LENGTH says.
NATIVE_FAMILIES = (
    "CompareAndWrite.Simple GetLBAStatus Inquiry ModeSense6 OrWrite Prefetch16 Read6 Read10 ReadCapacity10 ReadCapacity16 "
    "Unmap Verify10 Write10 WriteSame10 WriteSame16 WriteVerify16"
).split()
# Each write of theirs waits for the disk: only those that write little.
NO_CACHE_FAMILIES = "ModeSense6 CompareAndWrite.DpoFua OrWrite.DpoFua Write10.DpoFua WriteVerify16.Flags".split()
READ_ONLY_FAMILIES = (
    "Inquiry Mandatory Prefetch10 Read6 Read10 Read12 Read16 ReadCapacity10 ReadCapacity16 ReadDefectData10 ReadOnly "
    "ReportSupportedOpcodes TestUnitReady"
).split()
CHAP_SECRET = "judges-secret"
# libiscsi's tests of names that begin like numbers ask for a user of such a name.
CHAP_USERS = {"judge": "Simple Invalid Base64 Base64Oversize", "0xjudge": "HexName", "0bjudge": "Base64Name"}

SKIPPED = re.compile(r"\[SKIPP(?:ED|ING)\]\s*(.*)|^[-0-9 :.]*(.*(?:not implemented|[Ss]kipping|does not support RTPG).*)$", re.M)
SUMMARY = re.compile(r"^\s*(tests|asserts)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)", re.M)
# The tool's own start: it looks at the device before it runs a test.
START = "A unit testing framework"


@dataclasses.dataclass
class Verdict:
    """What a run of the tool said."""

    state: str  # pass, part, skip, broken, fail, hang, crash
    notes: list = dataclasses.field(default_factory=list)


class Listed:
    """The tests that the tool has."""

    def __init__(self):
        lines = subprocess.run([TOOL, "-l"], capture_output=True, text=True, check=True).stdout.split()
        self.families = {}
        for family, test in (line.split(".", 1) for line in lines if line.count(".") == 2):
            self.families.setdefault(test, family)
        later = LATER in self.families
        self.broken = BROKEN_LATER if later else BROKEN
        self.not_run = NOT_RUN_LATER if later else {}

    def tests(self):
        """Every test once, as `suite.test`."""
        return list(self.families)

    def suites(self):
        """Every suite once."""
        return list(dict.fromkeys(test.split(".")[0] for test in self.families))

    def name(self, test):
        """The tool's name for a test or a suite."""
        family = next((family for known, family in self.families.items() if known == test or known.startswith(f"{test}.")), None)
        return family and f"{family}.{test}"


def run_tool(name, urls, seconds):
    """Runs the tool and reads its verdict."""
    command = [TOOL, "--dataloss", "--allow-sanitize", "--normal", "--Verbose-scsi", "-t", name, *urls]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired:
        return Verdict("hang", [f"not done after {seconds} s"])
    output = done.stdout + done.stderr
    counts = {name: [int(n) for n in numbers] for name, *numbers in SUMMARY.findall(output)}
    if done.returncode < 0 or "tests" not in counts:
        return Verdict("crash", [" / ".join(output.strip().splitlines()[-3:])[-300:]])
    ran, failed = counts["tests"][1], counts["tests"][3] + counts["asserts"][3]
    if failed or not ran:
        return Verdict("fail", failures(output))
    own = output[output.find(START):]
    skips = list(dict.fromkeys((a or b).strip() for a, b in SKIPPED.findall(own)))
    return Verdict("skip", skips) if skips else Verdict("pass")


def failures(output):
    """The lines that say what failed."""
    lines = re.findall(r"\[FAILED\].*|^\s+\d+\.\s\S+:\d+\s.*$", output, re.M)
    return list(dict.fromkeys(line.strip() for line in lines)) or ["nothing was run"]


def reason(table, test):
    """The listed reason for this test, or for one of this suite."""
    return next((why for part, why in table.items() if test.startswith(part) or (test[-1] == "." and part.startswith(test))), None)


@dataclasses.dataclass
class Job:
    """A run of the tool, and on what."""

    kind: str
    test: str  # `suite.test`, or `suite.` for all of it
    # Gives the URLs; None: those of the worker's own volume.
    urls: Callable[[], list] | None = None
    seconds: int = TEST_SECONDS

    @property
    def label(self):
        whole = f"whole {self.test[:-1]}" if self.test.endswith(".") else self.test
        return whole if self.kind == PLAIN else f"{self.kind}: {whole}"


PLAIN = "512e"
NATIVE = "4Kn"
NO_CACHE = "no write cache"
IMAGE = "golden image"
SNAPSHOT = "snapshot"
CHAP = "CHAP"


class Suite:
    """Jobs, done by several workers, and what came of them."""

    def __init__(self, cases, listed):
        self.cases = cases
        self.listed = listed
        self.lock = threading.Lock()
        self.counts = collections.defaultdict(collections.Counter)
        self.others = []

    def expected(self, job, verdict):
        """The verdict as it is to be counted, and the reason, if it is one that is listed."""
        if verdict.state == "skip":
            whole = WHOLE if job.test.endswith(".") else {}
            for state, table in (("skip", SKIPS), ("part", PARTS), ("part", whole)):
                if why := reason(table, job.test):
                    return state, why
        if verdict.state == "fail":
            told = [said for test, said in self.listed.broken.items() if test.startswith(job.test)]
            if told and all(any(re.search(said, note) for said, _ in told) for note in verdict.notes):
                return "broken", "; ".join(dict.fromkeys(why for _, why in told))
        return verdict.state, None

    def do(self, job, own):
        name = self.listed.name(job.test.rstrip("."))
        if name is None:
            return
        begin = time.monotonic()
        try:
            verdict = run_tool(name, job.urls() if job.urls else own(job.test), job.seconds)
        except Exception as error:  # of one job; the others go on
            verdict = Verdict("crash", [str(error)])
        state, why = self.expected(job, verdict)
        note = "" if state == "pass" else f"{state}, {why or '; '.join(verdict.notes)[:400]}"
        with self.lock:
            self.counts[job.kind][state] += 1
            if note:
                self.others.append((job.label, note))
            self.cases.record(job.label, state == "pass" or why is not None, begin, note)

    def run(self, jobs, own_volumes):
        """Does all jobs that are wanted; each worker has a way of its own to a volume."""
        waiting = queue.SimpleQueue()
        for job in jobs:
            if self.cases.wanted(job.label):
                waiting.put(job)

        def work(own):
            while True:
                try:
                    job = waiting.get_nowait()
                except queue.Empty:
                    return
                self.do(job, own)

        workers = [threading.Thread(target=work, args=(own,)) for own in own_volumes]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    def tell(self):
        """The table: how many of what on which kind of disk, and what does not simply pass."""
        states = ["pass", "part", "skip", "broken", "fail", "hang", "crash"]
        print(f"{'disk':16}" + "".join(f"{state:>8}" for state in states))
        for kind, counts in self.counts.items():
            print(f"{kind:16}" + "".join(f"{counts[state] or '-':>8}" for state in states))
        for test, why in self.listed.not_run.items():
            print(f"not run: {test}: {why}")
        for label, note in sorted(self.others):
            print(f"{label}: {note}")
        sys.stdout.flush()

    def plain_jobs(self):
        """Each test by itself, then the families, so that what a test leaves behind meets the next one. What takes long
        is begun first."""
        elsewhere = (ONLY_READ_ONLY, ONLY_CHAP, ONLY_NATIVE)
        tests = [test for test in self.listed.tests() if not test.startswith(elsewhere) and test not in self.listed.not_run]
        # What has a test that does not run here is not run whole.
        apart = {test.split(".")[0] for test in [ONLY_NATIVE, ONLY_READ_ONLY, ONLY_CHAP, *self.listed.not_run]}
        suites = [suite for suite in self.listed.suites() if suite not in apart]
        jobs = [Job(PLAIN, test) for test in tests] + [Job(PLAIN, f"{suite}.", seconds=FAMILY_SECONDS) for suite in suites]
        return sorted(jobs, key=lambda job: not job.test.startswith("Sanitize."))

    def family_jobs(self, kind, suites, urls_for):
        """Families in one process each, or single tests; `urls_for` gives what finds the URLs for one of them."""
        whole = [suite if "." in suite else f"{suite}." for suite in suites]
        return [Job(kind, test, urls_for(suite), FAMILY_SECONDS) for test, suite in zip(whole, suites)]

    def chap_jobs(self, url_of):
        """The tests of CHAP, each with the user that it asks for; and that a disk behind CHAP is one, with any suite."""
        jobs = self.family_jobs(CHAP, ["TestUnitReady", "Read10"], lambda _: lambda: [url_of("judge")])
        for user, tests in CHAP_USERS.items():
            jobs += [Job(CHAP, f"{ONLY_CHAP}{test}", lambda user=user: [url_of(user)]) for test in tests.split()]
        return jobs


class Disks:
    """Volumes of each kind on osvold, made when they are asked for."""

    def __init__(self, target, directory):
        self.target = target
        self.secret = directory / "secret"
        self.secret.write_text(CHAP_SECRET)
        self.lock = threading.Lock()
        self.made = {}
        self.fresh = 0
        image = directory / "blank"
        with open(image, "wb") as file:
            file.truncate(VOLUME_MIB << 20)
        target.add_image("blank", image)

    def pair(self, name, *options):
        """Both paths to a volume."""
        with self.lock:
            if name not in self.made:
                self.target.osvol("volume", "create", name, "--image", "blank", *options)
                self.made[name] = self.target.volume(name)
        return [self.made[name].url(portal) for portal in PORTALS]

    def own(self, number):
        """A worker's volume. MultipathIO takes its 257th block to be zeros and leaves it otherwise: one of its own."""

        def urls(test):
            if not test.startswith("Multipath"):
                return self.pair(f"judged{number}")[:1]
            with self.lock:
                self.fresh += 1
                name = f"paths{self.fresh}"
            return self.pair(name)

        return urls

    def each(self, kind, *options):
        """A volume of this kind for each family, since several run at a time."""
        return lambda suite: lambda: self.pair(f"{kind}-{suite}", *options)[:1]

    def with_chap(self, user):
        url = self.pair(f"chap-{user}", "--chap-user", user, "--chap-secret-file", self.secret)[0]
        return url.replace("iscsi://", f"iscsi://{user}%{CHAP_SECRET}@")

    def served(self, *what):
        """A golden image or a snapshot as a disk: one for all, who only read."""

        def urls():
            with self.lock:
                if what not in self.made:
                    shown = self.target.json(what[0], "serve", *what[1:])
                    self.made[what] = Volume(shown["name"], shown["iscsiName"], int(shown["lun"]), PORTALS)
            return [self.made[what].url(PORTALS[0])]

        return lambda _: urls

    def snapshot(self):
        self.pair("kept")
        self.target.osvol("snapshot", "create", "kept", "then")
        return self.served("snapshot", "kept", "then")


def arguments():
    parser = argparse.ArgumentParser(description="libiscsi's test suite against a target")
    parser.add_argument("parts", nargs="*")
    for name in ("--url", "--url2", "--native", "--read-only", "--chap"):
        parser.add_argument(name)
    return parser.parse_args()


def judge_running(options):
    """A target that runs already, whoever made it."""
    cases = Cases(options.parts)
    suite = Suite(cases, Listed())
    paths = [options.url, options.url2 or options.url]
    jobs = suite.plain_jobs()
    if options.native:
        jobs += suite.family_jobs(NATIVE, NATIVE_FAMILIES, lambda _: lambda: [options.native])
    if options.read_only:
        jobs += suite.family_jobs(IMAGE, READ_ONLY_FAMILIES, lambda _: lambda: [options.read_only])
    if options.chap:
        jobs += suite.family_jobs(CHAP, [ONLY_CHAP[:-1]], lambda _: lambda: [options.chap])
    suite.run(jobs, [lambda test: paths if test.startswith("Multipath") else paths[:1]])
    suite.tell()
    cases.finish()


def main():
    options = arguments()
    if options.url:
        judge_running(options)
    enter_namespace()
    cases = Cases(options.parts)
    target = open_target("osvold", cases.dir / "osvold", PORTALS)
    with cases.serving(target):
        suite = Suite(cases, Listed())
        disks = Disks(target, cases.dir)
        jobs = suite.plain_jobs()
        jobs += suite.family_jobs(NATIVE, NATIVE_FAMILIES, disks.each("native", "--block-size", "4096"))
        jobs += suite.family_jobs(NO_CACHE, NO_CACHE_FAMILIES, disks.each("uncached", "--write-cache", "off"))
        jobs += suite.family_jobs(IMAGE, READ_ONLY_FAMILIES, disks.served("image", "blank"))
        jobs += suite.family_jobs(SNAPSHOT, [ONLY_READ_ONLY[:-1]], disks.snapshot())
        jobs += suite.chap_jobs(disks.with_chap)
        suite.run(jobs, [disks.own(number) for number in range(WORKERS)])
        suite.tell()


if __name__ == "__main__":
    main()

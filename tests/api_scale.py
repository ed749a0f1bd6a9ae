#!/usr/bin/env python3
"""Ten thousand profiles with their volumes: lists, start-up, and one clone more.

    tests/api_scale.py [--count N] [--check]

Profiles are made through the API, most of them unassigned again at once (a server takes one profile), each with a volume
of its own. With --check it is a test, on fewer of them. Prints what it measures.
"""

import argparse
import pathlib
import statistics
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402

MIB = 1 << 20
FEW = 1000
# What issue and design promise.
PAGE_SECONDS, START_SECONDS, CLONE_SECONDS = 0.050, 2.0, 0.002
CLIENTS, CLONES = 4, 200
LISTS = [
    "/rest/os-volumes?start=0&count=25", "/rest/os-volumes?start={last}&count=25", "/rest/os-volumes?sort=name:descending&count=25",
    "/rest/os-volumes?filter=%22name%3D%27OSVolume-17%27%22", "/rest/server-profiles?start=0&count=25",
    "/rest/server-profiles?start={last}&count=25", "/rest/server-profiles?sort=name:descending&count=25",
    "/rest/server-profiles?filter=%22name%3D%27p17%27%22", "/rest/tasks?start=0&count=25", "/rest/server-hardware?start=0&count=25",
]  # fmt: skip


def timed(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


def milliseconds(seconds):
    """Median, 99th percentile and maximum, as text."""
    ordered = sorted(seconds)
    tail = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"median {statistics.median(ordered) * 1e3:.2f} ms, p99 {tail * 1e3:.2f} ms, max {ordered[-1] * 1e3:.2f} ms"


class Scale:
    """The measurement."""

    def __init__(self, target, estate, count, check):
        self.target, self.estate, self.count, self.check = target, estate, count, check

    def fill(self):
        """Every profile gets a server of its own."""
        begin = time.monotonic()
        took = []

        def some(first):
            estate = self.estate.with_api(self.target.api())
            kind, frame = estate.types[0], estate.enclosures[0]
            for number in range(first, self.count, CLIENTS):
                server = estate.hardware(f"s{number}", kind, frame)
                body = estate.body(f"p{number}", None)
                body |= {"serverHardwareUri": server["uri"], "serverHardwareTypeUri": kind["uri"]}
                took.append(timed(lambda e=estate, b=body: e.api.post("/rest/server-profiles", b)))

        threads = [threading.Thread(target=some, args=(first,)) for first in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(len(took) == self.count, f"only {len(took)} were made")
        seconds = time.monotonic() - begin
        return f"{self.count} servers and profiles with volumes by {CLIENTS} clients in {seconds:.1f} s; a profile {milliseconds(took)}"

    def lists(self):
        """A page of any list, from its beginning, its end, sorted, filtered."""
        worst = []
        for uri in LISTS:
            uri = uri.format(last=self.count - 25)
            self.estate.api.get(uri)
            took = [timed(lambda u=uri: self.estate.api.get(u)) for _ in range(20)]
            print(f"GET {uri}: {milliseconds(took)}", flush=True)
            worst.append((statistics.median(took), uri))
        whole = timed(lambda: expect(len(self.estate.api.members("/rest/os-volumes")) >= self.count, "volumes are missing"))
        print(f"GET /rest/os-volumes, all {self.count}: {whole * 1e3:.0f} ms", flush=True)
        seconds, uri = max(worst)
        expect(seconds <= PAGE_SECONDS, f"{uri}: {seconds * 1e3:.1f} ms")
        return f"the slowest page: {seconds * 1e3:.1f} ms ({uri})"

    def clones(self, name):
        """Volumes made directly, one after the other: seconds of each."""
        made = lambda number: {"name": f"{name}{number}", "goldenImageURI": self.estate.golden["uri"]}  # noqa: E731
        return [timed(lambda n=number: self.estate.api.post("/rest/os-volumes", made(n))) for number in range(CLONES)]

    def clone_alone(self):
        self.alone = self.clones("alone")
        return milliseconds(self.alone)

    def clone(self):
        """The same with all the others there. A machine whose disk is busy is slow at both."""
        took = self.clones("direct")
        limit = max(CLONE_SECONDS, 4 * statistics.median(self.alone))
        expect(statistics.median(took) <= limit, milliseconds(took))
        return milliseconds(took)

    def start(self):
        self.target.stop()
        seconds = timed(self.target.start)
        memory = self.target.resident_bytes() / MIB
        self.estate.api = self.target.api()
        expect(self.estate.api.get("/rest/server-profiles?count=1")["total"] == self.count, "profiles are missing")
        expect(seconds <= START_SECONDS, f"{seconds:.2f} s")
        return f"ready after {seconds * 1e3:.0f} ms with {memory:.0f} MiB of memory"

    def killed(self):
        self.target.kill()
        seconds = timed(self.target.start)
        expect(seconds <= START_SECONDS, f"{seconds:.2f} s")
        self.estate.api = self.target.api()
        return f"ready {seconds * 1e3:.0f} ms after it was killed"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="profiles; 10000, and 1000 with --check")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    enter_namespace(0)
    cases = Cases()
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None)
    with cases.serving(target):
        estate = Estate(target.api(), target.portals[0]).furnish(cases.dir, bays=1)
        scale = Scale(target, estate, chosen.count or (FEW if chosen.check else 10_000), chosen.check)
        cases.case("clones, with nothing else there", scale.clone_alone)
        cases.case("profiles with volumes are made", scale.fill)
        cases.case("a page of a list takes at most 50 ms", scale.lists)
        cases.case("a clone takes at most 2 ms in the median, or four times what it took alone", scale.clone)
        cases.case("it starts within 2 s", scale.start)
        cases.case("it starts within 2 s after a kill", scale.killed)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How long a clone takes through the control socket: the same for 1 GiB and for 1 TiB.

    tests/clone_time.py [--count N] [--check]

Images are sparse, with the same data in each. Volumes are created in turns, one request after
the other on one connection; then some through the command line, process start included.
With --check it is a test: medians within a factor of two and below 50 ms.
"""

import argparse
import http.client
import json
import os
import pathlib
import socket
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from target import open_target  # noqa: E402

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
DATA_MIB = 32
LIMIT_SECONDS = 0.050


class Control(http.client.HTTPConnection):
    """HTTP over the control socket, one connection for all requests."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self.path)

    def call(self, method, uri, body=None):
        """One request; anything but success is an error."""
        text = None if body is None else json.dumps(body)
        self.request(method, uri, text, {"Content-Type": "application/json"} if text else {})
        response = self.getresponse()
        answer = response.read()
        expect(response.status < 300, f"{method} {uri}: {response.status} {answer.decode(errors='replace')}")
        return json.loads(answer) if answer else None


def make_image(path, size):
    """A sparse file with its data spread over all of it."""
    with open(path, "wb") as file:
        for part in range(DATA_MIB):
            file.seek(size // DATA_MIB * part)
            file.write(os.urandom(MIB))
        file.truncate(size)


def milliseconds(seconds):
    """Median, 99th percentile and maximum of a list, as text."""
    ordered = sorted(seconds)
    tail = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"median {statistics.median(ordered) * 1e3:6.2f} ms, p99 {tail * 1e3:6.2f} ms, max {ordered[-1] * 1e3:6.2f} ms"


def timed(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


class CloneTime:
    """The measurement, and its results by image."""

    def __init__(self, target, count):
        self.target = target
        self.count = count
        self.created = {}

    def measure(self, images):
        control = Control(self.target.control)
        self.created = {image: [] for image in images}
        for number in range(self.count):
            for image in images if number % 2 else reversed(images):
                body = {"name": f"{image}-{number}", "goldenImageURI": image}
                self.created[image].append(timed(lambda body=body: control.call("POST", "/rest/os-volumes", body)))
        for image, seconds in self.created.items():
            print(f"create through the socket, image {image}: {milliseconds(seconds)}", flush=True)
        for image in images:
            by_command = [
                timed(lambda n=number, i=image: self.target.osvol("volume", "create", f"cli-{i}-{n}", "--image", i))
                for number in range(10)
            ]
            print(f"osvol volume create, image {image}: {milliseconds(by_command)}", flush=True)

    def restart(self):
        """A restart with all those volumes, and they are all there."""
        self.target.stop()
        seconds = timed(self.target.start)
        expect(self.target.json("status")["osVolumes"] >= 2 * self.count, "volumes are missing")
        memory = self.target.resident_bytes()
        listed = timed(lambda: self.target.osvol("volume", "list"))
        status = timed(lambda: self.target.osvol("status"))
        return (
            f"ready after {seconds * 1e3:.0f} ms with {memory / MIB:.0f} MiB of memory; "
            f"osvol volume list {listed * 1e3:.0f} ms, osvol status {status * 1e3:.0f} ms"
        )

    def lists(self):
        """Nothing that goes over all volumes takes time for each pair of them."""
        control = Control(self.target.control)
        for uri in ("/rest/os-volumes?count=-1", "/rest/os-volumes?count=25", "/rest/os-volumes?filter=state=Ready&count=25", "/rest/osvol/status"):
            print(f"GET {uri}: {milliseconds([timed(lambda u=uri: control.call('GET', u)) for _ in range(5)])}", flush=True)
        volume = next(iter(self.created)) + "-0"
        seconds = timed(lambda: control.call("DELETE", f"/rest/os-volumes/{volume}"))
        print(f"DELETE: {seconds * 1e3:.1f} ms", flush=True)

    def check(self):
        medians = {image: statistics.median(seconds) for image, seconds in self.created.items()}
        slow, fast = max(medians.values()), min(medians.values())
        expect(slow < LIMIT_SECONDS, f"a median of {slow * 1e3:.1f} ms")
        expect(slow < 2 * fast + 0.001, f"medians differ: {medians}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="volumes of each image")
    parser.add_argument("--check", action="store_true")
    chosen = parser.parse_args()
    enter_namespace(0)
    cases = Cases()
    target = open_target("osvold", cases.dir / "target", [f"{ADDRESS}:3260"])
    with cases.serving(target):
        images = {"1gib": GIB, "1tib": TIB}
        for name, size in images.items():
            make_image(cases.dir / name, size)
            print(f"osvol image add {name}: {timed(lambda n=name: target.add_image(n, cases.dir / n)):.1f} s", flush=True)
        clones = CloneTime(target, chosen.count)
        cases.case("clones are created through the control socket", clones.measure, list(images))
        if chosen.check:
            cases.case("a clone of 1 TiB takes as long as one of 1 GiB", clones.check)
        cases.case("the daemon restarts with all of them", clones.restart)
        cases.case("lists and status of all of them", clones.lists)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""How long a deployment takes, from the request until the server gets in: as is, by the built-in engine, by guestfish.

    tests/deploy_time.py [--times 20] [--slow-times 5]

Clone, personalization and export of a volume of 100 MiB with one FAT file system; median, least and most. Image Streamer
took about 15 s for the same (docs/BENCHMARKS.md).
"""

import argparse
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import attribute, esp_image  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from deployments_many import BUILT_IN, GUESTFISH  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans  # noqa: E402


class Times:
    """Deployments, one after the other."""

    def __init__(self, estate, folder):
        self.estate = estate
        estate.api.patience = 300
        image = estate.image("esp", esp_image(folder / "esp.raw"))
        plans, host = Plans(estate), [attribute("Host", "hostname", None)]
        self.plans = {
            "as is": estate.plan("as is", image, estate.build_plan("as is")), "built-in": plans.deploying("built-in", image, BUILT_IN, host),
            "guestfish": plans.deploying("guestfish", image, GUESTFISH, host),
        }  # fmt: skip

    def once(self, way):
        """One deployment: in all, and what its scripts took."""
        values = {} if way == "as is" else {"Host": "web01"}
        begin = time.monotonic()
        profile = self.estate.create("timed", self.estate.bays[0], self.plans[way], values)
        disk, initiator = self.estate.disk(profile), self.estate.initiator(profile)
        expect(self.estate.admits(disk, initiator), "its server does not get in")
        seconds = time.monotonic() - begin
        self.estate.delete(profile)
        return seconds

    def measure(self, way, times):
        took = sorted(self.once(way) for _ in range(times))
        unit, scale = ("s", 1) if took[0] > 1 else ("ms", 1000)
        return f"median {statistics.median(took) * scale:.1f} {unit}, {took[0] * scale:.1f} to {took[-1] * scale:.1f} {unit} ({times} times)"


def main():
    plans_appliance()
    enter_namespace(0)
    parser = argparse.ArgumentParser()
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--slow-times", type=int, default=5)
    given = parser.parse_args()
    cases = Cases()
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None)
    with cases.serving(target):
        times = Times(Estate(target.api(), target.portals[0]).furnish_servers(1), cases.dir)
        for way, count in (("as is", given.times), ("built-in", given.times), ("guestfish", given.slow_times)):
            cases.case(f"deployed {way}, until its server gets in", times.measure, way, count)


if __name__ == "__main__":
    main()

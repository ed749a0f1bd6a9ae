#!/usr/bin/env python3
"""What guestfish reads and writes through goes wrong: it must fail, although guestfish itself ends with 0.

    tests/door_faults.py [CASE...]

The daemon is built with `--features failpoints`; OSVOLD_DOOR_FAULT= makes the door of a job answer errors, say that there is
no space, hang up, flush nothing, or say nothing any more (src/door). The job fails each time, nothing of it is left, and
the daemon, a job of the built-in engine and a server at work go on.
"""

import os
import pathlib
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from agreement import disagreements  # noqa: E402
from appliance import Appliance, plans_appliance  # noqa: E402
from bundle import attribute, esp_image, files_of  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from crashes_lifecycle import build  # noqa: E402
from deployments_many import BUILT_IN, FILE, GUESTFISH, Server  # noqa: E402
from estate import Estate  # noqa: E402
from plans import Plans, failed, log_of, message_of, nothing_left, own_orphans  # noqa: E402

# A job that hears nothing any more is ended then; all others have time enough, whatever else the machine does.
TIME_MAX, PLENTY = 25, 200


class Faults:
    """A daemon for each fault, on one store."""

    def __init__(self, cases, target):
        self.dir, self.target = cases.dir, target

    def furnish(self):
        self.target.start()
        estate = self.estate = Estate(self.target.api(), self.target.portals[0]).furnish_servers(3)
        estate.api.patience = PLENTY + 30
        image = estate.image("esp", esp_image(self.dir / "esp.raw"))
        plans = Plans(estate)
        host = [attribute("Host", "hostname", None)]
        self.built_in, self.guestfish = plans.deploying("built-in", image, BUILT_IN, host), plans.deploying("guestfish", image, GUESTFISH, host)
        self.profile = estate.create("web01", estate.bays[0], self.built_in, {"Host": "before"})
        self.working = estate.create("working", estate.bays[1], self.built_in, {"Host": "working"})
        self.deploy()

    def deploy(self):
        """Without a fault it works."""
        self.estate.change(self.profile, plan=self.guestfish, values={"Host": "sound"}, force=True)
        self.still("sound")

    def still(self, host):
        text = files_of(self.estate.read_out(self.profile, self.dir / "seen.raw"), [FILE])[FILE]
        expect(text == f"{host} by hand\n", f"the volume of {host} says {text!r}")

    def fault(self, kind, words):
        self.target.stop()
        self.target.plans = {"time_max": f"{TIME_MAX if kind == 'hang' else PLENTY}s"}
        self.target.begin(dict(os.environ, OSVOLD_DOOR_FAULT=kind))
        self.target.wait_ready(self.target.answers)
        self.estate.api.close()
        server = Server(self.estate, self.working)
        server.start()
        begin = time.monotonic()
        other = self.estate.with_api(self.estate.api.again())
        try:
            body = self.estate.changed(self.profile, plan=self.guestfish, values={"Host": "faulty"}, force=True)
            answer = self.estate.api.ask("PUT", self.profile["uri"], body)
            expect(answer.status == 202, f"{answer.status} {answer.body}")
            meanwhile = other.create("meanwhile", other.bays[2], self.built_in, {"Host": "meanwhile"})
            text = files_of(other.read_out(meanwhile, self.dir / "seen.raw"), [FILE])[FILE]
            expect(text == "meanwhile by hand\n", text)
            task = failed(self.estate.api.wait, answer.headers["location"], PLENTY + 30)
        finally:
            told = server.report()
            if left := other.profile("meanwhile"):
                other.delete(left)
        seconds = time.monotonic() - begin
        message = message_of(task)
        log_of(self.estate.api, task)
        expect(any(word in message for word in words), f"the message does not say what it was: {message}")
        nothing_left(self.target)
        self.still("sound")
        expect(not (found := disagreements(self.target, self.estate)), found)
        expect(not self.target.panics(), self.target.panics())
        return f"{seconds:.0f} s: {message.strip()}; {told}"


def main():
    program = build()
    plans_appliance()
    enter_namespace(0)
    own_orphans()
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None, program=program)
    faults = Faults(cases, target)
    try:
        faults.furnish()
        for kind, words in (
            ("error", ("failed", "error")), ("enospc", ("space", "full", "room")), ("lost", ("lost", "connection", "disconnect")),
            ("noflush", ("flush",)), ("hang", (f"{TIME_MAX} s", f"{TIME_MAX}s", "longer", "time")),
        ):  # fmt: skip
            cases.case(f"the door's fault {kind!r}", faults.fault, kind, words)

        def sound():
            target.stop()
            target.plans = {}
            target.start()
            faults.estate.api.close()
            faults.deploy()

        cases.case("without a fault it works again", sound)
    finally:
        target.close()
        if cases.failed:
            print(f"the end of the log:\n{target.log_tail(40)}", flush=True)
    cases.finish()


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Many clients at once on the same profiles and servers: every outcome is one that some order of the requests has.

    tests/api_races.py [CASE...]      SEED= repeats a run of the last case

Each client has a connection and a thread of its own. Nothing may wait for ever: a request has 30 s.
"""

import itertools
import os
import pathlib
import random
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from agreement import disagreements, orphans  # noqa: E402
from api import Refused, TaskFailed  # noqa: E402
from appliance import Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from initiator import Lost, Session  # noqa: E402

REQUEST_SECONDS = 30
EDITS, ROUNDS = 30, 40
ASSIGNMENTS, SERVERS = 50, 5
ANY = {"If-Match": "*"}


def at_once(bodies, seconds=REQUEST_SECONDS * 2):
    """Runs them in threads that start together; what each returned, or raised."""
    results = [None] * len(bodies)
    gate = threading.Barrier(len(bodies))

    def run(at, body):
        gate.wait()
        try:
            results[at] = body()
        except Exception as error:  # looked at by the case
            results[at] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(bodies)]
    for thread in threads:
        thread.start()
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.1, end - time.monotonic()))
    expect(not any(thread.is_alive() for thread in threads), f"not done after {seconds} s: a deadlock?")
    return results


def conflict(error):
    """Whether a result is a refusal because of somebody else."""
    if isinstance(error, TaskFailed):
        return any(fault["errorCode"] in ("IN_USE", "BUSY", "STALE") for fault in error.task.get("taskErrors", []))
    return isinstance(error, Refused) and error.status in (409, 412)


class Races:
    """The cases, on one daemon."""

    def __init__(self, target, estate):
        self.target, self.estate = target, estate

    def clients(self, count):
        return [self.estate.with_api(self.target.api(REQUEST_SECONDS)) for _ in range(count)]

    def agree(self):
        expect(not (found := disagreements(self.target, self.estate)), found)

    def edits(self):
        """Two clients have read the same profile, and both put it back, changed in several places."""
        profile = self.estate.create("edited", self.estate.bays[0])
        clients, wins = self.clients(2), 0
        for number in range(EDITS):
            before = self.estate.api.get(profile["uri"])
            words = [f"{who} {number}" for who in "AB"]
            bodies = [{**before, "description": word, "boot": {"order": [word]}} for word in words]
            headers = {"If-Match": before["eTag"]} if number % 2 else {}
            put = [lambda c=c, b=b: c.api.put(profile["uri"], b, headers) for c, b in zip(clients, bodies)]
            results = at_once(put)
            won = [word for word, result in zip(words, results) if not isinstance(result, Exception)]
            after = self.estate.api.get(profile["uri"])
            expect(len(won) == 1 and any(conflict(result) for result in results), f"round {number}: {results}")
            expect((after["description"], after["boot"]) == (won[0], {"order": won}), f"a mix: {after}")
            wins += won[0].startswith("A")
        self.agree()
        self.estate.delete(profile)
        return f"{EDITS} rounds, one client won {wins}"

    def assignments(self):
        """Fifty profiles are assigned at once to five servers, each of which takes one."""
        servers = [self.estate.hardware(f"few{number}", self.estate.types[0], self.estate.enclosures[0]) for number in range(SERVERS)]
        profiles = [self.estate.create(f"many{number}") for number in range(ASSIGNMENTS)]
        clients = self.clients(ASSIGNMENTS)
        bodies = [client.changed(profile, hardware=servers[at % SERVERS]) for at, (client, profile) in enumerate(zip(clients, profiles))]
        begin = time.monotonic()
        results = at_once([lambda c=c, p=p, b=b: c.api.put(p["uri"], b, ANY) for c, p, b in zip(clients, profiles, bodies)])
        seconds = time.monotonic() - begin
        odd = [result for result in results if isinstance(result, Exception) and not conflict(result) and not isinstance(result, TaskFailed)]
        expect(not odd, odd[:3])
        won = {p["uri"] for p, result in zip(profiles, results) if not isinstance(result, Exception)}
        held = {self.estate.api.get(server["uri"])["serverProfileUri"] for server in servers}
        expect(held == won and len(won) == SERVERS, f"{len(won)} were told that they have a server, and {len(held)} have one")
        self.agree()
        at_once([lambda c=c, p=p: c.delete(p) for c, p in zip(clients, profiles)])
        expect(not [one for one in self.estate.api.members("/rest/server-profiles") if one["name"].startswith("many")], "some are left")
        self.agree()
        return f"{ASSIGNMENTS} requests in {seconds:.1f} s"

    def deletes(self):
        """A profile is deleted while its server logs in and out: it is deleted or not, and then stays so."""
        done = refused = logins = 0
        for number in range(8):
            profile = self.estate.create(f"short{number}", self.estate.bays[1])
            disk, name = self.estate.disk(profile), self.estate.initiator(profile)
            end, counts = threading.Event(), []

            def log_in(disk=disk, name=name, end=end, counts=counts):
                while not end.is_set():
                    try:
                        Session(disk, name, seconds=10).close(logout=True)
                        counts.append(1)
                    except Lost:
                        time.sleep(0.001)

            threads = [threading.Thread(target=log_in, daemon=True) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                while len(counts) < 5:
                    time.sleep(0.005)
                query = "?force=True" if number % 2 else "?force=True&whileInUse=true"
                try:
                    self.estate.delete(profile, query)
                    gone = True
                    done += 1
                except (Refused, TaskFailed) as error:
                    # The login came before the request, or after the task had begun.
                    expect(conflict(error) and number % 2, error)
                    gone = False
                    refused += 1
                if gone:
                    expect(not self.estate.admits(disk, name), "deleted, and somebody got in")
                    expect(self.estate.seen_by(name) == [], "deleted, and still told of")
            finally:
                end.set()
                for thread in threads:
                    thread.join(20)
            expect(not any(thread.is_alive() for thread in threads), "a login hangs")
            logins += len(counts)
            if not gone:
                expect(self.estate.admits(disk, name), "not deleted, and it lets nobody in")
                self.estate.delete(profile)
            self.agree()
        return f"{done} deleted, {refused} refused because of a session, {logins} logins"

    def model(self):
        """Rounds of a few requests at once; what came of them must be what some order of them comes to."""
        seed = int(os.environ.get("SEED") or random.randrange(1 << 32))
        chance = random.Random(seed)
        servers, names = self.estate.bays[:3], ["p1", "p2", "p3", "p4"]
        clients, came = self.clients(4), []
        for number in range(ROUNDS):
            before = self.placement(names)
            requests = [self.request(chance, names, servers) for _ in clients]
            results = at_once([lambda c=c, r=r: self.perform(c, r) for c, r in zip(clients, requests)])
            odd = [r for r in results if isinstance(r, Exception)]
            expect(not odd, f"seed {seed}, round {number}: {odd}")
            after = self.placement(names)
            fitting = [order for order in itertools.permutations(range(len(requests))) if fits(before, after, requests, results, order)]
            told = "\n".join(f"  {request}: {result}" for request, result in zip(requests, results))
            expect(fitting, f"seed {seed}, round {number}: no order gives this\nbefore {before}\n{told}\nafter {after}")
            came += results
            self.agree()
        done, busy = came.count(True), came.count("busy")
        return f"{ROUNDS} rounds of {len(clients)} requests: {done} done, {busy} busy, {len(came) - done - busy} refused; seed {seed}"

    def placement(self, names):
        """Which profile is where; those that are not there are left out."""
        found = self.estate.api.members("/rest/server-profiles")
        servers = {server["uri"]: server["name"] for server in self.estate.api.members("/rest/server-hardware")}
        return {one["name"]: servers.get(one["serverHardwareUri"]) for one in found if one["name"] in names}

    @staticmethod
    def request(chance, names, servers):
        kind = chance.choice(["create", "create", "create", "assign", "assign", "assign", "unassign", "delete"])
        server = chance.choice([*servers, None]) if kind == "create" else chance.choice(servers) if kind == "assign" else None
        return kind, chance.choice(names), server and server["name"]

    def perform(self, client, request):
        """True when it was done, False when it was refused because of how things are, "busy" when because of others."""
        kind, name, server = request
        hardware = next((one for one in self.estate.bays if one["name"] == server), None)
        try:
            if kind == "create":
                client.create(name, hardware)
                return True
            profile = client.profile(name)
            if profile is None:
                return False
            if kind == "delete":
                client.api.delete(profile["uri"] + "?force=True", ANY)
            else:
                client.api.put(profile["uri"], client.changed(profile, hardware=hardware, force=True), ANY)
            return True
        except Refused as refusal:
            if refusal.status == 404:
                return False
            if not conflict(refusal):
                raise
            return "busy" if refusal.code in ("BUSY", "STALE") else False
        except TaskFailed:
            return False


def fits(before, after, requests, results, order):
    """Whether the requests, one after the other in this order, have these results. What was refused because something
    was under way has no effect; a model has no such thing."""
    state = dict(before)
    for at in order:
        if results[at] == "busy":
            continue
        if step(state, *requests[at]) != results[at]:
            return False
    return state == after


def step(state, kind, name, server):
    """One request on the model; whether it is done."""
    taken = server is not None and any(where == server for other, where in state.items() if other != name)
    if kind == "create":
        if name in state or taken or server in state.values() and server is not None:
            return False
        state[name] = server
        return True
    if name not in state:
        return False
    if kind == "delete":
        del state[name]
        return True
    if taken:
        return False
    state[name] = server
    return True


def main():
    enter_namespace(0)
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"], tls=None, boot=None)
    with cases.serving(target):
        estate = Estate(target.api(), target.portals[0]).furnish(cases.dir)
        races = Races(target, estate)
        cases.case("two clients change one profile: one of them, never a mix", races.edits)
        cases.case("fifty assignments at once to five servers", races.assignments)
        cases.case("deletes racing logins", races.deletes)
        cases.case("what many do at once is what some order of it does", races.model)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))
        cases.case("the daemon stops, and catalogue and store agree", lambda: (target.stop(), expect(not (f := orphans(target)), f))[1])


if __name__ == "__main__":
    main()

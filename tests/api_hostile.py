#!/usr/bin/env python3
"""The control API under clients that mean no good, and a catalogue that somebody has edited by hand.

    tests/api_hostile.py [CASE...]      SECONDS=60 for a longer schemathesis

Uploads without end, clients that send a byte a second, connections that only wait, garbage, and schemathesis
(tests/rig/python_env.py) on the OpenAPI document over TLS: no 5xx, no panic, bounded memory. A damaged catalogue is
reported, not obeyed; volumes that are sound go on being served.
"""

import json
import os
import pathlib
import random
import resource
import shutil
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from api import trusting  # noqa: E402
from appliance import PASSWORD, USER, Appliance  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from python_env import FUZZER, tool  # noqa: E402

MIB, GIB = 1 << 20, 1 << 30
UPLOAD_BYTES = 10 * GIB
# All of it where that is quick; else as much as shows that nothing is kept.
UPLOAD_SECONDS = float(os.environ.get("SECONDS") or 12)
# What the daemon may have taken at most, whatever was sent to it.
PEAK_MIB = 400
IDLE = 1000
SLOW = 60
FUZZ_SECONDS = int(os.environ.get("SECONDS") or 15)
# A request while all that goes on.
PROMPT_SECONDS = 2.0


def tls_socket(address, timeout=20):
    """A TLS connection, and nothing said yet."""
    host, port = address.rsplit(":", 1)
    return trusting().wrap_socket(socket.create_connection((host, int(port)), timeout), server_hostname=host)


def plain_socket(address, timeout=20):
    host, port = address.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout)


class Hostile:
    """The cases about clients, on one daemon."""

    def __init__(self, cases, target, estate):
        self.dir, self.target, self.estate = cases.dir, target, estate

    def well(self):
        """It answers, promptly, over the socket and over TLS."""
        for client in (self.target.api(), self.target.admin()):
            begin = time.monotonic()
            client.get("/rest/os-volumes")
            seconds = time.monotonic() - begin
            expect(seconds < PROMPT_SECONDS, f"a request took {seconds:.1f} s")
        expect(not self.target.panics(), self.target.panics())

    def peak(self):
        peak = self.target.peak_mebibytes()
        expect(peak < PEAK_MIB, f"{peak} MiB of memory")
        return f"peak {peak} MiB"

    def upload(self):
        """10 GiB that are mostly holes on our side, and bytes on the wire: taken or refused, never held in memory."""
        session = self.target.admin()
        connection = tls_socket(self.target.tls_address, 120)
        head = (
            "POST /rest/golden-images?name=huge&format=raw HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
            f"X-API-Version: 2020\r\nauth: {session.headers['auth']}\r\nContent-Length: {UPLOAD_BYTES}\r\n\r\n"
        )
        connection.sendall(head.encode())
        block, sent, begin = bytes(4 * MIB), 0, time.monotonic()
        while sent < UPLOAD_BYTES and time.monotonic() < begin + UPLOAD_SECONDS:
            try:
                connection.sendall(block)
            except OSError:
                break
            sent += len(block)
        whole = sent >= UPLOAD_BYTES
        if whole:
            connection.settimeout(120)
            status = connection.recv(4096).split(b" ")[1].decode()
            expect(status in ("201", "400", "413", "507"), f"status {status}")
        connection.close()
        seconds = time.monotonic() - begin
        told = self.peak()
        self.well()
        if whole and status == "201":
            self.estate.api.delete("/rest/golden-images/huge")
        self.staging_is_empty()
        return f"{sent / GIB:.1f} GiB in {seconds:.0f} s, {'status ' + status if whole else 'then cut off'}; {told}"

    def staging_is_empty(self):
        end = time.monotonic() + 20
        staging = self.target.state / "staging"
        while time.monotonic() < end and any(staging.iterdir()):
            time.sleep(0.05)
        expect(not any(staging.iterdir()), "something is left of an upload")

    def large_bodies(self):
        """Bodies that are no upload, larger than any such body is."""
        for uri in ("/rest/server-profiles", "/rest/plan-scripts", "/rest/login-sessions"):
            try:
                answer = self.target.api().ask("POST", uri, b'{"name":"' + b"x" * (64 * MIB) + b'"}')
            except OSError:
                continue  # it would not hear the end of it
            expect(answer.status in (400, 413), f"{uri}: {answer.status}")
        deep = self.target.api().ask("POST", "/rest/server-profiles", b'{"a":' + b"[" * 500_000, {"Content-Type": "application/json"})
        expect(deep.status in (400, 413), f"nested: {deep.status}")
        return self.peak()

    def slow(self):
        """Handshakes and requests that come a byte at a time."""
        hello = bytes.fromhex("16030100c8010000c40303") + os.urandom(32)
        handshakes = [plain_socket(self.target.tls_address) for _ in range(SLOW)]
        requests = [tls_socket(self.target.tls_address) for _ in range(SLOW)]
        boots = [plain_socket(self.target.boot_address) for _ in range(SLOW)]
        text = b"GET /rest/os-volumes HTTP/1.1\r\nHost: x\r\nX-Slow: "
        try:
            for at in range(20):
                for connection in handshakes:
                    self.drip(connection, hello[at : at + 1])
                for connection in requests + boots:
                    self.drip(connection, text[at : at + 1])
                self.well()
        finally:
            for connection in handshakes + requests + boots:
                connection.close()
        return self.peak()

    @staticmethod
    def drip(connection, byte):
        try:
            connection.sendall(byte)
        except OSError:
            pass  # it was thrown out: good

    def idle(self):
        """A thousand connections that only wait, on each door in turn, while others are answered."""
        told = []
        for name, make, address in (
            ("TLS", tls_socket, self.target.tls_address), ("TLS, no handshake", plain_socket, self.target.tls_address),
            ("boot", plain_socket, self.target.boot_address), ("socket", self.unix, None),
        ):  # fmt: skip
            connections, refused = [], 0
            try:
                for _ in range(IDLE):
                    try:
                        connections.append(make(address) if address else make())
                    except (OSError, ssl.SSLError):
                        refused += 1
                self.well()
            finally:
                for connection in connections:
                    connection.close()
            told.append(f"{name}: {len(connections)} open, {refused} refused")
        return f"{'; '.join(told)}; {self.peak()}"

    def unix(self):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(5)
        connection.connect(str(self.target.control))
        return connection

    def garbage(self):
        """Random bytes, and requests with one byte wrong, on every door."""
        chance = random.Random(11)
        request = b"GET /rest/version HTTP/1.1\r\nHost: x\r\nX-API-Version: 2020\r\nContent-Length: 0\r\n\r\n"
        doors = [
            lambda: plain_socket(self.target.tls_address, 2), lambda: tls_socket(self.target.tls_address, 2),
            lambda: plain_socket(self.target.boot_address, 2), self.unix,
        ]  # fmt: skip
        for number in range(300):
            wrong = bytearray(request)
            wrong[chance.randrange(len(wrong))] = chance.randrange(256)
            data = chance.choice([chance.randbytes(chance.randrange(1, 4000)), bytes(wrong), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"])
            try:
                connection = doors[number % len(doors)]()
                connection.sendall(data)
                connection.settimeout(0.02)
                connection.recv(4096)
            except OSError:
                pass
            finally:
                connection.close()
        self.well()
        return self.peak()

    def boot_door(self):
        """The boot listener serves boot scripts and nothing else."""
        for path in ("/rest/version", "/rest/os-volumes", "/boot/", "/boot/../rest/version", "/boot/%2e%2e/rest/version", "/boot/x.ipxe",
                     "/boot/" + "a" * 5000 + ".ipxe", "/boot/%00.ipxe", "/boot/52:54:00:00:00:00.ipxe?x=%0aboot"):  # fmt: skip
            connection = plain_socket(self.target.boot_address)
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b""
            while data := connection.recv(65536):
                answer += data
            connection.close()
            # A machine that is not known is told so by a script.
            script = path.startswith("/boot/52:54") and b" 200 " in answer[:20] and b"#!ipxe" in answer
            expect(script or any(status in answer[:20] for status in (b" 404 ", b" 400 ", b" 414 ")), f"{path}: {answer[:60]}")
            expect(b"x=" not in answer and b"sanboot" not in answer, f"{path}: {answer}")

    def logins(self):
        """A hundred at once with wrong passwords: each takes memory and time to look at."""
        statuses = []

        def attempt():
            body = {"userName": USER, "password": "wrong", "authLoginDomain": "LOCAL"}
            try:
                statuses.append(self.target.tls(60).ask("POST", "/rest/login-sessions", body).status)
            except OSError:
                statuses.append(0)

        threads = [threading.Thread(target=attempt) for _ in range(100)]
        for thread in threads:
            thread.start()
        begin = time.monotonic()
        self.target.api().get("/rest/os-volumes")
        seconds = time.monotonic() - begin
        for thread in threads:
            thread.join()
        expect(seconds < PROMPT_SECONDS, f"a request took {seconds:.1f} s meanwhile")
        expect(200 not in statuses and {401, 429} >= set(statuses) - {0}, f"{set(statuses)}")
        told = {status: statuses.count(status) for status in sorted(set(statuses))}
        return f"statuses {told}, a request meanwhile {seconds * 1e3:.0f} ms; {self.peak()}"

    def strangers(self):
        """Without a session, or with a role that may not, nothing is changed and no secret is told."""
        volumes = self.estate.api.members("/rest/os-volumes")
        self.target.user("looker", "a password of eyes", "read-only")
        looker, nobody = self.target.tls().login("looker", "a password of eyes"), self.target.tls()
        profile = self.estate.profile("web01")
        for client, statuses in ((nobody, (401,)), (looker, (403,))):
            for method, uri in (("DELETE", profile["uri"]), ("PUT", profile["uri"]), ("POST", "/rest/os-volumes"), ("POST", "/rest/users"),
                                ("POST", "/rest/golden-images?name=x"), ("DELETE", volumes[0]["uri"])):  # fmt: skip
                answer = client.ask(method, uri, {"name": "x"})
                expect(answer.status in statuses, f"{method} {uri}: {answer.status} {answer.body}")
        expect(nobody.ask("GET", "/rest/os-volumes").status == 401, "a list without a session")
        expect(looker.ask("GET", "/rest/os-volumes").status == 200, "a reader may not read")
        expect(self.estate.api.members("/rest/os-volumes") == volumes, "something changed")

    def schemathesis(self, program):
        """Generated requests, good and bad, on everything in the document."""
        document = self.dir / "openapi.json"
        found = self.target.admin().get("/rest/osvol/openapi.json")
        document.write_text(json.dumps(found))
        session = self.target.admin().headers["auth"]
        begin = time.monotonic()
        done = subprocess.run(
            [program, "run", document, "--url", f"https://{self.target.tls_address}", "--tls-verify", "false", "--header", f"auth: {session}",
             "--header", "X-API-Version: 2020", "--checks", "not_a_server_error", "--phases", "examples,coverage,fuzzing", "--max-time",
             str(FUZZ_SECONDS), "--seed", "1", "--no-color", "--continue-on-failure", "--suppress-health-check", "all",
             "--request-timeout", "30", "--exclude-path-regex", "login-sessions"],
            capture_output=True, text=True, errors="replace", timeout=FUZZ_SECONDS * 4 + 120, cwd=self.dir,
        )  # fmt: skip
        seconds = time.monotonic() - begin
        lines = done.stdout.splitlines()
        told = next((line.strip() for line in reversed(lines) if "generated" in line), "")
        # Only what the check found counts; warnings about what was not reached do not.
        expect(done.returncode in (0, 1), f"schemathesis ended with {done.returncode}: {done.stdout[-2000:]} {done.stderr[-500:]}")
        faults = [line.strip() for line in lines if "Server error" in line or "[5" in line]
        expect(done.returncode == 0 and not faults, "\n".join(lines[-60:]))
        self.well()
        return f"{len(found['paths'])} paths, {told or 'nothing generated'} in {seconds:.0f} s; {self.peak()}"


class Damage:
    """Catalogues edited by hand: each is a copy of a good store with one thing wrong."""

    def __init__(self, cases, target, estate):
        self.cases, self.good, self.estate = cases, target, estate
        self.count = 0

    def kinds(self):
        """What is wrong, how it is made, and whether the daemon may refuse to start."""
        def sql(*statements):
            def edit(file):
                with sqlite3.connect(file) as catalog:
                    catalog.execute("PRAGMA foreign_keys = OFF")
                    catalog.execute("PRAGMA ignore_check_constraints = ON")
                    for statement in statements:
                        catalog.execute(statement)
            return edit

        def bytes_at(offset, data):
            def edit(file):
                with open(file, "r+b") as out:
                    out.seek(offset)
                    out.write(data)
            return edit

        web01 = "(SELECT id FROM server_profiles WHERE name = 'web01')"
        web02 = "(SELECT id FROM server_profiles WHERE name = 'web02')"
        return [
            ("JSON that is none", sql(f"UPDATE server_profiles SET attributes = '[{{' WHERE id = {web01}"), False),
            ("JSON of another kind", sql(f"UPDATE server_profiles SET extra = '[1, 2]', attributes = '{{}}' WHERE id = {web01}"), False),
            ("a foreign key that leads nowhere", sql(f"UPDATE server_profiles SET server_hardware_id = 'nowhere' WHERE id = {web01}"), False),
            ("a plan that is not there", sql(f"UPDATE server_profiles SET deployment_plan_id = 'nowhere' WHERE id = {web01}"), False),
            ("an initiator name with spaces", sql("UPDATE server_hardware SET initiator_name = 'iqn.1993-08.org debian: evil' WHERE name = 'bay1'"), False),
            ("a volume that is another profile's", sql(
                f"DELETE FROM os_volumes WHERE profile_id = {web01}", f"UPDATE os_volumes SET profile_id = {web01} WHERE profile_id = {web02}"), False),
            ("a volume that is not in the store", sql(f"UPDATE os_volumes SET id = '{'0' * 32}' WHERE profile_id = {web01}"), False),
            ("a volume with a name of another", sql(f"UPDATE os_volumes SET name = '../../etc/passwd' WHERE profile_id = {web01}"), False),
            ("numbers below zero", sql(f"UPDATE server_profiles SET created_ms = -1, modified_ms = -5, revision = -7 WHERE id = {web01}"), False),
            ("a journal that is none", sql("UPDATE tasks SET journal = '{\"step\": \"nonsense\"}', state = 'Running'"), False),
            ("a wrong sequence", sql("UPDATE sequences SET next = 1"), False),
            ("a newer version", sql("PRAGMA user_version = 4711"), True),
            ("no table of profiles", sql("DROP TABLE os_volumes", "DROP TABLE server_profiles"), True),
            ("a file that is none", lambda file: file.write_bytes(os.urandom(8192)), True),
            ("a page of garbage", bytes_at(8192, os.urandom(4096)), True),
            ("an empty file", lambda file: file.write_bytes(b""), True),
        ]  # fmt: skip

    def one(self, what, edit, may_refuse):
        """The daemon reports it, by its log, a status or a refusal to start; and what is sound is served."""
        self.count += 1
        target = Appliance(self.cases.dir / f"damage{self.count}", [f"{ADDRESS}:3260"], tls=None, boot=None)
        shutil.copytree(self.good.state, target.state)
        for suffix in ("-wal", "-shm"):
            pathlib.Path(f"{target.catalog}{suffix}").unlink(missing_ok=True)
        edit(target.catalog)
        before = target.catalog.read_bytes()
        try:
            target.begin()
            try:
                target.wait_ready(target.answers)
            except Exception as error:
                text = target.log_tail(30)
                expect(may_refuse, f"it does not start: {error}")
                expect(target.process.poll() not in (None, -6, 101) and "panicked" not in text and "catalog" in text, f"no clear refusal: {text}")
                return text.strip().splitlines()[-1][:150]
            return self.served(what, target, before)
        finally:
            target.close()
            shutil.rmtree(target.dir, ignore_errors=True)

    def served(self, what, target, _before):
        estate = self.estate.with_api(target.api())
        for uri in ("/rest/server-profiles", "/rest/os-volumes", "/rest/tasks", "/rest/osvol/status"):
            answer = estate.api.ask("GET", uri)
            expect(answer.status < 500 or "message" in (answer.body or {}), f"{uri}: {answer.status} {answer.body}")
        sound, direct = Damage.disks["web02"], Damage.disks["direct"]
        # Where there is no catalogue, or none that says whose a volume is, a profile's volume is nobody's.
        if not what.startswith(("a volume that is another", "no table", "a file", "an empty", "a page")):
            expect(estate.admits(sound, Damage.initiators["web02"]), "a sound profile's volume is not served")
        expect(estate.admits(direct, "iqn.1993-08.org.debian:anybody"), "a direct volume is not served")
        first, mine = Damage.disks["web01"], Damage.initiators["web01"]
        for name in (Damage.initiators["idle"], "iqn.1993-08.org.debian:anybody"):
            for disk in (first, sound):
                expect(not estate.admits(disk, name), f"{name} got in to {disk.name}")
        # Only the catalogue says whose a volume is: this one lie is believed, and told by what is missing then.
        if not what.startswith("a volume that is another"):
            expect(not estate.admits(sound, mine), "web01's server got in to web02's volume")
        expect(not target.panics(), target.panics())
        log = target.log.read_text(errors="replace")
        reported = [line for line in log.splitlines() if (" WARN " in line or " ERROR " in line) and "space runs out" not in line]
        odd = [one for one in estate.api.ask("GET", "/rest/server-profiles").body.get("members", []) if one["status"] not in ("OK", "Disabled")]
        harmless = ("numbers below zero", "JSON of another kind", "a wrong sequence")
        expect(reported or odd or what in harmless, f"nothing says so; the log: {log[-600:]}")
        target.stop()
        return (reported[0].strip()[:150] if reported else f"{odd[0]['status']}: {odd[0].get('statusReason')}" if odd else "taken as it is")

    disks, initiators = {}, {}

    @classmethod
    def remember(cls, estate):
        """What the good store serves to whom."""
        for name, server in (("web01", estate.bays[0]), ("web02", estate.bays[1])):
            profile = estate.create(name, server)
            cls.disks[name], cls.initiators[name] = estate.disk(profile), estate.initiator(profile)
        cls.initiators["idle"] = estate.bays[2]["initiatorName"]
        made = estate.api.post("/rest/os-volumes", {"name": "direct", "goldenImageURI": estate.golden["uri"]})
        first = cls.disks["web01"]
        cls.disks["direct"] = type(first)("direct", made["oeVolumeIQN"], int(made["lun"]), first.portals)


def main():
    program = tool(FUZZER, "st")
    enter_namespace(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    cases = Cases(sys.argv[1:])
    target = Appliance(cases.dir / "target", [f"{ADDRESS}:3260"])
    good = Appliance(cases.dir / "good", [f"{ADDRESS}:3260"], tls=None, boot=None)
    try:
        good.start()
        estate = Estate(good.api(), good.portals[0]).furnish(cases.dir)
        Damage.remember(estate)
        good.stop()
        damage = Damage(cases, good, estate)
        for what, edit, may_refuse in damage.kinds():
            cases.case(f"a catalogue with {what}" if not what.startswith(("a file", "an empty")) else f"a catalogue: {what}", damage.one, what, edit, may_refuse)
    finally:
        good.close()
    with cases.serving(target):
        target.user(USER, PASSWORD)
        estate = Estate(target.api(), target.portals[0]).furnish(cases.dir)
        estate.create("web01", estate.bays[0])
        hostile = Hostile(cases, target, estate)
        cases.case("10 GiB are uploaded, in bounded memory", hostile.upload)
        cases.case("bodies that are too large, or too deep", hostile.large_bodies)
        cases.case("slow handshakes and slow requests", hostile.slow)
        cases.case("a thousand idle connections on each door", hostile.idle)
        cases.case("garbage on every door", hostile.garbage)
        cases.case("the boot listener serves nothing else", hostile.boot_door)
        cases.case("without a session or a role nothing is done", hostile.strangers)
        cases.case("schemathesis on all of the document", hostile.schemathesis, program)
        # Last: who has failed so often waits a minute.
        cases.case("a hundred wrong logins at once", hostile.logins)
        cases.case("nothing panicked", lambda: expect(not target.panics(), target.panics()))


if __name__ == "__main__":
    main()

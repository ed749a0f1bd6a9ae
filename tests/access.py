#!/usr/bin/env python3
"""Who may log in and who may discover, by name, address and CHAP; and where logins are sent on to.

    tests/access.py [CASE...]
"""

import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from initiator import Lost, Session, discover, drain, serve  # noqa: E402
from login import Answer, Closed, Login, proof  # noqa: E402
from target import Osvold, binary, run  # noqa: E402

PORTAL, OTHER_PORTAL, SIX = f"{ADDRESS}:3260", f"{ADDRESS}:3261", "[fd00::1]:3260"
# Another host, as far as the target can tell.
ELSEWHERE = "192.0.2.9"
ALICE, OSVOL = ("alice", "alice-secret-12"), ("osvol", "osvol-secret-34")
FINDER, TOLD = ("finder", "finder-secret-56"), ("teller", "teller-secret-78")
WRONG = "wrong-secret-99"
NAME = "iqn.1993-08.org.debian:"
LEVELS = {"none": "none", "chap": "chap", "mutual": "mutual-chap"}
HELD = "03 02"
DONE, REFUSED, UNPROVED, UNKNOWN, MALFORMED = "00 00", "02 02", "02 01", "02 03", "02 00"
MOVED, MOVED_FOR_GOOD = "01 01", "01 02"
KILLS = 6


class Daemon(Osvold):
    """osvold with a configuration file."""

    discovery = "none"
    more = finders = ""

    def start(self):
        lines = [f'[store]\npath = "{self.state}"', f'[control]\nsocket = "{self.control}"']
        lines += [f"[iscsi]\nportals = {json.dumps(self.portals)}", self.more, "[iscsi.discovery]", self.finders]
        if self.discovery != "none":
            lines += [f'user = "{FINDER[0]}"', f'secret_file = "{self.secret(FINDER)}"']
        if self.discovery == "mutual":
            lines += [f'mutual_user = "{TOLD[0]}"', f'mutual_secret_file = "{self.secret(TOLD)}"']
        lines += [f'authentication = "{LEVELS[self.discovery]}"']
        self.config.write_text("\n".join(lines) + "\n")
        self.spawn([binary("osvold"), "--config", self.config])
        self.wait_ready(lambda: self.osvol("status", check=False).returncode == 0)

    @property
    def config(self):
        return self.dir / "osvold.toml"

    def secret(self, credential):
        """A file with a secret that nobody else may read."""
        path = self.dir / f"{credential[0]}.secret"
        path.touch(0o600)
        path.write_text(credential[1] + "\n")
        return path

    def again(self, discovery="none", more=""):
        """Starts it again with another configuration."""
        self.discovery, self.more = discovery, more
        self.restart()


def chap_options(daemon, chap=None, mutual=None):
    """CHAP of a volume on the command line."""
    options = ["--chap-user", chap[0], "--chap-secret-file", daemon.secret(chap)] if chap else []
    return options + (["--mutual-user", mutual[0], "--mutual-secret-file", daemon.secret(mutual)] if mutual else [])


class Access:
    """The cases, on one daemon that starts anew now and then."""

    def __init__(self, daemon):
        self.daemon = daemon
        self.osvol = daemon.osvol
        self.disks = {}

    def make(self, name, *options):
        """A small empty volume."""
        self.osvol("volume", "create", name, "--size", "4MiB", *options)
        self.disks[name] = self.daemon.volume(name)
        return self.disks[name]

    def shown(self, name):
        return self.daemon.json("volume", "show", name)

    def settings_file(self, name):
        return self.daemon.state / "exports" / f"{self.shown(name)['id']}.json"

    def login(self, volume, who="a", portal=PORTAL, source=None):
        """How a login without CHAP ends."""
        with Login(portal, NAME + who, self.disks[volume].iqn, source) as login:
            return login.open().status

    def told(self, who="a", portal=PORTAL, source=None):
        """The volumes that an initiator discovers."""
        with Login(portal, NAME + who, source=source) as login:
            expect(login.open().status == DONE, "no discovery session")
            found = login.targets()
        return sorted(name for name, disk in self.disks.items() if disk.iqn in found)

    def refused(self, *words, on, status=1):
        """osvol refuses, and says so in these words."""
        done = self.osvol(*on, check=False)
        text = done.stdout + done.stderr
        expect(done.returncode == status, f"osvol {on}: status {done.returncode}: {text}")
        for word in words:
            expect(word in text, f"osvol {on} does not say {word!r}: {text}")

    # ---- CHAP

    def prepare(self):
        daemon = self.daemon
        self.make("none")
        self.make("chap", *chap_options(daemon, ALICE))
        self.make("mutual", *chap_options(daemon, ALICE, OSVOL))

    def connects(self, volume, chap, mutual):
        """Whether libiscsi logs in."""
        try:
            Session(self.disks[volume], NAME + "libiscsi", chap=chap, mutual=mutual).close(logout=True)
        except Lost:
            return False
        return True

    def finds(self, chap, mutual):
        """Whether libiscsi discovers all volumes."""
        try:
            found = discover(PORTAL, NAME + "libiscsi", chap=chap, mutual=mutual)
        except Lost:
            return False
        expect(set(found) == {disk.iqn for disk in self.disks.values()}, f"it finds {found}")
        return True

    def matrix(self, discovery):
        """One way of discovery, and every way of a volume. Each is proved for itself (COMPAT L10)."""
        self.daemon.again(discovery)

        def tries(level, user, target):
            """What an initiator may say and demand, and whether that is enough."""
            wrong, wrong_target = (user[0], WRONG), (target[0], WRONG)
            yield None, None, level == "none"
            # Asked for nothing, the target proves nothing either.
            yield user, None, True
            if level != "none":
                yield wrong, None, False
                yield ("nobody", user[1]), None, False
                yield user, target, level == "mutual"
                yield user, wrong_target, False

        for chap, mutual, good in tries(discovery, FINDER, TOLD):
            expect(self.finds(chap, mutual) == good, f"discovery by {discovery} with {chap}, {mutual}: not {good}")
        for level in LEVELS:
            for chap, mutual, good in tries(level, ALICE, OSVOL):
                expect(self.connects(level, chap, mutual) == good, f"volume {level} with {chap}, {mutual}: not {good}")
        # A user of discovery is none of a volume, nor the other way round.
        expect(not self.connects("chap", FINDER, None), "discovery's user logs in to a volume")
        expect(self.finds(ALICE, None) == (discovery == "none"), "a volume's user discovers")

    def algorithms(self):
        """Each algorithm, the initiator's order, and those that are not allowed."""
        iqn = self.disks["mutual"].iqn

        def login(algorithms):
            with Login(PORTAL, NAME + "a", iqn) as login:
                given = login.challenge(algorithms)
                if isinstance(given, Answer):
                    return given.status
                own = (7, os.urandom(24))
                answer = login.prove(ALICE[0], proof(given[0], given[1], ALICE[1], given[2]), own)
                expect(answer.status == DONE, f"CHAP_A={algorithms}: {answer}")
                expect(answer.keys["CHAP_N"] == OSVOL[0], f"{answer}")
                right = proof(given[0], own[0], OSVOL[1], own[1]).hex()
                expect(answer.keys["CHAP_R"].lower() == f"0x{right}", f"CHAP_A={algorithms}: the target proves nothing")
                return given[0]

        self.daemon.again()
        for offered, taken in {"5": 5, "6": 6, "7": 7, "8": 8, "5,7": 5, "8,5": 8, "9,6,x": 6}.items():
            expect(login(offered) == taken, f"CHAP_A={offered}")
        expect(login("9") == UNPROVED, "an algorithm that there is not")
        self.daemon.again(more='chap_algorithms = ["SHA3-256", "SHA-256"]')
        for offered, taken in {"5,7": 7, "5,6,8": 8, "5": UNPROVED, "5,6": UNPROVED}.items():
            expect(login(offered) == taken, f"CHAP_A={offered} where MD5 and SHA-1 are forbidden")
        self.daemon.again()

    def tricks(self):
        """What somebody without the secret tries."""
        iqn = self.disks["mutual"].iqn
        seen = set()

        def login():
            return Login(PORTAL, NAME + "mallory", iqn)

        with login() as first, login() as second:
            algorithm, identifier, challenge = first.challenge()
            # The target's own challenge comes back to it on the same connection …
            right = proof(algorithm, identifier, ALICE[1], challenge)
            answer = first.prove(ALICE[0], right, (identifier, challenge))
            expect(answer.status in (UNPROVED, MALFORMED) and "CHAP_R" not in answer.keys, f"reflected: {answer}")
            # … and another connection's proves nothing to it.
            second.challenge()
            expect(second.prove(ALICE[0], right).status == UNPROVED, "an answer serves twice")
        with login() as plain:
            expect(plain.open().status == UNPROVED, "AuthMethod=None is let in")
        with login() as skipped:
            skipped.step({"AuthMethod": "CHAP"})
            answer = skipped.step({}, to=3)
            expect(answer.status != DONE or not full_feature(skipped), f"CHAP is skipped: {answer}")
        with login() as own:
            # Answered with what the target proves itself with.
            expect(own.chap(ALICE[0], OSVOL[1]).status == UNPROVED, "the target's secret lets in")
        for _ in range(50):
            with login() as one:
                seen.add(one.challenge()[2])
        expect(len(seen) == 50, "a challenge came twice")

    def secrets_stay_secret(self):
        """Neither logs, nor answers, nor files of the store have a secret."""
        shown = self.osvol("volume", "show", "mutual").stdout + json.dumps(self.shown("mutual"))
        expect(ALICE[0] in shown and OSVOL[0] in shown, f"users are not shown: {shown}")
        texts = {"what is shown": shown.encode(), "the log": self.daemon.log.read_bytes()}
        texts |= {str(path): path.read_bytes() for path in self.daemon.state.rglob("*") if path.is_file()}
        for (where, text), (_, secret) in itertools.product(texts.items(), (ALICE, OSVOL, FINDER, TOLD)):
            expect(secret.encode() not in text, f"a secret is in {where}")
        file = self.settings_file("mutual")
        expect(file.stat().st_mode & 0o777 == 0o600, f"{file} has mode {file.stat().st_mode:o}")

    # ---- names and addresses

    def hidden(self):
        """What a login is refused is hidden in discovery (COMPAT L22), whatever refuses it."""
        self.make("named", "--initiator", f"{NAME}A")
        self.make("placed", "--address", "192.0.2.8/31")
        self.make("both", "--initiator", f"{NAME}a", "--address", ELSEWHERE, "--address", "fd00::/64")
        open_to_all = ["chap", "mutual", "none"]
        for who, portal, source, lets_in in [
            ("a", PORTAL, None, ["named"]),
            ("b", PORTAL, None, []),
            ("a", PORTAL, ELSEWHERE, ["both", "named", "placed"]),
            ("b", PORTAL, ELSEWHERE, ["placed"]),
            ("a", SIX, None, ["both", "named"]),
            ("b", SIX, None, []),
        ]:
            told = self.told(who, portal, source)
            expect(told == sorted(open_to_all + lets_in), f"{who} from {source or portal} is told of {told}")
            for volume in ("named", "placed", "both"):
                wanted = DONE if volume in lets_in else REFUSED
                ended = self.login(volume, who, portal, source)
                expect(ended == wanted, f"{who} from {source or portal} to {volume}: {ended}")

    def who_may_discover(self):
        """Discovery has lists of its own."""
        self.daemon.finders = f'initiators = ["{NAME}a"]\naddresses = ["192.0.2.0/24"]'
        self.daemon.again()
        expect(self.told("a"), "a discovers nothing")
        for who, portal in [("b", PORTAL), ("a", SIX)]:
            with Login(portal, NAME + who) as login:
                expect(login.open().status == REFUSED, f"{who} discovers at {portal}")
        expect(self.login("none", "b") == DONE, "discovery's list keeps out of volumes")
        self.daemon.finders = ""
        self.daemon.again()

    def not_even_accepted(self):
        """Who is not on the list of allowed addresses hears nothing at all."""
        self.daemon.again(more='allowed_addresses = ["192.0.2.8/31", "fd00::/16"]')
        expect(self.login("none", source=ELSEWHERE) == DONE, "an allowed address is refused")
        expect(self.login("none", portal=SIX) == DONE, "an allowed IPv6 address is refused")
        try:
            self.login("none")
        except (Closed, BrokenPipeError, ConnectionResetError):
            pass
        else:
            expect(False, "an address that is not allowed is answered")
        self.daemon.again()

    # ---- changes

    def changes(self):
        """A change counts for logins from then on; who is logged in stays, unless told to end."""
        volume = self.make("moving")
        session = Session(volume, NAME + "a")
        self.osvol("volume", "access", "moving", "--initiator", f"{NAME}b")
        expect(self.login("moving", "a") == REFUSED and "moving" not in self.told("a"), "the change does not count")
        expect(self.login("moving", "b") == DONE, "the change does not let in")
        expect(alive(session), "a session ended by itself")
        said = self.osvol("volume", "access", "moving", "--address", "192.0.2.0/24", "--end-sessions").stdout
        expect(f"{NAME}b" in said and "192.0.2.0/24" in said, f"what was not given did not stay: {said}")
        drain([session], 30)
        expect(session.dead, "a session that may not be stays")
        session.close()
        staying = Session(volume, NAME + "b")
        self.osvol("volume", "access", "moving", "--any-address", "--end-sessions")
        expect(alive(staying), "a session that may be was ended")
        # Whoever has proved nothing, or something else, goes when CHAP is changed.
        self.osvol("volume", "access", "moving", *chap_options(self.daemon, ALICE), "--end-sessions")
        drain([staying], 30)
        expect(staying.dead, "a session without CHAP stays")
        staying.close()
        self.osvol("volume", "access", "moving", "--everybody")
        expect(self.login("moving", "c") == DONE, "not everybody is let in")
        shown = self.shown("moving")
        expect(not shown["initiators"] and not shown["addresses"] and shown["chap"] is None, f"{shown}")

    def slips(self):
        """What cannot be is refused, says what would be right, and changes nothing."""
        before = self.shown("mutual")
        short, same = self.daemon.secret(("short", "eleven-byte")), self.daemon.secret(("same", ALICE[1]))
        access = ("volume", "access", "mutual")
        self.refused("12 to 255", on=(*access, "--chap-secret-file", short))
        self.refused("same secret", on=(*access, "--mutual-secret-file", same))
        self.refused("same secret", on=(*access, "--chap-secret-file", self.daemon.secret(OSVOL)))
        self.refused("needs a user", on=("volume", "access", "none", "--chap-secret-file", self.daemon.secret(ALICE)))
        self.refused("give chap as well", on=("volume", "access", "none", *chap_options(self.daemon, None, OSVOL)))
        self.refused("no iSCSI name", on=(*access, "--initiator", "web01"))
        self.refused("192.0.2.0/24", on=(*access, "--address", "192.0.2.1/24"), status=2)
        self.refused("one secret", on=(*access, "--chap-secret-file", "-", "--mutual-secret-file", "-"))
        self.refused("cannot be used with", on=(*access, "--everybody", "--address", "::1"), status=2)
        self.refused("cannot connect", on=("volume", "redirect", "mutual", "--to", "0.0.0.0:3260"))
        self.refused("512 or 4096", on=("volume", "create", "odd", "--size", "4MiB", "--block-size", "1024"), status=2)
        self.refused("12 to 255", on=("volume", "create", "odd", "--size", "4MiB", "--chap-user", "a", "--chap-secret-file", short))
        expect(self.shown("mutual") == before, "a refused change has changed something")
        names = [volume["name"] for volume in self.daemon.json("volume", "list")["members"]]
        expect("odd" not in names, "a volume that was refused is there")
        files = {path.stem for path in (self.daemon.state / "exports").iterdir()}
        ids = {volume["id"] for volume in self.daemon.json("volume", "list")["members"]}
        expect(files <= ids, f"settings of nothing are left: {files - ids}")

    def bad_configuration(self):
        """The daemon does not start with a secret that others can read."""
        loose = self.daemon.secret(FINDER)
        loose.chmod(0o644)
        config = self.daemon.dir / "loose.toml"
        lines = [f'[store]\npath = "{self.daemon.dir}/loose"', "[iscsi]", 'portals = ["127.0.0.1:0"]', "[iscsi.discovery]"]
        lines += ['authentication = "chap"', f'user = "{FINDER[0]}"', f'secret_file = "{loose}"']
        config.write_text("\n".join(lines) + "\n")
        done = run(binary("osvold"), "--config", config, check=False, timeout=30)
        loose.chmod(0o600)
        expect(done.returncode and "chmod 600" in done.stderr and FINDER[1] not in done.stderr, f"{done}")

    # ---- restarts, kills, damage

    def kept(self):
        """Everything is as it was after a kill."""
        names = ("none", "chap", "mutual", "named", "placed", "both", "moving")
        before = [self.shown(name) for name in names]
        self.daemon.kill()
        self.daemon.start()
        expect([self.shown(name) for name in names] == before, "a volume is exported with something else")
        expect(self.connects("mutual", ALICE, OSVOL) and not self.connects("mutual", None, None), "CHAP is another")
        expect(self.login("named", "b") == REFUSED, "a list is lost")

    def damaged(self):
        """Settings that cannot be read let nobody in, and are told."""
        file = self.settings_file("named")
        whole = file.read_bytes()
        for what, content in {"cut short": whole[: len(whole) // 2], "empty": b"", "without its list": b"{}"}.items():
            self.daemon.stop()
            file.write_bytes(content)
            self.daemon.start()
            expect("named" not in self.told("a"), f"{what}: it is discovered")
            expect(self.login("named", "a") == UNKNOWN, f"{what}: it is open to {self.login('named', 'a')}")
            shown = self.shown("named")
            expect(shown["status"] == "Critical" and "exported to nobody" in shown["statusReason"], f"{shown}")
            expect("1 volume is not well" in self.osvol("status").stdout, "status does not tell")
            self.refused("cannot be read", str(file), on=("volume", "access", "named", "--everybody"))
            expect(file.read_bytes() == content, "the damaged file was overwritten")
        self.daemon.stop()
        file.write_bytes(whole)
        self.daemon.start()
        expect(self.login("named", "a") == DONE and self.login("named", "b") == REFUSED, "it is not as before")

    def lost_key(self):
        """With the key of the secrets lost nobody logs in who would need one, and nothing is lost."""
        key = self.daemon.state / "catalog" / "secret.key"
        self.daemon.stop()
        away = key.rename(key.with_suffix(".away"))
        self.daemon.start()
        expect(self.login("mutual") == UNKNOWN and not self.connects("mutual", ALICE, OSVOL), "it is open")
        shown = self.shown("mutual")
        expect(shown["status"] == "Critical" and "do not open" in shown["statusReason"], f"{shown}")
        expect(self.login("named", "a") == DONE, "a volume without secrets is closed as well")
        self.daemon.stop()
        away.rename(key)
        self.daemon.start()
        expect(self.connects("mutual", ALICE, OSVOL), "the secrets are lost")

    def killed_while_made(self):
        """A volume that was to be closed is never there open, whenever the daemon dies."""
        there = 0
        for number in range(KILLS):
            names = [f"new{number}-{k}" for k in range(8)]
            command = [binary("osvol"), "--control", self.daemon.control, "volume", "create", "--size", "4MiB"]
            command += ["--initiator", f"{NAME}a"]
            making = [subprocess.Popen([*map(str, command), name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for name in names]
            first = making[0] if number == 0 else making[random.randrange(len(making))]
            first.wait(60)
            time.sleep(random.random() * 0.01)
            self.daemon.kill()
            for process in making:
                process.communicate(timeout=60)
            self.daemon.start()
            made = {volume["name"]: volume for volume in self.daemon.json("volume", "list")["members"]}
            for name in set(names) & set(made):
                there += 1
                expect(made[name]["initiators"] == [f"{NAME}a"], f"{name} is open: {made[name]}")
                with Login(PORTAL, NAME + "b", made[name]["iscsiName"]) as login:
                    expect(login.open().status == REFUSED, f"{name} lets everybody in")
                self.osvol("volume", "remove", name)
        expect(there, "no volume was ever made")
        return f"{there} of {KILLS * 8} were there"

    def removed(self):
        """A volume's settings go with it."""
        file = self.settings_file("placed")
        expect(file.exists(), f"{file} is not there")
        self.osvol("volume", "remove", "placed")
        expect(not file.exists(), f"{file} is left")
        self.disks.pop("placed")

    # ---- one initiator at a time

    def inquires(self, volume, who):
        """Whether libiscsi's iscsi-inq gets in under this name, and what it says."""
        done = run("iscsi-inq", "-i", NAME + who, self.disks[volume].url(PORTAL), check=False, timeout=60)
        return "DIRECT_ACCESS" in done.stdout, done.stdout + done.stderr

    def lists(self, volume, who):
        """Whether libiscsi's iscsi-ls shows it under this name."""
        return self.disks[volume].iqn in run("iscsi-ls", "-i", NAME + who, f"iscsi://{PORTAL}", timeout=60).stdout

    def sessions_of(self, volume):
        return self.daemon.json("session", "list", "--volume", volume)["members"]

    def let_go(self, volume):
        """Waits until nobody has the volume: a logout is answered a moment before."""
        end = time.monotonic() + 60
        while self.sessions_of(volume):
            expect(time.monotonic() < end, f"{volume} is held for ever: {self.sessions_of(volume)}")
            time.sleep(0.02)

    def exclusive(self):
        """While one initiator is logged in, another is refused; it discovers the volume, and the log says who has it."""
        volume = self.make("own", "--exclusive")
        expect(self.shown("own")["exclusive"] and not self.shown("none")["exclusive"], f"{self.shown('own')}")
        for name, words in {"own": "one initiator at a time", "none": "any number of initiators"}.items():
            shown = self.osvol("volume", "show", name).stdout
            expect(words in shown, f"{name} is not shown as {words}: {shown}")
        holder = Session(volume, NAME + "a")
        good, said = self.inquires("own", "b")
        expect(not good, f"b gets in beside a: {said}")
        expect(self.login("own", "b") == HELD, f"it is refused with {self.login('own', 'b')}")
        expect(self.lists("own", "b"), "b does not discover it")
        log = self.daemon.log.read_text(errors="replace")
        lines = [line for line in log.splitlines() if "another initiator's for now" in line]
        expect(any(f"{NAME}a" in line and f"{NAME}b" in line and volume.iqn in line for line in lines), f"the log says {lines}")
        # The same name comes from anywhere, with an ISID of its own.
        good, said = self.inquires("own", "a")
        expect(good, f"a does not get in beside itself: {said}")
        expect(alive(holder), "the holder's session has ended")
        holder.close(logout=True)
        self.let_go("own")
        good, said = self.inquires("own", "b")
        expect(good, f"b does not get in after a: {said}")
        return said.strip().splitlines()[0]

    def held_no_more(self):
        """A holder's session is ended by hand; the restart of the daemon forgets holders, and keeps the setting."""
        volume = self.disks["own"]
        self.let_go("own")
        holder = Session(volume, NAME + "a")
        for session in self.sessions_of("own"):
            self.osvol("session", "end", session["tsih"])
        drain([holder], 30)
        expect(holder.dead, "the session stays")
        holder.close()
        expect(self.login("own", "b") == DONE, "an ended session holds it")
        self.daemon.kill()
        self.daemon.start()
        expect(self.shown("own")["exclusive"], "it is shared after a kill")
        self.let_go("own")
        holder = Session(volume, NAME + "b")
        expect(self.login("own", "a") == HELD, "it is shared after a kill")
        holder.close(logout=True)

    def shared_and_back(self):
        """The setting changes while the volume is in use: sessions stay, unless they are to end; the first keeps it."""
        volume = self.disks["own"]
        self.let_go("own")
        first = Session(volume, NAME + "a")
        said = self.osvol("volume", "access", "own", "--shared").stdout
        expect("any number of initiators" in said, said)
        second = Session(volume, NAME + "b")
        self.osvol("volume", "access", "own", "--exclusive")
        expect(alive(first) and alive(second), "a session ended by itself")
        expect(self.login("own", "c") == HELD, "a third one gets in")
        self.osvol("volume", "access", "own", "--exclusive", "--end-sessions")
        drain([second], 30)
        expect(second.dead and alive(first), "not the second session ended")
        second.close()
        first.close(logout=True)
        self.refused("cannot be used with", on=("volume", "access", "own", "--exclusive", "--shared"), status=2)
        # What is not named stays.
        self.osvol("volume", "access", "own", "--any-address")
        expect(self.shown("own")["exclusive"], "another change has made it shared")

    # ---- redirection

    def redirected(self):
        """Logins are sent on, but for those that came to where they would be sent."""
        volume = self.make("sent")
        for to, options, status in [(OTHER_PORTAL, (), MOVED), (OTHER_PORTAL, ("--permanent",), MOVED_FOR_GOOD), (SIX, (), MOVED)]:
            self.osvol("volume", "redirect", "sent", "--to", to, *options)
            for portal in (PORTAL, OTHER_PORTAL, SIX):
                with Login(portal, NAME + "a", volume.iqn) as login:
                    answer = login.open()
                if portal == to:
                    expect(answer.status == DONE, f"at {portal}: {answer}")
                else:
                    expect(answer.status == status, f"to {to} at {portal}: {answer}")
                    expect(answer.keys["TargetAddress"].removesuffix(",1") == to, f"{answer}")
                expect("sent" in self.told(portal=portal), f"it is not discovered at {portal}")
        self.osvol("volume", "redirect", "sent", "--to", OTHER_PORTAL)
        session = Session(volume, NAME + "a", portal=PORTAL)
        expect(alive(session), "libiscsi is not there")
        sockets = run("ss", "-tnH", "state", "established", "sport = :3261").stdout
        expect(sockets.strip(), "libiscsi was not sent on")
        session.close(logout=True)

    def redirected_after_proof(self):
        """Who may not log in is refused, and not sent on; CHAP is for where it is sent."""
        self.osvol("volume", "access", "sent", "--initiator", f"{NAME}a", *chap_options(self.daemon, ALICE))
        expect(self.login("sent", "b") == REFUSED, "whoever may not log in is told where")
        expect(self.login("sent", "a") == MOVED, "it is not sent on")
        expect(self.login("sent", "a", OTHER_PORTAL) == UNPROVED, "nothing is asked for where it is sent")
        with Login(OTHER_PORTAL, NAME + "a", self.disks["sent"].iqn) as login:
            expect(login.chap(*ALICE).status == DONE, "CHAP fails where it is sent")

    def redirect_ends(self):
        """It outlives the daemon, moves who is logged in when asked to, and ends."""
        self.osvol("volume", "access", "sent", "--everybody")
        self.daemon.kill()
        self.daemon.start()
        expect(self.login("sent") == MOVED, "it is forgotten")
        self.osvol("volume", "redirect", "sent", "--off")
        expect(self.login("sent") == DONE, "it is sent on for ever")
        session = Session(self.disks["sent"], NAME + "a", portal=PORTAL)
        self.osvol("volume", "redirect", "sent", "--to", OTHER_PORTAL)
        expect(alive(session), "a session ended by itself")
        self.osvol("volume", "redirect", "sent", "--to", OTHER_PORTAL, "--permanent", "--end-sessions")
        drain([session], 30)
        expect(session.dead, "the session stays where it is")
        session.close()
        self.osvol("volume", "redirect", "sent", "--off")


def full_feature(login):
    """Whether a connection answers a text request as in the full feature phase."""
    try:
        login.targets()
    except (AssertionError, Closed, OSError):
        return False
    return True


def alive(session):
    """Whether a session still reads."""
    came = []
    session.read(0, 512, 512, lambda good, _: came.append(good))
    while not came:
        serve([session], 1.0)
        if session.dead:
            return False
    # The first command of a session may be told that something has changed; the connection is what counts.
    return not session.dead


def main():
    enter_namespace(machines=1)
    cases = Cases(sys.argv[1:])
    run("ip", "addr", "add", f"{ELSEWHERE}/24", "dev", "br0")
    run("ip", "addr", "add", "fd00::1/64", "dev", "br0", "nodad")
    daemon = Daemon(cases.dir / "target", [PORTAL, OTHER_PORTAL, SIX])
    access = Access(daemon)
    with cases.serving(daemon):
        access.prepare()
        for discovery in LEVELS:
            cases.case(f"CHAP of volumes, with discovery by {discovery}", access.matrix, discovery)
        cases.case("each algorithm of CHAP, and those that are forbidden", access.algorithms)
        cases.case("reflected, repeated and missing proofs are refused", access.tricks)
        cases.case("secrets are nowhere to be read", access.secrets_stay_secret)
        cases.case("what refuses a login hides in discovery", access.hidden)
        cases.case("discovery has lists of its own", access.who_may_discover)
        cases.case("an address that is not allowed is not even accepted", access.not_even_accepted)
        cases.case("a change counts for logins from then on", access.changes)
        cases.case("slips are refused", access.slips)
        cases.case("a secret that others can read is refused", access.bad_configuration)
        cases.case("everything is kept over a kill", access.kept)
        cases.case("settings that cannot be read let nobody in", access.damaged)
        cases.case("a lost key lets nobody in", access.lost_key)
        cases.case("killed while volumes are made", access.killed_while_made)
        cases.case("settings go with their volume", access.removed)
        cases.case("one initiator at a time", access.exclusive)
        cases.case("what ends a hold on a volume", access.held_no_more)
        cases.case("an exclusive volume becomes shared, and the other way round", access.shared_and_back)
        cases.case("logins are sent on", access.redirected)
        cases.case("only who may log in is sent on", access.redirected_after_proof)
        cases.case("a redirection is kept, and ends", access.redirect_ends)


if __name__ == "__main__":
    main()

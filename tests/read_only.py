#!/usr/bin/env python3
"""Golden images and snapshots served as disks of their own: who reads them, what they outlive, what they hold.

    tests/read_only.py [PART OF A CASE'S NAME...]
"""

import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from api import Api, Refused  # noqa: E402
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from estate import Estate  # noqa: E402
from initiator import Lost, Session, discover, drain, serve  # noqa: E402
from target import Volume, open_target  # noqa: E402

PORTAL = f"{ADDRESS}:3260"
MIB = 1 << 20
SIZE = 8 * MIB
SECTOR = 512
READERS = 12
ALICE = ("alice", "alice-secret-12")
SECONDS = 60


class ReadOnly:
    """The cases; they build on each other as far as they say so."""

    def __init__(self, cases, target):
        self.cases = cases
        self.target = target
        self.content = os.urandom(SIZE)
        self.image = cases.dir / "image"
        self.image.write_bytes(self.content)

    def prepare(self):
        self.target.add_image("golden", self.image)
        self.target.create_volume("web1", "golden")

    def serve(self, *what):
        """Serves something; gives it as an initiator sees it."""
        shown = self.target.json(what[0], "serve", *what[1:])
        return Volume(shown["name"], shown["iscsiName"], int(shown["lun"]), [PORTAL])

    def served(self):
        return {target["name"]: target for target in self.target.json("image", "served")["members"]}

    def refused(self, *command):
        """What a command that must be refused says."""
        done = self.target.osvol(*command, check=False)
        expect(done.returncode == 1, f"{' '.join(map(str, command))}: status {done.returncode}")
        return done.stderr

    def wait_for(self, session, begin):
        """The answer to one command."""
        answers = []
        begin(lambda *answer: answers.append(answer))
        while not answers and not session.dead:
            serve([session], 1.0)
        expect(answers, f"the session ended: {session.error()}")
        return answers[0]

    def expect_no_login(self, volume, name="iqn.2026-01.test:other", chap=None):
        try:
            Session(volume, name, seconds=SECONDS, chap=chap).close(logout=True)
        except Lost:
            return
        expect(False, f"{name} may log in to {volume.name}")

    def many_readers(self):
        """Many initiators at a time read what was put in, and none can write."""
        disk = self.serve("image", "golden")
        names = [f"iqn.2026-01.test:reader{number}" for number in range(READERS)]
        sessions = [Session(disk, name, seconds=SECONDS) for name in names]
        for session in sessions:
            expect(bytes(session.read_all(SIZE, SECTOR)) == self.content, "other bytes than were put in")
        good, *_ = self.wait_for(sessions[0], lambda done: sessions[0].write(0, bytes(SECTOR), SECTOR, done))
        expect(not good, "a golden image was written to")
        expect("WRITE_PROTECTED" in sessions[0].error(), f"it failed otherwise: {sessions[0].error()}")
        good, *_ = self.wait_for(sessions[1], lambda done: sessions[1].unmap(0, 8, done))
        expect(not good, "blocks of a golden image were deallocated")
        listed = self.served()["golden"]["sessions"]
        try:
            Api.unix(self.target.control).post("/rest/read-only-targets", {"goldenImageURI": "golden", "exclusive": True})
        except Refused as refused:
            expect("any number of initiators" in str(refused.body), f"{refused}")
        else:
            expect(False, "a golden image is one reader's")
        expect(sorted(session["initiatorName"] for session in listed) == sorted(names), f"logged in: {listed}")
        for session in sessions:
            session.close(logout=True)

    def held(self):
        """What is served is not removed."""
        self.target.osvol("image", "add", "other", self.image)
        self.serve("image", "other")
        said = self.refused("image", "remove", "other")
        expect("served" in said and "unserve" in said, said)
        self.target.osvol("snapshot", "create", "web1", "held")
        self.serve("snapshot", "web1", "held")
        said = self.refused("snapshot", "remove", "web1", "held")
        expect("served" in said and "unserve" in said, said)
        self.target.osvol("snapshot", "unserve", "web1", "held")
        self.target.osvol("snapshot", "remove", "web1", "held")
        self.target.osvol("image", "unserve", "other")
        self.target.osvol("image", "remove", "other")
        left = [path.name for path in (self.target.state / "exports").iterdir()]
        expect(len(left) == len(self.served()), f"files of settings: {left}")

    def a_snapshot_stays(self):
        """A snapshot is what the volume was, whatever is written to the volume."""
        writer = Session(self.target.volume("web1"), "iqn.2026-01.test:writer", PORTAL, seconds=SECONDS)
        self.target.osvol("snapshot", "create", "web1", "before")
        disk = self.serve("snapshot", "web1", "before")
        reader = Session(disk, "iqn.2026-01.test:reader", seconds=SECONDS)
        good, *_ = self.wait_for(writer, lambda done: writer.write(0, os.urandom(MIB), SECTOR, done, fua=True))
        expect(good, "the volume is not written to")
        expect(bytes(reader.read_all(SIZE, SECTOR)) == self.content, "the snapshot has changed")
        writer.close(logout=True)
        reader.close(logout=True)

    def outlives_a_restart(self):
        """Settings, names and what is served are there again; the rest is not."""
        self.target.osvol("image", "add", "large-blocks", self.image)
        secret = self.cases.dir / "secret"
        secret.write_text(ALICE[1])
        disk = self.serve("image", "large-blocks", "--block-size", "4096", "--chap-user", ALICE[0], "--chap-secret-file", secret)
        before = self.served()
        self.target.restart()
        after = self.served()
        for target in (*before.values(), *after.values()):
            target.pop("sessions")
        expect(after == before, f"{after} instead of {before}")
        self.expect_no_login(disk)
        session = Session(disk, "iqn.2026-01.test:alice", seconds=SECONDS, chap=ALICE)
        expect(bytes(session.read_all(SIZE, 4096)) == self.content, "other bytes than were put in")
        session.close(logout=True)
        said = self.refused("image", "serve", "large-blocks", "--block-size", "512")
        expect("4096" in said, said)

    def for_some(self):
        """Only those it is served to find it; a change holds for logins to come."""
        friend, other = "iqn.2026-01.test:friend", "iqn.2026-01.test:other"
        disk = self.serve("image", "golden", "--initiator", friend)
        expect(disk.iqn in discover(PORTAL, friend), "who may log in does not discover it")
        expect(disk.iqn not in discover(PORTAL, other), "who may not log in discovers it")
        self.expect_no_login(disk, other)
        Session(disk, friend, seconds=SECONDS).close(logout=True)

    def taken_away(self):
        """Who is logged in keeps it, unless it is taken away by force."""
        friend = "iqn.2026-01.test:friend"
        disk = self.serve("image", "golden", "--initiator", friend)
        session = Session(disk, friend, seconds=SECONDS)
        said = self.refused("image", "unserve", "golden")
        expect(friend in said, said)
        expect(bytes(session.read_all(SIZE, SECTOR)) == self.content, "the refusal has harmed the session")
        self.target.osvol("image", "unserve", "golden", "--force")
        self.expect_no_login(disk, friend)
        expect("golden" not in self.served(), "it is listed still")
        said = self.refused("image", "unserve", "golden")
        expect("is served" in said, said)
        session.close()

    def goes_with_its_volume(self):
        """A snapshot of a profile's volume that is served holds the volume while somebody reads it, and goes with it."""
        estate = Estate(Api.unix(self.target.control), PORTAL).furnish_servers()
        estate.os = estate.plan("debian", self.target.json("image", "show", "golden"), estate.build_plan("as is"))
        profile = estate.create("web01", estate.bays[0])
        volume = estate.volume_of(profile)
        self.target.osvol("snapshot", "create", volume["name"], "nightly")
        disk = self.serve("snapshot", volume["name"], "nightly")
        file = self.target.state / "exports" / f"{self.served()['nightly']['id']}.json"
        expect(file.exists(), f"{file} is not there")
        backup = "iqn.2026-01.test:backup"
        reader = Session(disk, backup, seconds=SECONDS)
        impact = estate.api.delete(f"{profile['uri']}?dryRun=true")
        named = [who for one in impact["volumes"] for who in one["sessions"]]
        expect(any(backup in who and "nightly" in who for who in named), f"the impact names {named}")
        try:
            estate.delete(profile)
        except Refused as refused:
            expect(refused.status == 409 and backup in str(refused.body), f"{refused}")
        else:
            expect(False, "a volume goes while its snapshot is read")
        expect(bytes(reader.read_all(SIZE, SECTOR)) == self.content, "the refusal has harmed the session")
        estate.delete(profile, "?force=True&whileInUse=true")
        drain([reader], SECONDS)
        expect(reader.dead, "who reads a snapshot that is gone goes on")
        reader.close()
        expect(disk.iqn not in discover(PORTAL, backup), "it is discovered still")
        self.expect_no_login(disk, backup)
        expect("nightly" not in self.served() and not file.exists(), "its settings are left")

    def fails_closed(self):
        """With settings that cannot be read it is served to nobody, and says so."""
        disk = self.serve("image", "golden")
        file = self.target.state / "exports" / f"{self.served()['golden']['id']}.json"
        whole = file.read_bytes()
        self.target.stop()
        file.write_bytes(whole[: len(whole) // 2])
        self.target.start()
        self.expect_no_login(disk)
        listed = self.served()["golden"]
        expect(listed["status"] == "Critical" and "nobody" in listed["statusReason"], str(listed))
        self.target.stop()
        file.write_bytes(whole)
        self.target.start()
        Session(disk, "iqn.2026-01.test:again", seconds=SECONDS).close(logout=True)


def main():
    enter_namespace()
    cases = Cases(sys.argv[1:])
    target = open_target("osvold", cases.dir / "osvold", [PORTAL])
    with cases.serving(target):
        tests = ReadOnly(cases, target)
        tests.prepare()
        cases.case("many initiators read a golden image, and none writes", tests.many_readers)
        cases.case("what is served is not removed", tests.held)
        cases.case("a snapshot stays as it was", tests.a_snapshot_stays)
        cases.case("what is served outlives a restart", tests.outlives_a_restart)
        cases.case("only those it is served to find it", tests.for_some)
        cases.case("it is taken away from nobody but by force", tests.taken_away)
        cases.case("a snapshot goes with its volume, and not while it is read", tests.goes_with_its_volume)
        cases.case("settings that cannot be read let nobody in", tests.fails_closed)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""iSCSI peers that mean no good, that are gone, or that are slow; and a disk that stalls.

    tests/hostile.py [CASE...]      SECONDS=5 for a shorter stall

Needs root: a network namespace within the namespace, a file system that is frozen.

Whatever some peers do, the others keep their rate, memory and descriptors stay within bounds, nothing panics. What takes a
minute (a peer whose host has died, an idle one that ignores pings, a stalled disk) goes on beside the other cases.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import pathlib
import random
import re
import resource
import select
import socket
import statistics
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "rig"))
from cases import ADDRESS, Cases, enter_namespace, expect  # noqa: E402
from initiator import Session, serve  # noqa: E402
from pdus import R2T, Ended, Peer, Refused, head, keys  # noqa: E402
from target import Osvold, StalledDisk  # noqa: E402

MIB = 1 << 20
SECTOR = 512
VOLUME_MIB = 256
HEALTHY = "iqn.1993-08.org.debian:healthy"
# A window alone is compared with the one after it, under attack. Single pairs differ twofold on a noisy machine: where
# their median does not do yet, more of them are taken.
RATE_KEPT = 0.8
WINDOWS, WINDOWS_MAX, WINDOW_SECONDS = 10, 60, 0.7
# In a window; attackers that get nothing done would prove nothing.
GARBAGE_LEAST = 20
HALF_OPEN, DRIPPING = 500, 20
LOGINS = 10_000
IDLE = 1000
IDLE_KIB = 256
# What waits on all connections together (docs/PROTOCOL.md), and what a daemon takes besides.
DATA_MIB, BESIDES_MIB = 512, 128
# open-iscsi drops a session whose ping was not answered in this time; half of our pings are faster by far.
PING_SECONDS, USUAL_PING_SECONDS = 5, 1
STALL_SECONDS = float(os.environ.get("SECONDS") or 60)
# Keepalive's and TCP's own time, and as much again as a busy machine may need.
DEAD_SECONDS, DEAD_PATIENCE = 60, 90
FAR, NEAR = "198.51.100.2", "198.51.100.1"
PORT = 3260


def eventually(condition, seconds, why):
    """Waits until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        expect(time.monotonic() < end, why() if callable(why) else why)
        time.sleep(0.02)


# ---- attackers ------------------------------------------------------------------------------------------------------


class Attackers:
    """A process of its own that holds half-open connections, drips logins byte by byte and sends garbage, at a bounded
    rate: what is measured is the daemon, not this."""

    def __init__(self, portal):
        self.portal = portal
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            ours.close()
            # They stand for other hosts: the time of this one's processors is the daemon's first.
            os.nice(10)
            try:
                self.serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self.wire = ours

    def ask(self, what):
        """Gives an order, and waits until it is carried out; the count of garbage connections comes back."""
        self.wire.sendall(what)
        return int(self.wire.recv(64) or b"0")

    def close(self):
        self.wire.close()
        os.waitpid(self.pid, 0)

    # The process.

    def serve(self, wire):
        """`+` attacks until `-`; the end of the wire ends it."""
        random.seed(1)
        while wire.recv(1) == b"+":
            silent = [Peer(self.portal) for _ in range(HALF_OPEN)]
            drips = [self.drip() for _ in range(DRIPPING)]
            wire.sendall(b"0")
            sent = self.attack(wire, drips)
            for peer in silent + [peer for peer, _ in drips]:
                peer.close()
            wire.sendall(b"%d" % sent)

    def drip(self):
        """A login that comes one byte at a time."""
        text = keys({"InitiatorName": HEALTHY, "SessionType": "Discovery", "X-nobody": "x" * 100})
        peer = Peer(self.portal)
        return peer, iter(peer.login_head(len(text)) + text)

    def attack(self, wire, drips):
        sent = 0
        while not select.select([wire], [], [], 0.02)[0]:
            for at, (peer, data) in enumerate(drips):
                try:
                    peer.socket.send(bytes([next(data)]))
                except (OSError, StopIteration):
                    peer.close()
                    drips[at] = self.drip()
            for _ in range(4):
                self.garbage()
                sent += 1
        wire.recv(1)
        return sent

    def garbage(self):
        """Bytes of any kind, some of them after a header that looks right."""
        with contextlib.suppress(OSError):
            peer = Peer(self.portal)
            start = random.choice([b"", head(random.randrange(256), 0x87, random.randrange(1 << 24)), peer.login_head(4000)])
            peer.socket.sendall(start + random.randbytes(random.randrange(1, 4000)))
            peer.close(abrupt=random.random() < 0.5)


class Healthy:
    """A session that writes and reads back, and compares everything."""

    DEPTH, BYTES = 8, 64 << 10

    def __init__(self, volume):
        self.session = Session(volume, HEALTHY)
        self.chance = random.Random(2)
        self.written, self.bytes = {}, 0
        self.blocks = [self.chance.randbytes(self.BYTES) for _ in range(16)]
        self.places = set(range(VOLUME_MIB * MIB // 2 // self.BYTES))

    def step(self):
        place = self.places.pop()
        if place in self.written and self.chance.random() < 0.5:
            self.session.read(place * self.BYTES // SECTOR, self.BYTES, SECTOR, lambda good, data: self.was_read(place, good, data))
        else:
            block = self.chance.choice(self.blocks)
            self.session.write(place * self.BYTES // SECTOR, block, SECTOR, lambda good: self.was_written(place, good, block))

    def was_read(self, place, good, data):
        expect(good, f"a read failed: {self.session.error()}")
        expect(data == self.written[place], f"wrong data at {place}")
        self.done(place)

    def was_written(self, place, good, block):
        expect(good, f"a write failed: {self.session.error()}")
        self.written[place] = block
        self.done(place)

    def done(self, place):
        self.places.add(place)
        self.bytes += self.BYTES

    def rate(self, seconds):
        """MiB/s over a time."""
        begin, before = time.monotonic(), self.bytes
        while time.monotonic() - begin < seconds:
            while self.session.under_way < self.DEPTH:
                self.step()
            serve([self.session], 0.1)
            expect(not self.session.dead, "the healthy session is gone")
        rate = (self.bytes - before) / MIB / (time.monotonic() - begin)
        while self.session.under_way:
            serve([self.session], 0.1)
        return rate


# ---- a host that dies -----------------------------------------------------------------------------------------------


class FarHost:
    """A network namespace of its own, joined to this one: its host can die without a word."""

    CLONE_NEWNET = 0x40000000

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.inside(self.leave)
        thread = self.inside(threading.get_native_id)
        self.ip("link", "add", "near", "type", "veth", "peer", "name", "far", "netns", thread)
        self.ip("addr", "add", f"{NEAR}/24", "dev", "near")
        self.ip("link", "set", "near", "up")
        for words in (["addr", "add", f"{FAR}/24", "dev", "far"], ["link", "set", "far", "up"]):
            self.inside(self.ip, *words)

    def leave(self):
        if ctypes.CDLL(None, use_errno=True).unshare(self.CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")

    def inside(self, what, *arguments):
        """Calls something over there; sockets that it makes stay there."""
        return self.pool.submit(what, *arguments).result(60)

    @staticmethod
    def ip(*words):
        subprocess.run(["ip", *map(str, words)], check=True, timeout=30, env=dict(os.environ, PATH=os.environ["PATH"] + ":/usr/sbin:/sbin"))

    def die(self):
        """Nothing that is sent there is answered any more, and nothing comes from there."""
        self.inside(self.ip, "addr", "flush", "dev", "far")


class Dead:
    """Peers of a host that has died: one was idle, one owes Data-Out, one does not take what it has asked for."""

    def __init__(self, target, volume, host):
        self.target, self.volume, self.host = target, volume, host
        self.peers = {kind: self.host.inside(self.connect, kind) for kind in ("idle", "writing", "reading")}
        idle, writing, reading = self.peers.values()
        idle.ping()
        # The first half of the first burst; the rest never comes, nor what it was asked for.
        self.tag = writing.send_write(0, b"\xdd" * 65536, MIB, final=False)
        writing.data_out(self.tag, b"\xdd" * 65536, 65536, final=True)
        expect(writing.receive().opcode == R2T, "no R2T")
        for _ in range(8):
            reading.send_read(0, MIB)
        self.before = set(self.sessions())
        self.host.die()
        self.died = time.monotonic()
        self.gone = {}
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()

    def connect(self, kind):
        return Peer(f"{NEAR}:{PORT}", buffer=8192 if kind == "reading" else None).login(self.volume.iqn, f"{HEALTHY}-{kind}").ready()

    def sessions(self):
        """Which of them the daemon still has."""
        shown = self.target.json("volume", "show", self.volume.name)
        names = [session["initiatorName"] for session in shown["sessions"]]
        return [name.rsplit("-", 1)[1] for name in names if FAR in str(shown["sessions"]) and name.startswith(f"{HEALTHY}-")]

    def watch(self):
        while len(self.gone) < len(self.before) and time.monotonic() < self.died + DEAD_PATIENCE:
            left = set(self.sessions())
            for kind in self.before - left - set(self.gone):
                self.gone[kind] = time.monotonic() - self.died
            time.sleep(1)

    def check(self):
        expect(self.before == set(self.peers), f"only {self.before} were there")
        self.watcher.join()
        expect(set(self.gone) == self.before, f"still there after {DEAD_PATIENCE} s: {self.before - set(self.gone)}")
        expect(max(self.gone.values()) < DEAD_SECONDS + 5, f"{self.gone}")
        data = Peer(self.target.portals[0]).login(self.volume.iqn).ready().read(0, MIB)
        expect(data == bytes(MIB), "something of an unfinished write has landed")
        return ", ".join(f"{kind} after {seconds:.0f} s" for kind, seconds in sorted(self.gone.items()))


class Deaf:
    """An initiator that sits idle for more than a minute and answers nothing, as iPXE does."""

    def __init__(self, target, volume):
        self.begin = time.monotonic()
        self.peer = Peer(target.portals[0]).login(volume.iqn, f"{HEALTHY}-deaf").ready()

    def check(self):
        time.sleep(max(0.0, self.begin + 62 - time.monotonic()))
        expect(self.peer.read(0, 4096) is not None, "a read failed")
        return f"idle for {time.monotonic() - self.begin:.0f} s, then a read"


# ---- a disk that stalls ---------------------------------------------------------------------------------------------


class Stalled:
    """Sessions on a disk on which every write waits for a minute."""

    WRITERS, WRITES = 12, 100

    def __init__(self, target, image):
        self.target = target
        target.start()
        target.add_image("golden", image)
        self.volumes = [target.create_volume(name, "golden") for name in ("written", "read", "late")]
        self.failure, self.note = None, ""
        self.thread = threading.Thread(target=self.body)

    def start(self):
        written, read, _ = self.volumes
        self.writers = [Peer(self.target.portals[0]).login(written.iqn).ready() for _ in range(self.WRITERS)]
        self.reader = Peer(self.target.portals[0]).login(read.iqn).ready()
        self.golden = self.reader.read(0, MIB)
        for writer in self.writers:
            expect(writer.write(0, bytes(4096)) == 0, "a write failed before anything stalled")
        self.thread.start()

    def body(self):
        try:
            self.target.stall()
            try:
                self.note = self.during()
            finally:
                self.target.resume()
            self.after()
        except Exception as error:  # told by check()
            self.failure = error

    def during(self):
        self.tags = [[writer.send_write(8 * (1 + n), bytes([n]) * 4096) for n in range(self.WRITES)] for writer in self.writers]
        begin, pings, reads, logins = time.monotonic(), [], [], []
        while time.monotonic() < begin + STALL_SECONDS:
            for peer in [*self.writers, self.reader]:
                pings.append(peer.ping())
            reads.append(self.timed(lambda: expect(self.reader.read(0, MIB) == self.golden, "wrong data was read")))
            logins += [self.timed(self.log_in, volume) for volume in self.volumes[:2]]
            expect(max(pings) < PING_SECONDS, f"a ping took {max(pings):.1f} s")
            time.sleep(1)
        slow = statistics.median(pings)
        expect(slow < USUAL_PING_SECONDS, f"pings took {slow:.1f} s")
        expect(max(logins) < 15 and max(reads) < 15, f"logins {max(logins):.1f} s, reads {max(reads):.1f} s")
        self.target.json("volume", "list", timeout=30)
        return (
            f"{len(pings)} pings, the slowest {max(pings) * 1e3:.0f} ms; {len(logins)} logins, the slowest {max(logins) * 1e3:.0f} ms; "
            f"1 MiB from another volume within {max(reads) * 1e3:.0f} ms"
        )

    @staticmethod
    def timed(what, *arguments):
        begin = time.monotonic()
        what(*arguments)
        return time.monotonic() - begin

    def log_in(self, volume):
        peer = Peer(self.target.portals[0]).login(volume.iqn).ready()
        peer.logout()
        peer.close()

    def after(self):
        """No session was dropped, and all that was sent is done."""
        for writer, tags in zip(self.writers, self.tags, strict=True):
            for tag in tags:
                expect(writer.status(tag) == 0, "a write failed")
        for n in range(self.WRITES):
            expect(self.writers[0].read(8 * (1 + n), 4096) == bytes([n]) * 4096, "a write is not there")
        self.log_in(self.volumes[2])

    def check(self):
        self.thread.join()
        if self.failure:
            raise self.failure
        self.target.stop()
        return self.note


# ---- one daemon, and all that it has to bear ------------------------------------------------------------------------


class Hostile:
    """The cases on the daemon with a disk that works."""

    def __init__(self, target, volume, attackers):
        self.target, self.volume, self.attackers, self.portal = target, volume, attackers, target.portals[0]
        self.base = 0

    def peer(self, **keywords):
        return Peer(self.portal, **keywords)

    def logged_in(self, **keywords):
        return self.peer().login(self.volume.iqn, **keywords).ready()

    def descriptors(self):
        """All that it has, or its connections alone: a volume that grows has more files."""
        return len(os.listdir(f"/proc/{self.target.pid}/fd"))

    def connections(self):
        count = 0
        for link in pathlib.Path(f"/proc/{self.target.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                count += os.readlink(link).startswith("socket:")
        return count

    def resident_kib(self):
        return self.target.resident_bytes() // 1024

    def peak_mib(self):
        """The most memory since `forget_peak`, which gives what there was before the first of the cases."""
        status = pathlib.Path(f"/proc/{self.target.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024

    def forget_peak(self):
        pathlib.Path(f"/proc/{self.target.pid}/clear_refs").write_text("5")
        # What the allocator kept of an earlier case counts against the same bound.
        self.base = self.base or self.peak_mib()
        return self.base

    def well(self):
        """A login, a write and a read, while whatever goes on goes on."""
        begin = time.monotonic()
        peer = self.logged_in()
        block = os.urandom(4096)
        expect(peer.write(SECTOR, block) == 0 and peer.read(SECTOR, 4096) == block, "a healthy session fails")
        peer.logout()
        peer.close()
        expect(not self.panics(), self.panics())
        seconds = time.monotonic() - begin
        expect(seconds < 15, f"a login with a write and a read took {seconds:.1f} s")
        return seconds

    def panics(self):
        return "\n".join(line for line in self.target.log.read_text(errors="replace").splitlines() if "panicked" in line)

    def settled(self, connections):
        """All connections of a case are gone."""
        eventually(lambda: self.connections() <= connections, 60, lambda: f"{self.connections()} connections, {connections} before")

    # ---- the cases

    def rate(self):
        """(a) half-open connections, dripping logins and garbage, beside verified I/O."""
        healthy, attackers = Healthy(self.volume), self.attackers
        garbage, ratios, rates = 0, [], []
        try:
            healthy.rate(WINDOW_SECONDS)
            while len(ratios) < WINDOWS or (len(ratios) < WINDOWS_MAX and statistics.median(ratios) < RATE_KEPT):
                alone = healthy.rate(WINDOW_SECONDS)
                attackers.ask(b"+")
                attacked = healthy.rate(WINDOW_SECONDS)
                garbage += attackers.ask(b"-")
                ratios.append(attacked / alone)
                rates.append(alone)
        finally:
            healthy.session.close(logout=True)
        kept = statistics.median(ratios)
        told = f"{kept:.0%} of {statistics.median(rates):.0f} MiB/s kept ({', '.join(f'{one:.0%}' for one in ratios)}), {garbage} garbage connections"
        expect(garbage > GARBAGE_LEAST * len(ratios), f"too few attacks: {told}")
        expect(kept >= RATE_KEPT, told)
        return told

    def logins(self):
        """(b) ten thousand logins with their logouts."""
        def one(number):
            peer = self.peer().login(self.volume.iqn, isid=number % 50)
            peer.logout()
            peer.close()

        return self.repeat(one)

    def abrupt_ends(self):
        """(b) ten thousand logins that end in each of their stages, by a close or a reset."""
        def one(number):
            peer = self.peer()
            stage = number % 8
            if stage in (1, 2):
                peer.socket.sendall(peer.login_head(400)[: 20 if stage == 1 else 48])
            elif stage in (3, 4, 5):
                # Security, and then: nothing; the operational stage; half of its text.
                text = keys({"InitiatorName": HEALTHY, "TargetName": self.volume.iqn, "SessionType": "Normal", "AuthMethod": "None"})
                peer.send(peer.login_head(len(text), 0x81, isid=number % 50), text)
                peer.receive()
                if stage > 3:
                    text = keys({"HeaderDigest": "None", "MaxBurstLength": 65536})
                    peer.send(peer.login_head(len(text), 0x04 if stage == 4 else 0x44, isid=number % 50), text)
                    if stage == 4:
                        peer.receive()
            elif stage == 6:
                peer.send_login(self.volume.iqn, isid=number % 50)
            elif stage == 7:
                peer.login(self.volume.iqn, isid=number % 50)
                peer.send_read(0, 65536)
            peer.close(abrupt=number // 8 % 2 == 0)

        return self.repeat(one)

    def repeat(self, one):
        def all_of(numbers):
            for number in numbers:
                one(number)

        all_of(range(LOGINS // 20))  # pools and tables have their size now
        connections = self.connections_at_rest()
        descriptors = self.descriptors()
        begin, memory = time.monotonic(), self.resident_kib()
        all_of(range(LOGINS))
        seconds = time.monotonic() - begin
        self.settled(connections)
        more = self.descriptors() - descriptors
        expect(more <= 0, f"{more} descriptors more after {LOGINS}")
        growth = self.resident_kib() - memory
        expect(growth < 8 * 1024, f"{growth} KiB more after {LOGINS}")
        self.well()
        return f"{LOGINS} in {seconds:.1f} s, {growth:+} KiB, {descriptors} descriptors before and after"

    def connections_at_rest(self):
        """Their number when it has not changed for a while."""
        last, since = self.connections(), time.monotonic()
        end = since + 30
        while time.monotonic() < min(since + 0.5, end):
            time.sleep(0.05)
            if (now := self.connections()) != last:
                last, since = now, time.monotonic()
        return last

    def idle(self):
        """(c) a thousand sessions that have done something and do nothing now."""
        self.well()
        before, connections = self.resident_kib(), self.connections_at_rest()
        peers = [self.logged_in() for _ in range(IDLE)]
        fresh = (self.resident_kib() - before) / IDLE
        for peer in peers:
            peer.read(0, 65536)
            peer.write(8 * SECTOR, bytes(16384))
        used = (self.resident_kib() - before) / IDLE
        # They give their buffers back after two seconds at most.
        eventually(lambda: (self.resident_kib() - before) / IDLE < IDLE_KIB, 20, lambda: f"{(self.resident_kib() - before) / IDLE:.0f} KiB each")
        time.sleep(3)
        left = (self.resident_kib() - before) / IDLE
        seconds = self.well()
        expect(all(peer.read(0, 4096) is not None for peer in peers[::100]), "an idle session is gone")
        for peer in peers:
            peer.close()
        self.settled(connections)
        expect(left <= IDLE_KIB, f"{left:.0f} KiB each")
        return f"{fresh:.0f} KiB each after login, {used:.0f} in use, {left:.0f} idle; a login beside them {seconds * 1e3:.0f} ms"

    def unsolicited(self):
        """(f) first bursts without end: as much unsolicited data as the window lets a peer send, never the last PDU of any."""
        base, peers = self.forget_peak(), []
        block = bytes(65536)
        for _ in range(24):
            peer = self.logged_in()
            peers.append(peer)
            with contextlib.suppress(OSError):
                peer.socket.settimeout(0.5)
                while peer.cmd_sn < peer.max_cmd_sn:
                    tag = peer.send_write(0, block, MIB, final=False)
                    for number in range(2):
                        peer.data_out(tag, block, 65536 * (number + 1), number, final=False)
        return self.bounded(base, peers)

    def never_reads(self):
        """(f) commands for data that is never taken."""
        base, peers = self.forget_peak(), []
        for _ in range(100):
            peer = self.peer(buffer=4096).login(self.volume.iqn).ready()
            peers.append(peer)
            with contextlib.suppress(OSError):
                peer.socket.settimeout(0.5)
                for _ in range(60):
                    peer.send_read(0, MIB)
        return self.bounded(base, peers)

    def late_data(self):
        """(f, P5) a write waits for its data while others bring theirs at once: the window closes, nothing is dropped."""
        base, connections = self.forget_peak(), self.connections_at_rest()
        peer = self.logged_in()
        slow = peer.send_write(4096, b"", 65536, final=True)
        asked = peer.answer(slow)
        expect(asked.opcode == R2T, f"opcode {asked.opcode:#x} where an R2T should be")
        block, done = os.urandom(65536), 0
        for _ in range(64):
            tags = [peer.send_write(65536, block) for _ in range(16)]
            done += sum(peer.status(tag) == 0 for tag in tags)
        expect(done == 64 * 16, f"{64 * 16 - done} immediate writes failed")
        # As many as the window has, each waiting for the same.
        held = []
        while peer.cmd_sn < peer.max_cmd_sn and len(held) < 1000:
            held.append(peer.send_write(8192, b"", 65536))
        expect(len(held) < 1000, "the window never closes")
        expect(peer.ping() < PING_SECONDS, "a ping is not answered behind a closed window")
        mine = os.urandom(65536)
        for number in range(4):
            part = mine[number * 16384 : (number + 1) * 16384]
            peer.data_out(slow, part, number * 16384, number, number == 3, asked.word(20))
        expect(peer.status(slow) == 0, "the write that waited failed")
        expect(peer.read(4096, 65536) == mine, "what it wrote is not there")
        peer.close(abrupt=True)
        self.settled(connections)
        return f"{done} immediate writes went past, {len(held)} more fit the window; peak {self.peak_mib() - base:+} MiB"

    def bounded(self, base, peers):
        """Others go on meanwhile, and memory has its bound, however often."""
        connections = self.connections() - len(peers)
        slowest = max(self.well() for _ in range(5))
        peak = self.peak_mib()
        for peer in peers:
            peer.close(abrupt=True)
        self.settled(connections)
        expect(peak - base < DATA_MIB + BESIDES_MIB, f"{peak} MiB, {base} before")
        return f"peak {peak} MiB, {base} before, {self.resident_kib() // 1024} after; a login, a write and a read meanwhile {slowest * 1e3:.0f} ms"

    def key_lists(self):
        """(f) texts with very many keys, very long ones, and ones without end."""
        base, refused = self.forget_peak(), []
        lists = [
            b"".join(b"X-%d=1\0" % number for number in range(700)), b"X-long=" + b"x" * 8000 + b"\0", b"a" * 8000, b"=\0" * 3000, b"\0" * 8000,
            b"InitiatorName=a\0" * 400, b"X-" + b"k" * 100 + b"=1\0",
        ]  # fmt: skip
        for text in lists:
            for flags in (0x87, 0x44):
                peer = self.peer(seconds=20)
                try:
                    # C bit: more of the same, up to a hundred times.
                    for round_ in range(100 if flags == 0x44 else 1):
                        peer.send(peer.login_head(len(text), flags, round_=round_), text)
                        peer.finish_login()
                    refused.append("let in")
                except (Refused, Ended, OSError) as end:
                    refused.append(f"{end.status[0]:02x} {end.status[1]:02x}" if isinstance(end, Refused) else "closed")
                peer.close()
        expect("let in" not in refused and refused.count("closed") == 0, f"{refused}")
        peak = self.peak_mib()
        expect(peak - base < 16, f"{peak} MiB, {base} before")
        self.well()
        return f"{len(refused)} refused with {', '.join(sorted(set(refused)))}; peak {peak - base:+} MiB"

    def quiet_log(self):
        """(g, L12) whoever closes the connection after discovery is worth no line; floods of refusals are worth few."""
        before = self.target.log.stat().st_size
        for number in range(200):
            peer = self.peer().login()
            expect(self.volume.iqn in peer.discover(), "the target was not discovered")
            peer.close(abrupt=number % 2 == 0)
        for number in range(200):
            peer = self.peer()
            if number % 2:
                peer.socket.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
            peer.close()
        self.connections_at_rest()
        lines = self.target.log.read_bytes()[before:].decode(errors="replace").splitlines()
        expect(not lines, f"{len(lines)} lines, such as {lines[:2]}")
        for _ in range(1000):
            with contextlib.suppress(Refused):
                peer = self.peer().login("iqn.2026-01.io.osvol:nobody")
            peer.close()
        peer = self.peer()
        lines = self.target.log.read_bytes()[before:].decode(errors="replace").splitlines()
        expect(0 < len(lines) < 300, f"{len(lines)} lines about 1000 refusals")
        return f"no line about 200 discoveries and 200 that are none; {len(lines)} about 1000 refused logins"

    def half_open(self):
        """(a, L18) as many silent connections as an address may have, and then some: a login still gets in."""
        connections = self.connections_at_rest()
        silent = [self.peer() for _ in range(1500)]
        seconds = self.well()
        eventually(lambda: self.connections() - connections <= 1024, 30, lambda: f"{self.connections() - connections} connections in login")
        for peer in silent:
            peer.close()
        self.settled(connections)
        return f"1500 silent connections; a login with a write and a read {seconds * 1e3:.0f} ms"


def main():
    enter_namespace(0)
    pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("4000 65000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]),) * 2)
    cases = Cases(sys.argv[1:])
    image = cases.dir / "golden.raw"
    with open(image, "wb") as out:
        out.truncate(VOLUME_MIB * MIB)
        out.seek(128 * MIB)
        out.write(random.Random(3).randbytes(4 * MIB))
    with contextlib.ExitStack() as stack:
        # Forked while there is one thread.
        attackers = Attackers(f"{ADDRESS}:{PORT}")
        stack.callback(attackers.close)
        host = FarHost()
        target = Osvold(cases.dir / "target", [f"{ADDRESS}:{PORT}", f"{NEAR}:{PORT}"])
        disk = StalledDisk(cases.dir / "stalled", [f"{ADDRESS}:{PORT + 1}"], mebibytes=700)
        stack.callback(disk.close)
        run_cases(cases, target, disk, image, attackers, host)


def can_stall():
    """A file system is frozen for it, on a loop device; not every container has one."""
    found = subprocess.run(["/usr/sbin/losetup", "-f"], capture_output=True, check=False).returncode == 0
    if not found:
        print("SKIPPED  a stalled disk: this machine has no loop device", flush=True)
    return found


def run_cases(cases, target, disk, image, attackers, host):
    long_ones = []

    def begin(name, make):
        """Something that takes a minute: it begins now and is looked at at the end."""
        if not cases.wanted(name):
            return
        try:
            long_ones.append((name, make().check))
        except Exception as error:  # that case's failure
            def fail(error=error):
                raise error

            long_ones.append((name, fail))

    with cases.serving(target):
        target.add_image("golden", image)
        volume = target.create_volume("healthy", "golden")
        begin("a peer whose host has died is gone within a minute", lambda: Dead(target, target.create_volume("dead", "golden"), host))
        begin("an idle peer that answers nothing stays", lambda: Deaf(target, target.create_volume("deaf", "golden")))
        hostile = Hostile(target, volume, attackers)
        cases.case("a healthy session keeps its rate", hostile.rate)
        stalled = Stalled(disk, image) if cases.wanted("stalled disk") and can_stall() else None
        if stalled:
            stalled.start()
        cases.case("10,000 logins and logouts", hostile.logins)
        cases.case("10,000 abrupt ends", hostile.abrupt_ends)
        cases.case("1,000 idle sessions", hostile.idle)
        cases.case("more half-open connections than may be", hostile.half_open)
        cases.case("huge and endless key lists", hostile.key_lists)
        cases.case("first bursts that never end", hostile.unsolicited)
        cases.case("peers that never read", hostile.never_reads)
        cases.case("data that comes late behind immediate writes", hostile.late_data)
        cases.case("nothing is logged about discoveries", hostile.quiet_log)
        for name, check in long_ones:
            cases.case(name, check)
        if stalled:
            cases.case("a stalled disk", stalled.check)
        cases.case("nothing panicked", lambda: expect(not hostile.panics(), hostile.panics()))


if __name__ == "__main__":
    main()

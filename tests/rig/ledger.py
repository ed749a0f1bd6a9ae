"""What a volume may hold: every write that was asked for, when, and when it was acknowledged or flushed.

A unit (512 bytes or 4 KiB) never has two changes under way at once, so that its changes have an order. After a kill it
holds the last acknowledged change or a later one. After a power cut it holds the last change that was durable by then
or a later one; and what is missing is missing from some moment on: of two writes, the second of which was asked for
when the first had been acknowledged, the second is never there without the first.
"""

import itertools
import struct

GOLDEN = -1
ZEROS = 0
NEVER = 1 << 62


class Change:
    """One write or trim of consecutive units; its tag says what each of them then holds."""

    __slots__ = ("acked", "acked_mark", "asked", "asked_mark", "count", "durable_mark", "first", "good", "tag")

    def __init__(self, tag, first, count, asked, mark):
        self.tag, self.first, self.count = tag, first, count
        self.asked, self.asked_mark = asked, mark
        self.acked = self.acked_mark = self.durable_mark = NEVER
        self.good = None


class Wrong(Exception):
    """A volume does not hold what it must."""


class Ledger:
    """The changes of one volume. `clock` numbers events in their order; `mark()` tells how far a disk's log is, if any."""

    clock = itertools.count(1)
    tags = itertools.count(1)

    def __init__(self, number, units, unit_bytes, image, mark=lambda: 0):
        self.number, self.units, self.unit_bytes, self.mark = number, units, unit_bytes, mark
        self.image = image.ljust(units * unit_bytes, b"\0")
        self.zeros = bytes(unit_bytes)
        self.busy = set()
        start = Change(GOLDEN, 0, units, 0, 0)
        start.acked = start.acked_mark = start.durable_mark = 0
        self.history = {}
        self.start = start
        self.undurable = []
        self.counts = {"asked": 0, "acknowledged": 0, "flushes": 0}

    def content(self, tag, unit):
        """The bytes that a unit holds under this tag."""
        if tag == GOLDEN:
            return self.image[unit * self.unit_bytes : (unit + 1) * self.unit_bytes]
        if tag == ZEROS:
            return self.zeros
        return struct.pack("<QQ", tag, self.number << 48 | unit) * (self.unit_bytes // 16)

    def data(self, change):
        """The bytes of a write."""
        return b"".join(self.content(change.tag, change.first + at) for at in range(change.count))

    def free(self, first, count):
        """Whether no change of these units is under way."""
        return self.busy.isdisjoint(range(first, first + count))

    def ask(self, first, count, trim=False):
        """Begins a change, before it is sent."""
        change = Change(ZEROS if trim else next(self.tags), first, count, next(self.clock), self.mark())
        for unit in range(first, first + count):
            self.busy.add(unit)
            self.history.setdefault(unit, [self.start]).append(change)
        self.counts["asked"] += 1
        return change

    def acknowledge(self, change, good, fua=False):
        """Its response has come; or never will."""
        self.busy.difference_update(range(change.first, change.first + change.count))
        change.good = good
        if good:
            change.acked, change.acked_mark = next(self.clock), self.mark()
            self.counts["acknowledged"] += 1
            if fua:
                change.durable_mark = change.acked_mark
            else:
                self.undurable.append(change)

    def ask_flush(self):
        """Begins a flush; gives what it covers."""
        return list(self.undurable)

    def flushed(self, covered):
        """Its acknowledgement has come: all that had been acknowledged when it was asked for is durable."""
        mark = self.mark()
        self.counts["flushes"] += 1
        gone = set(map(id, covered))
        for change in covered:
            change.durable_mark = min(change.durable_mark, mark)
        self.undurable = [change for change in self.undurable if id(change) not in gone]

    def after_kill(self, unit):
        """The changes that a unit may show after a kill."""
        return self._from_last(unit, lambda change: change.acked != NEVER, NEVER)

    def after_cut(self, unit, cut):
        """The same after a power cut when the disk's log had got to `cut`."""
        return self._from_last(unit, lambda change: change.durable_mark <= cut, cut)

    def _from_last(self, unit, sure, cut):
        changes = self.history.get(unit, [self.start])
        last = max(at for at, change in enumerate(changes) if sure(change))
        return [change for change in changes[last:] if change.asked_mark <= cut]

    def find(self, unit, data, allowed):
        """The newest of the allowed changes whose content this is."""
        for change in reversed(allowed):
            if self.content(change.tag, unit) == data:
                return change
        raise Wrong(
            f"volume {self.number}, unit {unit} of {self.unit_bytes} bytes holds {self.describe(unit, data)}; allowed: "
            + ", ".join(f"{change.tag} (asked {change.asked}, acknowledged {change.acked})" for change in allowed)
        )

    def describe(self, unit, data):
        """What these bytes are."""
        if data == self.zeros:
            return "zeros"
        if data == self.content(GOLDEN, unit):
            return "the golden image's content"
        tag, place = struct.unpack_from("<QQ", data)
        known = [change.tag for change in self.history.get(unit, ())]
        whole = data == struct.pack("<QQ", tag, place) * (self.unit_bytes // 16)
        return (
            f"tag {tag} of volume {place >> 48}, unit {place & (1 << 48) - 1}"
            f"{'' if whole else ', torn'}{', an older one' if tag in known else ''}"
        )

    def compare(self, data, allowed):
        """Compares a whole volume; gives the change that each unit shows."""
        if len(data) != self.units * self.unit_bytes:
            raise Wrong(f"volume {self.number} has {len(data)} bytes")
        shown = {}
        for unit in range(self.units):
            here = bytes(data[unit * self.unit_bytes : (unit + 1) * self.unit_bytes])
            if unit in self.history:
                shown[unit] = self.find(unit, here, allowed(unit))
            elif here != self.content(GOLDEN, unit):
                raise Wrong(f"volume {self.number}, unit {unit} was never written and holds {self.describe(unit, here)}")
        return shown

    def prefix(self, shown):
        """After a power cut: nothing is missing that was acknowledged before something was asked for that is there.

        Changes that read alike (trims) tell nothing of their moment and are passed over.
        """
        there = max((change for change in shown.values() if change.tag > 0), key=lambda change: change.asked, default=None)
        if there is None:
            return
        for unit, change in shown.items():
            after = self.history[unit][self.history[unit].index(change) + 1 :]
            missing = next((later for later in after if later.acked != NEVER), None)
            if missing and missing.acked < there.asked:
                raise Wrong(
                    f"volume {self.number}: unit {unit} lacks {missing.tag}, acknowledged at {missing.acked}, and unit "
                    f"{there.first} has {there.tag}, asked for at {there.asked}"
                )

    def settle(self, shown):
        """Goes on from what a kill left: what is shown now was acknowledged as far as any reader knows."""
        for unit, change in shown.items():
            self.history[unit] = [change]
            if change.acked == NEVER:
                change.acked, change.acked_mark = next(self.clock), self.mark()
                self.undurable.append(change)
        self.busy.clear()

    def copy_for_snapshot(self):
        """What a snapshot that is asked for now must hold at least; see `snapshot_allowed`."""
        return next(self.clock)

    def snapshot_allowed(self, unit, asked, done):
        """The changes that a unit of a snapshot may show that was asked for and done at these moments."""
        changes = self.history.get(unit, [self.start])
        last = max(at for at, change in enumerate(changes) if change.acked < asked or at == 0)
        return [change for change in changes[last:] if change.asked < done]

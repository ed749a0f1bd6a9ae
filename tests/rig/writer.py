"""A writer: keeps commands of all kinds under way on one session, and its ledger up to date."""

import random

from cases import expect

SECTOR = 512


def golden_image(size):
    """A golden image that has no zero block, and no two alike."""
    return random.Random(2026).randbytes(size)


class Writer:
    """One session's load. Several may share a volume and its ledger."""

    def __init__(self, session, ledger, dice, flush_share=0.04, hot=96):
        self.session, self.ledger, self.dice = session, ledger, dice
        self.depth = dice.choice([1, 2, 4, 16])
        self.flush_share = flush_share
        self.hot = hot
        self.sectors = ledger.unit_bytes // SECTOR
        self.bad = 0

    def fill(self):
        """Sends commands until enough are under way."""
        for _ in range(self.depth):
            if self.session.dead or self.session.under_way >= self.depth:
                return
            if self.dice.random() < self.flush_share:
                self.flush()
            else:
                self.change()

    def flush(self):
        """One SYNCHRONIZE CACHE."""
        covered = self.ledger.ask_flush()

        def done(good):
            self.bad += not good
            if good:
                self.ledger.flushed(covered)

        self.session.flush(done)

    def place(self):
        """Where to write: half the time among a few hot units."""
        ledger, dice = self.ledger, self.dice
        count = min(ledger.units, dice.choice([1, 1, 1, 1, 2, 3, 8, 33]))
        first = dice.randrange(self.hot if dice.random() < 0.5 else ledger.units)
        return min(first, ledger.units - count), count

    def change(self):
        """One write or trim, of units that have none under way."""
        for _ in range(8):
            first, count = self.place()
            if self.ledger.free(first, count):
                break
        else:
            return
        trim, fua = self.dice.random() < 0.1, self.dice.random() < 0.05
        change = self.ledger.ask(first, count, trim)

        def done(good):
            self.bad += not good
            self.ledger.acknowledge(change, good, fua and not trim)

        if trim:
            self.session.unmap(first * self.sectors, count * self.sectors, done)
        else:
            self.session.write(first * self.sectors, self.ledger.data(change), SECTOR, done, fua)

    def expect_good(self):
        """While the target lives every command succeeds."""
        expect(self.session.dead or not self.bad, f"a command failed: {self.session.error() if self.session.context else ''}")
        expect(not self.session.dead, f"the connection is gone: {self.session.error() if self.session.context else ''}")

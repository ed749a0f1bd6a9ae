"""Persistent reservations of one volume that change over and over, and what of them has to be there after a power cut.

    changes = Registrations(disk, moment); changes.change()          while the disk's log is written
    check(other_disk, changes, cut)                                  raises Wrong

A change that was answered has been made durable where APTPL is set; where it is not, nothing is left after the power was gone.
"""

import dataclasses

from ledger import Wrong

REGISTER_AND_IGNORE, RESERVE, RELEASE = 6, 1, 2
READ_KEYS, READ_RESERVATION = 0, 1
WRITE_EXCLUSIVE_REGISTRANTS_ONLY = 5
APTPL = 1
ROUND = 5


@dataclasses.dataclass
class State:
    """What a power cut leaves; `begun` and `answered` are places in the disk's log."""

    keys: tuple
    kind: int
    begun: int
    answered: int | None = None


class Registrations:
    """The history."""

    def __init__(self, disk, moment):
        self.disk, self.moment = disk, moment
        disk.attentions()
        self.number = self.kind = 0
        self.states = [State((), 0, 0, 0)]

    def change(self):
        """A new key, and a reservation taken or given back; now and then without APTPL."""
        self.number += 1
        persist = self.number % ROUND != 0
        self._out(REGISTER_AND_IGNORE, 0, 0, self.number, persist)
        if persist:
            kind = WRITE_EXCLUSIVE_REGISTRANTS_ONLY
            self._out(RELEASE if self.kind else RESERVE, kind, self.number, 0, persist, 0 if self.kind else kind)

    def _out(self, action, kind, key, new_key, persist, left=None):
        left = self.kind if left is None else left
        self.states.append(State((self.number,) if persist else (), left if persist else 0, self.moment()))
        data = key.to_bytes(8, "big") + new_key.to_bytes(8, "big") + bytes([0, 0, 0, 0, APTPL if persist else 0, 0, 0, 0])
        answer = self.disk.command([0x5F, action, kind, 0, 0, 0, 0, 0, len(data), 0], data_out=data)
        if answer.status:
            raise Wrong(f"PERSISTENT RESERVE OUT {action}: status {answer.status}, sense {answer.sense}")
        self.kind = left
        self.states[-1].answered = self.moment()

    def after_cut(self, cut):
        """The states that may be found: the last one that was answered before, and those that had begun."""
        last = max(at for at, state in enumerate(self.states) if state.answered is not None and state.answered <= cut)
        return [state for state in self.states[last:] if state.begun <= cut]


def check(disk, changes, cut):
    """Compares what the target tells now."""
    disk.attentions()
    keys = disk.command([0x5E, READ_KEYS, 0, 0, 0, 0, 0, 0, 255, 0], data_in=255).data[8:]
    held = disk.command([0x5E, READ_RESERVATION, 0, 0, 0, 0, 0, 0, 255, 0], data_in=255).data
    found = (tuple(int.from_bytes(keys[at : at + 8], "big") for at in range(0, len(keys), 8)), held[21] & 0x0F if len(held) > 21 else 0)
    expected = [(state.keys, state.kind) for state in changes.after_cut(cut)]
    if found not in expected:
        raise Wrong(f"registrations and reservation are {found} after a cut at {cut}, expected one of {expected}")

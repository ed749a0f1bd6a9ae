"""The log of QEMU's `blklogwrites`: every write and flush of a disk in the order in which they were done, from which
the disk can be made as a power cut at any moment leaves it.

The format is that of Linux's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).
"""

import dataclasses
import os
import struct

MAGIC = 0x6A736677736872
FLUSH, FUA, DISCARD = 1, 2, 4
SECTOR = 512
# ext4's superblock has its checksum over both of its sectors, and is read before the journal is: torn in its middle, no
# kernel mounts the file system. Disks with sectors of 4096 bytes do not tear it.
SUPERBLOCK_MIDDLE = 1536


@dataclasses.dataclass
class Entry:
    """One request; `at` is where its data begins in the log."""

    offset: int
    bytes: int
    flags: int
    at: int

    def pieces(self):
        """Beginnings and ends of what a power cut leaves whole or not at all."""
        end = self.offset + self.bytes
        cuts = [at for at in range(self.offset, end, SECTOR) if at != SUPERBLOCK_MIDDLE]
        return zip(cuts, [*cuts[1:], end], strict=True)


def entries_so_far(descriptor):
    """How many entries the log's head tells of: at least all those before the last flush."""
    head = os.pread(descriptor, 28, 0)
    return struct.unpack("<QQQI", head)[2] if len(head) == 28 else 0


def read_entries(path):
    """All entries, those included that came after the last flush."""
    entries = []
    with open(path, "rb") as log:
        magic, version, count, sector = struct.unpack("<QQQI", log.read(28))
        if (magic, version) != (MAGIC, 1):
            raise ValueError(f"{path} is no log of writes")
        at = sector
        while True:
            log.seek(at)
            head = log.read(32)
            if len(head) < 32:
                break
            first, sectors, flags, _ = struct.unpack("<QQQQ", head)
            if len(entries) >= count and (first, sectors, flags) == (0, 0, 0):
                break
            entry = Entry(first * sector, sectors * sector, flags, at + sector)
            entries.append(entry)
            at += sector + (0 if flags & DISCARD else entry.bytes)
    return entries


class Replay:
    """Makes disks of a log. Cuts must come in rising order: what a flush covered is put on `base` once."""

    def __init__(self, log, entries, base, size):
        self.log = open(log, "rb")  # noqa: SIM115 (lives as long as this does)
        self.entries = entries
        self.base = open(base, "w+b")  # noqa: SIM115
        self.base.truncate(size)
        self.size = size
        self.applied = 0

    def put(self, disk, entry, keep=None):
        """Writes an entry to a disk: all of it, or the pieces that `keep()` is true of."""
        if entry.flags & DISCARD:
            return
        data = os.pread(self.log.fileno(), entry.bytes, entry.at)
        if keep is None:
            os.pwrite(disk.fileno(), data, entry.offset)
            return
        for begin, end in entry.pieces():
            if keep():
                os.pwrite(disk.fileno(), data[begin - entry.offset : end - entry.offset], begin)

    def cut(self, cut, path, choose):
        """Makes `path` the disk that a power cut after `cut` entries leaves; `choose(entry)` says what becomes of one
        that no flush covers: True, False, or a function that is asked for each piece. Gives how many those were."""
        flushed = max((at + 1 for at in range(cut) if self.entries[at].flags & FLUSH), default=0)
        for entry in self.entries[self.applied : flushed]:
            self.put(self.base, entry)
        self.applied = max(self.applied, flushed)
        with open(path, "r+b") as disk:
            copy_sparse(self.base.fileno(), disk.fileno(), self.size)
            for entry in self.entries[flushed:cut]:
                chosen = True if entry.flags & FUA else choose(entry)
                if chosen:
                    self.put(disk, entry, None if chosen is True else chosen)
        return cut - flushed


def copy_sparse(source, target, size):
    """Makes the target's content the source's; holes stay holes."""
    os.ftruncate(target, 0)
    os.ftruncate(target, size)
    at = 0
    while at < size:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # no more data
            return
        end = os.lseek(source, at, os.SEEK_HOLE)
        while at < end:
            data = os.pread(source, min(1 << 20, end - at), at)
            os.pwrite(target, data, at)
            at += len(data)

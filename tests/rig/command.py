"""One SCSI command after the other on a libiscsi session, with the sense that comes back.

    disk = Disk(volume, "iqn.1993-08.org.debian:host")
    disk.test_unit_ready() -> Answer(status, (key, asc, ascq), data)
"""

import collections
import ctypes

from initiator import Lost, Session, _declare, _free_task, _int, _pointer

SECTOR = 512
CHECK_CONDITION = 2
UNIT_ATTENTION, DATA_PROTECT = 0x6, 0x7
CAPACITY_CHANGED = (UNIT_ATTENTION, 0x2A, 0x09)
MODE_CHANGED = (UNIT_ATTENTION, 0x2A, 0x01)
SOFT_THRESHOLD = (UNIT_ATTENTION, 0x38, 0x07)
NO_SPACE = (DATA_PROTECT, 0x27, 0x07)
NONE, READ, WRITE = 0, 1, 2

Answer = collections.namedtuple("Answer", "status sense data")


class _Data(ctypes.Structure):
    """`struct iscsi_data`."""

    _fields_ = [("size", ctypes.c_size_t), ("data", ctypes.c_char_p)]


class _Sense(ctypes.Structure):
    """`struct scsi_sense`."""

    _fields_ = [("error_type", ctypes.c_ubyte), ("key", _int), ("ascq", _int), ("rest", ctypes.c_uint32)]


class _Task(ctypes.Structure):
    """The head of `struct scsi_task`."""

    _fields_ = [
        ("status", _int), ("cdb_size", _int), ("direction", _int), ("expected", _int), ("cdb", ctypes.c_ubyte * 16),
        ("residual_status", _int), ("residual", ctypes.c_size_t), ("sense", _Sense), ("size", _int), ("data", _pointer),
    ]  # fmt: skip


_create_task = _declare("scsi_create_task", ctypes.POINTER(_Task), _int, ctypes.c_char_p, _int, _int)
_command = _declare("iscsi_scsi_command_sync", _pointer, _pointer, _int, ctypes.POINTER(_Task), ctypes.POINTER(_Data))


class Disk(Session):
    """A session that waits for each command."""

    def command(self, cdb, data_out=b"", data_in=0):
        """Any command; a connection that fails is an error."""
        direction, length = (WRITE, len(data_out)) if data_out else (READ, data_in) if data_in else (NONE, 0)
        task = _create_task(len(cdb), bytes(cdb), direction, length)
        out = _Data(len(data_out), data_out) if data_out else None
        if not _command(self.context, self.lun, task, ctypes.byref(out) if out else None):
            raise Lost(self.error())
        done = task.contents
        sense = (done.sense.key, done.sense.ascq >> 8, done.sense.ascq & 0xFF) if done.status == CHECK_CONDITION else None
        data = ctypes.string_at(done.data, done.size) if done.data and done.size > 0 else b""
        answer = Answer(done.status, sense, data)
        _free_task(ctypes.cast(task, _pointer))
        return answer

    def test_unit_ready(self):
        """TEST UNIT READY, which brings the next unit attention."""
        return self.command([0] * 6)

    def attentions(self):
        """All unit attentions that wait."""
        told = []
        while (answer := self.test_unit_ready()).status == CHECK_CONDITION and len(told) < 10:
            told.append(answer.sense)
        return told

    def size(self):
        """READ CAPACITY(16), in bytes."""
        data = self.command([0x9E, 0x10] + [0] * 11 + [32, 0, 0], data_in=32).data
        return (int.from_bytes(data[:8], "big") + 1) * int.from_bytes(data[8:12], "big")

    def put(self, offset, data):
        """WRITE(16)."""
        return self.command(self._range(0x8A, offset, len(data)), data_out=data)

    def get(self, offset, length):
        """READ(16)."""
        return self.command(self._range(0x88, offset, length), data_in=length)

    def sync(self):
        """SYNCHRONIZE CACHE(16) of everything."""
        return self.command(self._range(0x91, 0, 0))

    def trim(self, offset, length):
        """UNMAP of one range."""
        descriptor = (offset // SECTOR).to_bytes(8, "big") + (length // SECTOR).to_bytes(4, "big") + bytes(4)
        data = (22).to_bytes(2, "big") + (16).to_bytes(2, "big") + bytes(4) + descriptor
        return self.command([0x42] + [0] * 6 + [0, len(data), 0], data_out=data)

    def log_page(self, page):
        """LOG SENSE of cumulative values."""
        return self.command([0x4D, 0, 0x40 | page] + [0] * 4 + [2, 0, 0], data_in=512).data

    def thresholds(self):
        """MODE SENSE(6) of the logical block provisioning page: (enabled, resource, count) of each threshold."""
        page = self.command([0x1A, 0x08, 0x1C, 0x02, 255, 0], data_in=255).data[4:]
        return [(page[at] >> 7, page[at + 1], int.from_bytes(page[at + 4 : at + 8], "big")) for at in range(16, len(page), 8)]

    @staticmethod
    def _range(operation, offset, length):
        return [operation, 0, *(offset // SECTOR).to_bytes(8, "big"), *(length // SECTOR).to_bytes(4, "big"), 0, 0]

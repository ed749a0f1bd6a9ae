"""libiscsi from Python: sessions with many commands under way, in one thread.

    session = Session(volume, "iqn.1993-08.org.debian:writer1")
    session.write(0, data, 512, done)         done(good) is called from serve()
    serve([session], seconds=0.01)            sends, receives, calls back
    discover(portal, name)                    the targets that this initiator is told of
    session.dead                              the connection is gone; what was under way came back as not good

The library itself (Debian: libiscsi7, which libiscsi-bin brings) is called through ctypes: no compiler is needed.
"""

import ctypes
import select
import time

DISCOVERY_SESSION, NORMAL_SESSION = 1, 2
GOOD = 0
MOST_AT_ONCE = 64

_library = ctypes.CDLL("libiscsi.so.7")
_pointer, _int, _u32, _u64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
_callback = ctypes.CFUNCTYPE(None, _pointer, _int, _pointer, _pointer)


class _Range(ctypes.Structure):
    """`struct unmap_list`."""

    _fields_ = [("lba", _u64), ("blocks", _u32)]


class _Found(ctypes.Structure):
    """`struct iscsi_discovery_address`."""


_Found._fields_ = [("next", ctypes.POINTER(_Found)), ("target", ctypes.c_char_p), ("portals", _pointer)]


def _declare(name, result, *arguments):
    function = getattr(_library, name)
    function.restype, function.argtypes = result, arguments
    return function


_create = _declare("iscsi_create_context", _pointer, ctypes.c_char_p)
_destroy = _declare("iscsi_destroy_context", _int, _pointer)
_set_target = _declare("iscsi_set_targetname", _int, _pointer, ctypes.c_char_p)
_set_kind = _declare("iscsi_set_session_type", _int, _pointer, _int)
_set_timeout = _declare("iscsi_set_timeout", _int, _pointer, _int)
_stay_away = _declare("iscsi_set_noautoreconnect", None, _pointer, _int)
_connect = _declare("iscsi_full_connect_sync", _int, _pointer, ctypes.c_char_p, _int)
_connect_only = _declare("iscsi_connect_sync", _int, _pointer, ctypes.c_char_p)
_login = _declare("iscsi_login_sync", _int, _pointer)
_discover = _declare("iscsi_discovery_sync", ctypes.POINTER(_Found), _pointer)
_free_found = _declare("iscsi_free_discovery_data", None, _pointer, ctypes.POINTER(_Found))
_prove = _declare("iscsi_set_initiator_username_pwd", _int, _pointer, ctypes.c_char_p, ctypes.c_char_p)
_demand = _declare("iscsi_set_target_username_pwd", _int, _pointer, ctypes.c_char_p, ctypes.c_char_p)
_disconnect = _declare("iscsi_disconnect", _int, _pointer)
_logout = _declare("iscsi_logout_sync", _int, _pointer)
_error = _declare("iscsi_get_error", ctypes.c_char_p, _pointer)
_fd = _declare("iscsi_get_fd", _int, _pointer)
_events = _declare("iscsi_which_events", _int, _pointer)
_service = _declare("iscsi_service", _int, _pointer, _int)
_write16 = _declare(
    "iscsi_write16_task", _pointer, _pointer, _int, _u64, ctypes.c_char_p, _u32, _int, _int, _int, _int, _int, _int, _callback, _pointer
)
_read16 = _declare("iscsi_read16_task", _pointer, _pointer, _int, _u64, _u32, _int, _int, _int, _int, _int, _int, _callback, _pointer)
_sync16 = _declare("iscsi_synchronizecache16_task", _pointer, _pointer, _int, _u64, _u32, _int, _int, _callback, _pointer)
_unmap = _declare("iscsi_unmap_task", _pointer, _pointer, _int, _int, _int, ctypes.POINTER(_Range), _int, _callback, _pointer)
_data_in = _declare("scsi_task_add_data_in_buffer", _int, _pointer, _int, _pointer)
_free_task = _declare("scsi_free_scsi_task", None, _pointer)

# Commands under way of all sessions: what to call, and what must stay in memory meanwhile.
_under_way = {}
_numbers = iter(range(1, 1 << 62))


@_callback
def _came_back(_context, status, task, number):
    done, _memory = _under_way.pop(number)
    if task:
        _free_task(task)
    done(status == GOOD)


class Lost(Exception):
    """The target cannot be reached, or does not answer."""


class Session:
    """A session of its own with one volume. `chap` is (name, secret), `mutual` the same of the target."""

    def __init__(self, volume, name, portal=None, seconds=30, chap=None, mutual=None):
        self.lun = volume.lun
        self.dead = False
        self.under_way = 0
        self.context = _create(name.encode())
        _set_target(self.context, volume.iqn.encode())
        _set_kind(self.context, NORMAL_SESSION)
        _set_timeout(self.context, seconds)
        _stay_away(self.context, 1)
        if chap:
            _prove(self.context, *(word.encode() for word in chap))
        if mutual:
            _demand(self.context, *(word.encode() for word in mutual))
        if _connect(self.context, (portal or volume.portals[0]).encode(), volume.lun):
            why = _error(self.context).decode(errors="replace")
            _destroy(self.context)
            raise Lost(f"{name}: {why}")

    def _begin(self, call, done, memory=None):
        number = next(_numbers)

        def back(good):
            self.under_way -= 1
            done(good)

        _under_way[number] = (back, memory)
        task = call(number)
        if not task:
            _under_way.pop(number)
            raise Lost(_error(self.context).decode(errors="replace"))
        self.under_way += 1
        return task

    def write(self, lba, data, sector, done, fua=False):
        """WRITE(16) of whole sectors."""
        self._begin(
            lambda number: _write16(self.context, self.lun, lba, data, len(data), sector, 0, 0, int(fua), 0, 0, _came_back, number), done, data
        )

    def read(self, lba, length, sector, done):
        """READ(16); the bytes go to `done(good, bytes)`."""
        into = ctypes.create_string_buffer(length)
        task = self._begin(
            lambda number: _read16(self.context, self.lun, lba, length, sector, 0, 0, 0, 0, 0, _came_back, number),
            lambda good: done(good, into.raw if good else b""),
            into,
        )
        _data_in(task, length, ctypes.addressof(into))

    def flush(self, done):
        """SYNCHRONIZE CACHE(16) of everything."""
        self._begin(lambda number: _sync16(self.context, self.lun, 0, 0, 0, 0, _came_back, number), done)

    def unmap(self, lba, sectors, done):
        """UNMAP of one range."""
        ranges = (_Range * 1)(_Range(lba, sectors))
        self._begin(lambda number: _unmap(self.context, self.lun, 0, 0, ranges, 1, _came_back, number), done, ranges)

    def error(self):
        """What the library says went wrong last."""
        return _error(self.context).decode(errors="replace")

    def close(self, logout=False):
        """Ends it; what is under way comes back as not good."""
        if self.context:
            if logout and not self.dead:
                _logout(self.context)
            self.dead = True
            _disconnect(self.context)
            _destroy(self.context)
            self.context = None

    def read_all(self, size, sector, step=1 << 18):
        """The whole volume, several reads at once."""
        out, bad, at = bytearray(size), [], 0

        def put(offset):
            def done(good, data):
                out[offset : offset + len(data)] = data
                if not good:
                    bad.append(offset)

            return done

        while at < size or self.under_way:
            while at < size and self.under_way < 8:
                length = min(step, size - at)
                self.read(at // sector, length, sector, put(at))
                at += length
            serve([self], 1.0)
            if self.dead or bad:
                raise Lost(f"reading at {bad or at} failed: {self.error()}")
        return out


def discover(portal, name, seconds=10, chap=None, mutual=None):
    """Names of the targets that an initiator is told of (SendTargets=All)."""
    context = _create(name.encode())
    try:
        if chap:
            _prove(context, *(word.encode() for word in chap))
        if mutual:
            _demand(context, *(word.encode() for word in mutual))
        _set_kind(context, DISCOVERY_SESSION)
        _set_timeout(context, seconds)
        _stay_away(context, 1)
        if _connect_only(context, portal.encode()) or _login(context):
            raise Lost(f"{name}: discovery: {_error(context).decode(errors='replace')}")
        found, names = _discover(context), []
        at = found
        while at:
            names.append(at.contents.target.decode())
            at = at.contents.next
        if found:
            _free_found(context, found)
        _logout(context)
        return sorted(names)
    finally:
        _disconnect(context)
        _destroy(context)


def serve(sessions, seconds):
    """Sends and receives until something has come, or for so long; sessions whose connection fails are dead."""
    watched = {_fd(session.context): session for session in sessions if not session.dead}
    poll = select.poll()
    for descriptor, session in watched.items():
        poll.register(descriptor, _events(session.context))
    for descriptor, event in poll.poll(seconds * 1000):
        session = watched[descriptor]
        if event & select.POLLIN:
            event &= select.POLLIN | select.POLLOUT  # what came before the end is heard first
        if _service(session.context, event) < 0:
            session.dead = True


def drain(sessions, seconds):
    """Receives what still comes from a target that is gone, until all its connections have failed."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not all(session.dead for session in sessions):
        serve(sessions, 0.05)

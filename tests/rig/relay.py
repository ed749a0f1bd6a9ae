"""A TCP relay in front of a target: it writes down what both sides say, and can stop passing it on.

    with Relay("192.0.2.1:3261", "192.0.2.1:3260") as relay:
        ...
        relay.stall()                  what is connected now stays connected and hears nothing any more
        relay.cut()                    what is connected now is not
    relay.connections[0].pdus()        [(">", bytes), ("<", bytes), ...]
"""

import selectors
import socket
import threading

BHS = 48
DIGEST = 4
RECEIVE = 1 << 16
# Opcodes, without the bit for "immediate".
LOGIN_REQUEST, LOGIN_RESPONSE = 0x03, 0x23


def address(text):
    """HOST:PORT, with brackets around an IPv6 host, for the socket module."""
    host, port = text.rsplit(":", 1)
    return host.strip("[]"), int(port)


class Connection:
    """One connection through the relay: its two sockets, and what passed, in order."""

    def __init__(self, client, server):
        self.sides = {client: (">", server), server: ("<", client)}
        self.said = []
        self.stalled = False
        self.open = True

    def close(self):
        """Both sides see an end."""
        self.open = False
        for side in self.sides:
            side.close()

    def pdus(self):
        """The PDUs of both directions in the order in which they were complete. Digests count once the login has
        settled on them."""
        pending = {">": b"", "<": b""}
        digests, texts, found = (0, 0), b"", []
        for direction, data in self.said:
            pending[direction] += data
            while size := pdu_size(pending[direction], digests):
                pdu, pending[direction] = pending[direction][:size], pending[direction][size:]
                found.append((direction, pdu))
                if pdu[0] & 0x3F == LOGIN_RESPONSE:
                    texts += pdu[BHS:]
                    if pdu[1] & 0x83 == 0x83:  # T, and on to full feature phase
                        digests = tuple(DIGEST * (f"{name}Digest=CRC32C".encode() in texts) for name in ("Header", "Data"))
        return found


def pdu_size(data, digests):
    """The size of the PDU that data begins with; None when it is not all there."""
    if len(data) < BHS:
        return None
    header, segment = BHS + 4 * data[4], int.from_bytes(data[5:8])
    login = data[0] & 0x3F in (LOGIN_REQUEST, LOGIN_RESPONSE)
    header_digest, data_digest = (0, 0) if login else digests
    size = header + header_digest + (segment + 3) // 4 * 4 + (data_digest if segment else 0)
    return size if len(data) >= size else None


class Relay:
    """Passes on what comes to `listen` to `target`, in a thread of its own."""

    def __init__(self, listen, target):
        self.target = address(target)
        host, port = address(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family)
        self.wake, self.woken = socket.socketpair()
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.woken, selectors.EVENT_READ)
        self.connections = []
        self.wanted = []
        self.ending = False
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_error):
        self.ending = True
        self._call(self.listener.close)
        self.thread.join(10)

    def stall(self):
        """The connections of now stay open, and nothing passes through them any more."""
        self._call(lambda: self._each(self._stall))

    def cut(self):
        """The connections of now are closed."""
        self._call(lambda: self._each(self._close))

    def _call(self, what):
        done = threading.Event()
        self.wanted.append(lambda: (what(), done.set()))
        self.wake.send(b"!")
        done.wait(10)

    def _each(self, what):
        for connection in self.connections:
            if connection.open and not connection.stalled:
                what(connection)

    def _stall(self, connection):
        connection.stalled = True
        for side in connection.sides:
            self.selector.unregister(side)

    def _close(self, connection):
        for side in connection.sides:
            self.selector.unregister(side)
        connection.close()

    def _run(self):
        while not self.ending:
            for key, _ in self.selector.select():
                if key.fileobj is self.woken:
                    self.woken.recv(RECEIVE)
                elif key.fileobj is self.listener:
                    self._accept()
                else:
                    self._pass_on(key.data, key.fileobj)
            while self.wanted:
                self.wanted.pop(0)()
        for connection in self.connections:
            connection.close()

    def _accept(self):
        client, _ = self.listener.accept()
        try:
            connection = Connection(client, socket.create_connection(self.target))
        except OSError:
            return client.close()
        self.connections.append(connection)
        for side in connection.sides:
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(side, selectors.EVENT_READ, connection)
        return None

    def _pass_on(self, connection, side):
        if connection.stalled or not connection.open:
            return
        direction, other = connection.sides[side]
        try:
            data = side.recv(RECEIVE)
            connection.said.append((direction, data))
            other.sendall(data)
        except OSError:
            data = b""
        if not data:
            self._close(connection)

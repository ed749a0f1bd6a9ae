"""An initiator that is made of PDUs by hand, so that it can do what no initiator should.

    peer = Peer("192.0.2.1:3260").login(volume.iqn)
    peer.write(0, data)                     waits for the answer; send_write() does not
    peer.ping(); peer.read(0, 4096)         PDUs of other commands that come meanwhile are kept in `peer.others`
    peer.send(head(...), data)              whatever you like

Everything is plain RFC 7143: 48 bytes of header, padded data, no digests.
"""

import contextlib
import os
import socket
import struct
import time

NOP_OUT, COMMAND, LOGIN, TEXT, DATA_OUT, LOGOUT = 0x40, 0x01, 0x43, 0x04, 0x05, 0x46
NOP_IN, RESPONSE, LOGIN_RESPONSE, TEXT_RESPONSE, DATA_IN, LOGOUT_RESPONSE, R2T = 0x20, 0x21, 0x23, 0x24, 0x25, 0x26, 0x31
NO_TAG = 0xFFFFFFFF
SECTOR = 512
NAME = "iqn.1993-08.org.debian:hostile"
SECONDS = 60


class Ended(Exception):
    """The target has closed the connection."""


class Refused(Exception):
    """A login was answered with a status."""

    def __init__(self, status):
        super().__init__(f"status {status[0]:02x} {status[1]:02x}")
        self.status = status


def head(opcode, flags=0x80, length=0, lun=0, tag=0, words=(), cdb=b""):
    """A basic header segment; `words` go to bytes 20 to 47, a CDB to bytes 32 to 47."""
    rest = struct.pack(f">{len(words)}I", *words) + cdb
    return struct.pack(">BBxxBBHQI", opcode, flags, 0, length >> 16, length & 0xFFFF, lun << 48, tag) + rest.ljust(28, b"\0")


def keys(pairs):
    """Text of a login or text request."""
    return b"".join(f"{key}={value}\0".encode() for key, value in pairs.items())


class Pdu:
    """A PDU that came."""

    def __init__(self, header, data):
        self.header, self.data = header, data
        self.opcode, self.flags = header[0] & 0x3F, header[1]
        self.tag = self.word(16)

    def word(self, at):
        """Four bytes of the header."""
        return struct.unpack_from(">I", self.header, at)[0]


class Peer:
    """One connection. `buffer` is the size of its receive buffer."""

    def __init__(self, portal, seconds=SECONDS, buffer=None, connect=True):
        host, port = portal.rsplit(":", 1)
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        if connect:
            self.socket.connect((host, int(port)))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = bytearray()
        self.cmd_sn, self.max_cmd_sn, self.tags = 1, 1, 0
        self.others = []

    # ---- bytes

    def send(self, header, data=b""):
        """One PDU."""
        self.socket.sendall(header + data + bytes(-len(data) % 4))

    def receive(self):
        """The next PDU."""
        while True:
            if len(self.received) >= 48:
                length = int.from_bytes(self.received[5:8], "big")
                end = 48 + length + -length % 4
                if len(self.received) >= end:
                    pdu = Pdu(bytes(self.received[:48]), bytes(self.received[48 : 48 + length]))
                    del self.received[:end]
                    if pdu.opcode not in (LOGIN_RESPONSE, 0x3F):
                        self.max_cmd_sn = max(self.max_cmd_sn, pdu.word(32))
                    return pdu
            try:
                more = self.socket.recv(1 << 18)
            except ConnectionError as error:
                raise Ended(str(error)) from error
            if not more:
                raise Ended("closed by the target")
            self.received += more

    def answer(self, tag):
        """The next PDU for this tag; what else comes is kept."""
        for at, pdu in enumerate(self.others):
            if pdu.tag == tag:
                return self.others.pop(at)
        while (pdu := self.receive()).tag != tag:
            self.others.append(pdu)
        return pdu

    def ended(self, seconds):
        """Whether the target closes the connection in this time; what it says before does not matter."""
        self.socket.settimeout(seconds)
        with contextlib.suppress(TimeoutError):
            try:
                while True:
                    self.receive()
            except Ended:
                return True
        return False

    def close(self, abrupt=False):
        """Closes it; `abrupt` resets it."""
        if abrupt:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # ---- login

    def login_head(self, length, flags=0x87, isid=1, round_=0):
        """A login request to full feature phase; the ISID is random but for its last bytes."""
        header = bytearray(head(LOGIN, flags, length, tag=1, words=(0, self.cmd_sn, round_)))
        header[8:14] = b"\x80" + isid.to_bytes(5, "big")
        return bytes(header)

    def login(self, target=None, name=NAME, isid=None, **more):
        """Logs in to a target, or for discovery; gives this peer."""
        self.send_login(target, name, isid, **more)
        return self.finish_login()

    def send_login(self, target=None, name=NAME, isid=None, **more):
        """The one request of a login."""
        kind = {"SessionType": "Normal", "TargetName": target} if target else {"SessionType": "Discovery"}
        usual = {"InitialR2T": "No", "ImmediateData": "Yes", "MaxRecvDataSegmentLength": 262144, "MaxBurstLength": 1048576,
                 "FirstBurstLength": 262144, "HeaderDigest": "None", "DataDigest": "None"}  # fmt: skip
        text = keys({"InitiatorName": name, **kind, **usual, **more})
        isid = int.from_bytes(os.urandom(5), "big") if isid is None else isid
        self.send(self.login_head(len(text), isid=isid), text)

    def finish_login(self):
        """Its answer."""
        pdu = self.receive()
        if any(pdu.header[36:38]):
            raise Refused(tuple(pdu.header[36:38]))
        self.max_cmd_sn = pdu.word(32)
        return self

    def logout(self):
        """Logs out; the target closes the connection."""
        self.send(head(LOGOUT, 0x80, tag=self.tag(), words=(0, self.cmd_sn, 0)))
        while self.receive().opcode != LOGOUT_RESPONSE:
            pass

    def discover(self):
        """The answer to SendTargets=All, as text."""
        self.send(head(TEXT, 0x80, 16, tag=self.tag(), words=(NO_TAG, self.cmd_sn, 0)), b"SendTargets=All\0")
        self.cmd_sn += 1
        return self.receive().data.decode()

    # ---- full feature phase

    def tag(self):
        """A new initiator task tag."""
        self.tags += 1
        return self.tags

    def command(self, cdb, length=0, flags=0x80, data=b""):
        """Sends a command with the next CmdSN, whatever the window is; gives its tag."""
        tag = self.tag()
        self.send(head(COMMAND, flags, len(data), tag=tag, words=(length, self.cmd_sn, 0), cdb=cdb), data)
        self.cmd_sn += 1
        return tag

    def send_read(self, lba, length):
        """READ(16); gives the tag."""
        return self.command(struct.pack(">BxQIxx", 0x88, lba, length // SECTOR), length, 0xC0)

    def send_write(self, lba, data, length=None, final=True):
        """WRITE(16) with immediate data; gives the tag."""
        length = len(data) if length is None else length
        return self.command(struct.pack(">BxQIxx", 0x8A, lba, length // SECTOR), length, 0xA0 if final else 0x20, data)

    def data_out(self, tag, data, offset, number=0, final=True, transfer=NO_TAG):
        """Data-Out; unsolicited unless a transfer tag says otherwise."""
        self.send(head(DATA_OUT, 0x80 if final else 0, len(data), tag=tag, words=(transfer, 0, 0, 0, number, offset)), data)

    def status(self, tag):
        """SCSI status of a command."""
        while True:
            pdu = self.answer(tag)
            if pdu.opcode == RESPONSE:
                return pdu.header[3]
            if pdu.opcode == DATA_IN and pdu.flags & 1:
                return pdu.header[3]

    def ready(self):
        """Takes the unit attentions of a new session."""
        while self.status(self.command(bytes(16))):
            pass
        return self

    def read(self, lba, length):
        """The bytes; None when the command fails."""
        tag, out = self.send_read(lba, length), bytearray(length)
        while True:
            pdu = self.answer(tag)
            if pdu.opcode == RESPONSE:
                return bytes(out) if pdu.header[3] == 0 else None
            at = pdu.word(40)
            out[at : at + len(pdu.data)] = pdu.data
            if pdu.flags & 1:
                return bytes(out)

    def write(self, lba, data):
        """The SCSI status."""
        return self.status(self.send_write(lba, data))

    def send_ping(self):
        """NOP-Out; gives its tag."""
        tag = self.tag()
        self.send(head(NOP_OUT, 0x80, 4, tag=tag, words=(NO_TAG, self.cmd_sn, 0)), b"ping")
        return tag

    def ping(self):
        """Seconds until a NOP-Out was answered."""
        begin = time.monotonic()
        self.answer(self.send_ping())
        return time.monotonic() - begin

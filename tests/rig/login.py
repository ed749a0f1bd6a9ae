"""Logins byte by byte (RFC 7143 §6.3, §12.1.3): what libraries do not do, such as wrong answers, or another address.

    login = Login("192.0.2.1:3260", "iqn.1993-08.org.debian:a", target=iqn, source="192.0.2.9")
    login.open() -> Answer(status="00 00", keys)          to the full feature phase, without proving anything
    login.chap("alice", "secret", algorithm=7)            the same with CHAP
    login.targets()                                       SendTargets=All in a discovery session
"""

import collections
import hashlib
import os
import re
import socket
import struct

SECONDS = 30
LOGIN, TEXT = 0x03, 0x04
LOGIN_RESPONSE, TEXT_RESPONSE = 0x23, 0x24
SECURITY, OPERATIONAL, FULL_FEATURE = 0, 1, 3
HASHES = {5: "md5", 6: "sha1", 7: "sha256", 8: "sha3_256"}

Answer = collections.namedtuple("Answer", "status keys")


class Closed(Exception):
    """The target closed the connection."""


def proof(algorithm, identifier, secret, challenge):
    """CHAP_R."""
    return hashlib.new(HASHES[algorithm], bytes([identifier]) + secret.encode() + challenge).digest()


def binary(text):
    """The bytes of `0x…`."""
    return bytes.fromhex(text.removeprefix("0x"))


class Login:
    """One connection, from its first login PDU on. Without a target it asks for a discovery session."""

    def __init__(self, portal, name, target=None, source=None):
        host, port = re.fullmatch(r"\[?([^\]]*)\]?:(\d+)", portal).groups()
        self.socket = socket.create_connection((host, int(port)), SECONDS, source_address=(source, 0) if source else None)
        kind = {"TargetName": target, "SessionType": "Normal"} if target else {"SessionType": "Discovery"}
        self.names = {"InitiatorName": name, **kind}
        self.isid = b"\x80" + os.urandom(5)
        self.stat = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, header, keys):
        """One PDU with its text."""
        text = b"".join(f"{key}={value}".encode() + b"\0" for key, value in keys.items())
        header[4:8] = struct.pack(">I", len(text))
        self.socket.sendall(bytes(header) + text + bytes(-len(text) % 4))

    def receive(self):
        """One PDU: its header and its text's keys."""
        header = self.exactly(48)
        length = int.from_bytes(header[5:8], "big")
        text = self.exactly(length + -length % 4)[:length]
        pairs = [pair.decode().split("=", 1) for pair in text.split(b"\0") if pair]
        self.stat = int.from_bytes(header[24:28], "big") + 1
        return header, pairs

    def exactly(self, length):
        data = b""
        while len(data) < length:
            try:
                more = self.socket.recv(length - len(data))
            except ConnectionResetError as reset:
                raise Closed("reset") from reset
            if not more:
                raise Closed("closed")
            data += more
        return data

    def step(self, keys, stage=SECURITY, to=None):
        """One request of the login and its answer."""
        header = bytearray(48)
        header[0] = 0x40 | LOGIN
        header[1] = stage << 2 if to is None else 0x80 | stage << 2 | to
        header[8:14] = self.isid
        struct.pack_into(">II", header, 24, 1, self.stat)
        self.send(header, {**self.names, **keys})
        self.names = {}
        answer, pairs = self.receive()
        assert answer[0] == LOGIN_RESPONSE, answer
        return Answer(f"{answer[36]:02x} {answer[37]:02x}", dict(pairs))

    def open(self):
        """Proves nothing."""
        answer = self.step({"AuthMethod": "None"}, to=OPERATIONAL)
        if answer.status != "00 00" or answer.keys.get("AuthMethod") != "None":
            return answer
        return self.step({}, OPERATIONAL, FULL_FEATURE)

    def challenge(self, algorithms="5"):
        """The first half of CHAP: (algorithm, identifier, challenge), or the answer that refuses."""
        answer = self.step({"AuthMethod": "CHAP,None"})
        if answer.status != "00 00" or answer.keys.get("AuthMethod") != "CHAP":
            return answer
        answer = self.step({"CHAP_A": algorithms})
        if answer.status != "00 00":
            return answer
        return int(answer.keys["CHAP_A"]), int(answer.keys["CHAP_I"]), binary(answer.keys["CHAP_C"])

    def chap(self, user, secret, algorithms="5", own=None):
        """CHAP; `own` is (identifier, challenge) for the target to answer."""
        given = self.challenge(algorithms)
        if isinstance(given, Answer):
            return given
        return self.prove(user, proof(given[0], given[1], secret, given[2]), own)

    def prove(self, user, answer, own=None):
        """The second half of CHAP, to the full feature phase."""
        keys = {"CHAP_N": user, "CHAP_R": "0x" + answer.hex()}
        if own:
            keys.update({"CHAP_I": own[0], "CHAP_C": "0x" + own[1].hex()})
        proved = self.step(keys, to=OPERATIONAL)
        if proved.status != "00 00":
            return proved
        last = self.step({}, OPERATIONAL, FULL_FEATURE)
        return Answer(last.status, {**proved.keys, **last.keys})

    def targets(self):
        """Names and addresses that SendTargets tells, in a discovery session."""
        header = bytearray(48)
        header[0:2] = bytes([TEXT, 0x80])
        struct.pack_into(">IIII", header, 16, 1, 0xFFFFFFFF, 1, self.stat)
        self.send(header, {"SendTargets": "All"})
        answer, pairs = self.receive()
        assert answer[0] == TEXT_RESPONSE, answer
        found = {}
        for key, value in pairs:
            if key == "TargetName":
                addresses = found.setdefault(value, [])
            elif key == "TargetAddress":
                addresses.append(value)
        return found

#!/usr/bin/env python3
"""Corpora of fuzzers as one file: inputs of at most 65,535 bytes, each after its length (two bytes, little-endian), in order
of their content, so that a change shows what it adds.

    corpus.py pack DIRECTORY FILE [MOST]    the shortest inputs first, until MOST of them are in
    corpus.py unpack FILE DIRECTORY
"""
import hashlib
import pathlib
import sys


def pack(directory, file, most=None):
    inputs = sorted({path.read_bytes() for path in directory.iterdir() if path.is_file()}, key=lambda one: (len(one), one))
    inputs = sorted(one for one in inputs[:most] if len(one) < 1 << 16)
    file.write_bytes(b"".join(len(one).to_bytes(2, "little") + one for one in inputs))
    print(f"{file}: {len(inputs)} inputs, {file.stat().st_size} bytes")


def unpack(file, directory):
    packed, at = file.read_bytes(), 0
    while at < len(packed):
        length = int.from_bytes(packed[at : at + 2], "little")
        one = packed[at + 2 : at + 2 + length]
        (directory / hashlib.sha1(one).hexdigest()).write_bytes(one)
        at += 2 + length


def main():
    match sys.argv[1:]:
        case ["pack", directory, file, *most]:
            pack(pathlib.Path(directory), pathlib.Path(file), int(most[0]) if most else None)
        case ["unpack", file, directory]:
            unpack(pathlib.Path(file), pathlib.Path(directory))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""The arrows between the crates: leaves never import each other, the command line not the daemon.

docs/ARCHITECTURE.md draws them; this reads them from cargo's own metadata and the sources.
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LEAVES = {"iscsi", "scsi", "cow", "config", "api", "script", "nbd"}
# What a leaf may touch of the world: protocol and domain crates are bytes in, bytes out.
FORBIDDEN = {
    "iscsi": {"tokio", "scsi", "socket2"},
    "scsi": {"tokio", "socket2"},
    "nbd": {"tokio", "socket2"},
    "script": {"tokio", "hyper", "axum"},
    "cow": {"tokio", "hyper", "axum"},
    "config": {"tokio", "hyper", "axum"},
    "api": {"tokio", "hyper", "axum"},
}
COMMAND_LINE_MAY_USE = {"api", "config", "cow", "script"}


def wrong_dependencies():
    """Leaves whose Cargo.toml points where it must not."""
    text = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for package in json.loads(text)["packages"]:
        name = package["name"]
        if name not in LEAVES:
            continue
        names = {dependency["name"] for dependency in package["dependencies"]}
        for bad in sorted(names & ((LEAVES - {name}) | FORBIDDEN[name] | {"osvol"})):
            yield f"{name} depends on {bad}"


def wrong_imports():
    """The command line's sources, which share a package with the daemon."""
    sources = [ROOT / "src/bin/osvol.rs", *(ROOT / "src/bin/osvol").rglob("*.rs")]
    for source in filter(pathlib.Path.exists, sources):
        for number, line in enumerate(source.read_text().splitlines(), 1):
            for word in re.findall(r"\b(osvold|iscsi|scsi|nbd)::", line.split("//")[0]):
                if word not in COMMAND_LINE_MAY_USE:
                    yield f"{source.relative_to(ROOT)}:{number} uses {word}"


if __name__ == "__main__":
    problems = [*wrong_dependencies(), *wrong_imports()]
    print("\n".join(problems) or "the arrows hold")
    sys.exit(1 if problems else 0)

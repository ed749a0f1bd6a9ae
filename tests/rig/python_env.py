"""Python environments of their own for tools that are not Debian's, under cargo's target folder.

    run_in(SDK)           starts this script again with that environment's Python
    tool(FUZZER, "st")    a program of it

Made once, by pip, before the namespace is entered (which has no way to PyPI).
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

from target import project

# HPE's SDK, the last one with Image Streamer. Its setup needs an old setuptools, and nothing that pip would fetch by itself.
SDK = ["hpeOneView==8.0.0", "future==1.0.0", "docutils==0.17.1"]
FUZZER = ["schemathesis==4.32.5"]
BUILD = ["setuptools<81", "wheel"]


def environment(packages):
    """The folder of an environment with these packages."""
    key = hashlib.sha256(" ".join([sys.version, *packages]).encode()).hexdigest()[:12]
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", project() / "target"))
    folder = target / f"venv-{key}"
    if (folder / "ready").exists():
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    print(f"making a Python environment with {' '.join(packages)}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True, timeout=120)
    pip = [folder / "bin/pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, *BUILD], check=True, timeout=300)
    subprocess.run([*pip, "--no-build-isolation", *packages], check=True, timeout=600)
    (folder / "ready").touch()
    return folder


def run_in(packages):
    """Goes on in that environment: this script starts again with its Python."""
    folder = environment(packages)
    if pathlib.Path(sys.prefix).resolve() != folder.resolve():
        python = str(folder / "bin/python")
        os.execv(python, [python, *sys.argv])


def tool(packages, name):
    """A program of that environment."""
    return environment(packages) / "bin" / name

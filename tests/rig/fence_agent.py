"""Pacemaker's own fence_scsi for the test guest: the agent as Debian has it, an interpreter, and of its library what it needs.

    run_guest(..., files=fence_agent())      then `. /rig/fence.sh; fence_scsi -o on ...`

The packages are unpacked into the cache and not installed: the agents of clouds and hypervisors would bring a lot. pycurl, for
agents that speak HTTP, is a module with nothing but its error.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile

PACKAGES = ["fence-agents", "python3-pexpect", "python3-ptyprocess"]
INTERPRETER = pathlib.Path("/usr/bin/python3")
# The agent imports all it ever will before it finds that this is no disk.
REHEARSAL = ["-o", "status", "-k", "1", "-d", "/dev/null"]

# Run by Debian's own interpreter: whatever a rehearsal has imported goes into a zip, compiled.
COLLECT = r"""
import pathlib, py_compile, runpy, shutil, sys, zipfile
agent, out, *arguments = sys.argv[1:]
sys.argv = [agent, *arguments]
sys.stderr = open("/dev/null", "w")
try:
    runpy.run_path(agent, run_name="__main__")
except SystemExit:
    pass
import encodings.ascii, encodings.latin_1, encodings.utf_8
out = pathlib.Path(out)
optional = {"_bz2", "_hashlib", "_lzma", "_ssl", "_uuid"}
with zipfile.ZipFile(out / "python.zip", "w") as library:
    for name, module in sorted(sys.modules.items()):
        source = getattr(module, "__file__", None) or ""
        if source.endswith(".so") and name not in optional:
            shutil.copy(source, out)
            (out / pathlib.Path(source).name).chmod(0o755)
        elif source.endswith(".py") and name != "__main__":
            inside = name.replace(".", "/") + ("/__init__" if hasattr(module, "__path__") else "")
            library.write(py_compile.compile(source, cfile=str(out / "compiled"), doraise=True), inside + ".pyc")
(out / "compiled").unlink()
"""

SHELL = """# The agent, and the script that a watchdog calls: status 2 is "reboot".
_python() { PYTHONHOME=/rig PYTHONPATH=/rig/python.zip:/rig PYTHONDONTWRITEBYTECODE=1 /rig/python3 -S "$@"; }
fence_scsi() { _python /rig/fence_scsi "$@"; }
fence_scsi_check() { _python /rig/fence_scsi_check "$@"; }
"""


def fence_agent():
    """The files, made when they are not there yet."""
    cache = pathlib.Path(os.environ.get("OSVOL_RIG_CACHE", pathlib.Path.home() / ".cache/osvol-rig"))
    cache.mkdir(parents=True, exist_ok=True)
    done = cache / "fence-agent"
    if not done.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            folder = pathlib.Path(scratch) / "made"
            folder.mkdir(mode=0o755)
            _make(pathlib.Path(scratch), folder)
            folder.rename(done)
    return sorted(done.iterdir())


def _make(scratch, out):
    debs, root = scratch / "debs", scratch / "root"
    debs.mkdir()
    subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=debs, check=True, stdout=subprocess.DEVNULL, timeout=300)
    for package in debs.iterdir():
        subprocess.run(["dpkg", "-x", package, root], check=True)
    (root / "stub").mkdir()
    (root / "stub/pycurl.py").write_text("class error(Exception):\n    pass\n")
    path = ":".join(str(root / folder) for folder in ("stub", "usr/share/fence", "usr/lib/python3/dist-packages"))
    agent = root / "usr/sbin/fence_scsi"
    subprocess.run(
        [INTERPRETER, "-c", COLLECT, agent, out, *REHEARSAL],
        env={"PYTHONPATH": path, "PATH": "/usr/bin:/bin"}, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=300,
    )  # fmt: skip
    for name in ("fence_scsi", "fence_scsi_check"):
        shutil.copyfile(agent, out / name)
    shutil.copy(INTERPRETER, out / "python3")
    (out / "fence.sh").write_text(SHELL)

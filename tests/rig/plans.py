"""Plan scripts and deployments, as tests need them.

    plans = Plans(estate)
    plan = plans.deploying("greets", image, [("write", "deploy", SCRIPT)], [attribute(...)])
    task = failed(estate.create, "web01", bay, plan)       the task of what must fail
    own_orphans(); left_over(target)                       processes and sockets that outlive their job
"""

import ctypes
import os
import pathlib
import re
import subprocess
import time

from api import TaskFailed
from appliance import plans_appliance
from bundle import attribute
from cases import expect

PR_SET_CHILD_SUBREAPER = 36
# What a job that has ended may take to be gone.
GONE_SECONDS = 10

__all__ = ["Plans", "attribute", "failed", "left_over", "log_of", "message_of", "own_orphans", "nothing_left"]


class Plans:
    """Makes scripts, build plans and deployment plans; each name once."""

    def __init__(self, estate):
        self.estate, self.api = estate, estate.api

    def script(self, name, kind, content):
        return self.api.post("/rest/plan-scripts", {"name": name, "planType": kind, "content": content, "description": ""})

    def build_plan(self, name, scripts, attributes=(), kind="deploy"):
        """From (name, kind, content) or scripts that are there."""
        made = [self.script(f"{name}: {one[0]}", *one[1:]) if isinstance(one, tuple) else one for one in scripts]
        steps = [{"serialNumber": str(at), "planScriptUri": one["uri"], "planScriptName": one["name"]} for at, one in enumerate(made, 1)]
        body = {"name": name, "oeBuildPlanType": kind, "buildStep": steps, "customAttributes": list(attributes)}
        return self.api.post("/rest/build-plans", body)

    def deploying(self, name, image, scripts, attributes=(), **fields):
        return self.estate.plan(name, image, self.build_plan(name, scripts, attributes), **fields)


def failed(call, *arguments, **keywords):
    """The task of something that must fail once it is under way."""
    try:
        done = call(*arguments, **keywords)
    except TaskFailed as failure:
        return failure.task
    raise AssertionError(f"it did not fail: {done}")


def message_of(task):
    """Why a task failed, in words."""
    return " ".join(f"{error['message']} {error.get('details') or ''}" for error in task["taskErrors"])


def log_of(api, task):
    """The log of a deployment, whatever came of it."""
    answer = api.ask("GET", f"{task['uri']}/log")
    expect(answer.status == 200, f"{task['uri']}/log: {answer.status} {answer.body}")
    return answer.body.decode(errors="replace") if isinstance(answer.body, bytes) else str(answer.body)


# ---- what outlives its job ------------------------------------------------------------------------------------------


def own_orphans():
    """From now on, processes whose parent dies become this one's: none gets out of sight."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def processes():
    """Parent and name of each process that is alive."""
    found = {}
    for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        number, name, rest = re.match(r"(\d+) \((.*)\) (.*)", text, re.DOTALL).groups()
        if rest[0] not in "ZX":
            found[int(number)] = (int(rest.split()[1]), name)
    return found


def below(pid):
    """Processes that descend from one: names by their ids."""
    alive = processes()
    found, new = {}, {pid}
    while new:
        new = {one for one, (parent, _) in alive.items() if parent in new}
        found |= {one: alive[one][1] for one in new}
    return found


def jobs_of(target):
    """What the jobs of a daemon have in the file system."""
    folder = target.control.with_name(target.control.name + ".jobs")
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def left_over(target, files=True):
    """Processes of jobs, whoever their parent is now, and what jobs have in the file system."""
    daemons = {target.process.pid} if target.process else set()
    keepers = {target.keeper.pid} if getattr(target, "keeper", None) else set()
    mine = below(os.getpid())
    found = [f"{name} ({pid})" for pid, name in mine.items() if pid not in daemons | keepers]
    return found + (jobs_of(target) if files else [])


def nothing_left(target, files=True):
    """Waits until no job has left anything. Files of one that was killed with the daemon go at its next start."""
    end = time.monotonic() + GONE_SECONDS
    while (found := left_over(target, files)) and time.monotonic() < end:
        time.sleep(0.05)
    expect(not found, f"left over: {found}")


def guestfish(script):
    """guestfish on files of this test; only the daemon's own is in a sandbox."""
    environment = dict(os.environ, LIBGUESTFS_BACKEND="direct", LIBGUESTFS_BACKEND_SETTINGS="force_tcg", LIBGUESTFS_PATH=plans_appliance())
    done = subprocess.run(["guestfish"], input=script, capture_output=True, text=True, timeout=180, env=environment)
    expect(done.returncode == 0, f"guestfish: {done.stderr}")
    return done.stdout

"""osvold with all of its doors: the control socket, TLS, and the boot listener.

    appliance = Appliance(directory, [f"{ADDRESS}:3260"])
    appliance.start()
    appliance.user("admin", "secret-of-admin")
    appliance.api()                            over the socket, as an administrator
    appliance.tls().login("admin", ...)        over TLS
"""

import http.client
import json
import os
import pathlib
import re
import subprocess

from api import Api
from cases import ADDRESS, HERE
from target import Osvold, binary, run

TLS_PORT = 8443
BOOT_PORT = 8080
USER, PASSWORD = "admin", "correct horse battery staple"


def plans_appliance():
    """What guestfish boots for plan scripts: daemons that are started from now on have it. Made before the namespace is
    entered, which has no way to a mirror."""
    if "OSVOL_RIG_APPLIANCE" not in os.environ:
        done = subprocess.run([HERE / "guestfs-appliance.sh"], stdout=subprocess.PIPE, text=True, check=True, timeout=400)
        os.environ["OSVOL_RIG_APPLIANCE"] = done.stdout.strip().splitlines()[-1]
    return os.environ["OSVOL_RIG_APPLIANCE"]


class Appliance(Osvold):
    """osvold started from a configuration file."""

    def __init__(self, directory, portals, tls=f"{ADDRESS}:{TLS_PORT}", boot=f"{ADDRESS}:{BOOT_PORT}", program=None, environment=None):
        super().__init__(directory, portals)
        self.tls_address = tls
        self.boot_address = boot
        self.program = program
        self.environment = environment
        self.plans = {}  # settings of plan scripts

    def configuration(self):
        """The text of the configuration file."""
        text = f'[store]\npath = "{self.state}"\n[control]\nsocket = "{self.control}"\n'
        text += f"[iscsi]\nportals = {json.dumps(self.portals)}\n"
        if self.tls_address:
            text += f'[control.tls]\nlisten = ["{self.tls_address}"]\n'
        plans = dict(self.plans)
        if appliance := os.environ.get("OSVOL_RIG_APPLIANCE"):
            # Emulated machines run everywhere; whether KVM does is not to be found out by each test.
            plans = {"appliance": appliance, "acceleration": "tcg", **plans}
        if plans:
            text += "[plans]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in plans.items())
        if self.boot_address:
            text += f'[boot]\nlisten = ["{self.boot_address}"]\n'
        return text

    def begin(self, environment=None):
        """Starts the process and does not wait for it."""
        file = self.dir / "osvold.toml"
        file.write_text(self.configuration())
        environment = environment or self.environment
        self.spawn([self.program or binary("osvold"), "--config", file], **({"env": environment} if environment else {}))

    def start(self):
        self.begin()
        self.wait_ready(self.answers)

    def answers(self):
        """Whether the control socket answers."""
        try:
            return self.api(timeout=5).ask("GET", "/rest/osvol/status").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def api(self, timeout=60):
        """A client on the control socket."""
        return Api.unix(self.control, timeout)

    def tls(self, timeout=60):
        """A client over TLS, not logged in."""
        return Api.tls(self.tls_address, timeout)

    def user(self, name=USER, password=PASSWORD, role="infrastructure"):
        """Adds a user, as an administrator does."""
        self.osvol("user", "add", name, "--role", role, "--password-stdin", input=f"{password}\n")

    def admin(self):
        """The first administrator, logged in over TLS."""
        return self.tls().login(USER, PASSWORD)

    @property
    def catalog(self):
        """The catalogue's file."""
        return self.state / "catalog/catalog.sqlite"

    def peak_mebibytes(self):
        """The most memory that it has had."""
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024

    def panics(self):
        """Lines of the log that speak of a panic."""
        return [line for line in self.log.read_text(errors="replace").splitlines() if "panicked" in line]

    def dump(self):
        """What is in the store, the daemon being stopped: an object for each thing."""
        return [json.loads(line) for line in run(binary("osvol"), "store", "dump", self.state, "--json").stdout.splitlines()]
